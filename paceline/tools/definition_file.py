"""Definitions of command-line agents as TOML files, read and checked.

A definition decides which program is started with what, so it is only ever read from this package
and from the owner's `tools.d`, which no work tree can reach. Everything is checked before anything
is started: an unknown key, a wrong type, a placeholder that nothing fills, a pattern that does not
compile. An error names the file, the line and the key, and says what to write instead.
"""

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from paceline.errors import InvalidSettings
from paceline.tasks.model import PermissionLevel, ResultStatus
from paceline.tasks.toml_lines import Path as KeyPath
from paceline.tasks.toml_lines import toml_lines
from paceline.tools import definition_checks as checks
from paceline.tools.definition import (
    PLACEHOLDER,
    Definition,
    EventRule,
    Format,
    Health,
    KeyAccess,
    Layer,
    LoginAccess,
    PromptBy,
    StatusRule,
)

SIZE_LIMIT_BYTES = 256 * 1024
FILES_LIMIT = 100
RULES_LIMIT = 100
OPTIONS = ("model", "max_turns", "budget_usd", "session")

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TOML_LINE = re.compile(r"\(at line (\d+), column \d+\)$")


def shipped(name: str) -> Definition:
    """Answer a definition that comes with Paceline."""
    file = resources.files("paceline.tools") / "data" / f"{name}.toml"
    return parse(file.read_text(encoding="utf-8"), name=name, source=f"{name}.toml")


def shipped_names() -> tuple[str, ...]:
    """Answer the names of all of them, sorted."""
    files = (resources.files("paceline.tools") / "data").iterdir()
    return tuple(sorted(file.name[:-5] for file in files if file.name.endswith(".toml")))


def owned(directory: Path) -> dict[str, Definition | InvalidSettings]:
    """Answer the owner's definitions of a directory by name, an error for each that is refused.

    There may be no such directory. The name of a tool is that of its file.
    """
    found: dict[str, Definition | InvalidSettings] = {}
    for file in sorted(directory.glob("*.toml"))[:FILES_LIMIT]:
        try:
            found[file.stem] = _owned(file)
        except InvalidSettings as error:
            found[file.stem] = error
    return found


def _owned(file: Path) -> Definition:
    try:
        with file.open("rb") as source:
            data = source.read(SIZE_LIMIT_BYTES + 1)
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{file} cannot be read: {error}") from error
    return parse(text, name=file.stem, source=str(file))


def parse(text: str, *, name: str, source: str) -> Definition:
    """Answer the definition. Raise InvalidSettings with file, line, key and what to write."""
    reader = _Reader(text, source)
    root = _Table(reader, reader.load(), ())
    if not _NAME.fullmatch(name):
        raise InvalidSettings(f"{source}: a tool's name has small letters, digits and _")
    fields = root.values(_ROOT)
    for required in ("title", "binary"):
        if required not in fields:
            raise reader.refuse((), f"`{required}` is missing")
    definition = Definition(
        name=name,
        **fields,
        base=_layer(root),
        key=_key(root.table("key")) if root.has("key") else None,
        login=_login(root.table("login")) if root.has("login") else None,
        permissions=_layers(root.table("permissions"), PermissionLevel),
        walled=_layers(root.table("walled"), PermissionLevel),
        options=_layers(root.table("options"), OPTIONS),
        health=Health(**root.table("health").all_values(_HEALTH)),
        events=tuple(EventRule(**rule.all_values(_EVENT)) for rule in root.tables("events")),
        statuses=tuple(StatusRule(**rule.all_values(_STATUS)) for rule in root.tables("statuses")),
    )
    root.known((*_ROOT, *_LAYER, *_TABLES))
    _check_whole(reader, definition)
    return definition


def _check_whole(reader: "_Reader", definition: Definition) -> None:
    """Check what one key alone cannot show."""
    arguments = " ".join((*definition.base.argv, *definition.tail))
    wanted = {PromptBy.ARGV: "{prompt}", PromptBy.FILE: "{prompt_file}"}.get(definition.prompt)
    if wanted and wanted not in arguments:
        raise reader.refuse(("prompt",), f"write {wanted} where it belongs in argv or tail")
    if definition.format is not Format.TEXT and not any(rule.final for rule in definition.events):
        raise reader.refuse(("events",), "one of the events must have `final = true`")
    if set(definition.permissions) != set(PermissionLevel):
        raise reader.refuse(("permissions",), "write all of read, edit and run")
    if definition.walled and set(definition.walled) != set(PermissionLevel):
        raise reader.refuse(("walled",), "write all of read, edit and run, or none")
    for optional in {"base_url", "api_key", "model", "budget_usd", "session"} & set(
        PLACEHOLDER.findall(arguments)
    ):
        raise reader.refuse(("argv",), f"{{{optional}}} may be missing: use it in [options], [key]")
    if definition.key is None and definition.login is None:
        raise reader.refuse((), "write [key] (perhaps with required = false), [login] or both")


