"""The state machine that is measured: one value per key, in SQLite as the real one is."""

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from paceline.consensus.messages import Entry, EntryKind, SnapshotMeta
from paceline.consensus.spool import MemorySource
from paceline.consensus.storage.protocol import SnapshotSource

KEYS = 1000


class KvMachine:
    """Puts each command's data under the key `index % KEYS`, in one transaction per slice."""

    def __init__(self, path: Path) -> None:
        self.snapshot_meta: SnapshotMeta | None = None
        self._connection = sqlite3.connect(path, isolation_level=None)
        for statement in (
            "PRAGMA journal_mode=WAL",
            "PRAGMA synchronous=NORMAL",
            "CREATE TABLE IF NOT EXISTS kv(key INTEGER PRIMARY KEY, value BLOB)",
            "CREATE TABLE IF NOT EXISTS applied(id INTEGER PRIMARY KEY, idx INTEGER)",
            "INSERT OR IGNORE INTO applied VALUES (1, 0)",
        ):
            self._connection.execute(statement)
        row = self._connection.execute("SELECT idx FROM applied").fetchone()
        self._applied: int = row[0]

    @property
    def applied_index(self) -> int:
        return self._applied

    def apply(self, entries: Sequence[Entry]) -> list[Any]:
        rows = [(e.index % KEYS, e.data) for e in entries if e.kind == EntryKind.COMMAND]
        execute = self._connection.execute
        execute("BEGIN")
        self._connection.executemany("INSERT OR REPLACE INTO kv VALUES (?, ?)", rows)
        execute("UPDATE applied SET idx = ?", (entries[-1].index,))
        execute("COMMIT")
        self._applied = entries[-1].index
        return [None] * len(entries)

    def save(self, done: Callable[[SnapshotSource], None], failed: object = None) -> None:
        done(MemorySource(self._connection.serialize()))

    def restore(self, source: SnapshotSource, meta: SnapshotMeta) -> None:
        self._connection.deserialize(source.read(0, source.size))
        self.snapshot_meta, self._applied = meta, meta.index

    def make_durable(self, done: Callable[[int], None]) -> None:
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        done(self._applied)

    def digest(self) -> bytes:
        rows = self._connection.execute("SELECT * FROM kv ORDER BY key").fetchall()
        return hashlib.sha256(repr((self._applied, rows)).encode()).digest()
