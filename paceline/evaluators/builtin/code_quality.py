"""Is it well written? The seed's "CodeQualityEvaluator", on what changed.

    score = 10 - 5 x syntax errors - 0.5 x lint warnings - 1 x complex functions + comment bonus

A syntax error counts once per file: one missing bracket makes dozens. Lint warnings count per 100
new lines where there are more than that, or every large change would end at 0; together they cost
at most LINT_COST_MAX, as complex functions cost at most COMPLEX_COST_MAX. The bonus can only make
up for small things, since the sum ends at 10.
"""

from collections.abc import Iterator
from typing import Any

from paceline.evaluators.analysis import ruff
from paceline.evaluators.analysis.complexity import COMPLEXITY_MAX, grown_complex
from paceline.evaluators.analysis.habits import habits
from paceline.evaluators.analysis.languages import (
    Language,
    first_line,
    is_code,
    language_of,
    parse,
    walk,
)
from paceline.evaluators.change import Change, FileChange
from paceline.evaluators.context import Context
from paceline.evaluators.contract import BaseEvaluator, EvaluationResult, Issue, Severity

SYNTAX_COST = 5.0
LINT_COST = 0.5
LINT_COST_MAX = 5.0
COMPLEX_COST = 1.0
COMPLEX_COST_MAX = 5.0
COMMENT_BONUS_MAX = 0.5
COMMENT_SHARE = 0.1
"""Of the new lines of code; more comments earn no more."""

_SEVERE = {"F821": Severity.HIGH, "F811": Severity.MEDIUM, "F823": Severity.HIGH}
"""Names that are not there: it fails when it runs."""


class CodeQuality(BaseEvaluator):
    """Syntax, lint, complexity and comments of the new lines."""

    weight = 1.0

    async def evaluate(self, change: Change, context: Context) -> EvaluationResult:
        """Answer the score of the code in the change; None if there is none."""
        files = [file for file in change.texts if is_code(file.path) and file.added]
        if not files:
            return EvaluationResult(None, {"reason": "no code was changed"})
        syntax, lint = _ruff(files)
        syntax += [issue for file in files for issue in _syntax(file)]
        lint += [issue for file in files for issue in _habits(file)]
        lint += _own_linter(change, context)
        complex_ = [issue for file in files for issue in _complexity(file)]
        return _result(files, syntax, lint, complex_)


def _result(
    files: list[FileChange], syntax: list[Issue], lint: list[Issue], complex_: list[Issue]
) -> EvaluationResult:
    added = sum(len(file.added) for file in files)
    bonus = _comment_bonus(files)
    lint_cost = min(LINT_COST_MAX, LINT_COST * len(lint) / max(1.0, added / 100))
    complex_cost = min(COMPLEX_COST_MAX, COMPLEX_COST * len(complex_))
    score = 10.0 - SYNTAX_COST * len(syntax) - lint_cost - complex_cost + bonus
    details: dict[str, Any] = {
        "added_lines": added,
        "syntax_errors": len(syntax),
        "lint_warnings": len(lint),
        "complex_functions": len(complex_),
        "comment_bonus": bonus,
    }
    suggestions = []
    if syntax:
        suggestions.append("Make every file parse before anything else.")
    if complex_:
        suggestions.append("Split the functions that are hard to follow.")
    return EvaluationResult(score, details, tuple(suggestions), (*syntax, *lint, *complex_))


def _ruff(files: list[FileChange]) -> tuple[list[Issue], list[Issue]]:
    """Answer the files that are no Python, and the warnings on new lines of the others."""
    python = [file for file in files if language_of(file.path) is Language.PYTHON]
    found = ruff.check(python)
    broken = {f.file.path: f for f in reversed(found) if f.rule == ruff.SYNTAX}
    syntax = [
        Issue(path, f.line, Severity.CRITICAL, "syntax-error", f.message)
        for path, f in broken.items()
    ]
    lint = [
        Issue(f.file.path, f.line, _SEVERE.get(f.rule, Severity.LOW), f.rule, f.message)
        for f in found
        if f.line in f.file.added and f.file.path not in broken and not _is_excused(f)
    ]
    return syntax, lint


def _is_excused(finding: ruff.RuffFinding) -> bool:
    """Answer whether it is no fault here: what a package imports is what it offers."""
    return finding.rule == "F401" and finding.file.path.endswith("__init__.py")


def _syntax(file: FileChange) -> Iterator[Issue]:
    """Find where the text breaks its language; not for what was as broken before.

    A grammar may be behind its language, so a file that it could not read before is not judged.
    """
    language = language_of(file.path)
    if language is None or language is Language.PYTHON:
        return
    if file.old is not None and parse(file.old, language).root_node.has_error:
        return
    root = parse(file.new or "", language).root_node
    if root.has_error:
        places = (node for node in walk(root) if node.is_error or node.is_missing)
        line = next((first_line(node) for node in places), 0)
        message = f"this is not valid {language.value}"
        yield Issue(file.path, line, Severity.CRITICAL, "syntax-error", message)


def _habits(file: FileChange) -> Iterator[Issue]:
    language = language_of(file.path)
    for habit in habits(file.new or "", language) if language else ():
        if file.touches(habit.line, habit.last):
            yield Issue(file.path, habit.line, habit.severity, habit.rule, habit.message)


def _own_linter(change: Change, context: Context) -> list[Issue]:
    """Answer what the repository's own linter says about new lines."""
    return [
        Issue(lint.file, lint.line, Severity.MEDIUM if lint.error else Severity.LOW, lint.rule,
              lint.message)
        for lint in context.lints
        if lint.file in change.by_path and lint.line in change.by_path[lint.file].added
    ]  # fmt: skip


def _complexity(file: FileChange) -> Iterator[Issue]:
    for function in grown_complex(file):
        message = (
            f"{function.name} has a complexity of {function.complexity}, over {COMPLEXITY_MAX}"
        )
        yield Issue(file.path, function.first, Severity.MEDIUM, "complexity", message)


def _comment_bonus(files: list[FileChange]) -> float:
    """Answer up to COMMENT_BONUS_MAX for new lines that explain others."""
    comments = sum(1 for file in files for _, line in file.added_lines() if _explains(line))
    added = sum(len(file.added) for file in files) or 1
    return round(COMMENT_BONUS_MAX * min(1.0, comments / added / COMMENT_SHARE), 2)


def _explains(line: str) -> bool:
    words = line.strip()
    return words.startswith(("#", "//", "/*", "* ", '"""', "'''")) and len(words.split()) >= 3
