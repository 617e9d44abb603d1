"""What follows from scores, tests and reviews."""

import pytest

from paceline.tasks import gates
from paceline.tasks.gates import Gates, Rules, Step, after_no_review, after_review, after_work
from paceline.tasks.model import (
    CheckpointFrequency,
    CheckpointType,
    Decision,
    Evaluation,
    Finding,
    Review,
)

HIGH, LOW = CheckpointFrequency.HIGH, CheckpointFrequency.LOW
WRONG = Finding("a.py", 7, "high", "divides by zero when the list is empty")


@pytest.mark.parametrize(
    ("score", "retried", "step"),
    [
        (9.0, False, Step.PASS),
        (7.0, False, Step.PASS),
        (6.99, False, Step.ASK),
        (5.0, False, Step.ASK),
        (4.99, False, Step.AGAIN),
        (4.99, True, Step.ASK),
        (0.0, False, Step.AGAIN),
        (None, False, Step.ASK),
    ],
)
def test_the_thresholds_of_the_seed(score: float | None, retried: bool, step: Step) -> None:
    ruling = after_work(Evaluation(score), Rules(), changed=True, retried=retried)
    assert ruling.step is step
    assert step is not Step.ASK or ruling.kind is CheckpointType.EVALUATION


def test_thresholds_of_the_plan_win_over_the_repositorys() -> None:
    found = Evaluation(6.0, checkpoint_below=9.0, retry_below=8.0)
    own = Rules(gates=Gates(checkpoint=5.5, retry=2.0))
    assert after_work(found, Rules(), changed=True, retried=False).step is Step.AGAIN
    assert after_work(found, own, changed=True, retried=False).step is Step.PASS


@pytest.mark.parametrize("retried", [False, True])
def test_failing_tests_are_never_a_pass(retried: bool) -> None:
    ruling = after_work(Evaluation(9.9, tests_failed=True), Rules(), changed=True, retried=retried)
    assert ruling.step is (Step.ASK if retried else Step.AGAIN)
    assert "tests fail" in ruling.feedback + ruling.reason


def test_a_second_chance_comes_with_the_findings() -> None:
    ruling = after_work(Evaluation(2.0, findings=(WRONG,)), Rules(), changed=True, retried=False)
    assert "a.py:7: high: divides by zero when the list is empty" in ruling.feedback


def test_a_doubt_asks_a_person_whatever_the_score() -> None:
    ruling = after_work(
        Evaluation(9.0, doubts=("security failed",)), Rules(), changed=True, retried=False
    )
    assert (ruling.step, ruling.reason) == (Step.ASK, "security failed")


def test_only_a_change_is_reviewed() -> None:
    wanted = Rules(review=True)
    assert after_work(None, wanted, changed=False, retried=False).step is Step.PASS
    assert after_work(None, wanted, changed=True, retried=False).step is Step.REVIEW
    assert after_work(Evaluation(9.0), wanted, changed=True, retried=False).step is Step.REVIEW


@pytest.mark.parametrize(
    ("frequency", "checkpoint", "last", "asks"),
    [
        ("high", False, False, True),
        ("medium", True, False, True),
        ("medium", False, True, False),
        ("low", True, False, False),
        ("low", False, True, True),
    ],
)
def test_how_often_a_person_is_asked(
    frequency: str, checkpoint: bool, last: bool, asks: bool
) -> None:
    wanted = gates.rules({"checkpoint": checkpoint}, frequency, last=last)
    for ruling in (
        after_work(None, wanted, changed=False, retried=False),
        after_review(Review(approved=True), wanted, cycle=0),
    ):
        assert ruling.step is (Step.ASK if asks else Step.PASS)


def test_a_reviewer_is_heard_three_times() -> None:
    steps = [
        after_review(Review(False, "no", (WRONG,)), Rules(), cycle=cycle) for cycle in (1, 2, 3)
    ]
    assert [each.step for each in steps] == [Step.AGAIN, Step.AGAIN, Step.ASK]
    assert "a.py:7" in steps[0].feedback
    assert steps[2].kind is CheckpointType.REVIEW


def test_reviews_that_cannot_be_used_are_asked_for_anew_and_then_escalate() -> None:
    steps = [after_no_review(unusable, "no JSON") for unusable in (1, 2, 3)]
    assert [each.step for each in steps] == [Step.REVIEW, Step.REVIEW, Step.ASK]
    assert "no JSON" in steps[2].reason


@pytest.mark.parametrize("nonsense", [None, 7, [], {"checkpoint": "x", "cycles": 0, "retry": True}])
def test_gates_that_make_no_sense_count_as_not_said(nonsense: object) -> None:
    assert gates.read_gates({"gates": nonsense}) == Gates()


def test_gates_are_read() -> None:
    said = {"checkpoint": 8, "retry": 1.5, "cycles": 1, "expire_s": 60, "on_expiry": "fail"}
    assert gates.read_gates({"gates": said}) == Gates(8.0, 1.5, 1, 60.0, Decision.FAIL)


def test_feedback_is_bounded_and_begins_with_the_worst() -> None:
    many = [Finding("a.py", n, "low", "x" * 900) for n in range(500)]
    words = gates.told("words", [*many, WRONG])
    assert len(words) <= gates.FEEDBACK_LIMIT
    assert words.splitlines()[1].startswith("- a.py:7: high")
