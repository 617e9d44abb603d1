"""What the state says is running against what the workers say."""

from typing import Any

import pytest

from paceline.tasks.model import AttemptStatus, Running, WorkerStatus
from paceline.tasks.reconcile import Decision, reconcile, stops
from paceline.tasks.view import ActiveAttempt, WorkerView
from tests.tasks.planning import NOW_MS, active, view, worker

MINE = Running("s", 1, 7)
FRESH: dict[str, Any] = {
    "status": AttemptStatus.ALLOCATED,
    "allocated_at_ms": NOW_MS - 100,
    "started_at_ms": None,
}

DECIDED = [
    ("both agree", worker("n", running=(MINE,)), active("s", "n"), "keep", ""),
    (
        "it has begun unrecorded",
        worker("n", running=(MINE,)),
        active("s", "n", **FRESH),
        "adopt",
        "",
    ),
    (
        "it has not heard of it yet",
        worker("n", applied_index=6),
        active("s", "n", **FRESH),
        "wait",
        "",
    ),
    ("it was told just now", worker("n"), active("s", "n", **FRESH), "wait", ""),
    (
        "its start is younger than its report",
        worker("n"),
        active("s", "n", started_at_ms=NOW_MS - 4_999),
        "wait",
        "",
    ),
    ("a new leader knows nothing", worker("n", heard=False), active("s", "n"), "wait", ""),
    (
        "a silent worker keeps its lease",
        worker("n", running=(MINE,), silent_ms=11_999),
        active("s", "n"),
        "keep",
        "",
    ),
    (
        "an old report proves nothing",
        worker("n", silent_ms=6_000),
        active("s", "n", started_at_ms=NOW_MS - 8_000),
        "wait",
        "",
    ),
    (
        "draining is not leaving",
        worker("n", running=(MINE,), status=WorkerStatus.DRAINING),
        active("s", "n"),
        "keep",
        "",
    ),
    (
        "a finished attempt waits in the outbox of a restarted worker",
        worker("n", running=(MINE,), restart_index=50),
        active("s", "n"),
        "keep",
        "",
    ),
    (
        "given after the restart",
        worker("n", restart_index=6),
        active("s", "n", **FRESH),
        "wait",
        "",
    ),
    ("nobody", worker("other"), active("s", "n"), "lose", "its worker is not registered any more"),
    (
        "proven dead, whatever it said before",
        worker("n", running=(MINE,), dead=True),
        active("s", "n"),
        "lose",
        "its worker's process has ended",
    ),
    (
        "its lease has ended",
        worker("n", running=(MINE,), silent_ms=12_000),
        active("s", "n"),
        "lose",
        "its worker's lease has ended: silent for 12.0 s",
    ),
    (
        "never heard by this leader, for a whole lease",
        worker("n", heard=False, silent_ms=12_000),
        active("s", "n"),
        "lose",
        "its worker's lease has ended: silent for 12.0 s",
    ),
    (
        "restarted",
        worker("n", restart_index=7),
        active("s", "n", **FRESH),
        "lose",
        "its worker was started anew",
    ),
    (
        "forgotten",
        worker("n"),
        active("s", "n", started_at_ms=NOW_MS - 5_000),
        "lose",
        "its worker does not know of it",
    ),
    (
        "its replica is just as far as to know of it",
        worker("n", applied_index=7),
        active("s", "n"),
        "lose",
        "its worker does not know of it",
    ),
    (
        "another attempt is not this one",
        worker("n", running=(Running("s", 2, 7), Running("s", 1, 8), Running("t", 1, 7))),
        active("s", "n"),
        "lose",
        "its worker does not know of it",
    ),
    (
        "held by another node than it was given to",
        worker("n"),
        active("s", "n"),
        "lose",
        "its worker does not know of it",
    ),
    (
        "its replica does not get on",
        worker("n", applied_index=6),
        active("s", "n", status=AttemptStatus.ALLOCATED, started_at_ms=None),
        "lose",
        "its worker is too far behind to take it up",
    ),
]


@pytest.mark.parametrize(("_", "holder", "attempt", "decision", "reason"), DECIDED)
def test_decisions(
    _: str, holder: WorkerView, attempt: ActiveAttempt, decision: str, reason: str
) -> None:
    thief = worker("thief", running=(MINE,))
    (finding,) = reconcile(view(holder, thief, attempt))
    assert (finding.decision, finding.reason) == (Decision(decision), reason)
    assert finding.attempt is attempt


def test_each_attempt_is_judged_by_its_own_worker() -> None:
    held = [active("s", "n"), active("t", "dead"), active("u", "n")]
    picture = view(worker("n", running=(MINE,)), worker("dead", dead=True), *held)
    decisions = [finding.decision for finding in reconcile(picture)]
    assert decisions == [Decision.KEEP, Decision.LOSE, Decision.LOSE]


def test_a_worker_is_told_to_let_go_of_what_it_was_not_given() -> None:
    other = Running("x", 1, 5), Running("s", 2, 7), Running("s", 1, 6)
    picture = view(
        worker("n", running=(MINE, *other)),
        worker("m", running=(MINE,)),
        worker("silent", heard=False),
        active("s", "n"),
    )
    assert stops(picture) == {"n": other, "m": (MINE,)}


def test_what_is_younger_than_the_state_is_left_alone() -> None:
    young = Running("x", 1, 101)
    assert stops(view(worker("n", running=(young,)), applied_index=100)) == {}
    assert stops(view(worker("n", running=(young,)), applied_index=101)) == {"n": (young,)}
