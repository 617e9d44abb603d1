"""From a repository and a base to the change between them.

git says which files differ and which of their lines are new; the contents of the old side come from
its objects, those of the new side are read by us (`reading`), so that nothing of the repository
decides how. Untracked files that are not ignored belong to the change.
"""

import asyncio
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paceline.errors import InputError
from paceline.evaluators.analysis.languages import is_code
from paceline.evaluators.change import (
    CHANGE_LIMIT_BYTES,
    FILE_LIMIT_BYTES,
    FILES_LIMIT,
    LINE_LIMIT_BYTES,
    Change,
    FileChange,
    Kind,
    Status,
    split_lines,
)
from paceline.evaluators.git import Scratch, commit_of, scratch_repository
from paceline.evaluators.reading import is_binary, read_bytes, read_text

CONFIG_PATH = ".paceline/evaluators.toml"
MANIFESTS = (
    *("pyproject.toml", "pytest.ini", "setup.cfg", "tox.ini", "package.json", "go.mod"),
    *("Cargo.toml", "Makefile", "pnpm-lock.yaml", "yarn.lock"),
)
"""What tells how a repository is tested."""

LEFT_OUT_LIMIT = 500
"""So many very large files may be in a change; they are named to git to be left out."""

_DIFF = (
    *("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--find-renames", "-l1000"),
    *("--ignore-submodules=dirty", "--src-prefix=a/", "--dst-prefix=b/"),
)
_ABSENT = "000000"
_SYMLINK = "120000"
_SUBMODULE = "160000"
_EXECUTABLE = "100755"
_STATUS = {"A": Status.ADDED, "D": Status.DELETED, "R": Status.RENAMED, "C": Status.ADDED}
_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_ESCAPE = re.compile(rb'\\([0-7]{3}|[abtnvfr"\\])')
_ESCAPED = dict(zip(b'abtnvfr"\\', b'\a\b\t\n\v\f\r"\\', strict=True))


@dataclass(frozen=True, slots=True)
class Gathered:
    """A change, where it was found, and the base's own configuration of the evaluators."""

    change: Change
    repository: Path
    base: str
    config: str | None
    """Of the base: a change must not decide how it is judged."""
    manifests: Mapping[str, str]
    """Those of the base that there are; of a base without any, those of the work tree."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of `git diff --raw`."""

    old_mode: str
    new_mode: str
    old_id: str
    status: Status
    path: bytes
    old_path: bytes | None = None

    @property
    def mode(self) -> str:
        return self.old_mode if self.new_mode == _ABSENT else self.new_mode


@dataclass(slots=True)
class _Lines:
    added: set[int] = field(default_factory=set)
    removed: int = 0


async def gather(path: Path, base: str = "HEAD") -> Gathered:
    """Answer what differs between the commit `base` and the work tree that `path` lies in.

    Raise InputError (no repository, unknown base, more than FILES_LIMIT files), TimedOut,
    ToolError.
    """
    async with scratch_repository(path) as scratch:
        commit = await commit_of(scratch, path, base)
        await scratch.git("read-tree", commit)
        await scratch.git("add", "--intent-to-add", "--ignore-errors", "--", ".")
        listed = await scratch.git(*_DIFF, "--raw", "--abbrev=64", "-z", commit)
        entries = list(_entries(listed))
        if len(entries) > FILES_LIMIT:
            raise InputError(
                f"{len(entries)} files differ from {base}, at most {FILES_LIMIT} can be judged:"
                " give a later base, or let .gitignore name what is generated"
            )
        old = await _old_contents(scratch, entries)
        known = await _of_base(scratch, commit, (CONFIG_PATH, *MANIFESTS))
        new = await asyncio.to_thread(_new_contents, scratch.work_tree, entries)
        lines = await _changed_lines(scratch, commit, _large(entries, new))
        change = _change(entries, old, new, lines)
        config = known.pop(CONFIG_PATH, None)
        known = known or await asyncio.to_thread(_manifests, scratch.work_tree)
        return Gathered(change, scratch.work_tree, commit, config, known)


# --- which files ----------------------------------------------------------------------------------


