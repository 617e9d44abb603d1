"""What a repository says about its evaluators: `.paceline/evaluators.toml`, checked with lines.

    [thresholds]
    checkpoint = 7.0            # a lower score asks for a person
    retry = 5.0                 # a lower one for another attempt

    [limits]                    # of one evaluator
    time_s = 60
    memory_mib = 1024

    [commands]                  # run only where whoever evaluates permits it
    test = ["pytest -q"]        # each through /bin/sh, in the root of the repository
    lint = []
    time_s = 900

    [evaluators.security]
    enabled = true
    weight = 2.0
    minimum = 6.0               # a lower score of its own asks for a person
    required = true             # so does its failure

    [evaluators.architecture]   # further keys are the evaluator's own options
    layers = ["app.web", "app.core"]

The file is read from the base of a change, so that no change decides how it is judged. It can never
permit what the caller did not: it names commands, it does not allow them.
"""

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from paceline.errors import InvalidSettings
from paceline.evaluators.aggregate import Thresholds
from paceline.tasks.toml_lines import Path as KeyPath
from paceline.tasks.toml_lines import toml_lines

SIZE_LIMIT = 64 * 1024
COMMANDS_LIMIT = 20
COMMAND_CHARACTERS = 2000
EVALUATORS_LIMIT = 50
WEIGHT_MAX = 100.0

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOML_LINE = re.compile(r"\(at line (\d+), column \d+\)$")


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one evaluator's process."""

    time_s: float = 60.0
    memory_mib: int = 1024


@dataclass(frozen=True, slots=True)
class Commands:
    """What the repository is checked with. None = look what there is; empty = none."""

    test: tuple[str, ...] | None = None
    lint: tuple[str, ...] | None = None
    time_s: float = 900.0
    """Of each command."""
    memory_mib: int = 4096


@dataclass(frozen=True, slots=True)
class Choice:
    """What is configured for one evaluator. None = its own default."""

    enabled: bool = True
    weight: float | None = None
    minimum: float = 0.0
    required: bool | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """How a repository wants its changes to be judged."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    limits: Limits = field(default_factory=Limits)
    commands: Commands = field(default_factory=Commands)
    evaluators: Mapping[str, Choice] = field(default_factory=dict)

    def choice(self, name: str) -> Choice:
        """Answer what is configured for an evaluator; the defaults for one that is not named."""
        return self.evaluators.get(name, Choice())


Check = Callable[[Any], Any]
"""Answers the value as it is kept. Raises ValueError with what is wanted."""


def parse(text: str, source: str = ".paceline/evaluators.toml") -> Config:
    """Answer the configuration.

    Raise InvalidSettings, which names the file, the line and what to write instead.
    """
    reader = _Reader(text, source)
    root = reader.load()
    reader.known(root, ("thresholds", "limits", "commands", "evaluators"), ())
    return Config(
        thresholds=_thresholds(reader, root),
        limits=Limits(**reader.table(root, "limits", _LIMITS)),
        commands=Commands(**reader.table(root, "commands", _COMMANDS)),
        evaluators=_evaluators(reader, root),
    )


class _Reader:
    """One text, and where its keys stand."""

    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source
        self._lines: dict[KeyPath, int] = {}

    def load(self) -> dict[str, Any]:
        if len(self._text) > SIZE_LIMIT:
            raise InvalidSettings(f"{self._source} is larger than {SIZE_LIMIT} characters")
        try:
            root = tomllib.loads(self._text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            place = _TOML_LINE.search(str(error))
            words = str(error).partition(" (at ")[0]
            line = place[1] if place else self._text.rstrip().count("\n") + 1
            raise InvalidSettings(f"{self._source}, line {line}: {words}") from None
        self._lines = toml_lines(self._text)
        return root

    def refuse(self, path: KeyPath, reason: str) -> InvalidSettings:
        """Answer the error for what stands at `path`, or at the nearest table around it."""
        at = path
        while at and at not in self._lines:
            at = at[:-1]
        line = f", line {self._lines[at]}" if at else ""
        return InvalidSettings(f"{self._source}{line}: {'.'.join(map(str, path))}: {reason}")

    def known(self, table: Mapping[str, Any], names: tuple[str, ...], path: KeyPath) -> None:
        for name in table:
            if name not in names:
                expected = ", ".join(names)
                raise self.refuse((*path, name), f"there is no such key; there are {expected}")

    def map(self, table: Mapping[str, Any], name: str, path: KeyPath = ()) -> dict[str, Any]:
        found = table.get(name, {})
        if not isinstance(found, dict):
            raise self.refuse(
                (*path, name), f"write a table: [{'.'.join((*map(str, path), name))}]"
            )
        return found

    def table(
        self, root: Mapping[str, Any], name: str, checks: Mapping[str, Check]
    ) -> dict[str, Any]:
        """Answer the checked values of a table all of whose keys are known."""
        found = self.map(root, name)
        self.known(found, tuple(checks), (name,))
        return {key: self.value(found[key], checks[key], (name, key)) for key in found}

    def value(self, value: Any, check: Check, path: KeyPath) -> Any:
        try:
            return check(value)
        except ValueError as error:
            raise self.refuse(path, str(error)) from None


def number(low: float, high: float) -> Check:
    """Answer a check for a number from `low` to `high`."""

    def check(value: Any) -> float:
        right = isinstance(value, int | float) and not isinstance(value, bool)
        if not right or math.isnan(value) or not low <= value <= high:
            raise ValueError(f"write a number from {low:g} to {high:g}")
        return float(value)

    return check


def whole(low: int, high: int) -> Check:
    """Answer a check for a whole number from `low` to `high`."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"write a whole number from {low} to {high}")
        return value

    return check


