"""The data directory: is it there, is it private, who uses it, is there room."""

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from paceline.node.doctor.finding import Finding, ok, problem, warning

AREA: Final = "data"
SECRETS: Final = ("node.key", "api.token", "cluster.json")
LOW_BYTES: Final = 2 * 1024**3
FULL_BYTES: Final = 256 * 1024**2
FUTURE_S: Final = 120.0
"""A file from so far in the future says that the clock was set back."""


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Keep nodes from starting on a data directory meanwhile; answer False if one runs there."""
    try:
        descriptor = os.open(path / "lock", os.O_RDONLY)
    except FileNotFoundError:
        yield True
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def examine(path: Path) -> list[Finding]:
    """Answer what there is to say of a data directory. Changes nothing."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return [
            warning(
                AREA,
                f"there is no {path}: no node was started here yet",
                "run `paceline node start`",
            )
        ]
    except OSError as error:
        return [_unusable(path, error)]
    if not stat.S_ISDIR(status.st_mode):
        return [problem(AREA, f"{path} is no directory", "name another one with --data-dir")]
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return [_unusable(path, PermissionError("no permission"))]
    return [*_privacy(path, status), _user(path), _room(path), *_times(path)]


def _unusable(path: Path, error: OSError) -> Finding:
    return problem(
        AREA,
        f"{path} cannot be used: {error.strerror or error}",
        "run this as the user that runs the node, or name the right directory with --data-dir",
    )


def _privacy(path: Path, status: os.stat_result) -> Iterator[Finding]:
    """Look for what other users of this machine could read."""
    open_to_all = [
        name for name in SECRETS if (path / name).exists() and (path / name).stat().st_mode & 0o077
    ]
    if status.st_uid != os.geteuid():
        yield warning(
            AREA,
            f"{path} belongs to user {status.st_uid}, not to {os.geteuid()}",
            "run the node and its commands as one user",
        )
    if status.st_mode & 0o077:
        yield problem(
            AREA,
            f"other users of this machine can read {path} (mode {stat.S_IMODE(status.st_mode):o})",
            f"run `chmod 700 {path}`, and `paceline token rotate` if somebody may have read it",
        )
    if open_to_all:
        yield problem(
            AREA,
            f"other users of this machine can read {', '.join(open_to_all)} in {path}",
            f"run `chmod 600` on them, and `paceline token rotate` if in doubt ({path})",
        )
    if not status.st_mode & 0o077 and not open_to_all:
        yield ok(AREA, f"{path} is private to its user")


def _user(path: Path) -> Finding:
    with held(path) as free:
        if free:
            return ok(AREA, "no node is running with it")
    holder = (path / "lock").read_text(errors="replace").strip()
    name = _process_name(holder)
    return ok(AREA, f"a node is running with it (process {holder}{name})")


def _process_name(pid: str) -> str:
    try:
        return f", {psutil.Process(int(pid)).name()}"
    except (ValueError, psutil.Error):
        return ""


def _room(path: Path) -> Finding:
    usage = shutil.disk_usage(path)
    text = f"{usage.free / 1024**3:.1f} GiB free of {usage.total / 1024**3:.1f} GiB"
    if usage.free < FULL_BYTES:
        return problem(AREA, text, "make room: soon nothing can be acknowledged any more")
    if usage.free < LOW_BYTES:
        return warning(AREA, text, "make room before work fills the disk")
    return ok(AREA, text)


def _times(path: Path) -> Iterator[Finding]:
    """Look for files from the future, which a clock that was set back leaves behind."""
    newest = max((each.stat().st_mtime for each in path.glob("*.db*")), default=0.0)
    ahead_s = newest - time.time()
    if ahead_s > FUTURE_S:
        yield warning(
            "clock",
            f"the clock was set back: a file here is from {ahead_s:.0f} s in the future",
            "let the machine keep its time by NTP (`timedatectl set-ntp true`)",
        )
