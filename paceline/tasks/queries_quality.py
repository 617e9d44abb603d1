"""What people and workers read about the judging of work: checkpoints, evaluations, briefings."""

import json
import sqlite3
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

from paceline import codec
from paceline.errors import InputError, NotFound
from paceline.tasks.documents import (
    change_document,
    checkpoint_document,
    evaluation_document,
    iso,
    review_document,
    rows,
)
from paceline.tasks.model import RepositoryChange

Document = dict[str, Any]

LISTED: Final = (
    "checkpoint_id",
    "task_id",
    "subtask_id",
    "subtask_name",
    "type",
    "status",
    "reason",
    "triggered_by",
    "created_at",
    "resolved_at",
    "decision",
    "feedback",
    "score",
)
"""The keys of a checkpoint in a list."""

LIST_LIMIT: Final = 1_000

SUGGESTIONS: Final = 5

_CHECKPOINT: Final = (
    "SELECT c.*, s.name AS subtask_name, s.subtask_no FROM checkpoints c"
    " LEFT JOIN subtasks s ON s.subtask_id = c.subtask_id"
)


@dataclass(frozen=True, slots=True)
class Briefing:
    """What an attempt is to know besides its subtask's own words.

    `review`: it is to look at the work in `change`, the `cycle`-th time since a person spoke, and
    `feedback` is what was found before. Otherwise `change` is work to go on from, `feedback` why,
    and `session`, `tool` and `node_id` are those of the attempt that made it. `start` is the commit
    where that work began.
    """

    review: bool = False
    cycle: int = 0
    feedback: str = ""
    start: str = ""
    change: RepositoryChange | None = None
    session: str = ""
    tool: str = ""
    node_id: str = ""


def briefing(connection: sqlite3.Connection, subtask_id: str, attempt: int) -> Briefing:
    """Answer what is to be known by an attempt that has been placed."""
    row = connection.execute(
        "SELECT q.feedback, q.continues, q.start, r.cycle, q.subtask_no, a.session, a.tool,"
        " a.node_id, c.change FROM subtasks s"
        " JOIN quality q ON q.subtask_no = s.subtask_no"
        " LEFT JOIN reviews r ON r.subtask_no = s.subtask_no AND r.attempt = ?"
        " LEFT JOIN attempts a ON a.subtask_no = s.subtask_no AND a.attempt = q.author_attempt"
        " LEFT JOIN changes c ON c.attempt_no = a.attempt_no"
        " WHERE s.subtask_id = ?",
        (attempt, subtask_id),
    ).fetchone()
    if row is None:
        return Briefing()
    feedback, continues, start, cycle, number, session, tool, node_id, encoded = row
    change = codec.decode(RepositoryChange, encoded) if encoded else None
    if cycle is not None:
        return Briefing(True, cycle, _found_before(connection, number), start, change)
    if not continues:
        return Briefing(feedback=feedback)
    return Briefing(False, 0, feedback, start, change, session, tool, node_id)


def _found_before(connection: sqlite3.Connection, subtask_no: int) -> str:
    """Answer what the last review that asked for changes asked for."""
    row = connection.execute(
        "SELECT summary, findings FROM reviews WHERE subtask_no = ? AND verdict = 'revise'"
        " ORDER BY attempt DESC LIMIT 1",
        (subtask_no,),
    ).fetchone()
    if row is None:
        return ""
    lines = [f"- {each['file']}:{each['line']}: {each['message']}" for each in json.loads(row[1])]
    return "\n".join((row[0], *lines)).strip()


# --- for people -----------------------------------------------------------------------------------


