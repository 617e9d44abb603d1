"""What the nodes read of the cluster itself: its token, its members, who is trusted."""

import sqlite3
from dataclasses import dataclass, field

from paceline.tasks.model import MemberStatus


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """The cluster's identity. The token is for admission and `token show`; no `repr` has it."""

    cluster_id: str
    token: str = field(repr=False)
    token_version: int
    approve: bool
    created_at: int
    recovered_at: int | None = None


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """One node that is or was a member. Times are ms since 1970.

    `public_key` is empty and `admitted_at` None for a node that was revoked or left before this
    state knew of it.
    """

    node_id: str
    public_key: bytes
    name: str
    status: MemberStatus
    trusted: bool
    admitted_at: int | None
    admitted_by: str
    ended_at: int | None = None
    ended_by: str = ""
    reason: str = ""


def cluster(connection: sqlite3.Connection) -> ClusterRecord | None:
    """Answer the cluster's record; None until it is founded."""
    row = connection.execute(
        "SELECT cluster_id, token, token_version, approve, created_at, recovered_at FROM cluster"
    ).fetchone()
    if row is None:
        return None
    cluster_id, token, version, approve, created_at, recovered_at = row
    return ClusterRecord(cluster_id, token, version, bool(approve), created_at, recovered_at)


def members(connection: sqlite3.Connection) -> list[MemberRecord]:
    """Answer all who are or were members, by node id."""
    found = connection.execute(
        "SELECT node_id, public_key, name, status, trusted, admitted_at, admitted_by, ended_at,"
        " ended_by, reason FROM members ORDER BY node_id"
    )
    return [
        MemberRecord(node_id, public_key, name, MemberStatus(status), bool(trusted), *rest)
        for node_id, public_key, name, status, trusted, *rest in found
    ]


def is_revoked(connection: sqlite3.Connection, node_id: str) -> bool:
    """Answer whether the node was thrown out."""
    return _status(connection, node_id) == MemberStatus.REVOKED


def has_left(connection: sqlite3.Connection, node_id: str) -> bool:
    """Answer whether the node left of its own will and has not come back."""
    return _status(connection, node_id) == MemberStatus.LEFT


def revoked(connection: sqlite3.Connection) -> frozenset[str]:
    """Answer the ids of all nodes that were thrown out."""
    rows = connection.execute("SELECT node_id FROM members WHERE status = 'revoked'")
    return frozenset(node_id for (node_id,) in rows)


def left(connection: sqlite3.Connection) -> frozenset[str]:
    """Answer the ids of all nodes that have left and have not come back."""
    rows = connection.execute("SELECT node_id FROM members WHERE status = 'left'")
    return frozenset(node_id for (node_id,) in rows)


def trusted(connection: sqlite3.Connection) -> frozenset[str]:
    """Answer the ids of the members that may run sensitive work."""
    rows = connection.execute("SELECT node_id FROM members WHERE trusted AND status = 'member'")
    return frozenset(node_id for (node_id,) in rows)


def has_work(connection: sqlite3.Connection) -> bool:
    """Answer whether any task was ever submitted here; such a cluster is not given up unasked."""
    (found,) = connection.execute("SELECT EXISTS (SELECT 1 FROM tasks)").fetchone()
    return bool(found)


def _status(connection: sqlite3.Connection, node_id: str) -> str | None:
    row = connection.execute("SELECT status FROM members WHERE node_id = ?", (node_id,)).fetchone()
    return None if row is None else str(row[0])
