"""Small things that every part which writes files needs."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paceline.errors import StorageError, StorageFull

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def out_of_space() -> Iterator[None]:
    """Turn the system's ways to say that the disk is full into StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("no space is left on this node's disk") from error
        raise


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the system says of a file into StorageFull or StorageError, which name it."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(
                f"no room on the disk of {path}: free some, then try again"
            ) from error
        raise StorageError(f"{path}: {error.strerror or error}") from error


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
