"""This machine and its software: versions, memory."""

import platform
import sqlite3
import sys
from typing import Final

import psutil
import zmq

from paceline import __version__
from paceline.node.doctor.finding import Finding, ok, warning
from paceline.tasks.commands import NEWEST_LEVEL, OLDEST_LEVEL

LOW_BYTES: Final = 512 * 1024**2


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
    return [*found, memory(psutil.virtual_memory().available)]


def memory(available_bytes: int) -> Finding:
    """Answer what so much available memory means."""
    text = f"{available_bytes / 1024**3:.1f} GiB of memory available"
    if available_bytes < LOW_BYTES:
        return warning("memory", text, "close something: agents need memory, too")
    return ok("memory", text)