def truth(value: Any) -> bool:
    """Answer the truth value itself."""
    if not isinstance(value, bool):
        raise ValueError("write true or false")
    return value


def lines_of_shell(value: Any) -> tuple[str, ...]:
    """Answer a list of shell lines; one alone may stand without the list."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(line, str) for line in given):
        raise ValueError('write a list of commands, like ["pytest -q"]')
    if len(given) > COMMANDS_LIMIT or any(len(line) > COMMAND_CHARACTERS for line in given):
        raise ValueError(
            f"write at most {COMMANDS_LIMIT} commands of {COMMAND_CHARACTERS} characters"
        )
    if any("\0" in line or not line.strip() for line in given):
        raise ValueError("a command must not be empty")
    return tuple(given)


_SCORE = number(0, 10)
_THRESHOLDS: dict[str, Check] = {"checkpoint": _SCORE, "retry": _SCORE}
_LIMITS: dict[str, Check] = {"time_s": number(1, 3600), "memory_mib": whole(256, 65536)}
_COMMANDS: dict[str, Check] = {
    "test": lines_of_shell,
    "lint": lines_of_shell,
    "time_s": number(1, 86400),
    "memory_mib": whole(64, 1048576),
}
_CHOICE: dict[str, Check] = {
    "enabled": truth,
    "weight": number(0, WEIGHT_MAX),
    "minimum": _SCORE,
    "required": truth,
}


def _thresholds(reader: _Reader, root: Mapping[str, Any]) -> Thresholds:
    found = Thresholds(**reader.table(root, "thresholds", _THRESHOLDS))
    if found.retry > found.checkpoint:
        reason = f"must not be above checkpoint ({found.checkpoint:g})"
        raise reader.refuse(("thresholds", "retry"), reason)
    return found


def _evaluators(reader: _Reader, root: Mapping[str, Any]) -> dict[str, Choice]:
    found = reader.map(root, "evaluators")
    if len(found) > EVALUATORS_LIMIT:
        raise reader.refuse(("evaluators",), f"at most {EVALUATORS_LIMIT} can be configured")
    return {name: _choice(reader, found, name) for name in found}


def _choice(reader: _Reader, tables: Mapping[str, Any], name: str) -> Choice:
    path: KeyPath = ("evaluators", name)
    if not _NAME.fullmatch(name):
        raise reader.refuse(path, "the name of an evaluator has letters, digits, _ and -")
    table = reader.map(tables, name, ("evaluators",))
    checked = {
        key: reader.value(table[key], check, (*path, key))
        for key, check in _CHOICE.items()
        if key in table
    }
    options = {key: value for key, value in table.items() if key not in _CHOICE}
    return Choice(**checked, options=options)
