"""The options of a core, and what it tells about itself."""

from dataclasses import dataclass

from paceline.consensus.messages import Membership
from paceline.errors import InvalidSettings
from paceline.ids import NodeId

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class CoreConfig:
    """Options of one node's core. Ticks are the shell's (50 ms unless it says otherwise).

    `heartbeat_ticks` must be well below `election_ticks`, and a tick well above a round trip. A
    follower stands after a silence of `election_ticks` to twice that.
    """

    node_id: NodeId
    election_ticks: int = 20
    heartbeat_ticks: int = 2
    hurry_ticks: int = 3
    """A follower that forgot its leader stands within 1 to this many ticks."""
    stall_ticks: int = 40
    """A leader whose disk has been at one write this long lets another voter lead."""
    max_append_bytes: int = 512 * KIB
    max_append_entries: int = 1024
    max_inflight_messages: int = 16
    """Appends on their way to one follower, not yet answered."""
    max_inflight_bytes: int = 4 * MIB
    max_uncommitted_bytes: int = 16 * MIB
    """Proposals beyond this are refused with Busy until some are committed."""
    max_committed_bytes: int = 1 * MIB
    """Bound of `Ready.committed`, so that applying never keeps the owner from its ticks."""
    max_pending_reads: int = 4096
    hold_news: bool = False
    """A new commit index waits for an append to travel with, until `tell_news` is called."""

    def __post_init__(self) -> None:
        """Raise InvalidSettings for options that cannot work together."""
        if not self.node_id:
            raise InvalidSettings("a node needs an id")
        if not 0 < self.heartbeat_ticks < self.election_ticks:
            raise InvalidSettings("heartbeat_ticks must be positive and below election_ticks")
        if not 0 < self.hurry_ticks <= self.election_ticks:
            raise InvalidSettings("hurry_ticks must be from 1 to election_ticks")


@dataclass(frozen=True, slots=True)
class PeerProgress:
    """One follower as the leader sees it."""

    node_id: NodeId
    match: int
    next_index: int
    state: str
    """probe, replicate or snapshot."""
    recently_active: bool


@dataclass(frozen=True, slots=True)
class CoreStatus:
    """What a core knows of itself and its cluster."""

    node_id: NodeId
    role: str
    """leader, follower, candidate, pre_candidate; learner is a follower without a vote."""
    term: int
    leader_id: NodeId
    commit_index: int
    applied_index: int
    last_index: int
    first_index: int
    membership: Membership
    quorum_active: bool
    """A leader: a quorum was heard within the election timeout. Others: a leader is known."""
    peers: tuple[PeerProgress, ...]
    """Filled on the leader only, sorted by id."""
