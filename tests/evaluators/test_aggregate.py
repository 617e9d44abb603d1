"""From results to a score and a verdict."""

import pytest

from paceline.evaluators.aggregate import (
    Evaluation,
    Judged,
    Thresholds,
    Verdict,
    aggregate,
)
from paceline.evaluators.contract import EvaluationResult, Issue, Severity, clamp


def part(
    name: str, score: float | None, weight: float = 1.0, worst: Severity | None = None
) -> Judged:
    issues = (Issue("a.py", 1, worst, "rule", "message"),) if worst else ()
    return Judged(name, weight, EvaluationResult(score, issues=issues))


def judged(*parts: Judged) -> Evaluation:
    return aggregate(parts, Thresholds())


def test_the_weighted_average_of_the_seed() -> None:
    assert judged(part("a", 10, 3), part("b", 4, 1)).score == 8.5


def test_who_has_nothing_to_judge_does_not_count() -> None:
    assert judged(part("a", 8), part("b", None, 5)).score == 8


def test_nobody_could_judge_is_no_pass() -> None:
    for parts in ((), (part("a", None),), (part("a", 10, 0),), (Judged("a", 1, failure="no"),)):
        evaluation = judged(*parts)
        assert evaluation.score is None
        assert evaluation.verdict is Verdict.CHECKPOINT


@pytest.mark.parametrize(
    ("score", "verdict"),
    [(7, Verdict.PASS), (6.99, Verdict.CHECKPOINT), (5, Verdict.CHECKPOINT), (4.99, Verdict.RETRY)],
)
def test_thresholds(score: float, verdict: Verdict) -> None:
    assert judged(part("a", score)).verdict is verdict


def test_a_high_finding_is_never_a_pass_and_a_critical_one_asks_for_another_attempt() -> None:
    assert judged(part("a", 10), part("b", 10, 0.1, Severity.HIGH)).score == 6.9
    critical = judged(part("a", 10), part("b", 10, 0.1, Severity.CRITICAL))
    assert (critical.score, critical.verdict) == (4.9, Verdict.RETRY)


def test_of_two_with_the_same_finding_the_better_one_scores_higher() -> None:
    better = judged(part("a", 9), part("b", 7, 1, Severity.CRITICAL)).score
    worse = judged(part("a", 5), part("b", 7, 1, Severity.CRITICAL)).score
    assert better is not None
    assert worse is not None
    assert better > worse


def test_a_finding_of_one_that_weighs_nothing_holds_nothing_down() -> None:
    assert judged(part("a", 9), part("b", 0, 0, Severity.CRITICAL)).score == 9


def test_a_minimum_of_its_own() -> None:
    low = Judged("b", 1, EvaluationResult(6.0), minimum=6.5)
    evaluation = judged(part("a", 10, 9), low)
    assert evaluation.verdict is Verdict.CHECKPOINT
    assert evaluation.reasons == ("b is 6, below its minimum 6.5",)


def test_the_failure_of_a_required_one_is_no_pass() -> None:
    failed = Judged("security", 0, failure="it crashed", required=True)
    evaluation = judged(part("a", 10), failed)
    assert (evaluation.score, evaluation.verdict) == (10, Verdict.CHECKPOINT)
    assert judged(part("a", 10), Judged("b", 0, failure="it crashed")).verdict is Verdict.PASS


def test_the_document_names_every_part() -> None:
    document = judged(part("a", 8, 2, Severity.LOW), Judged("b", 0, failure="no")).document()
    assert document["scores"] == {"a": 8, "b": None}
    assert document["evaluators"][0]["issues"] == [
        {"file": "a.py", "line": 1, "severity": "low", "rule": "rule", "message": "message"}
    ]
    assert document["evaluators"][1]["failure"] == "no"


def test_scores_are_clamped() -> None:
    assert [clamp(score) for score in (-3, 11, 5.678, float("inf"))] == [0, 10, 5.68, 10]
    with pytest.raises(ValueError, match="must be a number"):
        clamp(float("nan"))


def test_results_are_bounded() -> None:
    issues = tuple(
        Issue("a", n, Severity.LOW if n % 2 else Severity.HIGH, "r", "m" * 5000) for n in range(900)
    )
    bounded = EvaluationResult(12, {}, ("s" * 5000,) * 50, issues).bounded()
    assert bounded.score == 10
    assert len(bounded.issues) == 200
    assert {issue.severity for issue in bounded.issues} == {Severity.HIGH}
    assert bounded.details == {"issues_found": 900}
    assert max(len(issue.message) for issue in bounded.issues) == 1000
    assert (len(bounded.suggestions), len(bounded.suggestions[0])) == (20, 1000)
