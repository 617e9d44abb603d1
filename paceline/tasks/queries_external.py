"""What a node reads of external workers, see `apply_external`."""

import sqlite3
from dataclasses import dataclass

from paceline.tasks.queries_workers import RegisteredWorker, registered_workers


@dataclass(frozen=True, slots=True)
class ExternalWorker:
    """A worker that is no node. `via` is the node that speaks for it since `attached_index`."""

    worker_id: str
    via: str
    attached_index: int
    machine_id: str


def via_of(connection: sqlite3.Connection, worker_id: str) -> str:
    """Answer the node that speaks for that worker; nothing for a node, or one that is unknown."""
    row = connection.execute(
        "SELECT via FROM external_workers WHERE worker_id = ?", (worker_id,)
    ).fetchone()
    return str(row[0]) if row else ""


def external_worker(connection: sqlite3.Connection, worker_id: str) -> ExternalWorker | None:
    """Answer that worker; None if there is none of that id, or it is a node."""
    row = connection.execute(
        "SELECT e.worker_id, e.via, e.attached_index, w.machine_id FROM external_workers e"
        " JOIN workers w ON w.worker_id = e.worker_id WHERE e.worker_id = ?",
        (worker_id,),
    ).fetchone()
    return ExternalWorker(*row) if row else None


def external_ids(connection: sqlite3.Connection) -> frozenset[str]:
    """Answer the ids of all external workers."""
    found = connection.execute("SELECT worker_id FROM external_workers")
    return frozenset(worker_id for (worker_id,) in found)


def registered(connection: sqlite3.Connection, worker_id: str) -> RegisteredWorker | None:
    """Answer what a worker said of itself."""
    found = (each for each in registered_workers(connection) if each.node_id == worker_id)
    return next(found, None)


def holder_of(connection: sqlite3.Connection, subtask_id: str) -> str:
    """Answer the external worker that has the subtask in its hands, or nothing."""
    row = connection.execute(
        "SELECT a.node_id FROM subtasks s JOIN attempts a ON a.subtask_no = s.subtask_no"
        " JOIN external_workers e ON e.worker_id = a.node_id"
        " WHERE s.subtask_id = ? AND a.finished_at IS NULL",
        (subtask_id,),
    ).fetchone()
    return str(row[0]) if row else ""


def last_result(connection: sqlite3.Connection, subtask_id: str) -> tuple[str, int, str] | None:
    """Answer worker, attempt and result of the newest attempt that an external worker ended."""
    row = connection.execute(
        "SELECT a.node_id, a.attempt, a.result_status FROM subtasks s"
        " JOIN attempts a ON a.subtask_no = s.subtask_no"
        " JOIN external_workers e ON e.worker_id = a.node_id"
        " WHERE s.subtask_id = ? AND a.result_status IS NOT NULL"
        " ORDER BY a.attempt DESC LIMIT 1",
        (subtask_id,),
    ).fetchone()
    return (str(row[0]), int(row[1]), str(row[2])) if row else None
