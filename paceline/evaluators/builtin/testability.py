"""Is the new code reached by tests: measured, or else guessed.

Where tests ran and could be watched: score = 10 x covered / runnable new lines. Else it is guessed
by names: the share of the touched functions of which a test speaks, between GUESS_MIN and 10, since
a guess may be wrong. Code without functions is not guessed at.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from paceline.evaluators.analysis.functions import Function, touched_functions
from paceline.evaluators.analysis.languages import is_code, is_test, language_of
from paceline.evaluators.change import FILE_LIMIT_BYTES, Change, FileChange
from paceline.evaluators.context import Context, FileCoverage
from paceline.evaluators.contract import BaseEvaluator, EvaluationResult, Issue, Severity
from paceline.evaluators.reading import read_text, walk

GUESS_MIN = 4.0
TEST_FILES_LIMIT = 1000
TEST_BYTES_LIMIT = 16 * 1024 * 1024

_WORD = re.compile(r"\w+")


class Testability(BaseEvaluator):
    """Coverage of the new lines, measured or else guessed."""

    weight = 1.0

    async def evaluate(self, change: Change, context: Context) -> EvaluationResult:
        """Answer the score; None where nothing of the new code can be judged."""
        files = [file for file in change.texts if is_code(file.path) and not is_test(file.path)]
        measured = _measured(files, context.coverage or {})
        if measured:
            return _by_coverage(measured)
        return _by_names(files, change, context)


def _measured(
    files: Iterable[FileChange], coverage: Mapping[str, FileCoverage]
) -> dict[str, tuple[frozenset[int], frozenset[int]]]:
    """Answer the new lines that can run, and those of them that ran, by file."""
    found = {}
    for file in files:
        if known := coverage.get(file.path):
            runnable = file.added & known.runnable
            if runnable:
                found[file.path] = (runnable, runnable & known.covered)
    return found


def _by_coverage(
    measured: Mapping[str, tuple[frozenset[int], frozenset[int]]],
) -> EvaluationResult:
    runnable = sum(len(pair[0]) for pair in measured.values())
    covered = sum(len(pair[1]) for pair in measured.values())
    issues = [issue for path, pair in measured.items() for issue in _uncovered(path, *pair)]
    details: dict[str, Any] = {
        "measured": True,
        "runnable_lines": runnable,
        "covered_lines": covered,
        "files": {path: [len(pair[1]), len(pair[0])] for path, pair in measured.items()},
    }
    suggestions = ("Write tests that reach the new lines.",) if issues else ()
    return EvaluationResult(10 * covered / runnable, details, suggestions, tuple(issues))


def _uncovered(path: str, runnable: frozenset[int], covered: frozenset[int]) -> Iterator[Issue]:
    left = sorted(runnable - covered)
    if left:
        severity = Severity.MEDIUM if len(left) * 2 > len(runnable) else Severity.LOW
        message = f"{len(left)} of {len(runnable)} new lines are not reached by any test"
        yield Issue(path, left[0], severity, "uncovered", message)


def _by_names(files: list[FileChange], change: Change, context: Context) -> EvaluationResult:
    touched = [(file, f) for file in files for f in _judged(file)]
    if not touched:
        return EvaluationResult(None, {"measured": False, "reason": "no function was touched"})
    spoken = _words_of_tests(change, context.repository)
    missed = [(file, f) for file, f in touched if not _is_spoken_of(file, f, spoken)]
    share = 1 - len(missed) / len(touched)
    issues = [
        Issue(file.path, f.first, Severity.LOW, "untested", f"no test speaks of {f.name}")
        for file, f in missed
    ]
    details = {
        "measured": False,
        "functions": len(touched),
        "spoken_of": len(touched) - len(missed),
    }
    suggestions = ("Write tests for the new functions.",) if issues else ()
    score = GUESS_MIN + (10 - GUESS_MIN) * share
    return EvaluationResult(score, details, suggestions, tuple(issues))


def _judged(file: FileChange) -> Iterator[Function]:
    """Answer the touched functions that a test would call by their name."""
    language = language_of(file.path)
    for function in touched_functions(file, language) if language else ():
        if function.name and not function.name.startswith("__"):
            yield function


def _is_spoken_of(file: FileChange, function: Function, spoken: set[str]) -> bool:
    """Answer whether tests name it; of a private one, its file or class will do."""
    if function.name in spoken:
        return True
    return function.name.startswith("_") and PurePosixPath(file.path).stem in spoken


def _words_of_tests(change: Change, repository: Path | None) -> set[str]:
    words: set[str] = set()
    for file in change.texts:
        if is_test(file.path):
            words.update(_WORD.findall(file.new or ""))
    if repository is not None:
        for text in _tests_of(repository):
            words.update(_WORD.findall(text))
    return words


def _tests_of(repository: Path) -> Iterator[str]:
    left, files = TEST_BYTES_LIMIT, 0
    for path in walk(repository):
        if files >= TEST_FILES_LIMIT or left <= 0:
            return
        if is_code(path) and is_test(path):
            text = read_text(repository, path, min(FILE_LIMIT_BYTES, left)) or ""
            left -= len(text)
            files += 1
            yield text
