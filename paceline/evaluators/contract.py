"""What an evaluator is: it looks at a change and answers how good one side of it is.

An evaluator is a class named by an entry point of the group `paceline.evaluators` (see `registry`).
It runs in a process of its own, with limits of time and memory, so it may block and it may fail:
that is reported, and the others count. It must not run anything of what it looks at, nor use the
network: the repository's own programs have been run before, if that was permitted, and what they
said is in the context. Source: the seed's "BaseEvaluator Interface".
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar

from paceline.evaluators.change import Change
from paceline.evaluators.context import Context

API_VERSION = 1
"""Of this contract. An evaluator that was written for another one is not loaded."""

SCORE_MAX = 10.0
ISSUES_LIMIT = 200
"""Of one evaluator. The worst are kept; `details` then says how many there were."""

SUGGESTIONS_LIMIT = 20
TEXT_LIMIT = 1000
"""Characters of one message or suggestion."""


class Severity(StrEnum):
    """How bad a finding is, worst first; see `aggregate` for what that does to the score."""

    CRITICAL = "critical"
    """Must not be merged as it is."""
    HIGH = "high"
    """Somebody has to look at it."""
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """Answer 0 for the worst, so that findings can be sorted."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Issue:
    """One finding. `line` is 1-based in the resulting file; 0 = the file, or the change, at all."""

    file: str
    line: int
    severity: Severity
    rule: str
    message: str

    @property
    def order(self) -> tuple[int, str, int, str]:
        """Answer the key by which findings are sorted: the worst first, then by place."""
        return self.severity.rank, self.file, self.line, self.rule


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What one evaluator says. `score` is 0.0-10.0, or None where it has nothing to judge.

    `details` are plain data (they travel as JSON); None as a score does not count in the average.
    """

    score: float | None
    details: Mapping[str, Any] = field(default_factory=dict)
    suggestions: tuple[str, ...] = ()
    issues: tuple[Issue, ...] = ()

    def bounded(self) -> "EvaluationResult":
        """Answer the same with everything within its limits. Raise ValueError for no number."""
        score = None if self.score is None else clamp(self.score)
        issues = tuple(sorted(map(_shortened, self.issues), key=lambda issue: issue.order))
        details = dict(self.details)
        if len(issues) > ISSUES_LIMIT:
            details["issues_found"] = len(issues)
        suggestions = tuple(text[:TEXT_LIMIT] for text in self.suggestions[:SUGGESTIONS_LIMIT])
        return EvaluationResult(score, details, suggestions, issues[:ISSUES_LIMIT])


class BaseEvaluator(ABC):
    """The root of all evaluators. `options` is its own table of the configuration, unchecked.

    The constructor checks its options and raises InvalidSettings with what to do; it does nothing
    else.
    """

    api_version: ClassVar[int] = API_VERSION
    name: str = ""
    """What configuration and results call it: set by the registry to the entry point's name."""
    weight: ClassVar[float] = 1.0
    """In the average, unless the configuration gives another one."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self.name = self.name or type(self).__name__

    @abstractmethod
    async def evaluate(self, change: Change, context: Context) -> EvaluationResult:
        """Answer how good the change is. A score outside 0-10 is clamped.

        What stood there before is not judged: only added and modified lines, and the functions
        that they touch. Issues name files of the change.
        """


def clamp(score: float) -> float:
    """Answer the score within 0.0-10.0. Raise ValueError for what is no number."""
    if math.isnan(score):
        raise ValueError("a score must be a number")
    return round(min(SCORE_MAX, max(0.0, score)), 2)


def _shortened(issue: Issue) -> Issue:
    if len(issue.message) <= TEXT_LIMIT:
        return issue
    return replace(issue, message=issue.message[:TEXT_LIMIT])
