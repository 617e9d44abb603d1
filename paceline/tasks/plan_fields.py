"""What a field of a plan file may hold, and in which words it is refused otherwise.

A reader takes a `Located` value and answers plain data, or raises InvalidPlan with the reason and
the line. `Findings.fields` reads a whole map by a table of readers and goes on after a refusal, so
that a person learns of several mistakes at once.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from paceline.errors import InputError, InvalidPlan
from paceline.tasks.draft import Deadline, Problem, RepositoryDraft, did_you_mean, quoted, refuse
from paceline.tasks.plan_source import Located, Map

Reader = Callable[[Located], Any]

FINDINGS_LIMIT = 100
"""Reading stops there: the rest of such a text is hardly meant as a plan."""

NAME_LIMIT = 100
LABELS_LIMIT = 32
WORD_LIMIT = 200
PATH_LIMIT = 4096

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9 ._-]*[A-Za-z0-9._-])?")
_INTEGERS = range(-(2**63), 2**64)
"""What msgpack, and so the log, can hold."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one map that were read, the line of each that is there, and the map's own."""

    values: dict[str, Any]
    lines: dict[str, int | None]
    line: int | None

    def get(self, name: str, default: Any = None) -> Any:
        """Answer a field's value, or the default where it is absent or was refused."""
        return self.values.get(name, default)

    def line_of(self, name: str) -> int | None:
        """Answer the line of a field, or of the map where the field is absent."""
        return self.lines.get(name, self.line)

    def refused(self, name: str) -> bool:
        """Answer whether the field stands there but could not be read."""
        return name in self.lines and name not in self.values

    def __contains__(self, name: str) -> bool:
        """Answer whether the field stands there, refused or not."""
        return name in self.lines


@dataclass(slots=True)
class Findings:
    """Collects what is wrong with a plan while it is read."""

    found: list[Problem] = field(default_factory=list)

    def add(self, reason: str, line: int | None) -> None:
        """Note a problem. Raise InvalidPlan with all of them when there are too many to go on."""
        self.found.append(Problem(reason, line))
        if len(self.found) >= FINDINGS_LIMIT:
            refuse(self.found)

    def settle(self) -> None:
        """Raise InvalidPlan if anything was found."""
        refuse(self.found)

    def fields(self, node: Located, readers: Mapping[str, Reader], what: str) -> Fields:
        """Read a map by the readers of its fields. A field that is null counts as absent."""
        read = Fields({}, {}, node.line)
        if not isinstance(node.value, Map):
            self.add(f"{what} must be a map of fields, not {kind(node)}", node.line)
            return read
        for entry in node.value:
            reader = readers.get(entry.key)
            if reader is None:
                self.add(_unknown_field(entry.key, what, readers), entry.line)
            elif entry.value.value is not None or entry.value.literal:
                read.lines[entry.key] = entry.line
                self._read(read.values, entry.key, reader, entry.value)
        return read

    def _read(self, values: dict[str, Any], name: str, reader: Reader, node: Located) -> None:
        try:
            values[name] = reader(node)
        except InvalidPlan as error:
            self.add(f"{name}: {error.reason}", error.line if error.line else node.line)


def _unknown_field(name: str, what: str, readers: Iterable[str]) -> str:
    hint = did_you_mean(name, readers) or f"; there are {', '.join(readers)}"
    return f"{what} has no field {quoted(name)}{hint}"


def kind(node: Located) -> str:
    """Answer what a value is, in words."""
    match node.value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case Map():
            return "a map"
        case tuple():
            return "a list"
    return "a date or time (put it in quotes)"


def _must(what: str, node: Located) -> InvalidPlan:
    return InvalidPlan(f"must be {what}, not {kind(node)}", node.line)


# --- text -----------------------------------------------------------------------------------------


def text(limit: int) -> Reader:
    """Read text of 1 to `limit` characters.

    An unquoted YAML scalar is text as it is written: `run: true` runs `true`, a ref `1.10` keeps
    its zero.
    """

    def read(node: Located) -> str:
        value = node.value if isinstance(node.value, str) else node.literal
        if not isinstance(value, str):
            raise _must("text", node)
        if not value.strip():
            raise InvalidPlan("is empty", node.line)
        if len(value) > limit:
            raise InvalidPlan(f"has {len(value)} characters, over the limit of {limit}", node.line)
        return value

    return read


def name(node: Located) -> str:
    """Read a subtask's name, which becomes a file name under `$PACELINE_INPUTS`."""
    value: str = text(NAME_LIMIT)(node)
    if not _NAME.fullmatch(value):
        raise InvalidPlan(
            f"{quoted(value)} is not safe as a file name: use letters, digits, space, dot, "
            "underscore and dash, beginning with a letter or digit",
            node.line,
        )
    return value


class Word(NamedTuple):
    """One text of a list, and its line."""

    text: str
    line: int | None


