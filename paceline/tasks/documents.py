"""Rows of the state as JSON-ready documents: the shapes that people and programs see."""

import base64
import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from paceline import codec
from paceline.tasks.effects import MAX_TIME_MS
from paceline.tasks.model import (
    AttemptStatus,
    Output,
    Repository,
    RepositoryChange,
    SubtaskStatus,
)

Document = dict[str, Any]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_IN_HAND: Final = frozenset({AttemptStatus.ALLOCATED, AttemptStatus.RUNNING})


def rows(connection: sqlite3.Connection, sql: str, *parameters: object) -> list[Document]:
    """Answer all rows as dicts by column name."""
    cursor = connection.execute(sql, parameters)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def iso(time_ms: int | None) -> str | None:
    """Answer milliseconds since 1970 as ISO 8601 in UTC, `2023-11-14T22:13:20.123Z`."""
    if time_ms is None:
        return None
    moment = _EPOCH + timedelta(milliseconds=time_ms)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def decoded(text: str | None) -> Any:
    """Read JSON text of a column; None stays None."""
    return None if text is None else json.loads(text)


def task_document(row: Document) -> Document:
    """Answer a task without its subtasks."""
    return {
        "task_id": row["task_id"],
        "type": row["type"],
        "description": row["description"],
        "status": row["status"],
        "progress": row["progress"],
        "priority": row["priority"],
        "privacy": row["privacy_level"],
        "checkpoint_frequency": row["checkpoint_frequency"],
        "tool_preferences": decoded(row["tool_preferences"]),
        "metadata": decoded(row["task_metadata"]),
        "repository": _repository(row["repository"]),
        "submitted_by": row["user_id"] or "",
        "subtask_count": row["subtask_count"],
        "completed_count": row["completed_count"],
        "details": {
            "cancelling": bool(row["cancel_requested"] and row["open_count"]),
            "reason": row["reason"],
        },
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
        "started_at": iso(row["started_at"]),
        "completed_at": iso(row["completed_at"]),
        "deadline": iso(row["deadline"]),
        "paused": bool(row["paused"] and row["open_count"]),
    }


def subtask_document(
    row: Document,
    *,
    needs: Sequence[str],
    attempts: Sequence[Document],
    evaluation: Document | None,
) -> Document:
    """Answer a subtask; its `tool` is the last attempt's, or the one it would rather have."""
    waits = row["status"] == SubtaskStatus.PENDING and row["not_before"] < MAX_TIME_MS
    waits_until = row["not_before"] if waits else 0
    work = [each for each in attempts if each["kind"] == "work"]
    return {
        "subtask_id": row["subtask_id"],
        "name": row["name"],
        "description": row["description"],
        "status": row["status"],
        "dependencies": list(needs),
        "tool": work[-1]["tool"] if work else row["recommended_tool"],
        "node_id": row["assigned_worker"],
        "priority": row["priority"],
        "complexity": row["complexity"],
        "max_attempts": row["max_attempts"],
        "cancel_requested": bool(row["cancel_requested"]),
        "reason": row["reason"],
        "not_before": iso(waits_until) if waits_until else None,
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
        "assigned_at": iso(row["assigned_at"]),
        "completed_at": iso(row["completed_at"]),
        "attempts": list(attempts),
        "evaluation": evaluation,
        "result": _result(row["status"], work),
    }


def attempt_document(row: Document) -> Document:
    """Answer one try, with everything that its node told about it.

    `kind` is `work`, or `review` for one that looked at another's: then `review` is what it found.
    """
    is_review = row.get("cycle") is not None
    return {
        "attempt": row["attempt"],
        "kind": "review" if is_review else "work",
        "review": review_document(row) if is_review else None,
        "node_id": row["node_id"],
        "tool": row["tool"],
        "status": row["status"],
        "token": row["token"],
        "score": row["score"],
        "allocated_at": iso(row["allocated_at"]),
        "started_at": iso(row["started_at"]),
        "finished_at": iso(row["finished_at"]),
        "result_status": row["result_status"],
        "reason": row["reason"],
        "text": row["text"],
        "output": _output(row["output"]),
        "exit_code": row["exit_code"],
        "usage": decoded(row["usage"]) or {},
        "cost_usd": row["cost_usd"],
        "duration_ms": row["duration_ms"],
        "log_tail": row["log_tail"],
        "session": row["session"],
        "retryable_after_ms": row["retryable_after_ms"],
        "details": decoded(row["details"]) or {},
        "change": _change(row["change"]),
    }


