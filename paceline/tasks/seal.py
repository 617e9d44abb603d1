"""How a state file that was closed in order shows that it is still what it was.

SQLite's pages carry no checksums: a bit that the disk changes in a row is read as if it had been
written so. While a node runs, nodes compare digests of their states; for the time in between there
is the seal, a small file beside the database with its size and CRC-32. It is made when the database
is closed with nothing left in its write-ahead log, and broken before it is opened for writing. A
process that was killed leaves none. Then the structure of the database is checked, which finds what
was cut off or is nonsense; a changed bit within a row is left to the comparison with other nodes.

Measured, for 100 MB: the seal 0.1 s, the structure 0.3 s.
"""

import contextlib
import os
import zlib
from pathlib import Path
from typing import Final

from paceline.errors import CorruptStorage
from paceline.tasks.durability import sync_directory

READ_BYTES: Final = 4 * 1024 * 1024


def seal(path: Path) -> None:
    """Seal a database that nobody has open. Where there is no room for the seal, there is none."""
    log = _beside(path, "-wal")
    if log.exists() and log.stat().st_size:
        return  # somebody reads it still: not all is in the database
    text = _measure(path)
    temporary = _beside(path, "-seal.new")
    with contextlib.suppress(OSError):
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(_beside(path, "-seal"))
        sync_directory(path.parent)


def break_seal(path: Path, remedy: str) -> bool:
    """Check a sealed database, and take the seal away; answer whether there was one.

    Raise CorruptStorage if the database is not intact.
    """
    mark = _beside(path, "-seal")
    try:
        text = mark.read_text(errors="replace")
    except FileNotFoundError:
        return False
    if path.exists() and text != _measure(path):
        raise CorruptStorage(f"{path} is not what it was when it was closed: {remedy}")
    mark.unlink()
    sync_directory(path.parent)
    return True


def _measure(path: Path) -> str:
    checksum = 0
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            checksum = zlib.crc32(piece, checksum)
        return f"{file.tell()} {checksum:08x}\n"


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