def words(node: Located) -> tuple[Word, ...]:
    """Read one text, or a list of texts."""
    nodes = node.value if _is_list(node) else (node,)
    read = text(WORD_LIMIT)
    return tuple(Word(read(item), item.line) for item in nodes)


def _is_list(node: Located) -> bool:
    return isinstance(node.value, tuple) and not isinstance(node.value, Map)


def choice(options: type[StrEnum]) -> Reader:
    """Read one of the values of an enumeration."""

    def read(node: Located) -> StrEnum:
        value = text(WORD_LIMIT)(node)
        known = [option.value for option in options]
        if value not in known:
            hint = did_you_mean(value, known)
            raise InvalidPlan(f"must be {' or '.join(known)}, not {quoted(value)}{hint}", node.line)
        return options(value)

    return read


def labels(node: Located) -> dict[str, str]:
    """Read a map of texts to texts."""
    if not isinstance(node.value, Map):
        raise _must("a map", node)
    if len(node.value) > LABELS_LIMIT:
        raise InvalidPlan(f"more than {LABELS_LIMIT} labels", node.line)
    read = text(WORD_LIMIT)
    for entry in node.value:
        read(Located(entry.key, entry.line))
    return {entry.key: read(entry.value) for entry in node.value}


def repository(node: Located) -> RepositoryDraft:
    """Read `{path, ref, folder}`, or the path alone. None may pass for an option of git."""
    if not isinstance(node.value, Map):
        return RepositoryDraft(_place(node))
    found = Findings()
    read = found.fields(node, {"path": _place, "ref": _place, "folder": _place}, "a repository")
    if "path" not in read:
        found.add("a repository needs a path (or URL)", node.line)
    found.settle()
    return RepositoryDraft(read.get("path"), read.get("ref", "HEAD"), read.get("folder", ""))


def _place(node: Located) -> str:
    value: str = text(PATH_LIMIT)(node)
    if value.startswith("-") or not value.isprintable():
        raise InvalidPlan(f"{quoted(value)} cannot be used", node.line)
    return value


# --- numbers, truth values, plain data ------------------------------------------------------------


def integer(low: int, high: int) -> Reader:
    """Read a whole number from `low` to `high`, both included."""

    def read(node: Located) -> int:
        if isinstance(node.value, bool) or not isinstance(node.value, int):
            raise _must("a whole number", node)
        _within(node, low, high)
        return node.value

    return read


def number(low: float, high: float) -> Reader:
    """Read a number from `low` to `high`, both included."""

    def read(node: Located) -> float:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise _must("a number", node)
        _within(node, low, high)
        return float(node.value)

    return read


def _within(node: Located, low: float, high: float) -> None:
    if not low <= node.value <= high:
        shown = str(node.value) if abs(node.value) < 2**63 else "that"
        raise InvalidPlan(f"must be from {low} to {high}, not {shown}", node.line)


priority = integer(0, 100)

DEADLINE_LIMIT_S = 366 * 24 * 3600


def deadline(node: Located) -> Deadline:
    """Read seconds from the submission on, or an ISO 8601 moment with its offset from UTC."""
    if isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return Deadline(after_s=number(0.001, DEADLINE_LIMIT_S)(node))
    value = text(WORD_LIMIT)(node)
    try:
        return Deadline(at_ms=moment_ms(value))
    except InputError as error:
        raise InvalidPlan(f"must be seconds or a moment: {error}", node.line) from None


def moment_ms(value: str) -> int:
    """Answer an ISO 8601 moment in milliseconds since 1970. Raise InputError."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise InputError(f"{quoted(value)} is no moment like 2030-01-31T18:00:00+01:00") from None
    if moment.tzinfo is None:
        raise InputError(f"{quoted(value)} lacks its offset from UTC: add Z or +01:00")
    if not 1971 <= moment.year <= 9998:
        raise InputError(f"{quoted(value)} lies outside of the years 1971 to 9998")
    return round(moment.timestamp() * 1000)


def flag(node: Located) -> bool:
    """Read true or false."""
    if not isinstance(node.value, bool):
        raise _must("true or false", node)
    return node.value


def plain_map(node: Located) -> dict[str, Any]:
    """Read a map of anything that JSON can hold."""
    if not isinstance(node.value, Map):
        raise _must("a map", node)
    return {entry.key: _plain(entry.value) for entry in node.value}


def _plain(node: Located) -> Any:
    match node.value:
        case Map():
            return plain_map(node)
        case tuple():
            return [_plain(item) for item in node.value]
        case int() if node.value not in _INTEGERS:
            raise InvalidPlan("a number of more than 64 bits", node.line)
        case float() if not math.isfinite(node.value):
            raise InvalidPlan("must be a finite number", node.line)
        case None | bool() | int() | float() | str():
            return node.value
    raise _must("text, a number, true, false, a list or a map", node)
