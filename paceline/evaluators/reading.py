"""Reading files of a work tree that somebody else filled.

A name may be a link to /etc/shadow, a named pipe that never ends, a device, or a gigabyte. So:
no link is followed, on no part of the way; only regular files are read; never more than a limit.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

SKIPPED_DIRECTORIES = frozenset(
    {
        *(".git", ".hg", ".svn", "node_modules", "vendor", "bower_components", "third_party"),
        *(".venv", "venv", ".tox", ".nox", "__pycache__", ".mypy_cache", ".pytest_cache"),
        *("dist", "build", "target", ".next", ".cache", "site-packages", ".eggs"),
    }
)
"""What is fetched or generated: nobody wrote it for this repository."""

DEPTH_LIMIT = 24
ENTRIES_LIMIT = 50_000

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def read_bytes(root: Path, path: str | bytes, limit_bytes: int) -> bytes | None:
    """Answer the content of a regular file below `root`, None if there is none that may be read.

    A file over the limit is not there either. `path` is relative; `..` in it is refused.
    """
    parts = os.fsencode(path).split(b"/")
    if b".." in parts or b"" in parts:
        return None
    with contextlib.ExitStack() as stack:
        try:
            directory = _opened(stack, os.fsencode(root), os.O_DIRECTORY)
            for part in parts[:-1]:
                directory = _opened(stack, part, os.O_DIRECTORY | _FLAGS, directory)
            file = _opened(stack, parts[-1], _FLAGS, directory)
            return _content(file, limit_bytes)
        except OSError:
            return None


def read_text(root: Path, path: str, limit_bytes: int) -> str | None:
    """Answer the same as text (UTF-8 with replacements), None for what is no text."""
    data = read_bytes(root, path, limit_bytes)
    return None if data is None or is_binary(data) else data.decode("utf-8", "replace")


def is_binary(data: bytes) -> bool:
    """Answer whether git would call it binary: a NUL near the beginning."""
    return b"\0" in data[:8000]


def walk(root: Path) -> Iterator[str]:
    """Answer the paths of the regular files below `root`, sorted, links and generated left out."""
    left = ENTRIES_LIMIT
    pending: list[tuple[str, int]] = [("", 0)]
    while pending and left > 0:
        base, depth = pending.pop()
        entries = _entries(root / base if base else root)[:left]
        left -= len(entries)
        for entry in entries:
            path = f"{base}/{entry.name}" if base else entry.name
            if entry.is_file(follow_symlinks=False):
                yield path
            elif _is_wanted(entry) and depth < DEPTH_LIMIT:
                pending.append((path, depth + 1))


def _is_wanted(entry: "os.DirEntry[str]") -> bool:
    return entry.is_dir(follow_symlinks=False) and entry.name not in SKIPPED_DIRECTORIES


def _entries(directory: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(directory) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []


def _opened(stack: contextlib.ExitStack, name: bytes, flags: int, where: int | None = None) -> int:
    descriptor = os.open(name, os.O_RDONLY | flags, dir_fd=where)
    stack.callback(os.close, descriptor)
    return descriptor


def _content(file: int, limit_bytes: int) -> bytes | None:
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode) or status.st_size > limit_bytes:
        return None
    with os.fdopen(os.dup(file), "rb") as stream:
        data = stream.read(limit_bytes + 1)  # it may have grown since
    return data if len(data) <= limit_bytes else None
