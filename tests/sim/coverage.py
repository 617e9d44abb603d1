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
    "kills": 460,
    "power losses": 650,
    "rebirths": 2200,
    "crashes at risk": 590,
    "pauses": 490,
    "stalls noticed": 320,
    "restarts in a joint membership": 12,
    "restarts with an unmarked snapshot": 6,
    # to the network
    "messages lost": 11_000,
    "messages repeated": 36_000,
    "messages overtaken": 230_000,
    "messages echoed": 140_000,
    "messages cut off": 75_000,
    "one-way cuts": 230,
    "two-way cuts": 460,
    "turnovers": 710,
    "comebacks that led": 120,
    "swizzles": 81,
    "connections dropped": 240,
    # to the disks
    "unsynced writes lost": 150,
    "torn writes": 140,
    "disks lost": 11,
    "writes to a slow disk": 98,
    "writes to a full disk": 6_100,
    "entries without room": 600,
    "copies without room": 19,
    "restores without room": 72,
    # what stays broken in the end
    "minorities left down": 32,
    "left with: full log": 79,
    "left with: full state": 77,
    "left with: deaf": 82,
    "left with: mute": 79,
    "calm ends": 210,
    "followers deafened": 51,
    # to the membership
    "single changes": 430,
    "joint changes": 130,
    "joint memberships left": 130,
    "several voters added at once": 9,
    "several voters removed at once": 25,
    "learners promoted": 92,
    "voters demoted": 100,
    "leaders removed": 120,
    # what the nodes do then
    "elections": 2700,
    "pre-votes refused": 13_000,
    "transfers": 680,
    "elections by transfer": 470,
    "appends refused": 22_000,
    "truncations": 980,
    "compactions": 8_700,
    "snapshots offered": 1300,
    "snapshots installed": 650,
    "snapshots resumed": 77,
    "snapshots not begun": 46,
    # what the clients see
    "reads": 45_000,
    "reads forwarded": 13_000,
    "repeated requests": 50_000,
    "requests found done": 1_200,
    "proposal ended as Busy": 5_900,
    "proposal ended as NotLeader": 54_000,
    "read ended as Busy": 3_900,
    "read ended as NoQuorum": 750,
    "read ended as NotLeader": 19_000,
    "read ended as Unavailable": 260,
    "change ended as Conflict": 150,
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
