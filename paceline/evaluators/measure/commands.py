"""With which commands a repository is tested: those it names, else what its files suggest.

The files are those of the base, so that a change cannot make its own tests harmless.
"""

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from paceline.evaluators.config import Commands
from paceline.evaluators.context import Purpose

GIVEN = "given"

_NO_TEST = "no test specified"
_TARGET = re.compile(r"^(test|lint)\s*:(?!=)", re.M)


@dataclass(frozen=True, slots=True)
class Command:
    """A line for /bin/sh, run in the root of the repository."""

    purpose: Purpose
    line: str
    origin: str
    """`given`, or the file that suggested it."""


def commands_for(
    configured: Commands,
    manifests: Mapping[str, str],
    *,
    has: Callable[[str], bool],
    given: tuple[str, ...] = (),
) -> tuple[Command, ...]:
    """Answer what to run: `given` test commands, else the configured, else the suggested ones.

    `has` says whether a path is there in the work tree.
    """
    suggested = tuple(_suggested(manifests, has))
    chosen: list[Command] = []
    for purpose, named in (
        (Purpose.TEST, given or configured.test),
        (Purpose.LINT, configured.lint),
    ):
        if named is None:
            chosen += [command for command in suggested if command.purpose is purpose]
        else:
            chosen += [Command(purpose, line, GIVEN) for line in named]
    return tuple(chosen)


def _suggested(manifests: Mapping[str, str], has: Callable[[str], bool]) -> list[Command]:
    found = [
        *_python(manifests, has),
        *_node(manifests),
        *_go(manifests),
        *_rust(manifests),
    ]
    known = {command.purpose for command in found}
    return found + [c for c in _make(manifests) if c.purpose not in known]


def _python(manifests: Mapping[str, str], has: Callable[[str], bool]) -> list[Command]:
    project = _toml(manifests.get("pyproject.toml", ""))
    tool = project.get("tool", {})
    tools = tool if isinstance(tool, dict) else {}
    configured = "pytest" in tools or "pytest.ini" in manifests
    configured = configured or "[tool:pytest]" in manifests.get("setup.cfg", "")
    is_python = bool(project) or "setup.cfg" in manifests or "tox.ini" in manifests
    found = []
    python = _interpreter(has)
    if configured or (is_python and (has("tests") or has("test"))):
        line = f"{python} -m pytest -q -p no:cacheprovider"
        found.append(Command(Purpose.TEST, line, "pyproject.toml"))
    if "ruff" in tools:
        line = f"{python} -m ruff check --no-cache ."
        found.append(Command(Purpose.LINT, line, "pyproject.toml"))
    return found


def _interpreter(has: Callable[[str], bool]) -> str:
    for place in (".venv", "venv"):
        if has(f"{place}/bin/python"):
            return f"{place}/bin/python"
    return "python3"


def _node(manifests: Mapping[str, str]) -> list[Command]:
    scripts = _json(manifests.get("package.json", "")).get("scripts", {})
    if not isinstance(scripts, dict):
        return []
    manager = "npm"
    for lock, name in (("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn")):
        manager = name if lock in manifests else manager
    found = []
    if scripts.get("test") and _NO_TEST not in str(scripts["test"]):
        found.append(Command(Purpose.TEST, f"{manager} run --silent test", "package.json"))
    if scripts.get("lint"):
        found.append(Command(Purpose.LINT, f"{manager} run --silent lint", "package.json"))
    return found


def _go(manifests: Mapping[str, str]) -> list[Command]:
    if "go.mod" not in manifests:
        return []
    return [
        Command(Purpose.TEST, "go test ./...", "go.mod"),
        Command(Purpose.LINT, "go vet ./...", "go.mod"),
    ]


def _rust(manifests: Mapping[str, str]) -> list[Command]:
    if "Cargo.toml" not in manifests:
        return []
    return [Command(Purpose.TEST, "cargo test --quiet --offline", "Cargo.toml")]


def _make(manifests: Mapping[str, str]) -> list[Command]:
    targets = dict.fromkeys(_TARGET.findall(manifests.get("Makefile", "")))
    return [Command(Purpose(target), f"make {target}", "Makefile") for target in targets]


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
