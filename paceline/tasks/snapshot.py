"""Copies of the whole state, to send to a node that is too far behind, and how one is taken in.

A copy is a SQLite file made by the online backup API from a connection whose read transaction was
opened on the owner's thread: it holds the state as of that moment, however long the copying takes
and whatever is applied meanwhile. Taking one in goes the same way back: it is received beside the
database, checked, marked, and then copied page by page *into* the live database as one transaction.
Replacing the file instead would pull it away under everybody who has it open.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final, Protocol

from paceline import codec
from paceline.errors import CorruptStorage, StorageError, StorageFull
from paceline.tasks.durability import sync_file
from paceline.tasks.schema import open_reader, open_writer, storage_errors

CHUNK_BYTES: Final = 1024 * 1024

_numbers = count(1)


class Source(Protocol):
    """The bytes of a snapshot: consensus' `SnapshotSource`, which this layer must not know."""

    size: int
    sha256: bytes

    def read(self, offset: int, limit: int) -> bytes:
        """Answer up to `limit` bytes from `offset`."""
        ...


class Meta(Protocol):
    """What a snapshot stands for: consensus' `SnapshotMeta`, a dataclass that the codec knows."""

    @property
    def index(self) -> int:
        """Answer the last index in it."""
        ...


class FileSnapshot:
    """A finished copy in a file of its own, which `close` deletes."""

    def __init__(self, path: Path, size: int, sha256: bytes) -> None:
        self.path = path
        self.size = size
        self.sha256 = sha256
        self._file = path.open("rb")

    def read(self, offset: int, limit: int) -> bytes:
        """Answer up to `limit` bytes from `offset`."""
        self._file.seek(offset)
        return self._file.read(limit)

    def close(self) -> None:
        """Delete the copy. Harmless when repeated."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def pin(path: Path) -> sqlite3.Connection:
    """Answer a connection that sees the state as it is now until it is closed."""
    connection = open_reader(path)
    with storage_errors(path):
        connection.execute("BEGIN")
        connection.execute("SELECT applied_index FROM meta").fetchone()
    return connection


def copy(path: Path, pinned: sqlite3.Connection) -> FileSnapshot:
    """Copy what `pinned` sees to a file beside `path`, durably, and close `pinned`.

    Raise StorageFull if there is no room for it; then nothing is left of it.
    """
    target = path.with_name(f"{path.name}.snapshot-{os.getpid()}-{next(_numbers)}")
    try:
        with contextlib.closing(pinned), storage_errors(target):
            _require_room(target, _size(pinned))
            _copy_pages(pinned, target)
        return _finish(target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def receive(path: Path, source: Source, meta: Meta) -> Path:
    """Write a snapshot beside `path`, checked, migrated and marked. Answer where.

    Raise CorruptStorage if it is not what its checksum and `meta` say, StorageFull if there is no
    room; then nothing is left of it.
    """
    staged = path.with_name(path.name + ".restore")
    discard(staged)
    _require_room(staged, source.size)
    try:
        _write_checked(staged, source)
        with contextlib.closing(open_writer(staged)) as connection, storage_errors(staged):
            _check(connection, meta)
            connection.execute("UPDATE meta SET snapshot = ?", (codec.encode(meta),))
    except BaseException:
        discard(staged)
        raise
    return staged


def take_over(staged: Path, live: sqlite3.Connection) -> None:
    """Replace what is in the live database by what is in the file, in one durable transaction.

    Raise StorageFull, and leave the live database as it was, if there is no room.
    """
    with contextlib.closing(open_reader(staged)) as connection, storage_errors(staged):
        live.execute("PRAGMA synchronous = FULL")
        try:
            connection.backup(live)
        finally:
            live.execute("PRAGMA synchronous = NORMAL")


def mark_of(connection: sqlite3.Connection) -> bytes | None:
    """Answer the encoded meta of the snapshot that the state began with, None if with nothing."""
    (encoded,) = connection.execute("SELECT snapshot FROM meta").fetchone()
    return None if encoded is None else bytes(encoded)


def discard(path: Path) -> None:
    """Delete a database file and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Delete what a process that died left over beside the database."""
    discard(path.with_name(path.name + ".restore"))
    for left in path.parent.glob(f"{path.name}.snapshot-*"):
        left.unlink(missing_ok=True)


def digest_of(path: Path) -> bytes:
    """Answer the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _size(connection: sqlite3.Connection) -> int:
    """Answer the bytes of the database as the connection sees it."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(page_bytes)


def _require_room(target: Path, size: int) -> None:
    """Refuse to begin what cannot be finished: on its way it would take the last room of others."""
    with _file_errors(target):
        free = shutil.disk_usage(target.parent).free
    if free < size:
        raise StorageFull(f"no room on the disk of {target}: {size} bytes are needed, {free} free")


@contextlib.contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors into ours.

    Running out of room is told apart even where only the sync says so, because a copy that is not
    finished is thrown away, not trusted.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"no room on the disk of {path}") from error
        raise StorageError(f"{path}: {error}") from error


def _copy_pages(pinned: sqlite3.Connection, target: Path) -> None:
    """Nothing is synced on the way: the finished file is, once."""
    with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        pinned.backup(connection)


def _finish(target: Path) -> FileSnapshot:
    with _file_errors(target):
        sync_file(target)
        return FileSnapshot(target, target.stat().st_size, digest_of(target))


def _write_checked(staged: Path, source: Source) -> None:
    total = hashlib.sha256()
    with _file_errors(staged), staged.open("wb") as file:
        for offset in range(0, source.size, CHUNK_BYTES):
            chunk = source.read(offset, min(CHUNK_BYTES, source.size - offset))
            total.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    if total.digest() != source.sha256:
        raise CorruptStorage("the snapshot's bytes do not have its checksum: fetch it again")


def _check(connection: sqlite3.Connection, meta: Meta) -> None:
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise CorruptStorage(f"the snapshot is damaged ({found}): fetch it from another node")
    (index,) = connection.execute("SELECT applied_index FROM meta").fetchone()
    if index != meta.index:
        raise CorruptStorage(f"the snapshot is of index {index}, not {meta.index}: fetch it again")
