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

LEAST: dict[str, int] = {}


def too_seldom(counts: Mapping[str, int], seeds: int) -> Iterator[str]:
    """Answer what happened less often than `seeds` seeds should have it, one line each.

    A range that is smaller than CI's is only asked for what it must have seen many times over.
    """
    for what, least in LEAST.items():
        wanted = least * min(seeds, SEEDS) // SEEDS
        if counts.get(what, 0) < wanted:
            yield f"{what}: {counts.get(what, 0)} times in {seeds} seeds, at least {wanted} wanted"


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
