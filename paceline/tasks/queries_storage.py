"""Which stored things the state refers to; whatever else a node stores may be deleted."""

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass

from paceline import codec
from paceline.tasks import phases
from paceline.tasks.model import Output, Repository, RepositoryChange


@dataclass(frozen=True, slots=True)
class LiveStorage:
    """Blobs by SHA-256, and commits, that some task in the state needs."""

    blobs: frozenset[str]
    commits: frozenset[str]


def live_storage(connection: sqlite3.Connection) -> LiveStorage:
    """Answer what is referred to: by any task's repository, any attempt's output or change."""
    repositories = [
        codec.decode(Repository, encoded)
        for (encoded,) in connection.execute(
            "SELECT repository FROM tasks WHERE repository IS NOT NULL"
        )
    ]
    outputs = (
        codec.decode(Output, encoded)
        for (encoded,) in connection.execute("SELECT output FROM attempts WHERE output IS NOT NULL")
    )
    changes = (
        codec.decode(RepositoryChange, encoded)
        for (encoded,) in connection.execute("SELECT change FROM changes")
    )
    return LiveStorage(
        blobs=frozenset(
            [each.bundle.sha256 for each in repositories]
            + [each.blob.sha256 for each in outputs if each.blob is not None]
            + [each.bundle.sha256 for each in changes]
        ),
        commits=frozenset(each.commit for each in repositories),
    )


def still_open(connection: sqlite3.Connection, subtask_ids: Collection[str]) -> frozenset[str]:
    """Answer those of the subtasks that have not ended: another attempt of them may come."""
    found = (
        connection.execute(
            "SELECT subtask_id, status FROM subtasks WHERE subtask_id = ?", (subtask_id,)
        ).fetchone()
        for subtask_id in sorted(subtask_ids)
    )
    return frozenset(row[0] for row in found if row and row[1] in phases.OPEN_SUBTASK)
