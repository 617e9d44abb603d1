"""From the text of a plan file to plain values that know their lines.

Both formats come to one tree of `Located`, so that the rules of a plan stand in one place and every
refusal can name a line. Reading is safe by construction: nothing is ever built but text, numbers,
truth values, lists and maps.

YAML is read as the stream of PyYAML's parser events, into YAML 1.2's core schema: `yes`, `on` and
dates are text, only `true` and `false` are truth values. Aliases are refused, which is what makes
"billion laughs" impossible; so are tags, further documents and a key that stands twice. Depth and
number of values are bounded while reading: the parsers take quadratic time for deep nesting.

TOML is read by `tomllib`, which knows lines only for errors of syntax: those of keys are found
again by a scan of the text (`toml_lines`), or else the line of the value around them is said.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from paceline.errors import InvalidPlan
from paceline.tasks.draft import quoted
from paceline.tasks.toml_lines import Path, toml_lines

TEXT_LIMIT_BYTES = 1024 * 1024
DEPTH_LIMIT = 16
VALUE_LIMIT = 100_000
"""Keys do not count; 2,000 subtasks with 20 fields and 10,000 needs are half of it."""

FORMATS = ("yaml", "toml")

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_TOML_LONG_KEY = re.compile(
    r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){32}""", re.ASCII
)
"""`tomllib` takes quadratic time for the parts of a dotted key (0.4 s for 5,000). No text of people
has 32 words joined by nothing but dots, so that strings need not be told from keys here."""

_TOO_DEEP_FOR_LIBYAML = "exceeded maximum nesting depth"
"""Newer ones have a limit of their own, and may come upon it while they look ahead."""

_TOML_LINE = re.compile(r"\(at line (\d+), column \d+\)$")

# The parser in C is ten times as fast; the one in Python knows the same language.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a map, the line it stands on, and its value."""

    key: str
    line: int | None
    value: "Located"


@dataclass(frozen=True, slots=True)
class Located:
    """A value and its line (1-based, None if not known).

    `value` is None, bool, int, float, str, a tuple of `Located` (a list), a `Map`, or, from TOML
    only, a date or time. `literal` is a YAML scalar as it was written, where that is not `value`.
    """

    value: Any
    line: int | None
    literal: str | None = None


class Map(tuple[Entry, ...]):
    """The entries of a map, in their order; no key stands twice."""

    __slots__ = ()


def read(text: str | bytes, format: str) -> Located:  # noqa: A002 - the word of the contract
    """Answer the tree of the text. Raise InvalidPlan, with the line, if it cannot be read."""
    if format not in FORMATS:
        raise InvalidPlan(f"a plan is in one of the formats {', '.join(FORMATS)}")
    content = _decode(text)
    root = _read_yaml(content) if format == "yaml" else _read_toml(content)
    if root.value is None or root.value == Map():
        raise InvalidPlan("the plan is empty", root.line or 1)
    return root


def _decode(text: str | bytes) -> str:
    if len(text) > TEXT_LIMIT_BYTES:
        raise InvalidPlan(f"the plan is larger than {TEXT_LIMIT_BYTES} bytes")
    try:
        data = text.encode() if isinstance(text, str) else text
        content = data.decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InvalidPlan("this is not UTF-8; save the plan in that encoding", line) from None
    except UnicodeEncodeError as error:
        line = error.object.count("\n", 0, error.start) + 1
        raise InvalidPlan("a character that UTF-8 does not have", line) from None
    if len(data) > TEXT_LIMIT_BYTES:
        raise InvalidPlan(f"the plan is larger than {TEXT_LIMIT_BYTES} bytes")
    return content.removeprefix("\ufeff")


def _last_line(content: str) -> int:
    """Answer the last line with anything on it: what is missing at the end is missing there."""
    return content.rstrip().count("\n") + 1


def _checked(text: str, line: int | None) -> str:
    if _NO_TEXT.search(text):
        raise InvalidPlan("text with a NUL or half a surrogate pair in it", line)
    return text


# --- YAML -----------------------------------------------------------------------------------------