def checkpoints(
    connection: sqlite3.Connection, *, status: str = "", task_id: str = ""
) -> list[Document]:
    """Answer the checkpoints in brief, the oldest first: all, of one status, of one task."""
    where, parameters = ["1"], list[Any]()
    for condition, value in (("c.status = ?", status), ("c.task_id = ?", task_id)):
        if value:
            where.append(condition)
            parameters.append(value)
    sql = (
        f"{_CHECKPOINT} WHERE {' AND '.join(where)} ORDER BY c.created_at, c.checkpoint_id LIMIT ?"
    )
    found = [_full(connection, row) for row in rows(connection, sql, *parameters, LIST_LIMIT)]
    return [{key: each[key] for key in LISTED} for each in found]


def checkpoints_of(connection: sqlite3.Connection, task_id: str) -> list[Document]:
    """Answer a task's checkpoints with the corrections that people gave, the oldest first."""
    corrections: dict[str, list[Document]] = defaultdict(list)
    for row in rows(
        connection,
        "SELECT r.* FROM checkpoints c JOIN corrections r ON r.checkpoint_id = c.checkpoint_id"
        " WHERE c.task_id = ? ORDER BY r.created_at, r.correction_id",
        task_id,
    ):
        corrections[row["checkpoint_id"]].append({**row, "created_at": iso(row["created_at"])})
    sql = f"{_CHECKPOINT} WHERE c.task_id = ? ORDER BY c.created_at, c.checkpoint_id"
    return [
        _full(connection, row, corrections[row["checkpoint_id"]])
        for row in rows(connection, sql, task_id)
    ]


def checkpoint(connection: sqlite3.Connection, identifier: str) -> Document:
    """Answer one checkpoint with all that a person needs to decide. Raise NotFound, InputError.

    That is besides its own: `evaluation` (with the beginning of the diff), `reviews`, `attempt`
    (with `text` and `log_tail`), `change` and `cost_usd` of the task so far.
    """
    checkpoint_id = resolve_checkpoint_id(connection, identifier)
    row = rows(connection, f"{_CHECKPOINT} WHERE c.checkpoint_id = ?", checkpoint_id)[0]
    corrections = rows(
        connection, "SELECT * FROM corrections WHERE checkpoint_id = ?", checkpoint_id
    )
    given = [{**each, "created_at": iso(each["created_at"])} for each in corrections]
    document = _full(connection, row, given)
    attempt = document["checkpoint_data"].get("attempt")
    (cost,) = connection.execute(
        "SELECT sum(a.cost_usd) FROM subtasks s JOIN attempts a ON a.subtask_no = s.subtask_no"
        " WHERE s.task_id = ?",
        (row["task_id"],),
    ).fetchone()
    return document | {
        "evaluation": _evaluation(connection, row["subtask_id"], attempt),
        "reviews": _reviews(connection, row["subtask_no"]),
        "attempt": _attempt(connection, row["subtask_no"], attempt),
        "change": _change(connection, row["subtask_no"], attempt),
        "cost_usd": cost,
    }


def evaluations(connection: sqlite3.Connection, identifier: str) -> list[Document]:
    """Answer the evaluations of the subtask with that id, or its beginning, the oldest first."""
    found = connection.execute(
        "SELECT subtask_id FROM subtasks WHERE subtask_id >= ? AND subtask_id < ?"
        " ORDER BY subtask_id LIMIT ?",
        (identifier, identifier + "\U0010ffff", SUGGESTIONS + 1),
    ).fetchall()
    subtask_id = _the_one([row[0] for row in found], identifier, "subtask")
    sql = "SELECT * FROM evaluations WHERE subtask_id = ? ORDER BY created_at, evaluation_id"
    return [evaluation_document(row) for row in rows(connection, sql, subtask_id)]


