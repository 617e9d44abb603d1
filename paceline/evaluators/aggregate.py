"""From the results of all evaluators to one score and one verdict.

The score is the seed's weighted average, over those that had something to judge:

    average = sum(score * weight) / sum(weight)

An average alone forgives too much: six evaluators that find nothing outweigh the one that found a
leaked key. So the worst finding holds the score below the threshold that it must not pass: with a
critical one the whole scale of 10 is drawn together to fit under `retry`, with a high one to fit
under `checkpoint`. It is a factor and no lid, so that of two such changes the better one still has
the better score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from paceline.evaluators import documents
from paceline.evaluators.contract import SCORE_MAX, EvaluationResult, Issue, Severity, clamp

CHECKPOINT_BELOW = 7.0
RETRY_BELOW = 5.0

MARGIN = 0.1
"""How far below a threshold a perfect average with a finding of that severity ends."""


class Verdict(StrEnum):
    """What the score asks for."""

    PASS = "pass"
    CHECKPOINT = "checkpoint"
    """A person should look at it."""
    RETRY = "retry"
    """Another attempt, with the findings as feedback."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Below which scores something is asked for; `retry` is never above `checkpoint`."""

    checkpoint: float = CHECKPOINT_BELOW
    retry: float = RETRY_BELOW


@dataclass(frozen=True, slots=True)
class Judged:
    """One evaluator's part. Exactly one of `result` and `failure` is there.

    `failure` says why it did not answer; it then counts for nothing. `minimum` is its own
    threshold: a score below it opens a checkpoint whatever the others say.
    """

    name: str
    weight: float
    result: EvaluationResult | None = None
    failure: str = ""
    minimum: float = 0.0
    required: bool = False
    """Whether its failure opens a checkpoint: else who makes it fail would have silenced it."""
    duration_s: float = 0.0

    @property
    def score(self) -> float | None:
        """Answer its score, or None where it did not judge."""
        return self.result.score if self.result else None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a change came to. `score` is None if nobody could judge: that is no pass."""

    score: float | None
    average: float | None
    verdict: Verdict
    parts: tuple[Judged, ...]
    reasons: tuple[str, ...]
    """Why the verdict is not a pass, for people."""
    notes: tuple[str, ...] = ()

    @property
    def needs_checkpoint(self) -> bool:
        """Answer whether a person should look at it, should no other attempt be made."""
        return self.verdict is not Verdict.PASS

    @property
    def issues(self) -> list[tuple[str, Issue]]:
        """Answer all findings with the evaluator that made each, the worst first."""
        found = [(p.name, issue) for p in self.parts if p.result for issue in p.result.issues]
        return sorted(found, key=lambda pair: (pair[1].order, pair[0]))

    def document(self) -> dict[str, Any]:
        """Answer it as plain data: what `paceline evaluate --json` shows and the log keeps."""
        return {
            "score": self.score,
            "average": self.average,
            "verdict": self.verdict.value,
            "needs_checkpoint": self.needs_checkpoint,
            "reasons": list(self.reasons),
            "scores": {part.name: part.score for part in self.parts},
            "evaluators": [_part_document(part) for part in self.parts],
            "notes": list(self.notes),
        }


def _part_document(part: Judged) -> dict[str, Any]:
    result = documents.result_document(part.result) if part.result else None
    return {
        "name": part.name,
        "weight": part.weight,
        "failure": part.failure or None,
        "minimum": part.minimum,
        "required": part.required,
        "duration_s": part.duration_s,
        **(result or {"score": None, "details": {}, "suggestions": [], "issues": []}),
    }


def aggregate(
    parts: Sequence[Judged], thresholds: Thresholds, notes: Sequence[str] = ()
) -> Evaluation:
    """Answer the evaluation that these parts come to."""
    average = weighted_average({p.name: (p.score, p.weight) for p in parts})
    worst = _worst(parts)
    score = None if average is None else clamp(average * factor(worst, thresholds))
    reasons = _reasons(parts, score, worst, thresholds)
    verdict = _verdict(score, bool(reasons), thresholds)
    return Evaluation(score, average, verdict, tuple(parts), tuple(reasons), tuple(notes))


def weighted_average(scores: Mapping[str, tuple[float | None, float]]) -> float | None:
    """Answer the average of the scores that there are; None if they weigh nothing."""
    judged = [(score, weight) for score, weight in scores.values() if score is not None]
    total = sum(weight for _, weight in judged)
    if total <= 0:
        return None
    return clamp(sum(score * weight for score, weight in judged) / total)


def factor(worst: Severity | None, thresholds: Thresholds) -> float:
    """Answer by how much the scale is drawn together because of the worst finding; at most 1."""
    held = {Severity.CRITICAL: thresholds.retry, Severity.HIGH: thresholds.checkpoint}
    if worst not in held:
        return 1.0
    return max(0.0, held[worst] - MARGIN) / SCORE_MAX


def _worst(parts: Sequence[Judged]) -> Severity | None:
    """Answer the worst severity found by an evaluator that weighs anything."""
    found = [
        issue.severity
        for part in parts
        if part.result and part.weight > 0
        for issue in part.result.issues
    ]
    return min(found, key=lambda severity: severity.rank, default=None)


def _reasons(
    parts: Sequence[Judged], score: float | None, worst: Severity | None, limits: Thresholds
) -> list[str]:
    if score is None:
        return ["no evaluator could judge the change"]
    reasons = []
    if score < limits.checkpoint:
        held = f", held down by a {worst} finding" if factor(worst, limits) < 1 else ""
        reasons.append(f"the score {score:g} is below {limits.checkpoint:g}{held}")
    reasons += [
        f"{part.name} is {part.score:g}, below its minimum {part.minimum:g}"
        for part in parts
        if part.score is not None and part.score < part.minimum
    ]
    reasons += [
        f"{part.name} failed: {part.failure}" for part in parts if part.failure and part.required
    ]
    return reasons


def _verdict(score: float | None, doubted: bool, limits: Thresholds) -> Verdict:
    if score is not None and score < limits.retry:
        return Verdict.RETRY
    return Verdict.CHECKPOINT if doubted else Verdict.PASS
