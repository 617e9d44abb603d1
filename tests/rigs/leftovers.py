"""Names by which a later run finds what a killed one has left.

A name says which process made the thing, and in which namespace of processes. The same number means
another process, or none, in another namespace (a container on the same machine), and what is in use
there must not be taken for something left over.
"""

import os
import re


def mark(prefix: str) -> str:
    """Answer how the names of what this process makes begin."""
    return f"{prefix}{os.getpid()}x{_here()}y"


def is_left(prefix: str, name: str) -> bool:
    """Answer whether the thing of that name was made here, by a process that is gone."""
    made = re.match(rf"{re.escape(prefix)}(\d+)x(\d+)y", name)
    return made is not None and int(made[2]) == _here() and not is_alive(int(made[1]))


def is_alive(pid: int) -> bool:
    """Answer whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _here() -> int:
    """Answer the number of this namespace of processes; 0 where the system has no such thing."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0
