"""The commands about the cluster itself: who belongs to it, who is trusted, what admits newcomers.

Rules that hold whatever is proposed, by whomever:

- A cluster is founded once; its founder is its first trusted member.
- Trust comes from trust: only a trusted member grants it or takes it away, and nobody can take it
  from the last one. Should the last trusted node be revoked, or leave, then nobody is trusted:
  sensitive work waits, and only a recovery (see docs/operations.md) gives the cluster a new start.
- A revoked id never comes back and nothing that it proposes is done. That it is out and that the
  token it knew is worthless is one step: there is no moment between the two.
- The token stands in one column of one row. It is in no result, no row of the activity log and no
  change that listeners are told of.

Who may talk to whom follows from this state (see node/members), who votes does not: leaving the
log's membership is a change of its own, which the leader makes when it sees a revocation here.
"""

from typing import Any, Final, NamedTuple

from paceline.errors import Conflict, InputError, NotFound
from paceline.ids import fingerprint
from paceline.tasks.apply_workers import drop_worker
from paceline.tasks.commands import (
    AdmitMember,
    FoundCluster,
    RecoverCluster,
    RemoveMember,
    RevokeMember,
    RotateToken,
    TrustMember,
)
from paceline.tasks.effects import Change, Effects, brief
from paceline.tasks.model import MemberStatus

MAX_TOKEN: Final = 1_024
"""Characters of a token."""
MAX_NAME: Final = 200
"""Characters of a name that are kept."""


def found_cluster(effects: Effects, command: FoundCluster) -> bool:
    """Begin. Result: whether that was new. Raise Conflict where there is another cluster."""
    _require_own_key(command.node_id, command.public_key)
    _require_token(command.token)
    if not command.cluster_id:
        raise InputError("a cluster needs an id")
    known = effects.db.execute("SELECT cluster_id FROM cluster").fetchone()
    if known is not None:
        if known[0] == command.cluster_id:
            return False
        raise Conflict(f"this is the cluster {known[0]} already")
    effects.db.execute(
        "INSERT INTO cluster (id, cluster_id, token, token_version, approve, created_at)"
        " VALUES (1, ?, ?, 1, ?, ?)",
        (command.cluster_id, command.token, command.approve, effects.now_ms),
    )
    _enter(effects, _Entrant.of(command, command.node_id), trusted=True)
    _tell_cluster(effects, "cluster_founded", command.node_id, {"cluster_id": command.cluster_id})
    return True


def admit_member(effects: Effects, command: AdmitMember) -> bool:
    """Let a node in. Result: whether it was no member. Raise Conflict for a revoked one."""
    _require_own_key(command.node_id, command.public_key)
    _require_cluster(effects)
    require_not_revoked(effects, command.admitted_by)
    status = _status(effects, command.node_id)
    if status == MemberStatus.REVOKED:
        raise Conflict(
            f"{command.node_id} was revoked and cannot come back: start that machine with an empty"
            " data directory, as a new node"
        )
    if status == MemberStatus.MEMBER:
        return False
    _enter(effects, _Entrant.of(command, command.admitted_by), trusted=False)
    details = {"name": command.name[:MAX_NAME], "by": command.admitted_by}
    _tell_member(effects, "member_admitted", command.node_id, MemberStatus.MEMBER, details)
    return True


def revoke_member(effects: Effects, command: RevokeMember) -> int:
    """Throw a node out. Result: the token's version. Raise Conflict, InputError."""
    _require_token(command.new_token)
    version = _require_cluster(effects)
    require_not_revoked(effects, command.by)
    if command.by == command.node_id:
        raise Conflict("a node cannot revoke itself: it leaves, with `paceline node leave`")
    status = _status(effects, command.node_id)
    if status == MemberStatus.REVOKED:
        return version
    if status == MemberStatus.MEMBER:
        _require_others(effects, command.node_id)
    _end(effects, command.node_id, MemberStatus.REVOKED, command.by, command.reason)
    drop_worker(effects, command.node_id, "its node was revoked")
    details = {"by": command.by, "reason": brief(command.reason)}
    _tell_member(effects, "member_revoked", command.node_id, MemberStatus.REVOKED, details)
    return _change_token(effects, command.new_token, command.by, version)


