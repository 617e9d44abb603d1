"""What a worker must not forget when it dies.

Outcomes that the log does not have yet, and which attempts were begun: after a restart no attempt
is begun twice. An attempt is named by subtask, number and token together: attempts that were placed
by one entry share its token. One SQLite file, `synchronous=FULL`, written by one thread; calls
that wait at the same time share one commit, so attempts that end together cost one sync.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from paceline.abandon import abandon
from paceline.codec import decode, encode
from paceline.errors import Busy, CorruptStorage, ProtocolError, StorageError, StorageFull
from paceline.tasks.commands import AttemptRef
from paceline.tasks.model import Outcome

T = TypeVar("T")

PENDING_LIMIT = 10_000
"""Outcomes that may wait for the log; past it `put` raises Busy: no quorum for very long."""

BEGUN_LIMIT = 50_000
"""Begun attempts that are remembered, the newest ones."""

_FORMAT = 1
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS outcomes (
    subtask_id TEXT NOT NULL, attempt INTEGER NOT NULL, token INTEGER NOT NULL,
    outcome BLOB NOT NULL, PRIMARY KEY (subtask_id, attempt, token)
) STRICT;
CREATE TABLE IF NOT EXISTS begun (
    sequence INTEGER PRIMARY KEY, ended INTEGER NOT NULL DEFAULT 0,
    subtask_id TEXT NOT NULL, attempt INTEGER NOT NULL, token INTEGER NOT NULL,
    UNIQUE (subtask_id, attempt, token)
) STRICT;
PRAGMA user_version = {_FORMAT};
"""
_THIS = "subtask_id = ? AND attempt = ? AND token = ?"

Work = Callable[[sqlite3.Connection], T]


@dataclass(frozen=True, slots=True)
class _Request(Generic[T]):
    work: Work[T]
    done: Future[T] = field(default_factory=Future)


class Outbox:
    """The durable memory of one worker. Open it with `open`; close it last."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread
        self._requests: deque[_Request[Any]] = deque()
        self._broken = False

    @classmethod
    async def open(cls, path: Path) -> "Outbox":
        """Open or make the file. Raise CorruptStorage, StorageError."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        try:
            connection = await asyncio.wrap_future(thread.submit(_connect, path))
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(connection, thread)

    async def close(self) -> None:
        """Finish what is queued and let go of the file; if the disk failed, only leave it."""
        await asyncio.wrap_future(self._thread.submit(self._let_go))
        self._thread.shutdown()

    async def begin(self, ref: AttemptRef) -> bool:
        """Remember, on disk, that this attempt begins. Answer False if it had begun before."""
        return await self._do(lambda connection: _begin(connection, ref))

    async def put(self, ref: AttemptRef, outcome: Outcome) -> None:
        """Keep an outcome: on disk when this returns. The first one for an attempt stays.

        Raise StorageFull; Busy if too many wait already.
        """
        data = encode(outcome)
        await self._do(lambda connection: _put(connection, ref, data))

    async def confirm(self, ref: AttemptRef) -> None:
        """Forget the outcome: the log has it, or refused it for good."""
        await self._do(lambda connection: _confirm(connection, ref))

    async def pending(self) -> list[tuple[AttemptRef, Outcome]]:
        """Answer what is not confirmed yet, in the order of `put`."""
        rows = await self._do(_pending)
        return [(AttemptRef(*row[:3]), _outcome(row[3])) for row in rows]

    async def interrupted(self) -> list[AttemptRef]:
        """Answer attempts that were begun and came to no outcome; asked at the start."""
        return await self._do(_interrupted)

    async def _do(self, work: Work[T]) -> T:
        """Have the thread do it. It is done, or not, even if nobody waits any more."""
        request = _Request(work)
        self._requests.append(request)
        self._thread.submit(self._commit_all)
        return await asyncio.shield(asyncio.wrap_future(request.done))

    def _let_go(self) -> None:
        if self._broken:
            abandon(self._connection)
        else:
            self._connection.close()

    def _commit_all(self) -> None:
        """Do all that is queued in one transaction; the next calls find the queue empty."""
        batch = [self._requests.popleft() for _ in range(len(self._requests))]
        if not batch:
            return
        try:
            answers = self._transaction(batch)
        except Exception as error:  # whoever waits must hear of it, whatever it is
            reason = _storage_error(error) if isinstance(error, sqlite3.Error) else error
            self._broken = self._broken or not isinstance(reason, StorageFull)
            answers = [reason for _ in batch]
        for request, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                request.done.set_exception(answer)
            else:
                request.done.set_result(answer)

    def _transaction(self, batch: Sequence[_Request[Any]]) -> list[Any]:
        if self._broken:
            raise StorageError("the outbox is not written any more: the disk under it has failed")
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            return [_try(request.work, self._connection) for request in batch]


