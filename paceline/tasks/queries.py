"""What people and programs read of the replicated state: JSON-ready documents.

Each function takes a connection (the machine's own, or `schema.open_reader`) and reads what is
committed. Times in documents are ISO 8601 in UTC with milliseconds; keys are part of the contract
with the CLI and the REST layer and only ever added to. What the coordinator and the workers read
stands in `queries_work`, and can be had from here too.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, Final

from paceline.errors import InputError, NotFound
from paceline.tasks import phases, queries_usage
from paceline.tasks.documents import (
    attempt_document,
    decoded,
    evaluation_document,
    iso,
    rows,
    subtask_document,
    task_document,
    worker_document,
)
from paceline.tasks.draft import did_you_mean
from paceline.tasks.model import TaskStatus
from paceline.tasks.queries_quality import checkpoints_of
from paceline.tasks.queries_work import (
    active_attempts,
    attempts_of_node,
    inputs_of,
    next_ready_ms,
    ready_subtasks,
    subtask_spec,
    task_spec,
)

Document = dict[str, Any]

PAGE_LIMIT: Final = 1_000
"""No page is longer, whatever is asked for."""

BRIEF_LENGTH: Final = 200
"""Characters of a task's description where it only names the task."""

SUGGESTIONS: Final = 5

_TASK_COLUMNS: Final = (
    "task_no, task_id, user_id, type, description, status, progress, priority, privacy_level,"
    " checkpoint_frequency, tool_preferences, task_metadata, repository, subtask_count,"
    " completed_count, open_count, cancel_requested, reason, created_at, updated_at, started_at,"
    " completed_at, paused, deadline"
)


def task(connection: sqlite3.Connection, identifier: str) -> Document:
    """Answer the document of `show --json`, for an id or a unique prefix of one.

    Raise NotFound; InputError where the prefix is ambiguous.
    """
    task_id = resolve_task_id(connection, identifier)
    sql = f"SELECT {_TASK_COLUMNS} FROM tasks WHERE task_id = ?"
    document = task_document(rows(connection, sql, task_id)[0])
    document["subtasks"] = subtasks(connection, task_id)
    document["budget_usd"] = queries_usage.budget(connection, task_id)
    document["usage"] = queries_usage.task_usage(
        attempt for subtask in document["subtasks"] for attempt in subtask["attempts"]
    )
    document["checkpoints"] = checkpoints_of(connection, task_id)
    return document


def subtasks(connection: sqlite3.Connection, task_id: str) -> list[Document]:
    """Answer a task's subtasks with all their attempts, in the order of submission."""
    needs = _needs(connection, task_id)
    attempts = _attempts(connection, task_id)
    evaluations = _evaluations(connection, task_id)
    return [
        subtask_document(
            row,
            needs=needs[row["subtask_no"]],
            attempts=attempts[row["subtask_no"]],
            evaluation=evaluations.get(row["subtask_id"]),
        )
        for row in rows(
            connection, "SELECT * FROM subtasks WHERE task_id = ? ORDER BY subtask_no", task_id
        )
    ]


def tasks(
    connection: sqlite3.Connection,
    *,
    status: str = "",
    type: str = "",  # noqa: A002 - the name that the contract gives it
    search: str = "",
    limit: int = 50,
    cursor: str = "",
    ids: Sequence[str] = (),
    since_ms: int = 0,
) -> Document:
    """Answer a page: `tasks` (without their subtasks), newest first, and `next_cursor` or None.

    `search` is looked for in descriptions, without regard to ASCII case. Of `ids`, where any are
    named, nothing but those is answered; `since_ms`: only those submitted then or later. Raise
    InputError for a status that there is not, or a cursor that this did not give.
    """
    if status and status not in phases.TASK:
        raise InputError(f"no task can be {status!r}: one of {', '.join(TaskStatus)}")
    where, parameters = ["1"], list[Any]()
    for condition, value in (
        ("status = ?", status),
        ("type = ?", type),
        ("created_at >= ?", since_ms),
        ("description LIKE ? ESCAPE '\\'", f"%{_escaped(search)}%" if search else ""),
    ):
        if value:
            where.append(condition)
            parameters.append(value)
    if ids:
        wanted = tuple(ids)[:PAGE_LIMIT]
        where.append(f"task_id IN ({', '.join('?' * len(wanted))})")
        parameters += wanted
    if cursor:
        where.append("(created_at, task_no) < (?, ?)")
        parameters += _read_cursor(cursor)
    limit = max(1, min(limit, PAGE_LIMIT))
    sql = (
        f"SELECT {_TASK_COLUMNS} FROM tasks WHERE {' AND '.join(where)}"
        " ORDER BY created_at DESC, task_no DESC LIMIT ?"
    )
    found = rows(connection, sql, *parameters, limit + 1)
    page = found[:limit]
    more = len(found) > limit
    return {
        "tasks": [task_document(row) for row in page],
        "next_cursor": f"{page[-1]['created_at']}-{page[-1]['task_no']}" if more else None,
    }


