"""Keeps `node.log` from growing without end.

Whoever started the node opened the file (`--detach`, launchd) and gave it as standard error, opened
for appending. So it is copied and cut in place: the descriptor stays good, and what is written next
lands at the new end. A journal, a terminal or a pipe is somebody else's to keep.
"""

import asyncio
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

LIMIT_BYTES = 20 * 1024 * 1024
KEPT = 3
"""Older files: node.log.1 is the youngest. So the logs of a node take 80 MiB at most, and what is
written within one pause."""
PAUSE_S = 60.0


async def rotate_for_ever(path: Path, descriptor: int = 2) -> None:
    """Look at the log again and again; end at once where the descriptor is not that file."""
    while _is_that_file(path, descriptor):
        await asyncio.sleep(PAUSE_S)
        with suppress(OSError):  # a full disk, perhaps: there will be another turn
            await asyncio.to_thread(rotate, path, descriptor)


def rotate(path: Path, descriptor: int, limit_bytes: int = LIMIT_BYTES) -> bool:
    """Put a file that is over the limit aside; answer whether it was. Raise OSError."""
    if os.fstat(descriptor).st_size <= limit_bytes:
        return False
    for number in range(KEPT - 1, 0, -1):
        with suppress(FileNotFoundError):
            _older(path, number).replace(_older(path, number + 1))
    partial = path.with_name(f".{path.name}.rotating")
    shutil.copyfile(path, partial)
    partial.chmod(0o600)
    partial.replace(_older(path, 1))
    # What was written since the copy is lost: some lines, once in 20 MiB.
    os.ftruncate(descriptor, 0)
    return True


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _is_that_file(path: Path, descriptor: int) -> bool:
    try:
        opened, named = os.fstat(descriptor), path.stat()
    except OSError:
        return False
    return stat.S_ISREG(opened.st_mode) and os.path.samestat(opened, named)
