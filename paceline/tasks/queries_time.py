"""What time alone calls for: tasks past their deadline, subtasks that wait too long, drains."""

import sqlite3
from typing import Final

from paceline.tasks.effects import MAX_TIME_MS
from paceline.tasks.view import TimesUp

OVERDUE_LIMIT: Final = 256
"""So many of each kind are ended with one command; the next round takes the others."""

_WAITING: Final = """
FROM subtasks s INDEXED BY subtasks_start_limited
CROSS JOIN tasks t ON t.task_id = s.task_id
WHERE s.start_limit IS NOT NULL AND s.status = 'pending' AND s.unmet = 0
  AND s.not_before < ? AND t.paused = 0
"""
_DUE: Final = "max(s.updated_at, s.not_before) + s.start_limit"


def times_up(connection: sqlite3.Connection, now_ms: int) -> TimesUp:
    """Answer what is overdue at that time."""
    tasks = connection.execute(
        "SELECT task_id FROM tasks INDEXED BY tasks_due WHERE deadline <= ? AND open_count > 0"
        " AND cancel_requested = 0 ORDER BY deadline LIMIT ?",
        (now_ms, OVERDUE_LIMIT),
    ).fetchall()
    subtasks = connection.execute(
        f"SELECT s.subtask_id {_WAITING} AND {_DUE} <= ? LIMIT ?",
        (MAX_TIME_MS, now_ms, OVERDUE_LIMIT),
    ).fetchall()
    moments = (_next_deadline(connection, now_ms), _next_start(connection, now_ms))
    return TimesUp(
        tuple(row[0] for row in tasks),
        tuple(row[0] for row in subtasks),
        min((each for each in moments if each is not None), default=None),
    )


def drain_limits(connection: sqlite3.Connection) -> dict[str, int]:
    """Answer when each node that drains within a limit is to give back what it still has."""
    found = connection.execute(
        "SELECT worker_id, drain_until FROM workers WHERE drain_until IS NOT NULL"
    )
    return dict(found.fetchall())


def _next_deadline(connection: sqlite3.Connection, now_ms: int) -> int | None:
    (moment,) = connection.execute(
        "SELECT min(deadline) FROM tasks INDEXED BY tasks_due WHERE deadline > ?"
        " AND open_count > 0",
        (now_ms,),
    ).fetchone()
    return None if moment is None else int(moment)


def _next_start(connection: sqlite3.Connection, now_ms: int) -> int | None:
    (moment,) = connection.execute(
        f"SELECT min({_DUE}) {_WAITING} AND {_DUE} > ?", (MAX_TIME_MS, now_ms)
    ).fetchone()
    return None if moment is None else int(moment)
