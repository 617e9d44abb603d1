"""What an evaluator knows besides the change: what was asked for, and what running it showed."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Purpose(StrEnum):
    """What a command of the repository is for."""

    TEST = "test"
    LINT = "lint"


class Ending(StrEnum):
    """How a command ended."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    NOT_STARTED = "not_started"
    """There is no such program here, so it says nothing about the change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRun:
    """One command of the repository that was run. `tail` is the end of what it printed."""

    purpose: Purpose
    command: str
    origin: str
    """Where the command comes from: `given`, or the file that suggested it."""
    ending: Ending
    exit_code: int | None = None
    duration_s: float = 0.0
    tail: str = ""


@dataclass(frozen=True, slots=True)
class Lint:
    """What the repository's own linter says about a line."""

    file: str
    line: int
    rule: str
    message: str
    error: bool = False


@dataclass(frozen=True, slots=True)
class FileCoverage:
    """Which lines of a file can run, and which of them the tests ran."""

    runnable: frozenset[int]
    covered: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """All that is known besides the change itself.

    `repository` is the resulting work tree, to be read with `reading`, which follows no link. Where
    commands were not permitted `runs` is empty and `permitted` false; `coverage` is None where no
    tests ran or nothing could be measured.
    """

    requirements: str = ""
    repository: Path | None = None
    runs: tuple[CommandRun, ...] = ()
    lints: tuple[Lint, ...] = ()
    coverage: Mapping[str, FileCoverage] | None = None
    permitted: bool = False
