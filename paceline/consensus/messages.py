"""What Raft nodes say to each other, what stands in their log, and who they are.

Plain frozen data; the words are those of the paper (Ongaro and Ousterhout 2014, figure 2) and of
Ongaro's dissertation (2014). `PeerMessage` is the closed family; `encode_message` and
`decode_message` are the only way to and from bytes.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from paceline.codec import Union_
from paceline.ids import NodeId

NOBODY: NodeId = ""
"""No leader known, or no vote given."""


class EntryKind(IntEnum):
    """What an entry's data is."""

    EMPTY = 0
    """The entry that a new leader commits first (paper section 8). No data."""
    COMMAND = 1
    """A command of the state machine; opaque to Raft."""
    MEMBERSHIP = 2
    """A `Membership`, encoded; in force from the moment it is appended."""


class Entry(NamedTuple):
    """One position of the log. `kind` is an EntryKind as a plain int (this type is hot)."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    term: int
    kind: int
    data: bytes


@dataclass(frozen=True, slots=True)
class HardState:
    """What must be on disk before anything that reveals it is sent (figure 2, persistent state)."""

    term: int = 0
    vote: NodeId = NOBODY
    commit: int = 0
    """Kept only as a hint for a faster restart: it may be stale, never wrong."""


@dataclass(frozen=True, slots=True)
class Membership:
    """Who has a say (dissertation section 4.3). All tuples are sorted and without duplicates.

    While `outgoing` is not empty the cluster is in the joint state: every decision needs a majority
    of `voters` and a majority of `outgoing`. `auto_leave` says that the leader leaves the joint
    state by itself once the joint entry is committed. `learners_next` are outgoing voters that
    become learners when the joint state is left.
    """

    voters: tuple[NodeId, ...] = ()
    learners: tuple[NodeId, ...] = ()
    outgoing: tuple[NodeId, ...] = ()
    learners_next: tuple[NodeId, ...] = ()
    auto_leave: bool = False

    @property
    def joint(self) -> bool:
        """Answer whether the cluster is between two sets of voters."""
        return bool(self.outgoing)

    @property
    def members(self) -> tuple[NodeId, ...]:
        """Answer every node that receives the log, sorted."""
        return tuple(sorted({*self.voters, *self.outgoing, *self.learners, *self.learners_next}))


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """What a snapshot stands for: the state after `index`, and the membership at that point."""

    index: int
    term: int
    membership: Membership


@dataclass(frozen=True, slots=True)
class Message:
    """The head of every message. A message with a lower term than the receiver's is stale."""

    sender: NodeId
    to: NodeId
    term: int


@dataclass(frozen=True, slots=True)
class VoteRequest(Message):
    """RequestVote; with `pre`, the pre-vote of dissertation section 9.6 (term = the next one)."""

    last_index: int
    last_term: int
    pre: bool = False
    transfer: bool = False
    """The leader asked for this election (section 3.10): it may disturb a live leader."""


@dataclass(frozen=True, slots=True)
class VoteReply(Message):
    """The answer to a VoteRequest. A refused pre-vote carries the receiver's own term."""

    granted: bool
    pre: bool = False


@dataclass(frozen=True, slots=True)
class Append(Message):
    """AppendEntries with entries, or without any as a probe."""

    prev_index: int
    prev_term: int
    commit: int
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class AppendReply(Message):
    """`match`: the follower's log equals the leader's up to there, durably.

    When `rejected`, `match` is 0; `prev_index` repeats the Append's, and `hint_index`/`hint_term`
    name the largest index at which the logs might still agree (section 5.3, fast back-up).
    """

    match: int
    rejected: bool = False
    prev_index: int = 0
    hint_index: int = 0
    hint_term: int = 0


@dataclass(frozen=True, slots=True)
class Heartbeat(Message):
    """The leader lives. `commit` is capped at what this follower is known to have.

    `context` (0 = none) numbers the newest read that this heartbeat confirms leadership for.
    """

    commit: int
    context: int = 0


@dataclass(frozen=True, slots=True)
class HeartbeatReply(Message):
    """The answer to a Heartbeat; repeats its context."""

    context: int = 0


@dataclass(frozen=True, slots=True)
class InstallSnapshot(Message):
    """A whole state. Its bytes travel apart, on the bulk lane.

    The leader's core emits this; its shell streams the bytes. The follower's shell gives it to its
    core only when all bytes are there and verified.
    """

    meta: SnapshotMeta


@dataclass(frozen=True, slots=True)
class TimeoutNow(Message):
    """The leader asks the receiver to campaign at once (leadership transfer, section 3.10)."""


@dataclass(frozen=True, slots=True)
class ReadRequest(Message):
    """A follower asks the leader for a read index (section 6.4); `context` is its own."""

    context: int


@dataclass(frozen=True, slots=True)
class ReadReply(Message):
    """The answer: reads of `context` may be served once `index` is applied."""

    context: int
    index: int


PEER_MESSAGES: Union_[Message] = Union_(
    {
        1: VoteRequest,
        2: VoteReply,
        3: Append,
        4: AppendReply,
        5: Heartbeat,
        6: HeartbeatReply,
        7: InstallSnapshot,
        8: TimeoutNow,
        9: ReadRequest,
        10: ReadReply,
    }
)
"""The closed family of messages; tags never change meaning."""


def encode_message(message: Message) -> bytes:
    """Answer the bytes that travel."""
    return PEER_MESSAGES.encode(message)


def decode_message(data: bytes) -> Message:
    """Read what `encode_message` made. Raise ProtocolError for anything else."""
    return PEER_MESSAGES.decode(data)
