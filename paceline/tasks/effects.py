"""What the functions that apply commands work with: the open transaction and its side notes.

`Effects` lives for one batch. Rows of the activity log and of the exactly-once table are collected
and written together at its end, with the marks (applied index, time, numbers given out), in the
same transaction. Whatever a command does is decided by the state, the command and the entry's index
alone; the time is the proposer's, held so that it never runs backwards.
"""

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

LOG_ROWS_KEPT: Final = 1_000_000
"""The activity log forgets its oldest rows beyond this many."""

DETAIL_DEPTH: Final = 16
"""Nesting of what others give us as free-form details; deeper parts are cut."""

REASON_LENGTH: Final = 500
"""Characters of a reason in the activity log; the whole of it stands with its attempt."""

MAX_TIME_MS: Final = 253_402_300_799_999
"""The end of the year 9999: the last moment that has an ISO 8601 date."""


class Change(NamedTuple):
    """One thing that has a new status, for those who wake on changes.

    `kind` is task, subtask, attempt, checkpoint, worker, member or cluster; or `everything` after a
    restored snapshot, which leaves the rest empty. Ids that do not apply are empty; `token` is an
    attempt's.
    """

    kind: str
    status: str = ""
    task_id: str = ""
    subtask_id: str = ""
    node_id: str = ""
    attempt: int = 0
    token: int = 0


@dataclass(slots=True)
class Marks:
    """How far the state has come; the row of `meta`."""

    applied_index: int = 0
    applied_term: int = 0
    now_ms: int = 0
    last_log_id: int = 0
    requests_pruned: int = 0
    """Requests in entries up to this index are forgotten."""

    @classmethod
    def load(cls, db: sqlite3.Connection) -> "Marks":
        """Read the row."""
        row = db.execute(
            "SELECT applied_index, applied_term, now_ms, last_log_id, requests_pruned FROM meta"
        ).fetchone()
        return cls(*row)

    def store(self, db: sqlite3.Connection) -> None:
        """Write the row, as part of the open transaction."""
        db.execute(
            "UPDATE meta SET applied_index = ?, applied_term = ?, now_ms = ?, last_log_id = ?,"
            " requests_pruned = ?",
            (
                self.applied_index,
                self.applied_term,
                self.now_ms,
                self.last_log_id,
                self.requests_pruned,
            ),
        )


@dataclass(slots=True)
class Effects:
    """One batch: where commands read and write. `index` is that of the entry in hand."""

    db: sqlite3.Connection
    marks: Marks
    index: int = 0
    level: int = 1
    """The format level of the entry in hand."""
    changes: list[Change] = field(default_factory=list)
    _log_rows: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def now_ms(self) -> int:
        """Answer the time of the entry in hand."""
        return self.marks.now_ms

    def advance_time(self, now_ms: int) -> None:
        """Take the proposer's time, unless it lies before what was already seen."""
        self.marks.now_ms = max(self.marks.now_ms, now_ms)

    def log(
        self,
        action: str,
        *,
        task_id: str | None = None,
        subtask_id: str | None = None,
        worker_id: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a row to the activity log. Its number is gapless and the same on every node."""
        self.marks.last_log_id += 1
        text = _dumps(details) if details else "{}"
        self._log_rows.append(
            (self.marks.last_log_id, task_id, subtask_id, worker_id, action, text, self.now_ms)
        )

    def flush(self) -> None:
        """Write what was collected."""
        if self._log_rows:
            self.db.executemany(
                "INSERT INTO activity_logs"
                " (log_id, task_id, subtask_id, worker_id, action, details, timestamp)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                self._log_rows,
            )
            self._log_rows.clear()

    def prune_log(self) -> None:
        """Forget the oldest rows of the activity log."""
        self.flush()
        oldest = self.marks.last_log_id - LOG_ROWS_KEPT
        self.db.execute("DELETE FROM activity_logs WHERE log_id <= ?", (oldest,))

    def position(self) -> tuple[int, int]:
        """Answer a value that is the same as long as nothing was changed."""
        return self.db.total_changes, self.marks.last_log_id

    def savepoint(self) -> "Savepoint":
        """Remember this moment, to come back to it should an entry turn out to be unusable."""
        self.db.execute("SAVEPOINT entry")
        return Savepoint(len(self.changes), len(self._log_rows), self.marks.last_log_id)

    def roll_back(self, savepoint: "Savepoint") -> None:
        """Come back to it, in the database and in the notes."""
        self.db.execute("ROLLBACK TO entry")
        del self.changes[savepoint.changes :]
        del self._log_rows[savepoint.log_rows :]
        self.marks.last_log_id = savepoint.last_log_id

    def release(self) -> None:
        """Keep what was done since the savepoint."""
        self.db.execute("RELEASE entry")


class Savepoint(NamedTuple):
    """A moment inside a batch. The log must not be flushed between it and a roll-back."""

    changes: int
    log_rows: int
    last_log_id: int


def json_text(value: Any) -> str:
    """Answer free-form data as JSON text, always, and the same on every node.

    What JSON cannot say is replaced: bytes by their hex digits, NaN and infinities by null, what
    lies deeper than DETAIL_DEPTH by null. Python's own encoder would refuse, or fail at a depth
    that depends on the caller's stack.
    """
    if not value:
        return "{}" if isinstance(value, Mapping) else "[]"
    return _dumps(_plain(value, DETAIL_DEPTH))


def finite(number: float) -> float:
    """Answer a number that JSON and SQLite can hold: 0 for NaN and the infinities."""
    return number if math.isfinite(number) else 0.0


def brief(reason: str) -> str:
    """Answer a reason cut to the length that the activity log keeps."""
    return reason if len(reason) <= REASON_LENGTH else reason[: REASON_LENGTH - 1] + "…"


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def _plain(value: Any, depth: int) -> Any:
    if depth == 0:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): _plain(each, depth - 1) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each, depth - 1) for each in value]
    return value
