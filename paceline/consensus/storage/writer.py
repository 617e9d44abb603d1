"""The durable log: SQLite behind one writer thread.

All writes that are waiting become one transaction, so one sync of the disk serves them all (group
commit); while it runs, the next group gathers. This is plain `sqlite3` in a thread of our own, not
`aiosqlite`: what costs time there is not SQLite but the hop from loop to thread and back, and
aiosqlite pays it for every statement (measured: 5199 transactions/s direct, 2410 with aiosqlite's
BEGIN, executemany and COMMIT, 4736 with one hop for all three). Here one hop serves a whole group.

A small write that comes when the thread has nothing to do is made at once, on the caller's thread,
while the disk is quick: the two hops and the interpreter's lock cost as much as such a sync. The
price is that a disk that hangs may hold the caller's loop for the length of one write. (A node
whose disk hangs can neither lead nor follow; what matters is that the next write does not.) After a
slow sync all writes go to the thread, until a row of them was quick.

Checkpoints (copying the write-ahead file's pages to their places) cost a second sync, so they never
run inside a group: only when nothing has been asked for a moment, or when the write-ahead file has
reached `WAL_BYTES`. SQLite then writes it from its beginning again, which also spares the file
system from extending it. To have that from the first write on, the file is filled with zeros in
advance: a sync of a file that grows waits for the file system's journal as well (measured on ext4
with other load: 0.2 ms instead of 0.3 to 4).

Compaction deletes rows a slice at a time, riding along in transactions that are due anyway, or by
itself when there is nothing else to do. Freed pages are used again for the entries that follow; an
`auto_vacuum` database would give them back to the file system first, which cost 12 % of the speed
and left the file as large as before once the log had reached its usual size (measured).

A full disk is no damage: SQLite rolls the transaction back, and the very same one is tried again
until there is room. Any other failure is final. In particular a failed sync must never be retried:
the kernel may have dropped the pages and report success the second time (the fsync lesson of
PostgreSQL, 2018).
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

from paceline.abandon import abandon
from paceline.consensus.messages import HardState, SnapshotMeta
from paceline.consensus.storage.database import (
    open_database,
    read_log,
    reserve_wal,
    write_entries,
    write_head,
    write_snapshot,
)
from paceline.consensus.storage.protocol import LogWrite, StoredLog
from paceline.errors import StorageError

GROUP_BYTES = 1024 * 1024
"""A transaction takes no further writes once it has so much: the first ones wait for the last."""
ENTRY_BYTES = 40
"""What a row counts besides its data."""
WAL_BYTES = 4 * 1024 * 1024
RESERVED_BYTES = WAL_BYTES + GROUP_BYTES
"""The write-ahead file is made so long in advance."""
TRANSACTION_BYTES = 3 * 4096
"""What a transaction adds to the write-ahead file besides its rows: the pages it touches."""
IDLE_S = 0.1
"""After so long without a write the disk is taken to be idle."""
TRIM_ROWS = 512
"""So many rows of a compaction are deleted at once; twice the rows written where those are more."""
SMALL_ENTRIES = 4
SMALL_BYTES = 16 * 1024
"""A larger write is better made while the caller does something else."""
QUICK_S = 0.002
"""A disk is quick while its transactions take no longer than this."""
QUICK_ROW = 16
"""So many quick transactions in a row it takes after one that was not."""
FIRST_PAUSE_S = 0.05
LAST_PAUSE_S = 2.0
"""Back-off while the disk is full."""

NOTHING = LogWrite(None, None, ())
"""A write that only wants to know when the ones before it are durable."""

LoopCall = Callable[[Callable[[], None]], object]
OnFailure = Callable[[StorageError], None]


@dataclass(frozen=True, slots=True)
class Write:
    """A write, and whom to tell when it is durable."""

    write: LogWrite
    done: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Compact:
    """Move the log's beginning, and whom to tell when that is done."""

    snapshot: SnapshotMeta
    keep_from: int
    done: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Load:
    """Read everything, after what was queued before."""

    answer: "Future[StoredLog]" = field(default_factory=Future)


class Stir:
    """Nothing to do, but to look at the clock from now on: something was written elsewhere."""


class Close:
    """The last job."""


Job = Write | Compact | Load | Stir | Close


class _Stopped(Exception):
    """The storage was closed while the disk was full."""