def review_document(row: Document) -> Document:
    """Answer what one review came to; `verdict` is approve, revise, none (unusable), or empty."""
    return {
        "cycle": row["cycle"],
        "of_attempt": row["author_attempt"],
        "verdict": row["verdict"],
        "summary": row["summary"],
        "findings": decoded(row["findings"]),
    }


def worker_document(row: Document, running: Sequence[Document]) -> Document:
    """Answer a worker as it was registered and judged; `running` is what it has in its hands.

    `via` is the node that speaks for it, where it is no node itself.
    """
    return {
        "node_id": row["worker_id"],
        "via": row["via"],
        "machine_id": row["machine_id"],
        "name": row["machine_name"],
        "address": row["address"],
        "status": row["status"],
        "draining": bool(row["drain"]),
        "drain_until": iso(row["drain_until"]),
        "reason": row["reason"],
        "slots": row["slots"],
        "version": row["version"],
        "labels": decoded(row["labels"]),
        "system_info": decoded(row["system_info"]),
        "tools": decoded(row["available_tools"]),
        "running": list(running),
        "registered_at": iso(row["registered_at"]),
        "updated_at": iso(row["updated_at"]),
        "last_heartbeat": iso(row["last_heartbeat"]),
    }


def evaluation_document(row: Document) -> Document:
    """Answer one evaluation; `score` is None where nobody could judge."""
    details = decoded(row["details"])
    return {
        **row,
        "score": details.get("score", row["overall_score"]),
        "attempt": details.get("attempt"),
        "findings": details.get("findings", []),
        "dimension_scores": decoded(row["dimension_scores"]),
        "details": details,
        "needs_checkpoint": bool(row["needs_checkpoint"]),
        "created_at": iso(row["created_at"]),
    }


def checkpoint_document(row: Document, corrections: Sequence[Document]) -> Document:
    """Answer one checkpoint with the corrections that people gave."""
    data = decoded(row["checkpoint_data"])
    return {
        **row,
        "type": row["checkpoint_type"],
        "reason": data.get("reason", ""),
        "decision": data.get("decision"),
        "decided_by": data.get("by"),
        "feedback": data.get("feedback", ""),
        "comments": data.get("comments", []),
        "expires_at": iso(data.get("expires_ms")),
        "checkpoint_data": data,
        "created_at": iso(row["created_at"]),
        "resolved_at": iso(row["resolved_at"]),
        "corrections": list(corrections),
    }


def _result(status: str, attempts: Sequence[Document]) -> Document | None:
    """Answer what the subtask came to: its last attempt's outcome, once it has ended with one."""
    if status == SubtaskStatus.PENDING or not attempts or attempts[-1]["status"] in _IN_HAND:
        return None
    last = attempts[-1]
    if last["result_status"] is None:
        return None
    return {
        "status": last["result_status"],
        "attempt": last["attempt"],
        "text": last["text"],
        "output": last["output"],
        "exit_code": last["exit_code"],
        "usage": last["usage"],
        "cost_usd": last["cost_usd"],
        "duration_ms": last["duration_ms"],
        "change": last["change"],
    }


def _output(encoded: bytes | None) -> Document | None:
    """Answer an output: `text` (or `base64`, where it is no UTF-8), or where the blob is."""
    if encoded is None:
        return None
    output = codec.decode(Output, encoded)
    document: Document = {"size": output.size}
    if output.blob is not None:
        document["sha256"] = output.blob.sha256
        document["holders"] = list(output.blob.holders)
        return document
    try:
        document["text"] = output.inline.decode()
    except UnicodeDecodeError:
        document["base64"] = base64.b64encode(output.inline).decode()
    return document


def _change(encoded: bytes | None) -> Document | None:
    if encoded is None:
        return None
    return change_document(codec.decode(RepositoryChange, encoded))


def change_document(change: RepositoryChange) -> Document:
    """Answer what an attempt did to the repository, and who holds it."""
    return {
        "base": change.base,
        "start": change.start,
        "commit": change.commit,
        "files": change.files,
        "insertions": change.insertions,
        "deletions": change.deletions,
        "bundle": {
            "sha256": change.bundle.sha256,
            "size": change.bundle.size,
            "holders": list(change.bundle.holders),
        },
    }


def _repository(encoded: bytes | None) -> Document | None:
    if encoded is None:
        return None
    repository = codec.decode(Repository, encoded)
    return {
        "source": repository.source,
        "ref": repository.ref,
        "commit": repository.commit,
        "folder": repository.folder,
        "bundle": {"sha256": repository.bundle.sha256, "size": repository.bundle.size},
    }