def rotate_token(effects: Effects, command: RotateToken) -> int:
    """Take a new token. Result: its version. Raise Conflict before there is a cluster."""
    _require_token(command.token)
    version = _require_cluster(effects)
    require_not_revoked(effects, command.by)
    return _change_token(effects, command.token, command.by, version)


def trust_member(effects: Effects, command: TrustMember) -> bool:
    """Grant or take trust. Result: whether that was new. Raise Conflict, NotFound."""
    row = _trusted_of(effects, command.by)
    if not row:
        raise Conflict(f"{command.by} is not trusted itself: only a trusted node can decide that")
    trusted = _trusted_of(effects, command.node_id)
    if trusted is None:
        raise NotFound(f"no member {command.node_id}")
    if trusted == command.trusted:
        return False
    if not command.trusted and _count(effects, "trusted") == 1:
        raise Conflict("the last trusted node cannot be untrusted: trust another one first")
    effects.db.execute(
        "UPDATE members SET trusted = ? WHERE node_id = ?", (command.trusted, command.node_id)
    )
    action = "member_trusted" if command.trusted else "member_untrusted"
    _tell_member(effects, action, command.node_id, MemberStatus.MEMBER, {"by": command.by})
    return True


def remove_member(effects: Effects, command: RemoveMember) -> bool:
    """Let a node go. Result: whether it was a member. Raise Conflict for the last one."""
    require_not_revoked(effects, command.by)
    status = _status(effects, command.node_id)
    if status is not None and status != MemberStatus.MEMBER:
        return False
    if status == MemberStatus.MEMBER:
        _require_others(effects, command.node_id)
    _end(effects, command.node_id, MemberStatus.LEFT, command.by, "")
    drop_worker(effects, command.node_id, "its node has left")
    _tell_member(effects, "member_left", command.node_id, MemberStatus.LEFT, {"by": command.by})
    return status == MemberStatus.MEMBER


def recover_cluster(effects: Effects, command: RecoverCluster) -> int:
    """Go on as another cluster with this member alone. Result: the token's version."""
    _require_own_key(command.node_id, command.public_key)
    _require_token(command.token)
    if not command.cluster_id:
        raise InputError("a cluster needs an id")
    version = _take_new_identity(effects, command)
    for (node_id,) in effects.db.execute(
        "SELECT node_id FROM members WHERE status = 'member' AND node_id <> ? ORDER BY node_id",
        (command.node_id,),
    ).fetchall():
        _end(effects, node_id, MemberStatus.LEFT, command.node_id, "lost before the recovery")
        _tell_member(effects, "member_left", node_id, MemberStatus.LEFT, {"by": command.node_id})
    for (node_id,) in effects.db.execute(
        "SELECT worker_id FROM workers WHERE worker_id <> ? ORDER BY worker_id", (command.node_id,)
    ).fetchall():
        drop_worker(effects, node_id, "its node was lost before the recovery")
    _enter(effects, _Entrant.of(command, command.node_id), trusted=True)
    _tell_cluster(effects, "cluster_recovered", command.node_id, {"cluster_id": command.cluster_id})
    return version


def require_not_revoked(effects: Effects, node_id: str) -> None:
    """Raise Conflict where the speaker was thrown out."""
    if _status(effects, node_id) == MemberStatus.REVOKED:
        raise Conflict(f"{node_id} was revoked: nothing is done for it any more")


# --- what the commands are made of ----------------------------------------------------------------


class _Entrant(NamedTuple):
    node_id: str
    public_key: bytes
    name: str
    admitted_by: str

    @classmethod
    def of(
        cls, command: FoundCluster | AdmitMember | RecoverCluster, admitted_by: str
    ) -> "_Entrant":
        return cls(command.node_id, command.public_key, command.name[:MAX_NAME], admitted_by)


def _require_own_key(node_id: str, public_key: bytes) -> None:
    if fingerprint(public_key) != node_id:
        raise InputError(f"{node_id} is not the fingerprint of the key that came with it")


