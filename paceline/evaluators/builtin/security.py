"""Is it safe? The seed's "SecurityEvaluator", on what changed.

    score = 10 - 3 x critical - 1.5 x high - 0.5 x medium

One flaw counts once per place, whoever found it. In tests, flaws that need a user who attacks are
one degree less: a test may well run a shell. Marks of an attack are not, wherever they stand.
"""

from collections.abc import Iterable, Iterator

from paceline.evaluators.analysis import bandit, malice, secrets
from paceline.evaluators.analysis.dangers import dangers
from paceline.evaluators.analysis.flaws import Flaw
from paceline.evaluators.analysis.languages import Language, is_prose, is_test, language_of
from paceline.evaluators.change import Change, FileChange
from paceline.evaluators.context import Context
from paceline.evaluators.contract import BaseEvaluator, EvaluationResult, Issue, Severity

COST = {Severity.CRITICAL: 3.0, Severity.HIGH: 1.5, Severity.MEDIUM: 0.5, Severity.LOW: 0.0}

_LOWER = {Severity.CRITICAL: Severity.HIGH, Severity.HIGH: Severity.MEDIUM}


class Security(BaseEvaluator):
    """Secrets, injections and other unsafe calls, and marks of an attack, in the new lines."""

    weight = 2.0

    async def evaluate(self, change: Change, context: Context) -> EvaluationResult:
        """Answer the score; None for a change without files."""
        if not change.files:
            return EvaluationResult(None, {"reason": "nothing was changed"})
        issues = _merged([*_unsafe(change), *_secrets(change), *_attacks(change)])
        counts = {s.value: sum(1 for i in issues if i.severity is s) for s in Severity}
        score = 10.0 - sum(COST[issue.severity] for issue in issues)
        suggestions = sorted({f"{issue.rule}: {issue.message}" for issue in issues})
        return EvaluationResult(score, {"found": counts}, tuple(suggestions), tuple(issues))


def _unsafe(change: Change) -> Iterator[Issue]:
    """Find unsafe calls that stand on new lines."""
    python = [f for f in change.texts if language_of(f.path) is Language.PYTHON and f.added]
    found = bandit.check(python)
    for file in change.texts:
        language = language_of(file.path)
        if language is not None and file.added:
            found += [(file, flaw) for flaw in dangers(file.new or "", language)]
    for file, flaw in found:
        if file.touches(flaw.line, flaw.last):
            yield _issue(file, flaw, lower=is_test(file.path))


def _secrets(change: Change) -> Iterator[Issue]:
    for file in change.texts:
        testing = is_test(file.path) or is_prose(file.path)
        for number, line in file.added_lines():
            for flaw in secrets.check(number, line, testing=testing):
                yield _issue(file, flaw)


def _attacks(change: Change) -> Iterator[Issue]:
    for file, flaw in malice.check(change):
        yield _issue(file, flaw)


def _issue(file: FileChange, flaw: Flaw, *, lower: bool = False) -> Issue:
    severity = _LOWER.get(flaw.rated, flaw.rated) if lower else flaw.rated
    return Issue(file.path, flaw.line, severity, flaw.rule, flaw.message)


def _merged(issues: Iterable[Issue]) -> list[Issue]:
    """Answer one finding per place and rule, the worst of them."""
    best: dict[tuple[str, int, str], Issue] = {}
    for issue in issues:
        key = issue.file, issue.line, issue.rule
        if key not in best or issue.severity.rank < best[key].severity.rank:
            best[key] = issue
    return sorted(best.values(), key=lambda issue: issue.order)
