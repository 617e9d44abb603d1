"""Is it all there? The seed's "CompletenessEvaluator", with evidence in place of keywords.

    score = 0.5 x requirement coverage + 0.2 x length + 0.3 x structure         each from 0 to 10

- coverage: the mean over the checklist (`requirements`) of how far each item is met by evidence
  (`evidence`): new code that does something. Words in comments, strings, stubs count for nothing.
- length: effective new lines against LINES_PER_ITEM per item (one, where no file is new).
- structure: the share of the touched functions that are more than a stub, less what is left open.

Where nothing was asked for, length and structure count alone.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from paceline.evaluators.analysis.evidence import Evidence, Place, gather_evidence
from paceline.evaluators.analysis.functions import is_comment, touched_functions
from paceline.evaluators.analysis.habits import IGNORED, SWALLOWED, habits
from paceline.evaluators.analysis.languages import (
    first_line,
    is_code,
    is_prose,
    is_test,
    language_of,
    parse,
    text_of,
    walk,
)
from paceline.evaluators.analysis.requirements import Requirement, checklist
from paceline.evaluators.change import Change, FileChange
from paceline.evaluators.change import Status as FileStatus
from paceline.evaluators.context import Context
from paceline.evaluators.contract import BaseEvaluator, EvaluationResult, Issue, Severity

COVERAGE_SHARE, LENGTH_SHARE, STRUCTURE_SHARE = 0.5, 0.2, 0.3

LINES_PER_ITEM = 3
HARD_SHARE = 0.7
"""Of an item, what its hard words decide; its soft ones the rest."""

PATH_WORTH = 0.5
SOFT_ENOUGH = 0.5
"""This share of the soft words is all that can be hoped for: people do not write identifiers."""

WITHOUT_ERRORS = 0.5
"""What is left of an item that speaks of errors if none is raised or handled."""

MET, PARTIAL = 0.7, 0.35
TODO_COST = 1.5
UNHANDLED_COST = 1.5
PLACEHOLDER_SHARE = 0.5
"""Of a function, what a placeholder counts."""

_TODO = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


class Status(StrEnum):
    """How far an item is met."""

    MET = "met"
    PARTIAL = "partial"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the checklist, and what shows that it was done."""

    requirement: Requirement
    score: float
    """0-1."""
    evidence: tuple[tuple[str, Place], ...]
    missing: tuple[str, ...]
    lost_names: tuple[str, ...] = ()
    """Of the names that must appear, those that do not."""
    without_errors: bool = False

    @property
    def status(self) -> Status:
        """Answer how far it is met."""
        if self.score >= MET:
            return Status.MET
        return Status.PARTIAL if self.score >= PARTIAL else Status.MISSING

    def document(self) -> dict[str, Any]:
        """Answer it as plain data, for people to check."""
        return {
            "text": self.requirement.text[:300],
            "status": self.status.value,
            "score": round(self.score, 2),
            "evidence": [f"{word}: {path}:{line}" for word, (path, line) in self.evidence[:8]],
            "missing": list(self.missing[:8]),
        }


class Completeness(BaseEvaluator):
    """Whether what was asked for was done, and what was begun was finished."""

    weight = 1.5

    async def evaluate(self, change: Change, context: Context) -> EvaluationResult:
        """Answer the score; None if nothing was asked for and there is no code either."""
        required = checklist(context.requirements)
        coded = any(is_code(file.path) for file in change.texts)
        if not required and not coded:
            return EvaluationResult(None, {"reason": "nothing was asked for, no code was changed"})
        if not any(file.added or file.removed or file.old_path for file in change.files):
            issue = Issue("", 0, Severity.HIGH, "nothing-changed", "no line was changed")
            return EvaluationResult(0.0, {"items": len(required)}, issues=(issue,))
        evidence = gather_evidence(change)
        items = [_item(requirement, evidence, change) for requirement in required]
        unfinished = [issue for file in change.texts for issue in _unfinished(file)]
        return _result(change, items, evidence, unfinished)


def _result(
    change: Change, items: Sequence[Item], evidence: Evidence, unfinished: list[Issue]
) -> EvaluationResult:
    coverage = 10 * sum(item.score for item in items) / len(items) if items else None
    length = _length(change, items, evidence)
    structure = _structure(change, evidence, unfinished)
    rest = LENGTH_SHARE * length + STRUCTURE_SHARE * structure
    if coverage is None:
        score = rest / (LENGTH_SHARE + STRUCTURE_SHARE)
    else:
        score = COVERAGE_SHARE * coverage + rest
    details: dict[str, Any] = {
        "coverage": None if coverage is None else round(coverage, 2),
        "length": round(length, 2),
        "structure": round(structure, 2),
        "checklist": [item.document() for item in items],
    }
    issues = [*unfinished, *_unmet(items, coverage)]
    suggestions = tuple(f"Do what is asked: {i.requirement.text[:200]}" for i in items
                        if i.status is Status.MISSING)  # fmt: skip
    return EvaluationResult(score, details, suggestions, tuple(issues))