def task_counts(connection: sqlite3.Connection) -> dict[str, int]:
    """Answer how many tasks there are in each status, those with none included."""
    found = dict(connection.execute("SELECT status, count(*) FROM tasks GROUP BY status"))
    return {status.value: found.get(status.value, 0) for status in TaskStatus}


def workers(connection: sqlite3.Connection) -> list[Document]:
    """Answer the registered workers with the attempts that each has in its hands, by name."""
    running: dict[str, list[Document]] = defaultdict(list)
    for attempt in active_attempts(connection):
        running[attempt.node_id].append(
            {
                "task_id": attempt.task_id,
                "subtask_id": attempt.subtask_id,
                "attempt": attempt.ref.attempt,
                "token": attempt.ref.token,
                "tool": attempt.tool,
                "status": attempt.status.value,
            }
        )
    found = rows(
        connection,
        "SELECT w.*, coalesce(e.via, '') AS via FROM workers w"
        " LEFT JOIN external_workers e ON e.worker_id = w.worker_id"
        " ORDER BY w.machine_name, w.worker_id",
    )
    return [worker_document(row, running[row["worker_id"]]) for row in found]


def newest_activity(connection: sqlite3.Connection, count: int, *, task_id: str = "") -> int:
    """Answer after which `log_id` the newest `count` entries of a task (or of all) stand."""
    where, parameters = ("task_id = ?", [task_id]) if task_id else ("log_id > ?", [0])
    order = "timestamp DESC, log_id DESC" if task_id else "log_id DESC"
    sql = f"SELECT log_id FROM activity_logs WHERE {where} ORDER BY {order} LIMIT 1 OFFSET ?"
    row = connection.execute(sql, (*parameters, count)).fetchone()
    return int(row[0]) if row else 0


def activity(
    connection: sqlite3.Connection, *, after: int = 0, task_id: str = "", limit: int = 100
) -> list[Document]:
    """Answer the activity after a `log_id`, oldest first; of one task, or of all."""
    where, parameters = "log_id > ?", list[Any]([after])
    if task_id:
        # Time never runs backwards in the log, so the index by task and time finds the place.
        where += (
            " AND task_id = ? AND timestamp >= coalesce((SELECT timestamp FROM activity_logs"
            " WHERE log_id > ? ORDER BY log_id LIMIT 1), 0)"
        )
        parameters += [task_id, after]
    order = "timestamp, log_id" if task_id else "log_id"
    found = rows(
        connection,
        f"SELECT * FROM activity_logs WHERE {where} ORDER BY {order} LIMIT ?",
        *parameters,
        max(1, min(limit, PAGE_LIMIT)),
    )
    names = _names(connection, {row["subtask_id"] for row in found if row["subtask_id"]})
    return [
        {
            **row,
            "details": decoded(row["details"]),
            "timestamp": iso(row["timestamp"]),
            "name": names.get(row["subtask_id"], ""),
        }
        for row in found
    ]


def _names(connection: sqlite3.Connection, subtask_ids: Collection[str]) -> dict[str, str]:
    """Answer the subtasks' names by id."""
    if not subtask_ids:
        return {}
    marks = ", ".join("?" * len(subtask_ids))
    sql = f"SELECT subtask_id, name FROM subtasks WHERE subtask_id IN ({marks})"
    return dict(connection.execute(sql, tuple(subtask_ids)).fetchall())


def running(connection: sqlite3.Connection) -> list[Document]:
    """Answer every attempt that some node has in its hands, oldest first, named for people."""
    found = rows(
        connection,
        "SELECT s.task_id, t.description AS task, s.subtask_id, s.name, a.attempt, a.token, a.tool,"
        " a.node_id, a.status, a.allocated_at, a.started_at"
        " FROM attempts a INDEXED BY attempts_active"
        " JOIN subtasks s ON s.subtask_no = a.subtask_no JOIN tasks t ON t.task_id = s.task_id"
        " WHERE a.finished_at IS NULL ORDER BY a.attempt_no LIMIT ?",
        PAGE_LIMIT,
    )
    return [
        {
            **row,
            "task": row["task"][:BRIEF_LENGTH],
            "allocated_at": iso(row["allocated_at"]),
            "started_at": iso(row["started_at"]),
        }
        for row in found
    ]


