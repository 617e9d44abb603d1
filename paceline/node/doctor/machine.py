"""This machine and its software: versions, memory, git."""

import platform
import re
import sqlite3
import subprocess
import sys
from typing import Final

import psutil
import zmq

from paceline import __version__
from paceline.node.doctor.finding import Finding, ok, warning
from paceline.tasks.commands import NEWEST_LEVEL, OLDEST_LEVEL

LOW_BYTES: Final = 512 * 1024**2
GIT_S: Final = 10.0
OLDEST_GIT: Final = (2, 38)
"""The first that merges without a work tree (`git merge-tree --write-tree`)."""


def versions() -> dict[str, str]:
    """Answer what this program is made of."""
    return {
        "paceline": __version__,
        "levels": f"{OLDEST_LEVEL}-{NEWEST_LEVEL}",
        "python": platform.python_version(),
        "libzmq": zmq.zmq_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()}",
    }


def examine() -> list[Finding]:
    """Answer versions and memory."""
    said = versions()
    names = ", ".join(f"{name} {version}" for name, version in said.items() if name != "levels")
    found = [ok("versions", f"{names}; format levels {said['levels']}")]
    if sys.maxsize <= 2**32:
        advice = "use a 64-bit Python: databases are mapped into memory"
        found.append(warning("versions", "this is a 32-bit Python", advice))
    return [*found, memory(psutil.virtual_memory().available), git(_git_said())]


def memory(available_bytes: int) -> Finding:
    """Answer what so much available memory means."""
    text = f"{available_bytes / 1024**3:.1f} GiB of memory available"
    if available_bytes < LOW_BYTES:
        return warning("memory", text, "close something: agents need memory, too")
    return ok("memory", text)


def git(said: str) -> Finding:
    """Answer what it means that `git --version` says this; nothing = there is none."""
    found = re.search(r"(\d+)\.(\d+)", said)
    if found is None:
        advice = "install git: work on repositories cannot be done on this machine"
        return warning("git", "git is not there, or does not run", advice)
    if (int(found[1]), int(found[2])) < OLDEST_GIT:
        advice = "install git 2.38 or newer: what several subtasks changed cannot be merged here"
        return warning("git", f"{said} is too old", advice)
    return ok("git", said)


def _git_said() -> str:
    command = ("git", "--version")
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=GIT_S, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout.strip() if ended.returncode == 0 else ""
