"""What the observer sees of a node, and what may be read off memberships and messages alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from paceline.consensus.messages import (
    Append,
    Heartbeat,
    InstallSnapshot,
    Membership,
    Message,
    ReadReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from tests.sim.disk import Disk, LogImage
from tests.sim.machine import KvState

FROM_LEADERS = (Append, Heartbeat, InstallSnapshot, TimeoutNow, ReadReply)


class Glance(NamedTuple):
    """What a core says of itself."""

    term: int
    leads: bool
    commit: int
    applied: int


class Node(Protocol):
    """What the observer sees of a process."""

    name: str
    disk: Disk

    @property
    def queued(self) -> LogImage:
        """Answer the log as it will be when everything queued is durable."""
        ...

    @property
    def state(self) -> KvState:
        """Answer the applied state."""
        ...

    @property
    def durable_applied(self) -> int:
        """Answer up to where the applied state survives a loss of power."""
        ...

    @property
    def handed_over(self) -> bool:
        """Answer whether everything that the core has in memory was handed to the storage."""
        ...

    def glance(self) -> Glance:
        """Ask the core."""
        ...


@dataclass(slots=True)
class Seen:
    """What was last seen of one node, in this life."""

    glance: Glance = field(default_factory=lambda: Glance(0, False, 0, 0))
    membership: Membership = field(default_factory=Membership)


def is_quorum(membership: Membership, agrees: Callable[[str], bool]) -> bool:
    """Answer whether a majority of each half of the membership agrees."""
    halves = [membership.voters, membership.outgoing or membership.voters]
    return all(sum(map(agrees, half)) * 2 > len(half) for half in halves)


def revealed_term(message: Message) -> int:
    """Answer the term that a message says its sender is in, or was."""
    if isinstance(message, VoteRequest) and message.pre:
        return message.term - 1
    if isinstance(message, VoteReply) and message.pre and message.granted:
        return 0
    return message.term


def is_one_step(old: Membership, new: Membership) -> bool:
    """Answer whether any quorum of one and any quorum of the other share a voter."""
    if new.joint:
        return not old.joint and new.outgoing == old.voters
    if old.joint:
        return new.voters == old.voters
    return len(set(old.voters) ^ set(new.voters)) <= 1