def _entries(raw: bytes) -> Iterator[_Entry]:
    fields = iter(raw.split(b"\0")[:-1])
    for head in fields:
        old_mode, new_mode, old_id, _, letter = head.decode("ascii").lstrip(":").split(" ")
        path = next(fields)
        old_path = None
        if letter[0] in "RC":
            old_path, path = path, next(fields)
        status = _STATUS.get(letter[0], Status.MODIFIED)
        yield _Entry(old_mode, new_mode, old_id, status, path, old_path)


def shown(path: bytes) -> str:
    """Answer a path as text that can be stored anywhere, whatever its bytes are."""
    return path.decode("utf-8", "backslashreplace")


# --- contents -------------------------------------------------------------------------------------


async def _old_contents(scratch: Scratch, entries: Sequence[_Entry]) -> dict[str, bytes]:
    """Answer the contents by object id, without those that are too large."""
    wanted = [e.old_id for e in entries if e.old_mode not in (_ABSENT, _SUBMODULE)]
    asked = "\n".join(dict.fromkeys(wanted)).encode()
    checked = (await scratch.git("cat-file", "--batch-check", given=asked)).decode().split("\n")
    small, left = [], CHANGE_LIMIT_BYTES
    for line in checked:
        name, _, rest = line.partition(" ")
        size = int(rest.split(" ")[-1]) if rest.startswith("blob ") else left + 1
        if size <= min(FILE_LIMIT_BYTES, left):
            left -= size
            small.append(name)
    return _batch(await scratch.git("cat-file", "--batch", given="\n".join(small).encode()))


def _batch(output: bytes) -> dict[str, bytes]:
    contents, at = {}, 0
    while at < len(output):
        end = output.index(b"\n", at)
        name, _, size = output[at:end].decode("ascii").split(" ")
        contents[name] = output[end + 1 : end + 1 + int(size)]
        at = end + 2 + int(size)
    return contents


async def _of_base(scratch: Scratch, commit: str, paths: Sequence[str]) -> dict[str, str]:
    """Answer what these files of the base contain, without those that it does not have."""
    asked = [f"{commit}:{path}" for path in paths]
    checked = await scratch.git("cat-file", "--batch-check", given="\n".join(asked).encode())
    answers = checked.decode("utf-8", "replace").split("\n")
    found = {}
    for path, answer in zip(paths, answers, strict=False):
        fields = answer.split(" ")
        if len(fields) == 3 and fields[1] == "blob" and int(fields[2]) <= FILE_LIMIT_BYTES:
            found[path] = fields[0]
    wanted = "\n".join(dict.fromkeys(found.values())).encode()
    contents = _batch(await scratch.git("cat-file", "--batch", given=wanted))
    return {path: contents[name].decode("utf-8", "replace") for path, name in found.items()}


def _manifests(top: Path) -> dict[str, str]:
    texts = {path: read_text(top, path, FILE_LIMIT_BYTES) for path in MANIFESTS}
    return {path: text for path, text in texts.items() if text is not None}


def _new_contents(top: Path, entries: Sequence[_Entry]) -> dict[bytes, bytes | None]:
    """Answer the contents by path; None for what is there but too large or no longer a file."""
    contents: dict[bytes, bytes | None] = {}
    left = CHANGE_LIMIT_BYTES
    for entry in entries:
        if entry.new_mode in (_ABSENT, _SUBMODULE):
            continue
        if entry.new_mode == _SYMLINK:
            contents[entry.path] = _target(top, entry.path)
            continue
        data = read_bytes(top, entry.path, min(FILE_LIMIT_BYTES, left))
        left -= len(data or b"")
        contents[entry.path] = data
    return contents


def _target(top: Path, path: bytes) -> bytes | None:
    try:
        return os.readlink(os.path.join(os.fsencode(top), path))
    except OSError:
        return None


# --- which lines ----------------------------------------------------------------------------------


def _large(entries: Sequence[_Entry], new: Mapping[bytes, bytes | None]) -> list[str]:
    large = [os.fsdecode(e.path) for e in entries if e.path in new and new[e.path] is None]
    if len(large) > LEFT_OUT_LIMIT:
        raise InputError(f"{len(large)} files of the change are too large to be judged")
    return large


