"""A change as data: what stood in each file before, what stands there now, which lines are new.

Evaluators see nothing else of the repository's history. Text is kept where a person could review
it: binary files, links and very large files are named, with what they are, but not read.
"""

import difflib
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import PurePosixPath

FILE_LIMIT_BYTES = 1024 * 1024
"""A larger file is not read; people do not write such ones by hand."""

CHANGE_LIMIT_BYTES = 16 * 1024 * 1024
"""Of both sides of all files together; the files after it count as too large."""

LINE_LIMIT_BYTES = 5000
"""Of a program's text. Longer ones are generated, or hide something, and slow every parser down."""

FILES_LIMIT = 2000


class Status(StrEnum):
    """What happened to a file."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"
    RENAMED = "renamed"


class Kind(StrEnum):
    """What a file is now (or was, if it is deleted)."""

    TEXT = "text"
    BINARY = "binary"
    SYMLINK = "symlink"
    SUBMODULE = "submodule"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    """A program with a line of more than LINE_LIMIT_BYTES: nobody reads that, nor do we."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One file of a change. Paths are relative to the repository, with `/`, not normalised.

    `old` and `new` are None where there is no such side, or it is not text. Of a symlink they are
    its targets, not what these contain. `added` are the lines of `new` (1-based) that are not in
    `old`; `removed` counts lines.
    """

    path: str
    status: Status
    kind: Kind = Kind.TEXT
    old_path: str | None = None
    """Of a renamed file."""
    old: str | None = None
    new: str | None = None
    added: frozenset[int] = frozenset()
    removed: int = 0
    executable: bool = False

    @property
    def suffix(self) -> str:
        """Answer the extension in lower case, with its dot; empty where there is none."""
        return PurePosixPath(self.path).suffix.lower()

    @property
    def is_text(self) -> bool:
        """Answer whether there is text to be judged: a file that is there now."""
        return self.kind is Kind.TEXT and self.new is not None

    def added_lines(self) -> list[tuple[int, str]]:
        """Answer the new lines with their numbers, in order."""
        lines = split_lines(self.new or "")
        return [(n, lines[n - 1]) for n in sorted(self.added) if n <= len(lines)]

    def touches(self, first: int, last: int) -> bool:
        """Answer whether any line from `first` to `last`, both included, is new."""
        lines = _in_order(self.added)
        at = bisect_left(lines, first)
        return at < len(lines) and lines[at] <= last


@dataclass(frozen=True, slots=True)
class Change:
    """All files of a change, by path. `notes` say what could not be seen, for people."""

    files: tuple[FileChange, ...]
    notes: tuple[str, ...] = ()
    by_path: Mapping[str, FileChange] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the files."""
        object.__setattr__(self, "by_path", {file.path: file for file in self.files})

    @property
    def texts(self) -> tuple[FileChange, ...]:
        """Answer the files that are there now and can be read."""
        return tuple(file for file in self.files if file.is_text)

    @property
    def added_count(self) -> int:
        """Answer how many lines are new."""
        return sum(len(file.added) for file in self.files)

    @property
    def removed_count(self) -> int:
        """Answer how many lines are gone."""
        return sum(file.removed for file in self.files)


def split_lines(text: str) -> list[str]:
    r"""Answer the lines as git counts them: a form feed or U+2028 does not end one, `\n` does."""
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


@lru_cache(maxsize=256)
def _in_order(lines: frozenset[int]) -> tuple[int, ...]:
    return tuple(sorted(lines))


def from_texts(before: Mapping[str, str], after: Mapping[str, str]) -> Change:
    """Answer the change from one set of files to another; for tests and for code without git."""
    paths = sorted({*before, *after})
    compared = (_compared(path, before.get(path), after.get(path)) for path in paths)
    return Change(tuple(file for file in compared if file is not None))


def from_code(code: str, path: str = "code.py") -> Change:
    """Answer a change that consists of one new file: the seed's `evaluate(code, ...)`."""
    return from_texts({}, {path: code})


def _compared(path: str, old: str | None, new: str | None) -> FileChange | None:
    if old == new:
        return None
    before, after = split_lines(old or ""), split_lines(new or "")
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    codes = [code for code in matcher.get_opcodes() if code[0] != "equal"]
    status = Status.ADDED if old is None else Status.DELETED if new is None else Status.MODIFIED
    return FileChange(
        path=path,
        status=status,
        old=old,
        new=new,
        added=frozenset(_numbers((code[3], code[4]) for code in codes)),
        removed=sum(code[2] - code[1] for code in codes),
    )


def _numbers(spans: Iterable[tuple[int, int]]) -> Iterable[int]:
    for start, end in spans:
        yield from range(start + 1, end + 1)