# --- the checklist --------------------------------------------------------------------------------


def _item(requirement: Requirement, evidence: Evidence, change: Change) -> Item:
    if requirement.about_tests:
        place = evidence.tests
        found = (("tests", place),) if place else ()
        return Item(requirement, 1.0 if place else 0.0, found, () if place else ("tests",))
    if requirement.removes:
        return _removal(requirement, change)
    hard, hard_missing = _hard(requirement, evidence)
    soft, soft_missing = _soft(requirement, evidence)
    score = _item_score(requirement, hard, soft)
    silent = requirement.about_errors and not requirement.about_prose and evidence.errors is None
    missing = (*hard_missing, *soft_missing) + (("an error that is raised",) if silent else ())
    score = score * WITHOUT_ERRORS if silent else score
    lost = tuple(word for word in hard_missing if word in requirement.names)
    return Item(requirement, score, (*hard, *soft), missing, lost, silent)


def _exact(requirement: Requirement) -> tuple[str, ...]:
    return (*requirement.names, *requirement.paths, *requirement.literals)


def _worth(word: str, requirement: Requirement) -> float:
    """Answer what an exact word weighs: that a file was touched says little of what was done."""
    return PATH_WORTH if word in requirement.paths else 1.0


def _item_score(
    requirement: Requirement, hard: Sequence[tuple[str, Place]], soft: Sequence[tuple[str, Place]]
) -> float:
    wanted = sum(_worth(word, requirement) for word in _exact(requirement))
    stems = len(requirement.stems)
    softly = min(1.0, len(soft) / stems / SOFT_ENOUGH) if stems else 1.0
    if not wanted:
        return softly
    if not stems:
        return sum(_worth(word, requirement) for word, _ in hard) / wanted
    firmly = sum(_worth(word, requirement) for word, _ in hard) / wanted
    return HARD_SHARE * firmly + (1 - HARD_SHARE) * softly * (firmly > 0)


def _hard(
    requirement: Requirement, evidence: Evidence
) -> tuple[list[tuple[str, Place]], list[str]]:
    places: dict[str, Place | None] = {}
    for path in requirement.paths:
        touched = [p for p in evidence.paths if p == path or p.endswith("/" + path)]
        places[path] = (touched[0], 0) if touched else None
    for name in requirement.names:
        places[name] = evidence.names.get(name.lower()) or evidence.literal(name)
    for words in requirement.literals:
        places[words] = _literal(words, evidence)
    return _split(places)


def _literal(words: str, evidence: Evidence) -> Place | None:
    """Answer where it stands in a string; of an option also its name alone, as parsers want it."""
    bare = words.strip("-")
    if words.startswith("-"):
        name = bare.replace("-", "_").lower()
        return evidence.literal(bare) or evidence.names.get(name)
    whole = evidence.literal(words) or evidence.names.get(words.lower())
    if whole or " " not in words:
        return whole
    parts = [_literal(part, evidence) for part in words.split()[:8]]
    return parts[-1] if all(parts) else None


def _soft(
    requirement: Requirement, evidence: Evidence
) -> tuple[list[tuple[str, Place]], list[str]]:
    known = evidence.stems
    if requirement.about_prose:
        known = evidence.stems | evidence.prose
    return _split({stem: known.get(stem) for stem in requirement.stems})


def _split(places: dict[str, Place | None]) -> tuple[list[tuple[str, Place]], list[str]]:
    found = [(word, place) for word, place in places.items() if place is not None]
    return found, [word for word, place in places.items() if place is None]


def _removal(requirement: Requirement, change: Change) -> Item:
    """Judge what was to be taken out: it must have been there, and be gone."""
    words = _exact(requirement)
    gone = [(word, place) for word in words if (place := _gone(word, change))]
    if not words:
        return Item(requirement, 1.0 if change.removed_count else 0.0, (), ())
    missing = tuple(word for word in words if word not in dict(gone))
    return Item(requirement, len(gone) / len(words), tuple(gone), missing)


