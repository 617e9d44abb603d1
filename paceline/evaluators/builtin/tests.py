"""Do the tests pass? What the repository's own commands said, and what the change did to them.

    score = 0 if a test command failed
    score = 10 - 2 x failed lint commands - 3 x high - 1.5 x medium findings about the tests

A failed test command is a critical finding, so that the whole evaluation is never a pass. A command
that could not be started says nothing, and nor does silence: where nothing was run, the score is
None unless the change touches tests.
"""

from collections.abc import Iterator
from typing import Any

from paceline.evaluators.analysis import testing
from paceline.evaluators.analysis.languages import is_test
from paceline.evaluators.change import Change
from paceline.evaluators.context import CommandRun, Context, Ending, Purpose
from paceline.evaluators.contract import BaseEvaluator, EvaluationResult, Issue, Severity
from paceline.evaluators.documents import run_document

LINT_COST = 2.0
COST = {Severity.CRITICAL: 10.0, Severity.HIGH: 3.0, Severity.MEDIUM: 1.5, Severity.LOW: 0.5}
TAIL_CHARACTERS = 600

_SAID = {
    Ending.FAILED: "failed",
    Ending.TIMED_OUT: "did not end in time",
    Ending.OUT_OF_MEMORY: "needed too much memory",
}


class Tests(BaseEvaluator):
    """The repository's own tests and linters."""

    weight = 3.0

    async def evaluate(self, change: Change, context: Context) -> EvaluationResult:
        """Answer the score; None where nothing was run and no test was touched."""
        weakened = [
            Issue(path, flaw.line, flaw.rated, flaw.rule, flaw.message)
            for path, flaw in testing.check(change)
        ]
        ran = [run for run in context.runs if run.ending is not Ending.NOT_STARTED]
        details = _details(context, ran)
        touched = any(is_test(file.path) for file in change.files)
        if not ran and not touched and not weakened:
            return EvaluationResult(None, details)
        failed = list(_failures(ran))
        costs = sum(COST[issue.severity] for issue in weakened)
        linted = sum(1 for issue in failed if issue.rule == "lint-failed")
        score = 10.0 - costs - LINT_COST * linted
        if any(issue.rule == "tests-failed" for issue in failed):
            score = 0.0
        return EvaluationResult(score, details, _suggestions(failed), (*failed, *weakened))


def _details(context: Context, ran: list[CommandRun]) -> dict[str, Any]:
    details: dict[str, Any] = {"commands": [run_document(run) for run in context.runs]}
    if not ran:
        details["reason"] = (
            "no command for tests or lint was found or could be started"
            if context.permitted
            else "running the repository's own commands was not permitted"
        )
    return details


def _failures(ran: list[CommandRun]) -> Iterator[Issue]:
    for run in ran:
        if run.ending is Ending.PASSED:
            continue
        tail = run.tail[-TAIL_CHARACTERS:].strip()
        message = f"`{run.command}` {_SAID.get(run.ending, run.ending)}: {tail}"
        if run.purpose is Purpose.TEST:
            yield Issue("", 0, Severity.CRITICAL, "tests-failed", message)
        else:
            yield Issue("", 0, Severity.MEDIUM, "lint-failed", message)


def _suggestions(failed: list[Issue]) -> tuple[str, ...]:
    return ("Make the repository's own checks pass.",) if failed else ()
