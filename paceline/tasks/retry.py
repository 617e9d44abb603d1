"""What becomes of a subtask whose attempt did not succeed: pure arithmetic, no state.

A failure is tried again with exponential back-off, as long as the subtask has tries left and trying
the same again can help at all. A provider's usage limit that names its end is no failure of the
work: the subtask goes elsewhere at once the first time, and only bounces more slowly from then on.
The jitter comes from a hash of the subtask and the attempt, so that every node computes the same
moment and a thousand subtasks that failed together do not come back together.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from paceline.tasks.model import NOT_RETRIED, Outcome, ResultStatus

BACKOFF_BASE_MS: Final = 1_000
BACKOFF_LIMIT_MS: Final = 300_000

LOSS_LIMIT: Final = 10
"""A subtask whose node is lost under it so many times fails: it may be what kills them."""

DEFERRAL_LIMIT: Final = 100
"""From so many usage limits on, each one counts as a failure."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How a subtask's attempts have gone since it was submitted or last retried by a person."""

    failures: int
    losses: int
    deferrals: int


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again, not before `delay_ms` from now. The tally includes the attempt that just ended."""

    delay_ms: int
    tally: Tally


def after(
    outcome: Outcome, tally: Tally, *, subtask_id: str, attempt: int, max_attempts: int
) -> Retry | None:
    """Answer whether and when to try again after an outcome that is not `ok`; None = give up."""
    if outcome.status in NOT_RETRIED:
        return None
    if is_deferral(outcome) and tally.deferrals < DEFERRAL_LIMIT:
        deferrals = tally.deferrals + 1
        wait = backoff_ms(deferrals - 1, subtask_id, attempt) if deferrals > 1 else 0
        delay_ms = min(wait, max(0, outcome.retryable_after_ms or 0))
        return Retry(delay_ms, Tally(tally.failures, tally.losses, deferrals))
    failures = tally.failures + 1
    if failures >= max_attempts:
        return None
    delay_ms = backoff_ms(failures, subtask_id, attempt)
    return Retry(delay_ms, Tally(failures, tally.losses, tally.deferrals))


def after_loss(tally: Tally) -> Retry | None:
    """Answer whether to try again after the node was lost: at once, but not for ever."""
    losses = tally.losses + 1
    if losses >= LOSS_LIMIT:
        return None
    return Retry(0, Tally(tally.failures, losses, tally.deferrals))


def is_deferral(outcome: Outcome) -> bool:
    """Answer whether a provider said when its limit ends, which does not count as a failure."""
    return outcome.status is ResultStatus.QUOTA and outcome.retryable_after_ms is not None


def backoff_ms(failures: int, subtask_id: str, attempt: int) -> int:
    """Answer 1, 2, 4 ... seconds, at most 300, give or take a quarter; `failures` from 1."""
    doublings = min(failures - 1, BACKOFF_LIMIT_MS.bit_length())
    base = min(BACKOFF_BASE_MS << doublings, BACKOFF_LIMIT_MS)
    seed = hashlib.sha256(f"{subtask_id}:{attempt}".encode()).digest()
    return base * 3 // 4 + int.from_bytes(seed[:4]) % (base // 2)