def resolve_task_id(connection: sqlite3.Connection, prefix: str) -> str:
    """Answer the id that is this, or the only one that begins so. Raise NotFound, InputError."""
    if not prefix:
        raise InputError("which task? Give its id, or the beginning of one")
    found = [
        row[0]
        for row in connection.execute(
            "SELECT task_id FROM tasks WHERE task_id >= ? AND task_id < ? ORDER BY task_id LIMIT ?",
            (prefix, prefix + "\U0010ffff", SUGGESTIONS + 1),
        )
    ]
    return _the_one(found, prefix, "task")


def resolve_subtask_id(connection: sqlite3.Connection, task_id: str, wanted: str) -> str:
    """Answer the task's subtask of that id, name, or unique beginning of an id. Raise likewise."""
    found = connection.execute(
        "SELECT subtask_id, name FROM subtasks WHERE task_id = ? ORDER BY subtask_no", (task_id,)
    ).fetchall()
    for subtask_id, name in found:
        if wanted in (subtask_id, name):
            return str(subtask_id)
    begun = [each for each, _ in found if wanted and each.startswith(wanted)]
    if not begun:
        near = did_you_mean(wanted, [name for _, name in found])
        raise NotFound(f"the task has no subtask {wanted}{near}")
    return _the_one(begun, wanted, "subtask")


def _the_one(found: list[str], wanted: str, kind: str) -> str:
    if not found:
        raise NotFound(f"no {kind} has the id {wanted}")
    if len(found) > 1 and found[0] != wanted:
        some = ", ".join(found[:SUGGESTIONS]) + (", ..." if len(found) > SUGGESTIONS else "")
        raise InputError(f"{wanted} is the beginning of several {kind}s; did you mean {some}?")
    return found[0]


def _needs(connection: sqlite3.Connection, task_id: str) -> dict[int, list[str]]:
    """Answer by subtask number the names of what it needs."""
    found: dict[int, list[str]] = defaultdict(list)
    for number, name in connection.execute(
        "SELECT d.subtask_no, n.name FROM subtasks s"
        " JOIN dependencies d ON d.subtask_no = s.subtask_no"
        " JOIN subtasks n ON n.subtask_no = d.needs_no"
        " WHERE s.task_id = ? ORDER BY d.subtask_no, d.needs_no",
        (task_id,),
    ):
        found[number].append(name)
    return found


def _attempts(connection: sqlite3.Connection, task_id: str) -> dict[int, list[Document]]:
    """Answer by subtask number its attempts, oldest first."""
    found: dict[int, list[Document]] = defaultdict(list)
    for row in rows(
        connection,
        "SELECT a.*, c.change, r.cycle, r.author_attempt, r.verdict, r.summary, r.findings"
        " FROM subtasks s JOIN attempts a ON a.subtask_no = s.subtask_no"
        " LEFT JOIN changes c ON c.attempt_no = a.attempt_no"
        " LEFT JOIN reviews r ON r.subtask_no = a.subtask_no AND r.attempt = a.attempt"
        " WHERE s.task_id = ? ORDER BY a.subtask_no, a.attempt",
        task_id,
    ):
        found[row["subtask_no"]].append(attempt_document(row))
    return found


def _evaluations(connection: sqlite3.Connection, task_id: str) -> dict[str, Document]:
    """Answer by subtask id its latest evaluation."""
    found = rows(
        connection,
        "SELECT e.* FROM subtasks s JOIN evaluations e ON e.subtask_id = s.subtask_id"
        " WHERE s.task_id = ? ORDER BY e.created_at, e.evaluation_id",
        task_id,
    )
    return {row["subtask_id"]: evaluation_document(row) for row in found}


def _read_cursor(cursor: str) -> list[int]:
    try:
        created_at, task_no = cursor.split("-")
        return [int(created_at), int(task_no)]
    except ValueError as error:
        raise InputError(f"{cursor!r} is not a cursor that a page of tasks gave") from error


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


__all__ = [
    "active_attempts",
    "activity",
    "attempts_of_node",
    "inputs_of",
    "next_ready_ms",
    "ready_subtasks",
    "resolve_subtask_id",
    "resolve_task_id",
    "subtask_spec",
    "subtasks",
    "task",
    "task_counts",
    "task_spec",
    "tasks",
    "workers",
]