class Writer:
    """The thread, and all that only who holds `_busy` may touch."""

    def __init__(
        self,
        *,
        path: Path,
        jobs: "SimpleQueue[Job]",
        loop_call: LoopCall,
        on_failure: OnFailure,
    ) -> None:
        self.stalled = False
        self._path = path
        self._jobs = jobs
        self._loop_call = loop_call
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self._busy = threading.Lock()
        self._error: Exception | None = None
        self._sleeps = False
        self._quick = 0
        self._written_s = 0.0
        self._connection = open_database(path)
        self._hard_state = HardState()
        self._end = (0, 0)
        self._mark = 0
        self._trim_before = 0
        self._wal_bytes = 0
        self._known = False
        self._reserved = False
        self._thread = threading.Thread(target=self._run, name=f"log {path.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait until all is done; a full disk is not waited for."""
        self._stopping.set()
        self._thread.join()

    # --- the caller's thread ----------------------------------------------------------------------

    def write_now(self, write: LogWrite) -> bool:
        """Make a small write if the thread is idle and the disk quick; answer if it is durable."""
        if self._quick < QUICK_ROW or not _is_small(write):
            return False
        if not self._busy.acquire(blocking=False):
            return False
        try:
            if not self._known or self._trim_before or self._wal_bytes >= WAL_BYTES:
                return False
            self._transaction(lambda: self._write_group([write]))
        except Exception as error:
            if not _is_full(error):
                self._error = error  # the thread tells of it before it touches the file again
            return False
        finally:
            self._busy.release()
        if self._sleeps:
            self._jobs.put(Stir())
        return True

    # --- the loop ---------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with suppress(_Stopped):
                while self._turn():
                    pass
        except Exception as error:  # whatever it is: a log that is not written must stop the node
            abandon(self._connection)
            self._fail(error)
        else:
            self._connection.close()

    def _turn(self) -> bool:
        """Do what is waiting; answer whether to go on."""
        jobs = self._collect()
        with self._busy:
            if self._error is not None:
                raise self._error
            self._do(jobs)
        return not (jobs and isinstance(jobs[-1], Close))

    def _do(self, jobs: Sequence[Job]) -> None:
        if not jobs and time.monotonic() - self._written_s >= IDLE_S:
            self._keep_house()
        writes = [job for job in jobs if isinstance(job, Write)]
        if writes:
            contents = [job.write for job in writes if job.write != NOTHING]
            if contents:
                self._commit(lambda: self._write_group(contents))
            self._tell([job.done for job in writes])
        for job in jobs:
            if isinstance(job, Compact):
                self._compact(job)
                self._tell([job.done])
            elif isinstance(job, Load):
                self._load(job)
        if self._wal_bytes >= WAL_BYTES:
            self._checkpoint()

    def _collect(self) -> list[Job]:
        """Answer a group of jobs; none if it is time to keep house.

        Anything but a write ends a group, so that jobs take effect in their order.
        """
        jobs: list[Job] = []
        size = 0
        with suppress(Empty):
            jobs.append(self._next_job())
            while isinstance(jobs[-1], Write) and size < GROUP_BYTES:
                size += _size(jobs[-1])
                jobs.append(self._jobs.get_nowait())
        return jobs

    def _next_job(self) -> Job:
        if self._trim_before:
            return self._jobs.get_nowait()
        self._sleeps = True
        if self._wal_bytes or not self._reserved:
            self._sleeps = False
        try:
            return self._jobs.get(timeout=None if self._sleeps else IDLE_S)
        finally:
            self._sleeps = False

    def _tell(self, callbacks: Sequence[Callable[[], None]]) -> None:
        """Call back on the owner's thread: all of a group in one hop."""

        def call() -> None:
            for done in callbacks:
                done()

        self._post(call)

    def _post(self, callback: Callable[[], None]) -> None:
        try:
            self._loop_call(callback)
        except RuntimeError:  # the owner's loop is closed: nobody is left to be told
            self._stopping.set()

    def _fail(self, error: Exception) -> None:
        """Tell the owner, and those who wait for an answer; nothing is written any more."""
        failure = StorageError(f"{self._path}: {error}; the node stops: its log may be incomplete")
        failure.__cause__ = error
        self._post(lambda: self._on_failure(failure))
        while True:
            job = self._jobs.get()
            if isinstance(job, Close):
                return
            if isinstance(job, Load):
                job.answer.set_exception(failure)

    # --- transactions -----------------------------------------------------------------------------

    def _commit(self, fill: Callable[[], None]) -> None:
        """Commit what `fill` does, however long the disk may be full."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                self._transaction(fill)
                break
            except sqlite3.OperationalError as error:
                if not _is_full(error):
                    raise
                self.stalled = True
            if self._stopping.wait(pause_s):
                raise _Stopped
            pause_s = min(pause_s * 2, LAST_PAUSE_S)
        self.stalled = False

    def _transaction(self, fill: Callable[[], None]) -> None:
        before = (self._hard_state, self._end, self._mark, self._trim_before)
        began_s = time.monotonic()
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            fill()
            self._connection.execute("COMMIT")
        except BaseException:
            self._hard_state, self._end, self._mark, self._trim_before = before
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._wal_bytes += TRANSACTION_BYTES
        self._written_s = time.monotonic()
        is_quick = self._written_s - began_s <= QUICK_S
        self._quick = min(self._quick + 1, QUICK_ROW) if is_quick else 0

    def _write_group(self, writes: Sequence[LogWrite]) -> None:
        self._know_the_end()
        for write in writes:
            self._apply(write)
        write_head(self._connection, self._hard_state, *self._end)
        self._trim(max(TRIM_ROWS, 2 * sum(len(write.entries) for write in writes)))

    def _apply(self, write: LogWrite) -> None:
        if write.hard_state is not None:
            self._hard_state = write.hard_state
        if write.snapshot is not None:
            self._replace_all(write.snapshot)
        if write.entries:
            self._append(write)

    def _replace_all(self, snapshot: SnapshotMeta) -> None:
        self._connection.execute("DELETE FROM entry")
        write_snapshot(self._connection, snapshot)
        self._mark = snapshot.index
        self._end = (snapshot.index, snapshot.term)
        self._trim_before = 0

    def _append(self, write: LogWrite) -> None:
        first, last = write.entries[0], write.entries[-1]
        if first.index > self._end[0] + 1:
            raise StorageError(f"entry {first.index} does not follow entry {self._end[0]}")
        if first.index <= self._end[0]:
            self._connection.execute("DELETE FROM entry WHERE idx >= ?", (first.index,))
        write_entries(self._connection, write.entries)
        self._end = (last.index, last.term)
        self._wal_bytes += sum(len(entry.data) + ENTRY_BYTES for entry in write.entries)

    def _know_the_end(self) -> None:
        """Find out where the log ends, if nobody has loaded it."""
        if not self._known:
            self._take_up(read_log(self._connection, self._path))

    def _take_up(self, stored: StoredLog) -> None:
        mark = stored.snapshot
        self._mark, mark_term = (0, 0) if mark is None else (mark.index, mark.term)
        last = stored.entries[-1] if stored.entries else None
        self._end = (self._mark, mark_term) if last is None else (last.index, last.term)
        self._hard_state = stored.hard_state
        self._known = True

    def _load(self, job: Load) -> None:
        try:
            stored = read_log(self._connection, self._path)
        except StorageError as error:
            job.answer.set_exception(error)
            return
        self._take_up(stored)
        job.answer.set_result(stored)

    # --- upkeep -----------------------------------------------------------------------------------

    def _keep_house(self) -> None:
        """Use a quiet moment: delete some more, or checkpoint."""
        if not self._reserved:
            self._reserved = True
            reserve_wal(self._path, RESERVED_BYTES)
        elif self._trim_before:
            self._commit(lambda: self._trim(TRIM_ROWS))
        else:
            self._checkpoint()

    def _compact(self, job: Compact) -> None:
        """Move the mark; the rows before it go little by little."""
        self._know_the_end()
        if job.snapshot.index <= self._mark:
            return

        def move() -> None:
            write_snapshot(self._connection, job.snapshot)
            self._mark = job.snapshot.index
            self._trim_before = job.keep_from
            self._trim(TRIM_ROWS)

        self._commit(move)

    def _trim(self, limit: int) -> None:
        """Delete up to `limit` rows of those that compaction gave up, oldest first."""
        if not self._trim_before:
            return
        first = self._connection.execute("SELECT min(idx) FROM entry").fetchone()[0]
        if first is None or first >= self._trim_before:
            self._trim_before = 0
            return
        stop = min(first + limit, self._trim_before)
        self._connection.execute("DELETE FROM entry WHERE idx < ?", (stop,))
        self._wal_bytes += TRANSACTION_BYTES

    def _checkpoint(self) -> None:
        """Copy what the write-ahead file has to its places. A full disk puts it off."""
        self._wal_bytes = 0
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.OperationalError as error:
            if not _is_full(error):
                raise


def _is_full(error: Exception) -> bool:
    """Answer whether an error says that the disk is full."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, sqlite3.OperationalError) and code == sqlite3.SQLITE_FULL


def _is_small(write: LogWrite) -> bool:
    """Answer whether a write is worth less than the way to the thread and back."""
    entries = write.entries
    return len(entries) <= SMALL_ENTRIES and sum(len(e.data) for e in entries) <= SMALL_BYTES


def _size(job: Write) -> int:
    return sum(len(entry.data) + ENTRY_BYTES for entry in job.write.entries)