def _read_yaml(content: str) -> Located:
    try:
        return _YamlTree(yaml.parse(content, Loader=_Loader), _last_line(content)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = min(mark.line + 1, _last_line(content)) if mark else None
        raise InvalidPlan(_yaml_reason(error, content, line), line) from None
    except yaml.reader.ReaderError as error:
        line = _line_of_character(content, error)
        raise InvalidPlan("a control character that YAML does not allow", line) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise InvalidPlan(f"this is not YAML: {quoted(str(error))}") from None


def _yaml_reason(error: yaml.MarkedYAMLError, content: str, line: int | None) -> str:
    if _TOO_DEEP_FOR_LIBYAML in (error.problem, error.context):
        return f"nested more than {DEPTH_LIMIT} deep"
    lines = content.splitlines()
    written = lines[line - 1] if line is not None and line <= len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return "a tab cannot indent in YAML; use spaces"
    parts = [part for part in (error.problem, error.context) if part]
    return "this is not YAML: " + ", ".join(parts)


def _line_of_character(content: str, error: yaml.reader.ReaderError) -> int | None:
    """Find the refused character again: the two parsers count its position differently."""
    character = error.character if isinstance(error.character, int) else -1
    position = content.find(chr(character)) if 0 <= character < 0x110000 else -1
    return content.count("\n", 0, position) + 1 if position >= 0 else None


class _YamlTree:
    """Builds the tree of one document from parser events."""

    def __init__(self, events: Iterator[yaml.Event], last_line: int) -> None:
        self._events = events
        self._last_line = last_line
        self._values = 0

    def document(self) -> Located:
        """Answer the only document; an empty stream is None."""
        root: Located | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise InvalidPlan("a plan file holds one document only", self._line(event))
                root = self._value(next(self._events), depth=1)
        return root or Located(None, None)

    def _value(self, event: yaml.Event, depth: int) -> Located:
        line = self._line(event)
        self._values += 1
        if self._values > VALUE_LIMIT:
            raise InvalidPlan(f"more than {VALUE_LIMIT} values in one plan", line)
        if depth > DEPTH_LIMIT:
            raise InvalidPlan(f"nested more than {DEPTH_LIMIT} deep", line)
        _refuse_indirection(event, line)
        if isinstance(event, yaml.SequenceStartEvent):
            return Located(tuple(self._items(depth)), line)
        if isinstance(event, yaml.MappingStartEvent):
            return Located(Map(self._entries(depth)), line)
        assert isinstance(event, yaml.ScalarEvent)
        text = _checked(event.value, line)
        if event.implicit[0]:  # written without quotes
            return Located(_resolve(text), line, text)
        return Located(text, line)

    def _line(self, event: yaml.Event) -> int | None:
        return min(event.start_mark.line + 1, self._last_line) if event.start_mark else None

    def _items(self, depth: int) -> Iterator[Located]:
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                return
            yield self._value(event, depth + 1)

    def _entries(self, depth: int) -> Iterator[Entry]:
        seen: dict[str, int | None] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                return
            line = self._line(event)
            _refuse_indirection(event, line)
            if not isinstance(event, yaml.ScalarEvent):
                raise InvalidPlan("the key of a map must be text", line)
            key = _checked(event.value, line)
            if key in seen:
                raise InvalidPlan(f"{quoted(key)} stands twice (first on line {seen[key]})", line)
            seen[key] = line
            yield Entry(key, line, self._value(next(self._events), depth + 1))


def _refuse_indirection(event: yaml.Event, line: int | None) -> None:
    if getattr(event, "anchor", None) is not None:  # an alias has one too
        raise InvalidPlan("anchors and aliases (& and *) are not allowed; write it out", line)
    tag = getattr(event, "tag", None)
    if tag is not None:
        raise InvalidPlan(f"the tag {quoted(str(tag))} is not allowed", line)


def _resolve(text: str) -> Any:
    if text in _NULLS:
        return None
    if text in _TRUTHS:
        return _TRUTHS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) and len(text) <= 32 else text


# --- TOML -----------------------------------------------------------------------------------------


def _read_toml(content: str) -> Located:
    if found := _TOML_LONG_KEY.search(content):
        line = content.count("\n", 0, found.start()) + 1
        raise InvalidPlan("a key of more than 32 parts", line)
    try:
        data = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise _toml_refusal(error, content) from None
    except RecursionError:
        raise InvalidPlan(f"nested more than {DEPTH_LIMIT} deep") from None
    except ValueError:
        raise InvalidPlan("this is not TOML: a number with too many digits") from None
    return _TomlTree(toml_lines(content)).value(data, (), None, depth=1)


def _toml_refusal(error: tomllib.TOMLDecodeError, content: str) -> InvalidPlan:
    words = str(error)
    found = _TOML_LINE.search(words)
    last = _last_line(content)
    line = min(int(found[1]), last) if found else last
    return InvalidPlan(f"this is not TOML: {words.partition(' (at ')[0]}", line)


class _TomlTree:
    """Puts lines to the values that `tomllib` read."""

    def __init__(self, lines: dict[Path, int]) -> None:
        self._lines = lines
        self._values = 0

    def value(self, value: Any, path: Path, line: int | None, depth: int) -> Located:
        """Answer the value at `path`, on its own line if that is known, else on `line`."""
        self._values += 1
        line = self._lines.get(path, line)
        if self._values > VALUE_LIMIT:
            raise InvalidPlan(f"more than {VALUE_LIMIT} values in one plan", line)
        if depth > DEPTH_LIMIT:
            raise InvalidPlan(f"nested more than {DEPTH_LIMIT} deep", line)
        if isinstance(value, dict):
            return Located(Map(self._entries(value, path, line, depth)), line)
        if isinstance(value, list):
            items = enumerate(value)
            found = (self.value(item, (*path, index), line, depth + 1) for index, item in items)
            return Located(tuple(found), line)
        return Located(_checked(value, line) if isinstance(value, str) else value, line)

    def _entries(
        self, table: dict[str, Any], path: Path, line: int | None, depth: int
    ) -> Iterator[Entry]:
        for key, value in table.items():
            located = self.value(value, (*path, key), line, depth + 1)
            yield Entry(_checked(key, located.line), located.line, located)