def resolve_checkpoint_id(connection: sqlite3.Connection, wanted: str) -> str:
    """Answer the checkpoint with that id or beginning, else the only open one of such a task.

    Raise NotFound, and InputError where several are meant.
    """
    if not wanted:
        raise InputError("which checkpoint? Give its id, or the beginning of one")
    until = wanted + "\U0010ffff"
    found = connection.execute(
        "SELECT checkpoint_id FROM checkpoints WHERE checkpoint_id >= ? AND checkpoint_id < ?"
        " ORDER BY checkpoint_id LIMIT ?",
        (wanted, until, SUGGESTIONS + 1),
    ).fetchall()
    found = (
        found
        or connection.execute(
            "SELECT checkpoint_id FROM checkpoints WHERE task_id >= ? AND task_id < ?"
            " AND status = 'pending' ORDER BY created_at, checkpoint_id LIMIT ?",
            (wanted, until, SUGGESTIONS + 1),
        ).fetchall()
    )
    return _the_one([row[0] for row in found], wanted, "checkpoint")


def expired(connection: sqlite3.Connection, now_ms: int) -> list[tuple[str, str]]:
    """Answer the open checkpoints whose time is over, each with the decision of its policy."""
    found = connection.execute(
        "SELECT checkpoint_id, checkpoint_data FROM checkpoints INDEXED BY checkpoints_pending"
        " WHERE status = 'pending' ORDER BY created_at LIMIT ?",
        (LIST_LIMIT,),
    )
    read = ((checkpoint_id, json.loads(data)) for checkpoint_id, data in found)
    return [
        (checkpoint_id, str(data.get("on_expiry", "accept")))
        for checkpoint_id, data in read
        if data.get("expires_ms") is not None and data["expires_ms"] <= now_ms
    ]


def _full(
    connection: sqlite3.Connection, row: Document, corrections: list[Document] | None = None
) -> Document:
    document = checkpoint_document(row, corrections or [])
    attempt = document["checkpoint_data"].get("attempt")
    evaluation = _evaluation(connection, row["subtask_id"], attempt)
    document["score"] = evaluation["score"] if evaluation else None
    document.pop("subtask_no")
    return document


def _evaluation(
    connection: sqlite3.Connection, subtask_id: str | None, attempt: object
) -> Document | None:
    if not subtask_id or not isinstance(attempt, int):
        return None
    sql = "SELECT * FROM evaluations WHERE evaluation_id = ?"
    found = rows(connection, sql, f"{subtask_id}.{attempt}")
    return evaluation_document(found[0]) if found else None


def _reviews(connection: sqlite3.Connection, subtask_no: int | None) -> list[Document]:
    sql = (
        "SELECT r.*, a.node_id, a.tool FROM reviews r JOIN attempts a"
        " ON a.subtask_no = r.subtask_no AND a.attempt = r.attempt"
        " WHERE r.subtask_no = ? ORDER BY r.attempt"
    )
    return [
        review_document(row)
        | {"attempt": row["attempt"], "node_id": row["node_id"], "tool": row["tool"]}
        for row in rows(connection, sql, subtask_no)
    ]


def _attempt(
    connection: sqlite3.Connection, subtask_no: int | None, attempt: object
) -> Document | None:
    found = rows(
        connection,
        "SELECT attempt, node_id, tool, text, log_tail, cost_usd, duration_ms FROM attempts"
        " WHERE subtask_no = ? AND attempt = ?",
        subtask_no,
        attempt,
    )
    return found[0] if found else None


def _change(
    connection: sqlite3.Connection, subtask_no: int | None, attempt: object
) -> Document | None:
    row = connection.execute(
        "SELECT c.change FROM attempts a JOIN changes c ON c.attempt_no = a.attempt_no"
        " WHERE a.subtask_no = ? AND a.attempt = ?",
        (subtask_no, attempt),
    ).fetchone()
    return change_document(codec.decode(RepositoryChange, row[0])) if row else None


def _the_one(found: list[str], wanted: str, kind: str) -> str:
    if not found:
        raise NotFound(f"no {kind} has the id {wanted}")
    if len(found) > 1 and found[0] != wanted:
        some = ", ".join(found[:SUGGESTIONS])
        raise InputError(f"{wanted} stands for several {kind}s; did you mean one of {some}?")
    return found[0]
