"""When applied state reaches the disk for good.

Applying commits into SQLite's write-ahead log without waiting for the disk: after a power loss the
state may stand at an earlier index, never at a mixed one, and the Raft log brings it forward again.
Only before that log is cut short must the state be durable up to there. A checkpoint in a thread
moves the write-ahead log into the database and syncs both; where a reader holds it up half-way,
syncing the write-ahead log alone is enough.

A checkpoint that races with a busy writer never reaches the end of the log, and the file would
grow without bound. So beyond WAL_LIMIT_BYTES the owner makes one itself between two batches: what
the thread has left over is little.
(https://sqlite.org/wal.html, "Avoiding Excessively Large WAL Files")
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from paceline.abandon import abandon
from paceline.errors import Busy, StorageError, StorageFull
from paceline.tasks.background import Background
from paceline.tasks.schema import storage_errors

CHECKPOINT_EVERY: Final = 2_000
"""Entries after which the write-ahead log is moved into the database."""

RETRY_AFTER: Final = 100
"""Entries after which a checkpoint is tried again that had no room, even if nobody waits."""

WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024
WAITING_LIMIT: Final = 1_024

Waiter = tuple[int, Callable[[int], None]]


class Durability:
    """Keeps the write-ahead log short and tells when an index is on the disk."""

    def __init__(
        self,
        *,
        path: Path,
        owner: sqlite3.Connection,
        background: Background,
        failed: Callable[[StorageError], None],
    ) -> None:
        """`failed` hears of a disk that refuses to write or sync; a full one is tried again."""
        self._path = path
        self._wal = path.with_name(path.name + "-wal")
        self._owner = owner
        self._background = background
        self._failed = failed
        self._connection: sqlite3.Connection | None = None
        self._busy = False
        self._waiting: list[Waiter] = []
        self._since_checkpoint = 0
        self._full_wal = False

    def applied(self, count: int) -> None:
        """Note that a batch was committed; called between batches, on the owner's thread."""
        self._since_checkpoint += count
        if self._full_wal and not self._busy:
            self._full_wal = False
            self.cut_wal()  # it is done after the commit: a full disk must not undo that
        if self._since_checkpoint >= CHECKPOINT_EVERY:
            self._start()

    def make_durable(self, index: int, done: Callable[[int], None]) -> None:
        """Call `done(index)` once the state as of now, which is that of `index`, is on the disk."""
        if len(self._waiting) >= WAITING_LIMIT:
            raise Busy("too many wait for the disk")
        self._waiting.append((index, done))
        self._start()

    def cut_wal(self) -> None:
        """Bring the write-ahead log into the database and empty it.

        Not while a reader needs it, or there is no room for the database to grow: what is in the
        log is committed, and may stay there until a later checkpoint.
        """
        with contextlib.suppress(StorageFull), storage_errors(self._path):
            (timeout_ms,) = self._owner.execute("PRAGMA busy_timeout").fetchone()
            self._owner.execute("PRAGMA busy_timeout = 0")
            try:
                self._owner.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._owner.execute(f"PRAGMA busy_timeout = {timeout_ms}")

    def close(self) -> None:
        """Let go of the file; the background must have finished."""
        if self._connection is not None:
            self._connection.close()

    def abandon(self) -> None:
        """Leave the file as it is, in place of `close`."""
        if self._connection is not None:
            abandon(self._connection)

    def _start(self) -> None:
        if self._busy:
            return
        self._busy = True
        self._since_checkpoint = 0
        waiters, self._waiting = self._waiting, []
        try:
            self._background.run(
                partial(self._checkpoint, durable=bool(waiters)),
                partial(self._finished, waiters),
                partial(self._refused, waiters),
            )
        except Busy:
            # Copies are being made: whatever is applied or asked next tries again.
            self._busy = False
            self._waiting = waiters

    def _finished(self, waiters: list[Waiter], wal_bytes: int) -> None:
        self._busy = False
        self._full_wal = wal_bytes > WAL_LIMIT_BYTES
        for index, done in waiters:
            done(index)
        if self._waiting:
            self._start()

    def _refused(self, waiters: list[Waiter], error: StorageError) -> None:
        """Keep those who wait: when there is room again, the next checkpoint serves them.

        After any other failure there is no next one: a sync is not tried again.
        """
        self._waiting = waiters + self._waiting
        if isinstance(error, StorageFull):
            self._busy = False
            self._since_checkpoint = CHECKPOINT_EVERY - RETRY_AFTER
        else:
            self._failed(error)

    # --- in the thread ----------------------------------------------------------------------------

    def _checkpoint(self, *, durable: bool) -> int:
        """Answer the write-ahead log's size in bytes after moving what can be moved of it."""
        with storage_errors(self._path):
            if self._connection is None:
                self._connection = _connect(self._path)
            busy, frames, moved = self._connection.execute(
                "PRAGMA wal_checkpoint(PASSIVE)"
            ).fetchone()
        try:
            if durable and (busy or frames != moved):
                sync_file(self._wal)
            return self._wal.stat().st_size if self._wal.exists() else 0
        except OSError as error:
            raise StorageError(f"{self._wal}: {error}") from error


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on the disk, where the system lets one ask."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection
