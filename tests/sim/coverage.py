"""What the runs must have reached: a fault that never strikes proves nothing.

Every part counts what happens in it by name. `LEAST` says of each name how often it must have
happened in `SEEDS` seeds; the numbers are about a third of what is usual, so that a change in how
lots are drawn does not matter, but a fault that has stopped working does.
"""

from collections.abc import Iterator, Mapping

from paceline.consensus.messages import (
    AppendReply,
    Membership,
    Message,
    ReadReply,
    TimeoutNow,
    VoteReply,
)

SEEDS = 2_000
"""So many seeds run in CI."""

LEAST = {
    # what is done to processes
    "kills": 600,
    "power losses": 1000,
    "crashes at risk": 800,
    "pauses": 500,
    "stalls noticed": 300,
    "restarts in a joint membership": 15,
    "restarts with an unmarked snapshot": 7,
    # to the network
    "messages lost": 10_000,
    "messages repeated": 25_000,
    "messages overtaken": 100_000,
    "messages echoed": 90_000,
    "messages cut off": 40_000,
    "one-way cuts": 300,
    "two-way cuts": 500,
    "turnovers": 700,
    "comebacks that led": 100,
    "swizzles": 150,
    "connections dropped": 300,
    # to the disks
    "unsynced writes lost": 150,
    "torn writes": 150,
    "disks lost": 30,
    "writes to a slow disk": 200,
    "writes to a full disk": 5_000,
    "entries without room": 500,
    "copies without room": 15,
    "restores without room": 40,
    # what stays broken in the end
    "minorities left down": 50,
    "left with: full log": 70,
    "left with: full state": 60,
    "left with: deaf": 70,
    "left with: mute": 70,
    "calm ends": 140,
    "followers deafened": 40,
    # to the membership
    "single changes": 500,
    "joint changes": 180,
    "joint memberships left": 180,
    "several voters added at once": 15,
    "several voters removed at once": 35,
    "learners promoted": 120,
    "voters demoted": 150,
    "leaders removed": 150,
    # what the nodes do then
    "elections": 2500,
    "pre-votes refused": 9_000,
    "transfers": 700,
    "elections by transfer": 500,
    "appends refused": 10_000,
    "truncations": 450,
    "compactions": 7_500,
    "snapshots offered": 800,
    "snapshots installed": 500,
    "snapshots resumed": 20,
    "snapshots not begun": 25,
    # what the clients see
    "reads": 25_000,
    "reads forwarded": 7_000,
    "repeated requests": 40_000,
    "requests found done": 1_000,
    "proposal ended as Busy": 4_000,
    "proposal ended as NotLeader": 40_000,
    "read ended as Busy": 1_500,
    "read ended as NoQuorum": 500,
    "read ended as NotLeader": 15_000,
    "read ended as Unavailable": 250,
    "change ended as Conflict": 200,
}


def too_seldom(counts: Mapping[str, int], seeds: int) -> Iterator[str]:
    """Answer what a range has reached less often than it should have, one line each.

    A range that is smaller than CI's is asked for nothing.
    """
    for what, least in LEAST.items() if seeds >= SEEDS else ():
        times = counts.get(what, 0)
        if times < least:
            yield f"too seldom: {what}, {times} times in {seeds} seeds; {least} are wanted"


def kinds_of_change(old: Membership, new: Membership, leader: str) -> Iterator[str]:
    """Answer what a committed change of membership is counted as."""
    before = set(old.voters) | set(old.outgoing)
    if new.joint:
        yield "joint changes"
        if len(set(new.voters) - set(new.outgoing)) > 1:
            yield "several voters added at once"
        if len(set(new.outgoing) - set(new.voters)) > 1:
            yield "several voters removed at once"
    else:
        yield "joint memberships left" if old.joint else "single changes"
        if leader in before and leader not in new.voters:
            yield "leaders removed"
    if set(old.learners) & set(new.voters):
        yield "learners promoted"
    if before & set(new.learners):
        yield "voters demoted"


def kind_of_message(message: Message) -> str | None:
    """Answer what a message is counted as; None for those that every run has."""
    match message:
        case VoteReply(pre=True, granted=False):
            return "pre-votes refused"
        case AppendReply(rejected=True):
            return "appends refused"
        case ReadReply():
            return "reads forwarded"
        case TimeoutNow():
            return "transfers"
        case _:
            return None
