"""Every pair of statuses, legal and illegal."""

from itertools import product

import pytest

from paceline.errors import Conflict
from paceline.tasks import phases
from paceline.tasks.model import AttemptStatus, SubtaskStatus, TaskStatus, WorkerStatus

STATUSES: dict[str, list[str]] = {
    "task": [*TaskStatus],
    "subtask": [*SubtaskStatus],
    "attempt": [*AttemptStatus],
    "worker": [*WorkerStatus],
    "checkpoint": ["pending", "resolved", "skipped"],
}

LEGAL = {
    "task": """
        pending: initializing cancelled
        initializing: in_progress failed cancelled
        in_progress: checkpoint completed failed cancelled
        checkpoint: in_progress completed failed cancelled
        completed:
        failed: in_progress cancelled
        cancelled: in_progress
    """,
    "subtask": """
        pending: allocated failed cancelled
        allocated: in_progress review pending completed failed cancelled
        in_progress: review pending completed failed cancelled
        review: in_progress pending completed failed cancelled
        completed:
        failed: pending
        cancelled: pending
    """,
    "attempt": """
        allocated: running succeeded failed cancelled lost
        running: succeeded failed cancelled lost
        succeeded:
        failed:
        cancelled:
        lost:
    """,
    "worker": """
        online: busy offline error draining
        busy: online offline error draining
        offline: online error draining
        error: online offline draining
        draining: online offline error
    """,
    "checkpoint": """
        pending: resolved skipped
        resolved:
        skipped:
    """,
}


def legal_pairs(kind: str) -> set[tuple[str, str]]:
    lines = (line.split(":") for line in LEGAL[kind].strip().splitlines())
    return {(old.strip(), new) for old, followers in lines for new in followers.split()}


PAIRS = [
    (kind, str(old), str(new))
    for kind, statuses in STATUSES.items()
    for old, new in product(statuses, repeat=2)
]


@pytest.mark.parametrize(("kind", "old", "new"), PAIRS)
def test_a_change_is_refused_unless_the_table_has_it(kind: str, old: str, new: str) -> None:
    if (old, new) in legal_pairs(kind):
        phases.check(kind, old, new)
        return
    with pytest.raises(Conflict, match=f"a {kind} that is {old} cannot become {new}"):
        phases.check(kind, old, new)


@pytest.mark.parametrize("kind", STATUSES)
def test_the_tables_know_every_status(kind: str) -> None:
    assert set(phases.TABLES[kind]) == set(STATUSES[kind])


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(Conflict):
        phases.check("task", "asleep", "pending")
    with pytest.raises(Conflict):
        phases.check("task", "pending", "asleep")


def test_every_subtask_that_a_node_holds_is_open() -> None:
    assert phases.HELD_SUBTASK < phases.OPEN_SUBTASK
    ended = set(SubtaskStatus) - phases.OPEN_SUBTASK
    assert ended == {"completed", "failed", "cancelled"}
