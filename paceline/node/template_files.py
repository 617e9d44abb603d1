"""People's own templates: `templates/*.toml` in the configuration directory, and in a repository.

Read, never executed. A repository's template goes before a user's of the same name, and that before
a shipped one. Repositories are strangers' work: links are not followed, and everything is bounded.
"""

import os
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from paceline.errors import InvalidPlan
from paceline.tasks import templates
from paceline.tasks.draft import RepositoryDraft
from paceline.tasks.own_templates import read_template
from paceline.tasks.plan import PLAN
from paceline.tasks.templates import Template

IN_REPOSITORY: Final = Path(".paceline", "templates")
FILES_LIMIT: Final = 64
FILE_LIMIT_BYTES: Final = 256 * 1024

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class TemplateFiles:
    """Finds people's own templates."""

    def __init__(self, directory: Path, known_tools: Callable[[], Collection[str]]) -> None:
        """`directory` is the user's; it need not be there."""
        self._directory = directory
        self._known_tools = known_tools

    def find(self, name: str, repository: RepositoryDraft | None) -> Template | None:
        """Answer the template that goes before a shipped one. Raise InvalidPlan if it is wrong."""
        if not _NAME.fullmatch(name):
            return None
        for origin, directory in self._places(repository):
            file = directory / f"{name}.toml"
            text = _read(file)
            if text is not None:
                return self._template(text, name, origin, file)
        return None

    def listing(self, repository: RepositoryDraft | None = None) -> list[dict[str, Any]]:
        """Answer all templates, by name, those that are wrong with their `problem`."""
        found = {name: document(templates.load(name)) for name in templates.names()}
        for origin, directory in reversed(self._places(repository)):
            for file in _files(directory):
                found[file.stem] = self._document(file, origin) | (
                    {"replaces": found[file.stem]["origin"]} if file.stem in found else {}
                )
        return [found[name] for name in sorted(found)]

    def _places(self, repository: RepositoryDraft | None) -> list[tuple[str, Path]]:
        """Answer where to look, the place that goes first before the others."""
        places = [("user", self._directory)]
        if repository is not None and os.path.isabs(repository.path):
            places.insert(0, ("repository", Path(repository.path) / IN_REPOSITORY))
        return places

    def _document(self, file: Path, origin: str) -> dict[str, Any]:
        try:
            text = _read(file)
            if text is None:
                raise InvalidPlan(f"it is no plain file of at most {FILE_LIMIT_BYTES} bytes")
            return document(self._template(text, file.stem, origin, file))
        except InvalidPlan as error:
            told = {"name": file.stem, "description": "", "subtasks": [], "origin": origin}
            return told | {"path": str(file), "problem": str(error)}

    def _template(self, text: str, name: str, origin: str, file: Path) -> Template:
        try:
            return read_template(
                text, name, origin=origin, path=str(file), known_tools=self._known_tools()
            )
        except InvalidPlan as error:
            raise InvalidPlan(f"{file}: {error.reason}", error.line) from error


def document(template: Template) -> dict[str, Any]:
    """Answer a template as people see it."""
    return {
        "name": template.name,
        "description": template.summary,
        "origin": template.origin,
        "path": template.path,
        "subtasks": [
            {
                "name": subtask.name,
                "needs": list(subtask.needs),
                "tools": list(subtask.tools),
                "complexity": subtask.complexity,
                "priority": subtask.priority,
                "description": subtask.description,
                "instructions": subtask.instructions,
                "run": subtask.run,
                "settings": dict(subtask.settings),
            }
            for subtask in template.subtasks
        ],
    }


def _files(directory: Path) -> list[Path]:
    with suppress(OSError):
        found = sorted(directory.glob("*.toml"))
        return [file for file in found if _is_name(file.stem)][:FILES_LIMIT]
    return []


def _is_name(stem: str) -> bool:
    return stem != PLAN and _NAME.fullmatch(stem) is not None


def _read(file: Path) -> str | None:
    """Answer a plain file's text; None where there is none, or it is a link or too large.

    Raise InvalidPlan for what is no UTF-8.
    """
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as opened:
        try:
            data = opened.read(FILE_LIMIT_BYTES + 1)
        except OSError:
            return None
    if len(data) > FILE_LIMIT_BYTES:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidPlan(f"{file} is not UTF-8 text") from None
