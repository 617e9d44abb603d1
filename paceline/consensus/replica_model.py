"""The bounds of a replica, what it tells of itself, and to whom."""

from dataclasses import dataclass, field
from typing import NamedTuple

from paceline.consensus.compaction import CompactionLimits
from paceline.consensus.config import CoreStatus, PeerProgress
from paceline.consensus.core import Core
from paceline.consensus.messages import Membership, SnapshotMeta
from paceline.consensus.transfer import TransferLimits
from paceline.ids import NodeId


@dataclass(frozen=True, slots=True)
class ReplicaLimits:
    """Bounds of one replica. Ticks are the owner's, 50 ms as a rule."""

    pending_proposals: int = 16_384
    """So many may wait for their decision; one more is refused as Busy."""
    pending_bytes: int = 32 * 1024 * 1024
    proposal_bytes: int = 3 * 1024 * 1024
    """A larger command is refused as InputError. With its wrapping it must fit into one message."""
    batch_entries: int = 1024
    batch_bytes: int = 512 * 1024
    """What is given to the core at once; one larger command may exceed it."""
    waiting_reads: int = 16_384
    read_retry_ticks: int = 4
    read_timeout_ticks: int = 60
    apply_entries: int = 64
    apply_bytes: int = 256 * 1024
    """One slice, one pump: so that the owner's loop is never held for more than milliseconds."""
    room_ticks: int = 40
    """A leader without room for its state waits so long for it; then it lets another voter lead."""
    unapplied_bytes: int = 64 * 1024 * 1024
    """A node without room for its state takes no more entries once so much is not applied."""
    election_ticks: int = 20
    """The same as the core's; a clock jump of more than half of it counts as a stall."""
    compaction: CompactionLimits = field(default_factory=CompactionLimits)
    transfer: TransferLimits = field(default_factory=TransferLimits)


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """What a replica knows, now. `role` is the core's: follower, candidate, leader ..."""

    node_id: NodeId
    role: str
    term: int
    leader_id: NodeId
    commit_index: int
    applied_index: int
    last_index: int
    membership: Membership
    quorum_active: bool
    """A leader: a quorum answered lately. Others: a leader is known."""
    peers: tuple[PeerProgress, ...]
    """A leader: its followers, sorted by id; else empty."""
    pending: int
    stalled: bool
    """The disk is full, under the log or the state; nothing is acknowledged until there is room."""

    @classmethod
    def of(
        cls, core: CoreStatus, *, applied_index: int, pending: int, stalled: bool
    ) -> "ReplicaStatus":
        """Answer the status of a replica with that core."""
        return cls(
            node_id=core.node_id,
            role=core.role,
            term=core.term,
            leader_id=core.leader_id,
            commit_index=core.commit_index,
            applied_index=applied_index,
            last_index=core.last_index,
            membership=core.membership,
            quorum_active=core.quorum_active,
            peers=core.peers,
            pending=pending,
            stalled=stalled,
        )


class Standing(NamedTuple):
    """A core's role, and the term and leader it goes by: what a replica compares turn by turn."""

    role: str
    term: int
    leader_id: NodeId

    @classmethod
    def of(cls, core: Core) -> "Standing":
        """Answer how it stands now."""
        return cls(core.role, core.term, core.leader_id)


class ReplicaObserver:
    """What a replica tells of itself, for metrics and logs. Every hook does nothing by default.

    Hooks run inside `pump` and must be quick.
    """

    def role_changed(self, status: ReplicaStatus) -> None:
        """Take note that role, term or known leader changed."""

    def persisted(self, entries: int) -> None:
        """Take note that a write with so many entries became durable."""

    def applied(self, index: int, entries: int) -> None:
        """Take note that the machine applied so many entries, the last at `index`."""

    def compacted(self, meta: SnapshotMeta) -> None:
        """Take note that this node needs no entry up to there any more."""

    def snapshot_sent(self, to: NodeId, meta: SnapshotMeta, ok: bool) -> None:
        """Take note that a transfer to a follower ended."""

    def snapshot_installed(self, meta: SnapshotMeta) -> None:
        """Take note that the whole state was replaced by the leader's."""

    def stall_changed(self, stalled: bool) -> None:
        """Take note that the disk is full, or that there is room again."""