class _Reader:
    """One text, and where its keys stand."""

    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source
        self._lines: dict[KeyPath, int] = {}

    def load(self) -> dict[str, Any]:
        if len(self._text.encode()) > SIZE_LIMIT_BYTES:
            raise InvalidSettings(f"{self._source} is larger than {SIZE_LIMIT_BYTES} bytes")
        try:
            root = tomllib.loads(self._text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            place = _TOML_LINE.search(str(error))
            words = _TOML_LINE.sub("", str(error)).strip()
            line = f", line {place[1]}" if place else ""
            raise InvalidSettings(f"{self._source}{line}: {words}") from None
        self._lines = toml_lines(self._text)
        return root

    def refuse(self, path: KeyPath, reason: str) -> InvalidSettings:
        """Answer the error for what stands at `path`, or at the nearest key around it."""
        at = path
        while at and at not in self._lines:
            at = at[:-1]
        line = f", line {self._lines[at]}" if at else ""
        key = f": {'.'.join(map(str, path))}" if path else ""
        return InvalidSettings(f"{self._source}{line}{key}: {reason}")


class _Table:
    """A table of the text, with the way to it."""

    def __init__(self, reader: _Reader, data: Mapping[str, Any], path: KeyPath) -> None:
        self._reader = reader
        self._data = data
        self._path = path

    def has(self, key: str) -> bool:
        return key in self._data

    def known(self, keys: tuple[str, ...]) -> None:
        for key in self._data:
            if key not in keys:
                known = ", ".join(keys)
                raise self._reader.refuse((*self._path, key), f"no such key; there are {known}")

    def values(self, wanted: Mapping[str, checks.Check]) -> dict[str, Any]:
        """Answer the checked values of those keys that are there."""
        found = {}
        for key in wanted:
            if key in self._data:
                try:
                    found[key] = wanted[key](self._data[key])
                except ValueError as error:
                    raise self._reader.refuse((*self._path, key), str(error)) from None
        return found

    def all_values(self, wanted: Mapping[str, checks.Check]) -> dict[str, Any]:
        """Do the same, where there may be no others."""
        self.known(tuple(wanted))
        found = self.values(wanted)
        if "status" in wanted and "status" not in found:
            raise self._reader.refuse(self._path, "`status` is missing")
        return found

    def table(self, key: str) -> "_Table":
        found = self._data.get(key, {})
        if not isinstance(found, dict):
            raise self._reader.refuse((*self._path, key), f"write a table, [{key}]")
        return _Table(self._reader, found, (*self._path, key))

    def tables(self, key: str) -> list["_Table"]:
        found = self._data.get(key, [])
        right = isinstance(found, list) and all(isinstance(each, dict) for each in found)
        if not right or len(found) > RULES_LIMIT:
            raise self._reader.refuse((key,), f"write up to {RULES_LIMIT} tables, [[{key}]]")
        return [_Table(self._reader, each, (key, number)) for number, each in enumerate(found)]


def _layer(table: _Table) -> Layer:
    return Layer(**table.values(_LAYER))


def _layers(table: _Table, names: Any) -> dict[Any, Layer]:
    table.known(tuple(str(name) for name in names))
    found = {}
    for name in names:
        if table.has(str(name)):
            part = table.table(str(name))
            part.known(tuple(_LAYER))
            found[name] = _layer(part)
    return found


def _key(table: _Table) -> KeyAccess:
    table.known((*_KEY, *_LAYER))
    return KeyAccess(**table.values(_KEY), layer=_layer(table))


def _login(table: _Table) -> LoginAccess:
    table.known(("files", *_LAYER))
    return LoginAccess(**table.values({"files": checks.home_paths}), layer=_layer(table))


_LAYER: dict[str, checks.Check] = {
    "argv": checks.templates,
    "environment": checks.variables,
    "home_files": checks.home_files,
}
_ROOT: dict[str, checks.Check] = {
    "title": checks.text,
    "binary": checks.text,
    "install": checks.text,
    "tail": checks.templates,
    "prompt": checks.choice(PromptBy),
    "format": checks.choice(Format),
    "model": checks.text,
    "agent_files": checks.texts,
    "judged_by_changes": checks.truth,
    "session_usage_counts": checks.truth,
    "session_resumes": checks.truth,
    "http_words": checks.patterns,
}
_TABLES = ("key", "login", "permissions", "walled", "options", "health", "events", "statuses")
_KEY: dict[str, checks.Check] = {
    "variable": checks.variable,
    "base_url": checks.text,
    "required": checks.truth,
}
_HEALTH: dict[str, checks.Check] = {"version": checks.texts, "login": checks.texts}
_EVENT: dict[str, checks.Check] = {
    "when": checks.conditions,
    "each": checks.dotted_path,
    "where": checks.conditions,
    "text": checks.dotted_path,
    "line": checks.truth,
    "answer": checks.dotted_path,
    "thought": checks.dotted_path,
    "call": checks.dotted_path,
    "arguments": checks.dotted_path,
    "result": checks.dotted_path,
    "result_text": checks.dotted_path,
    "result_failed": checks.dotted_path,
    "tokens_in": checks.dotted_paths,
    "tokens_out": checks.dotted_paths,
    "cached": checks.dotted_paths,
    "add": checks.truth,
    "cost": checks.dotted_path,
    "session": checks.dotted_path,
    "error": checks.dotted_path,
    "http": checks.dotted_path,
    "retry_after": checks.dotted_path,
    "reason": checks.dotted_path,
    "failed": checks.path_or_truth,
    "denied": checks.dotted_path,
    "final": checks.truth,
}
_STATUS: dict[str, checks.Check] = {
    "status": checks.choice(ResultStatus),
    "exits": checks.numbers,
    "http": checks.numbers,
    "reasons": checks.texts,
    "match": checks.pattern,
    "message": checks.text,
    "always": checks.truth,
}