def _gone(word: str, change: Change) -> Place | None:
    for file in change.files:
        if file.path.endswith(word) and file.new is None:
            return file.path, 0
        if file.old and word in file.old and word not in (file.new or ""):
            return file.path, 0
    return None


def _unmet(items: Sequence[Item], coverage: float | None) -> Iterator[Issue]:
    """Say what is missing; how bad that is depends on how sure the evidence is."""
    hopeless = coverage is not None and coverage < 10 * PARTIAL
    for item in items:
        lacking = ", ".join(item.missing[:5]) or "evidence"
        if item.without_errors and not hopeless:
            message = f"errors are asked for, none is raised or handled: {item.requirement.text}"
            yield Issue("", 0, Severity.MEDIUM, "missing-error-handling", message)
        if severity := _severity(item, hopeless=hopeless):
            message = f"not shown by the change (no {lacking}): {item.requirement.text}"
            yield Issue("", 0, severity, "missing-requirement", message)


def _severity(item: Item, *, hopeless: bool) -> Severity | None:
    """Answer how bad it is that an item is not met, None if that is not sure enough to be said.

    Soft words alone show little: people and programs do not call things the same.
    """
    required = item.requirement
    exact = bool(_exact(required)) or required.about_tests
    if item.status is Status.MISSING and (exact or hopeless):
        return Severity.CRITICAL if hopeless and exact else Severity.HIGH
    if item.status is Status.PARTIAL and item.lost_names:
        half = len(item.lost_names) * 2 >= len(required.names)
        return Severity.HIGH if half else Severity.MEDIUM
    return None


# --- what was begun -------------------------------------------------------------------------------


def _unfinished(file: FileChange) -> Iterator[Issue]:
    """Find stubs, placeholders and admissions in the new lines of code; tests may have them."""
    language = language_of(file.path)
    if language is None or is_test(file.path) or not file.added:
        return
    for function in touched_functions(file, language):
        if function.stub:
            message = f"{function.name} is a stub: {function.stub}"
            yield Issue(file.path, function.first, Severity.HIGH, "stub", message)
        elif function.placeholder:
            message = f"{function.name} answers a constant and looks at nothing it is given"
            yield Issue(file.path, function.first, Severity.MEDIUM, "placeholder", message)
    for node in walk(parse(file.new or "", language).root_node):
        if is_comment(node) and first_line(node) in file.added and _TODO.search(text_of(node)):
            message = f"left open: {text_of(node).strip()[:120]}"
            yield Issue(file.path, first_line(node), Severity.MEDIUM, "todo", message)


def _structure(change: Change, evidence: Evidence, unfinished: Sequence[Issue]) -> float:
    files = [f for f in change.texts if language_of(f.path) and not is_test(f.path)]
    touched = sum(len(_named(file)) for file in files)
    lost = sum(1.0 for issue in unfinished if issue.rule == "stub")
    lost += sum(PLACEHOLDER_SHARE for issue in unfinished if issue.rule == "placeholder")
    todos = sum(1 for issue in unfinished if issue.rule == "todo")
    unhandled = sum(1 for file in files for _ in _unhandled(file))
    if touched:
        share = max(0.0, 1 - lost / touched)
    else:
        share = 1.0 if evidence.effective_count or evidence.prose or change.removed_count else 0.0
    return max(0.0, 10 * share - TODO_COST * todos - UNHANDLED_COST * unhandled)


def _named(file: FileChange) -> list[str]:
    language = language_of(file.path)
    return [f.name for f in touched_functions(file, language) if f.name] if language else []


def _unhandled(file: FileChange) -> Iterator[int]:
    language = language_of(file.path)
    for habit in habits(file.new or "", language) if language else ():
        if habit.rule in (SWALLOWED, IGNORED) and file.touches(habit.line, habit.last):
            yield habit.line


def _builds(change: Change) -> bool:
    """Answer whether it is more than a repair of what was there."""
    return any(file.status is FileStatus.ADDED for file in change.texts if is_code(file.path))


def _length(change: Change, items: Sequence[Item], evidence: Evidence) -> float:
    expected = max(1, len(items)) * (LINES_PER_ITEM if _builds(change) else 1)
    lines = evidence.effective_count
    if not lines:
        lines = sum(len(file.added) for file in change.texts if is_prose(file.path))
        prose = all(item.requirement.about_prose for item in items)
        lines = lines if prose else 0
    removals = any(item.requirement.removes for item in items)
    lines += change.removed_count if removals or not items else 0
    return 10 * min(1.0, lines / expected)