def _try(work: Work[T], connection: sqlite3.Connection) -> T | Busy:
    """Answer what the work answers, or why it was refused: that is no reason to undo the rest."""
    try:
        return work(connection)
    except Busy as error:
        return error


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _FORMAT):
            raise StorageError(f"{path} is of format {version}: made by a newer version")
        connection.executescript(_SCHEMA)
        path.chmod(0o600)
    except sqlite3.Error as error:
        raise _storage_error(error) from error
    return connection


def _storage_error(error: sqlite3.Error) -> StorageError:
    extended = getattr(error, "sqlite_errorcode", 0)
    if extended == sqlite3.SQLITE_IOERR_SHMSIZE:  # no room for the write-ahead log's index to grow
        extended = sqlite3.SQLITE_FULL
    match extended & 0xFF:
        case sqlite3.SQLITE_FULL:
            return StorageFull("no space is left for the outbox on this node's disk")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return CorruptStorage(f"the outbox is not what was written: {error}")
    return StorageError(f"the outbox cannot be used: {error}")


def _key(ref: AttemptRef) -> tuple[str, int, int]:
    return ref.subtask_id, ref.attempt, ref.token


def _begin(connection: sqlite3.Connection, ref: AttemptRef) -> bool:
    cursor = connection.execute(
        "INSERT OR IGNORE INTO begun (subtask_id, attempt, token) VALUES (?, ?, ?)", _key(ref)
    )
    if cursor.rowcount:
        oldest = (cursor.lastrowid or 0) - BEGUN_LIMIT
        connection.execute("DELETE FROM begun WHERE sequence <= ?", (oldest,))
    return bool(cursor.rowcount)


def _put(connection: sqlite3.Connection, ref: AttemptRef, data: bytes) -> None:
    if connection.execute("SELECT count(*) FROM outcomes").fetchone()[0] >= PENDING_LIMIT:
        raise Busy(f"{PENDING_LIMIT} outcomes wait for the cluster already")
    connection.execute("INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?, ?)", (*_key(ref), data))
    connection.execute(f"UPDATE begun SET ended = 1 WHERE {_THIS}", _key(ref))


def _confirm(connection: sqlite3.Connection, ref: AttemptRef) -> None:
    connection.execute(f"DELETE FROM outcomes WHERE {_THIS}", _key(ref))


def _pending(connection: sqlite3.Connection) -> list[tuple[str, int, int, bytes]]:
    query = "SELECT subtask_id, attempt, token, outcome FROM outcomes ORDER BY rowid"
    return connection.execute(query).fetchall()


def _interrupted(connection: sqlite3.Connection) -> list[AttemptRef]:
    query = "SELECT subtask_id, attempt, token FROM begun WHERE NOT ended ORDER BY sequence"
    return [AttemptRef(*row) for row in connection.execute(query)]


def _outcome(data: bytes) -> Outcome:
    try:
        return decode(Outcome, data)
    except ProtocolError as error:
        raise CorruptStorage(f"an outcome in the outbox cannot be read: {error}") from error
