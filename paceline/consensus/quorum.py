"""Majorities: of one set of voters, or of two at once.

A decision of the cluster (an election, a commit, the proof that a leader still leads) needs a
majority of the voters. In the joint state (dissertation, section 4.3) it needs a majority of the
incoming voters AND a majority of the outgoing ones, so any two decisions share at least one voter
whichever of the two sets each of them believed in.

A cluster without voters decides nothing: that is a joining node that does not know the cluster yet.
"""

from collections.abc import Container, Mapping, Sequence
from enum import Enum

from paceline.consensus.messages import Membership
from paceline.ids import NodeId


class Outcome(Enum):
    """How an election stands."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"


def reached(membership: Membership, values: Mapping[NodeId, int]) -> int:
    """Answer the largest number that a quorum has reached; a voter without a number has 0.

    With match indexes, that is what may be committed; with read contexts, what is confirmed.
    """
    everywhere = _reached_by_majority(membership.voters, values)
    if membership.outgoing:
        return min(everywhere, _reached_by_majority(membership.outgoing, values))
    return everywhere


def outcome(membership: Membership, votes: Mapping[NodeId, bool]) -> Outcome:
    """Answer how an election stands, given the votes so far; those of non-voters do not count."""
    if not membership.voters:
        return Outcome.LOST
    halves = [_outcome_of_majority(membership.voters, votes)]
    if membership.outgoing:
        halves.append(_outcome_of_majority(membership.outgoing, votes))
    if Outcome.LOST in halves:
        return Outcome.LOST
    return Outcome.OPEN if Outcome.OPEN in halves else Outcome.WON


def is_quorum(membership: Membership, nodes: Container[NodeId]) -> bool:
    """Answer whether these nodes are enough to decide."""
    return reached(membership, {node: int(node in nodes) for node in voters_of(membership)}) == 1


def voters_of(membership: Membership) -> tuple[NodeId, ...]:
    """Answer everybody whose vote counts in either half, sorted."""
    if not membership.outgoing:
        return membership.voters
    return tuple(sorted({*membership.voters, *membership.outgoing}))


def _reached_by_majority(voters: Sequence[NodeId], values: Mapping[NodeId, int]) -> int:
    if not voters:
        return 0
    ordered = sorted([values.get(voter, 0) for voter in voters])
    return ordered[(len(ordered) - 1) // 2]  # it and all above it are a majority


def _outcome_of_majority(voters: Sequence[NodeId], votes: Mapping[NodeId, bool]) -> Outcome:
    needed = len(voters) // 2 + 1
    granted = sum(1 for voter in voters if votes.get(voter) is True)
    refused = sum(1 for voter in voters if votes.get(voter) is False)
    if granted >= needed:
        return Outcome.WON
    return Outcome.LOST if len(voters) - refused < needed else Outcome.OPEN
