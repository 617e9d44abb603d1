"""A key-value store for real processes: the simulation's semantics on a real SQLite file.

What a command does, and that a request of a client takes effect once however often it is in the
log, is `tests.sim.machine.KvState`; here it outlives the process. A slice of entries is one
transaction, which also holds the applied index, so that a kill at any moment leaves the state at
the end of some slice. `apply` does all of a slice or none of it.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from paceline.codec import decode, encode, pack, unpack
from paceline.consensus.messages import Entry, EntryKind, SnapshotMeta
from paceline.consensus.spool import MemorySource
from paceline.consensus.storage.protocol import SnapshotSource
from paceline.errors import StorageError
from paceline.tasks.schema import storage_errors
from tests.sim.machine import KvState, decode_command

SCHEMA = """
CREATE TABLE IF NOT EXISTS kv(key TEXT PRIMARY KEY, value BLOB);
CREATE TABLE IF NOT EXISTS session(client TEXT PRIMARY KEY, request INTEGER, result BLOB);
CREATE TABLE IF NOT EXISTS meta(id INTEGER PRIMARY KEY, applied INTEGER, chain BLOB, mark BLOB);
INSERT OR IGNORE INTO meta VALUES (1, 0, x'', NULL);
"""


class SqliteKvMachine:
    """The StateMachine protocol on one file, in the owner's thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = sqlite3.connect(path, isolation_level=None)
        self._undurable: list[Callable[[int], None]] = []
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "wal_autocheckpoint = 0"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(SCHEMA)
        self.state = self._load()

    @property
    def applied_index(self) -> int:
        return self.state.index

    @property
    def snapshot_meta(self) -> SnapshotMeta | None:
        (mark,) = self._db.execute("SELECT mark FROM meta").fetchone()
        return None if mark is None else decode(SnapshotMeta, mark)

    def apply(self, entries: Sequence[Entry]) -> list[Any]:
        fresh = [entry for entry in entries if entry.index > self.state.index]
        for position, entry in enumerate(fresh, start=self.state.index + 1):
            if entry.index != position:
                raise StorageError(f"entry {entry.index} was given where {position} comes next")
        results: list[Any] = [None] * (len(entries) - len(fresh))
        try:
            results += [self.state.apply(entry)[0] for entry in fresh]
            self._write(lambda: self._save_what_changed(fresh))
        except BaseException:
            self.state = self._load()
            raise
        self._retry_durability()
        return results

    def save(self, done: Callable[[SnapshotSource], None], failed: object = None) -> None:
        done(MemorySource(self.state.encode()))

    def restore(self, source: SnapshotSource, meta: SnapshotMeta) -> None:
        state = KvState.decode(source.read(0, source.size))

        def replace() -> None:
            self._db.execute("DELETE FROM kv")
            self._db.execute("DELETE FROM session")
            self._put(state, state.keys, state.sessions)
            self._db.execute("UPDATE meta SET mark = ?", (encode(meta),))

        self._write(replace)
        self.state = state

    def make_durable(self, done: Callable[[int], None]) -> None:
        self._undurable.append(done)
        self._retry_durability()

    def digest(self) -> bytes:
        return hashlib.sha256(self.state.encode()).digest()

    def close(self) -> None:
        self._db.close()

    # --- inside -----------------------------------------------------------------------------------

    def _load(self) -> KvState:
        state = KvState()
        state.index, state.chain = self._db.execute("SELECT applied, chain FROM meta").fetchone()
        for key, value in self._db.execute("SELECT key, value FROM kv"):
            state.keys[key] = unpack(value)
        for client, request, result in self._db.execute("SELECT * FROM session"):
            state.sessions[client] = (request, unpack(result))
        return state

    def _write(self, fill: Callable[[], None]) -> None:
        with storage_errors(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                fill()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _save_what_changed(self, entries: Sequence[Entry]) -> None:
        commands = [decode_command(e.data) for e in entries if e.kind == EntryKind.COMMAND]
        state = self.state
        keys = {command.key for command in commands} & state.keys.keys()
        clients = {command.client for command in commands} & state.sessions.keys()
        self._put(state, keys, clients)

    def _put(self, state: KvState, keys: Iterable[str], clients: Iterable[str]) -> None:
        put = self._db.executemany
        put("REPLACE INTO kv VALUES (?, ?)", [(key, pack(state.keys[key])) for key in keys])
        sessions = [(client, *state.sessions[client]) for client in clients]
        rows = [(client, request, pack(result)) for client, request, result in sessions]
        put("REPLACE INTO session VALUES (?, ?, ?)", rows)
        head = (state.index, state.chain)
        self._db.execute("UPDATE meta SET applied = ?, chain = ?", head)

    def _retry_durability(self) -> None:
        """Checkpoint for those who wait; where the disk is full, the next slice tries again."""
        if not self._undurable:
            return
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
                raise
            return
        waiting, self._undurable = self._undurable, []
        for done in waiting:
            done(self.state.index)
