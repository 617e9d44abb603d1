"""What follows from a score, a review, or the end of a step: pure rules, no state.

Work that an attempt did passes four gates, in this order:

1. its score: too low, or tests that fail, ask for another attempt with the findings as feedback,
   once; a score that is only doubtful, or still too low the second time, asks a person;
2. its review, where the subtask is marked so and there is a change to look at: `revise` sends the
   findings back to the author, at most `cycles` times, then asks a person;
3. the plan's checkpoints: with `high` a person is asked after each subtask, with `medium` after
   those marked so, with `low` at the end of the task;
4. then it counts as completed.

Source: DESIGN, "Checkpoints", after the seed's thresholds 7.0 and 5.0 and its three cycles.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from paceline.tasks.draft import CHECKPOINT, REVIEW
from paceline.tasks.model import (
    CheckpointFrequency,
    CheckpointType,
    Decision,
    Evaluation,
    Finding,
    Review,
)

CYCLES: Final = 3
CYCLES_LIMIT: Final = 20

REVIEW_TRIES: Final = 3
"""So often a review that cannot be used is asked for anew, of whoever is there."""

FEEDBACK_LIMIT: Final = 16 * 1024
"""Characters of what a person or a gate tells the next attempt."""

FINDINGS_TOLD: Final = 40

GATES: Final = "gates"
"""The key in `SubtaskSpec.settings` under which a plan sets its own limits."""

_SEVERITIES: Final = ("critical", "high", "medium", "low")


class Step(StrEnum):
    """What is to be done with work that has been done."""

    PASS = "pass"
    AGAIN = "again"
    REVIEW = "review"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Ruling:
    """A step; `feedback` goes with AGAIN, `kind` and `reason` with ASK."""

    step: Step
    feedback: str = ""
    kind: CheckpointType = CheckpointType.SCHEDULED
    reason: str = ""


PASSED: Final = Ruling(Step.PASS)


@dataclass(frozen=True, slots=True)
class Gates:
    """The limits for one subtask. None = as the repository's own configuration says."""

    checkpoint: float | None = None
    retry: float | None = None
    cycles: int = CYCLES
    expire_s: float = 0.0
    """After so long a checkpoint decides itself; 0 = never."""
    on_expiry: Decision = Decision.ACCEPT


@dataclass(frozen=True, slots=True)
class Rules:
    """What a subtask's plan asks for. `last`: nothing else of its task is left to be done."""

    gates: Gates = Gates()
    review: bool = False
    checkpoint: bool = False
    frequency: CheckpointFrequency = CheckpointFrequency.MEDIUM
    last: bool = False


def read_gates(settings: Mapping[str, Any]) -> Gates:
    """Answer the gates in a subtask's settings; what makes no sense there counts as not said."""
    said = settings.get(GATES)
    if not isinstance(said, Mapping):
        return Gates()
    cycles = said.get("cycles")
    return Gates(
        checkpoint=_number(said.get("checkpoint")),
        retry=_number(said.get("retry")),
        cycles=cycles if type(cycles) is int and 1 <= cycles <= CYCLES_LIMIT else CYCLES,
        expire_s=_number(said.get("expire_s")) or 0.0,
        on_expiry=Decision.FAIL if said.get("on_expiry") == Decision.FAIL else Decision.ACCEPT,
    )


def rules(settings: Mapping[str, Any], frequency: str, *, last: bool) -> Rules:
    """Answer the rules for a subtask with these settings."""
    return Rules(
        gates=read_gates(settings),
        review=bool(settings.get(REVIEW)),
        checkpoint=bool(settings.get(CHECKPOINT)),
        frequency=CheckpointFrequency(frequency),
        last=last,
    )


