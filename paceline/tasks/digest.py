"""One number for the whole replicated state, to compare nodes that have applied the same index.

It covers every table, row by row in the order of its key and column by column in alphabetical
order, so that neither the layout of the file nor the history of migrations shows in it. What only
this node knows (from which snapshot it started) is left out.
"""

import hashlib
import sqlite3
from typing import Final

from paceline.codec import pack
from paceline.tasks.schema import columns

_KEYS: Final = {
    "meta": "id",
    "requests": "entry_index",
    "users": "user_id",
    "tasks": "task_no",
    "subtasks": "subtask_no",
    "subtask_specs": "subtask_no",
    "dependencies": "needs_no, subtask_no",
    "attempts": "attempt_no",
    "workers": "worker_id",
    "checkpoints": "checkpoint_id",
    "corrections": "correction_id",
    "evaluations": "evaluation_id",
    "activity_logs": "log_id",
    "cluster": "id",
    "members": "node_id",
}
"""Every table, and what orders its rows."""

_OWN: Final = frozenset({"snapshot"})

_ROWS_AT_ONCE: Final = 1_000


def digest(connection: sqlite3.Connection) -> bytes:
    """Answer SHA-256 over the state; it reads all of it (about 1 s for 100,000 subtasks)."""
    total = hashlib.sha256()
    for table in _KEYS:
        total.update(table_digest(connection, table))
    return total.digest()


def table_digest(connection: sqlite3.Connection, table: str) -> bytes:
    """Answer SHA-256 over one table, to tell where two nodes differ."""
    names = [name for name in columns(connection, table) if name not in _OWN]
    total = hashlib.sha256(pack([table, names]))
    cursor = connection.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY {_KEYS[table]}")
    while rows := cursor.fetchmany(_ROWS_AT_ONCE):
        for row in rows:
            total.update(pack(row))
    return total.digest()


def tables() -> tuple[str, ...]:
    """Answer the tables that are covered."""
    return tuple(_KEYS)
