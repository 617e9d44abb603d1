"""What people are told about work that runs or waits."""

from dataclasses import replace
from typing import Any

import pytest

from paceline.tasks.explain import Answer, Explainer
from paceline.tasks.model import Privacy, WorkerStatus
from paceline.tasks.view import PlanningView, ReadySubtask
from tests.tasks.planning import NOW_MS, active, ready, view, worker

TASK = {"task_id": "T", "status": "in_progress"}


def document(status: str = "pending", **more: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"status": status, "reason": "", "node_id": None, "dependencies": []}
    return {**known, **more}


def told(picture: PlanningView, waiting: ReadySubtask, *, quorum: bool = True) -> Answer:
    return Explainer(picture, quorum=quorum).subtask(document(), TASK, waiting)


def about(picture: PlanningView, subtask: dict[str, Any], task: Any = TASK) -> Answer:
    return Explainer(picture, quorum=True).subtask(subtask, task, None)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_what_has_ended_waits_for_nothing(status: str) -> None:
    assert about(view(), document(status)) == Answer("ended", f"it is {status}")
    assert about(view(), document(status, reason="disk full")).reason == "disk full"


def test_a_node_that_works_is_named() -> None:
    picture = view(worker("a"), active("s", "a"))
    running = document("in_progress", node_id="a")
    assert about(picture, running) == Answer("running", "A works on it")
    assert about(picture, document("allocated", node_id="a")).reason == "A has it"
    gone = document("in_progress", node_id="forgotten")
    assert "not registered" in about(picture, gone).reason


def test_a_silent_node_is_told_with_when_its_work_goes_elsewhere() -> None:
    picture = view(worker("a", silent_ms=5_000), active("s", "a"))
    reason = about(picture, document("in_progress", node_id="a")).reason
    assert reason == "A has it, and has been silent for 5 s; after 12 s it goes elsewhere"


def test_unmet_needs_are_named_with_their_statuses() -> None:
    needs = [
        {"name": "build", "status": "in_progress", "met": False},
        {"name": "plan", "status": "completed", "met": True},
        {"name": "lint", "status": "failed", "met": False},
    ]
    answer = about(view(), document(dependencies=needs))
    assert answer == Answer("needs", "it needs build (in_progress), lint (failed)")


def test_a_task_at_a_checkpoint_waits_for_a_person() -> None:
    answer = about(view(), document(), {"task_id": "T", "status": "checkpoint"})
    assert answer.waits_for == "person"
    assert "checkpoint" in answer.reason


def test_a_back_off_says_when_it_ends() -> None:
    waiting = ready("s", attempt=2, not_before_ms=NOW_MS + 1_500)
    answer = told(view(worker("a")), waiting)
    assert answer.waits_for == "back_off"
    assert "attempt 2 begins in 1.5 s" in answer.reason


def test_without_a_quorum_nothing_is_given_out() -> None:
    waiting = ready("s")
    assert told(view(worker("a"), waiting), waiting, quorum=False).waits_for == "quorum"


def test_the_best_node_is_named_with_its_score() -> None:
    waiting = ready("s")
    answer = told(view(worker("a"), worker("b", slots=1), waiting), waiting)
    assert answer.waits_for == "turn"
    assert answer.reason.startswith("it goes to A (command, score ")
    assert [verdict.node_id for verdict in answer.verdicts] == ["a", "b"]


def test_others_that_go_first_are_counted() -> None:
    urgent, late = ready("u", task="U", task_priority=90), ready("s")
    picture = view(worker("a", slots=2), urgent, late)
    assert told(picture, late).reason.endswith("could take it; another goes first")


def test_full_nodes_are_waited_for() -> None:
    waiting = ready("s")
    picture = view(worker("a", slots=1), active("other", "a"), waiting)
    assert told(picture, waiting) == Answer(
        "slot", "it waits for a free slot on A", told(picture, waiting).verdicts
    )


def test_refusals_are_told_node_by_node() -> None:
    waiting = replace(ready("s"), privacy=Privacy.SENSITIVE)
    picture = view(
        worker("a"), worker("b", status=WorkerStatus.DRAINING), worker("c", heard=False), waiting
    )
    answer = told(picture, waiting)
    assert answer.waits_for == "node"
    assert "A: not trusted with sensitive work" in answer.reason
    assert "B: draining" in answer.reason


def test_one_reason_for_all_is_told_once() -> None:
    waiting = ready("s", tools="claude_code")
    answer = told(view(worker("a"), worker("b"), waiting), waiting)
    assert answer.waits_for == "node"
    assert answer.reason.count("claude_code") == 1


def test_no_worker_at_all_is_told() -> None:
    waiting = ready("s")
    assert told(view(waiting), waiting).reason == "no node has registered as a worker yet"


def test_a_long_list_is_cut() -> None:
    waiting = ready("s")
    workers = [worker(f"n{number}", slots=1) for number in range(5)]
    taken = [active(f"x{number}", f"n{number}") for number in range(5)]
    reason = told(view(*workers, *taken, waiting), waiting).reason
    assert reason.endswith("and 2 more")