def after_work(
    evaluation: Evaluation | None, wanted: Rules, *, changed: bool, retried: bool
) -> Ruling:
    """Answer what follows from an attempt that succeeded.

    `changed`: there is a change that can be reviewed; `retried`: it had its second chance.
    """
    passed = Ruling(Step.REVIEW) if wanted.review and changed else _scheduled(wanted)
    if evaluation is None:
        return passed
    checkpoint, retry = _thresholds(evaluation, wanted.gates)
    score = evaluation.score
    poor = evaluation.tests_failed or (score is not None and score < retry)
    if poor and not retried:
        return Ruling(Step.AGAIN, feedback=_feedback(evaluation))
    reason = _doubt(evaluation, checkpoint)
    if poor or reason:
        return Ruling(Step.ASK, kind=CheckpointType.EVALUATION, reason=reason)
    return passed


def after_review(review: Review, wanted: Rules, *, cycle: int) -> Ruling:
    """Answer what follows from the `cycle`-th review, counted from 1 since a person last spoke."""
    if review.approved:
        return _scheduled(wanted)
    if cycle >= wanted.gates.cycles:
        reason = f"the reviewer was not content after {cycle} cycles"
        return Ruling(Step.ASK, kind=CheckpointType.REVIEW, reason=reason)
    words = f"A reviewer asks for changes (cycle {cycle}).\n{review.summary}".rstrip()
    return Ruling(Step.AGAIN, feedback=told(words, review.findings))


def after_no_review(unusable: int, why: str) -> Ruling:
    """Answer what follows from the `unusable`-th review in a row that nobody can use."""
    if unusable < REVIEW_TRIES:
        return Ruling(Step.REVIEW)
    reason = f"no review could be had in {unusable} tries; the last: {why}"
    return Ruling(Step.ASK, kind=CheckpointType.REVIEW, reason=reason)


def told(words: str, findings: Iterable[Finding]) -> str:
    """Answer findings as feedback for an agent, the worst first, within FEEDBACK_LIMIT."""
    known = sorted(findings, key=lambda each: (_rank(each.severity), each.file, each.line))
    lines = [f"- {_place(each)}{each.severity}: {each.message}" for each in known[:FINDINGS_TOLD]]
    if len(known) > FINDINGS_TOLD:
        lines.append(f"- and {len(known) - FINDINGS_TOLD} more")
    return "\n".join((words, *lines))[:FEEDBACK_LIMIT]


def _thresholds(evaluation: Evaluation, gates: Gates) -> tuple[float, float]:
    checkpoint = evaluation.checkpoint_below if gates.checkpoint is None else gates.checkpoint
    retry = evaluation.retry_below if gates.retry is None else gates.retry
    return max(checkpoint, retry), retry


def _doubt(evaluation: Evaluation, checkpoint: float) -> str:
    """Answer why a person should look at it, or nothing."""
    reasons = list(evaluation.doubts)
    if evaluation.tests_failed:
        reasons.insert(0, "its tests fail")
    if evaluation.score is None:
        reasons.append("no evaluator could judge the change")
    elif evaluation.score < checkpoint:
        reasons.append(f"the score {evaluation.score:g} is below {checkpoint:g}")
    return "; ".join(reasons)


def _feedback(evaluation: Evaluation) -> str:
    score = "-" if evaluation.score is None else f"{evaluation.score:g}"
    words = f"Your work was evaluated: score {score} of 10. Correct it. The findings:"
    if evaluation.tests_failed:
        words = f"The tests fail after your work. {words}"
    return told(words, evaluation.findings)


def _scheduled(wanted: Rules) -> Ruling:
    asked = {
        CheckpointFrequency.HIGH: "a person is asked after each subtask",
        CheckpointFrequency.MEDIUM: "a major step is done" if wanted.checkpoint else "",
        CheckpointFrequency.LOW: "the task's last step is done" if wanted.last else "",
    }[wanted.frequency]
    return Ruling(Step.ASK, kind=CheckpointType.SCHEDULED, reason=asked) if asked else PASSED


def _rank(severity: str) -> int:
    return _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)


def _place(finding: Finding) -> str:
    if not finding.file:
        return ""
    return f"{finding.file}:{finding.line}: " if finding.line else f"{finding.file}: "


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