def _require_token(token: str) -> None:
    if not 0 < len(token) <= MAX_TOKEN:
        raise InputError(f"a token has 1 to {MAX_TOKEN} characters")


def _require_cluster(effects: Effects) -> int:
    """Answer the token's version. Raise Conflict before the cluster is founded."""
    row = effects.db.execute("SELECT token_version FROM cluster").fetchone()
    if row is None:
        raise Conflict("the cluster is not founded yet; try again in a moment")
    return int(row[0])


def _require_others(effects: Effects, node_id: str) -> None:
    if _count(effects, "status = 'member'") == 1:
        raise Conflict(f"{node_id} is the last member: a cluster cannot be without one")


def _count(effects: Effects, condition: str) -> int:
    row = effects.db.execute(f"SELECT count(*) FROM members WHERE {condition}").fetchone()
    return int(row[0])


def _status(effects: Effects, node_id: str) -> str | None:
    row = effects.db.execute("SELECT status FROM members WHERE node_id = ?", (node_id,)).fetchone()
    return None if row is None else str(row[0])


def _trusted_of(effects: Effects, node_id: str) -> bool | None:
    """Answer whether a member is trusted, None where there is no such member."""
    row = effects.db.execute(
        "SELECT trusted FROM members WHERE node_id = ? AND status = 'member'", (node_id,)
    ).fetchone()
    return None if row is None else bool(row[0])


def _enter(effects: Effects, entrant: _Entrant, *, trusted: bool) -> None:
    effects.db.execute(
        "INSERT OR REPLACE INTO members"
        " (node_id, public_key, name, status, trusted, admitted_at, admitted_by)"
        " VALUES (?, ?, ?, 'member', ?, ?, ?)",
        (
            entrant.node_id,
            entrant.public_key,
            entrant.name,
            trusted,
            effects.now_ms,
            entrant.admitted_by,
        ),
    )


def _end(effects: Effects, node_id: str, status: MemberStatus, by: str, reason: str) -> None:
    """Note that a node is out, and no more trusted; also one of which no row tells yet."""
    effects.db.execute(
        "INSERT INTO members"
        " (node_id, public_key, name, status, trusted, admitted_by, ended_at, ended_by, reason)"
        " VALUES (?, x'', '', ?, 0, '', ?, ?, ?) ON CONFLICT (node_id) DO UPDATE SET"
        " status = excluded.status, trusted = 0, ended_at = excluded.ended_at,"
        " ended_by = excluded.ended_by, reason = excluded.reason",
        (node_id, status.value, effects.now_ms, by, brief(reason)),
    )


def _change_token(effects: Effects, token: str, by: str, version: int) -> int:
    effects.db.execute("UPDATE cluster SET token = ?, token_version = ?", (token, version + 1))
    _tell_cluster(effects, "token_rotated", by, {"by": by, "version": version + 1})
    return version + 1


def _take_new_identity(effects: Effects, command: RecoverCluster) -> int:
    row = effects.db.execute("SELECT token_version FROM cluster").fetchone()
    version = 1 if row is None else int(row[0]) + 1
    effects.db.execute(
        "INSERT INTO cluster"
        " (id, cluster_id, token, token_version, approve, created_at, recovered_at)"
        " VALUES (1, ?, ?, ?, 0, ?, ?) ON CONFLICT (id) DO UPDATE SET"
        " cluster_id = excluded.cluster_id, token = excluded.token,"
        " token_version = excluded.token_version, recovered_at = excluded.recovered_at",
        (command.cluster_id, command.token, version, effects.now_ms, effects.now_ms),
    )
    return version


def _tell_member(
    effects: Effects, action: str, node_id: str, status: MemberStatus, details: dict[str, Any]
) -> None:
    effects.log(action, worker_id=node_id, details=details)
    effects.changes.append(Change("member", status.value, node_id=node_id))


def _tell_cluster(effects: Effects, action: str, node_id: str, details: dict[str, Any]) -> None:
    effects.log(action, worker_id=node_id, details=details)
    effects.changes.append(Change("cluster", node_id=node_id))