async def _changed_lines(scratch: Scratch, commit: str, left_out: list[str]) -> dict[bytes, _Lines]:
    excluded = [f":(top,exclude,literal){path}" for path in left_out]
    shape = ("--unified=0", "--irreversible-delete", commit, "--", ":/")
    return _hunks(await scratch.git(*_DIFF, *shape, *excluded))


def _hunks(patch: bytes) -> dict[bytes, _Lines]:
    """Read a patch without context lines; what a file contains is stepped over, never looked at."""
    files: dict[bytes, _Lines] = {}
    current = _Lines()
    lines = iter(patch.split(b"\n"))
    for line in lines:
        if line.startswith(b"+++ ") and line != b"+++ /dev/null":
            current = files.setdefault(_unquoted(line[4:]), _Lines())
        elif hunk := _HUNK.match(line):
            removed, start, added = (int(part or 1) for part in hunk.groups())
            current.removed += removed
            current.added.update(range(start, start + added))
            _skip(lines, removed + added)
    return files


def _skip(lines: Iterator[bytes], count: int) -> None:
    """Step over lines of content; those that say `No newline at end of file` are none."""
    while count > 0 and (line := next(lines, None)) is not None:
        count -= not line.startswith(b"\\")


def _unquoted(name: bytes) -> bytes:
    r"""Answer the path of a `+++` line: without `b/`, quotes, and the tab that ends odd names."""
    name = name.removesuffix(b"\t")
    if name.startswith(b'"'):
        name = _ESCAPE.sub(_unescaped, name[1:-1])
    return name.removeprefix(b"b/")


def _unescaped(match: "re.Match[bytes]") -> bytes:
    code = match[1]
    return bytes([_ESCAPED[code[0]] if len(code) == 1 else int(code, 8)])


# --- together -------------------------------------------------------------------------------------


def _change(
    entries: Sequence[_Entry],
    old: Mapping[str, bytes],
    new: Mapping[bytes, bytes | None],
    lines: Mapping[bytes, _Lines],
) -> Change:
    files = [_file(entry, old, new, lines.get(entry.path, _Lines())) for entry in entries]
    notes = [f"{f.path}: {f.kind.value.replace('_', ' ')}, not read" for f in files if _unread(f)]
    return Change(tuple(sorted(files, key=lambda file: file.path)), tuple(notes))


def _unread(file: FileChange) -> bool:
    return file.kind in (Kind.BINARY, Kind.TOO_LARGE, Kind.UNREADABLE)


def _file(
    entry: _Entry,
    old: Mapping[str, bytes],
    new: Mapping[bytes, bytes | None],
    lines: _Lines,
) -> FileChange:
    before = old.get(entry.old_id)
    after = new.get(entry.path)
    kind = _kind(entry, before, after)
    is_text = kind in (Kind.TEXT, Kind.SYMLINK)
    old_text = before.decode("utf-8", "replace") if is_text and before is not None else None
    deleted = entry.status is Status.DELETED
    return FileChange(
        path=shown(entry.path),
        status=entry.status,
        kind=kind,
        old_path=shown(entry.old_path) if entry.old_path else None,
        old=old_text,
        new=after.decode("utf-8", "replace") if is_text and after is not None else None,
        added=frozenset(lines.added),
        removed=len(split_lines(old_text or "")) if deleted else lines.removed,
        executable=entry.new_mode == _EXECUTABLE and entry.old_mode != _EXECUTABLE,
    )


def _kind(entry: _Entry, before: bytes | None, after: bytes | None) -> Kind:
    if entry.mode == _SUBMODULE:
        return Kind.SUBMODULE
    if entry.mode == _SYMLINK:
        return Kind.SYMLINK
    seen = before if entry.status is Status.DELETED else after
    if seen is None:
        return Kind.TOO_LARGE
    if is_binary(seen):
        return Kind.BINARY
    long = is_code(shown(entry.path)) and max(map(len, seen.split(b"\n"))) > LINE_LIMIT_BYTES
    return Kind.UNREADABLE if long else Kind.TEXT
