"""What a change does to the tests: counted in their text, before anything is run."""

import re
from collections.abc import Iterator

from paceline.evaluators.analysis.flaws import Flaw
from paceline.evaluators.analysis.functions import touched_functions
from paceline.evaluators.analysis.languages import is_code, is_test, language_of, text_of
from paceline.evaluators.change import Change, FileChange
from paceline.evaluators.contract import Severity

REMOVED = "tests-removed"
WEAKENED = "tests-weakened"
SKIPPED = "test-skipped"
EMPTY = "empty-test"
DISABLED = "tests-disabled"

_TESTS = re.compile(
    r"^\s*(?:async\s+)?def\s+test\w*\s*\(|^func\s+(?:Test|Fuzz|Example)\w*\s*\("
    r"|^\s*(?:it|test)(?:\.each\b[^(]*\([^)]*\))?\s*\(",
    re.M,
)
_ASSERTIONS = re.compile(
    r"\bassert\w*\b|\bexpect\s*\(|\bt\.(?:Error|Fatal|Fail)\w*\(|\brequire\.\w+\(|pytest\.raises"
    r"|\bshould\b|\bt\.(?:equal|deepEqual|ok|is|throws|Skip)\("
    r"|\b\w*(?:assert|check|verify|expect|must)\w*\(|pytest\.(?:fail|warns)"
)
_TEST_NAME = re.compile(r"test_\w|Test[A-Z]")
_SKIPS = re.compile(
    r"pytest\.mark\.(skip|xfail)\b|pytest\.skip\(|unittest\.(skip|expectedFailure)\b|@skip\b"
    r"|\b(it|test|describe)\.(skip|only|todo)\b|\b(xit|xdescribe|xtest|fit|fdescribe)\s*\("
    r"|\bt\.Skip(Now|f)?\("
)
_TRIVIAL = re.compile(
    r"^\s*assert\s+(True|1|not False)\s*(#.*)?$|expect\((true|1)\)\.(toBe|toEqual)\((true|1)\)"
    r"|self\.assertTrue\(True\)|assert\.(True\(t,\s*true|ok\(true)\)|assert\.equal\((?P<same>\w+),\s*(?P=same)\)"
)
_NEUTRAL_SCRIPT = re.compile(
    r'"(test|lint)"\s*:\s*"(\s*(echo|true|exit 0|:)\b[^"]*|[^"]*\|\|\s*true)"'
)
_NEUTRAL_PIPELINE = re.compile(r"continue-on-error:\s*true|\|\|\s*(true|exit 0|:)\s*$")


def check(change: Change) -> Iterator[tuple[str, Flaw]]:
    """Answer what makes the tests say less than before, with the file."""
    tests = [file for file in change.files if is_test(file.path) or is_test(file.old_path or "")]
    yield from _fewer(tests)
    for file in change.texts:
        for number, line in file.added_lines():
            if flaw := _line(file, number, line):
                yield file.path, flaw
        for flaw in _without_assertions(file):
            yield file.path, flaw


def _without_assertions(file: FileChange) -> Iterator[Flaw]:
    """Find new tests that assert nothing, in themselves or through a helper of a telling name."""
    language = language_of(file.path)
    if language is None or not is_test(file.path):
        return
    for function in touched_functions(file, language):
        text = text_of(function.node)
        named = _TEST_NAME.match(function.name)
        if named and function.first in file.added and not _ASSERTIONS.search(text):
            message = f"{function.name} asserts nothing: it fails only if something raises"
            yield Flaw(EMPTY, function.first, function.last, message, Severity.MEDIUM)


def counts(text: str) -> tuple[int, int]:
    """Answer how many tests and how many assertions a text has."""
    return len(_TESTS.findall(text)), len(_ASSERTIONS.findall(text))


def _fewer(tests: list[FileChange]) -> Iterator[tuple[str, Flaw]]:
    """Compare all test files together, so that tests may move from one to another."""
    before = [counts(file.old or "") for file in tests]
    after = [counts(file.new or "") for file in tests]
    lost = sum(pair[0] for pair in before) - sum(pair[0] for pair in after)
    weaker = sum(pair[1] for pair in before) - sum(pair[1] for pair in after)
    if lost <= 0 and weaker <= 0:
        return
    losses = [b[1] - a[1] + b[0] - a[0] for b, a in zip(before, after, strict=True)]
    path = tests[losses.index(max(losses))].path
    if lost > 0:
        message = f"{lost} tests fewer than before: say why, or bring them back"
        yield path, Flaw(REMOVED, 0, 0, message, Severity.HIGH)
    else:
        message = f"{weaker} assertions fewer than before in the same tests"
        yield path, Flaw(WEAKENED, 0, 0, message, Severity.HIGH)


def _line(file: FileChange, number: int, line: str) -> Flaw | None:
    words = line[:2000]
    if is_test(file.path) and is_code(file.path):
        if _SKIPS.search(words):
            message = "this keeps tests from running"
            return Flaw(SKIPPED, number, number, message, Severity.MEDIUM)
        if _TRIVIAL.search(words):
            message = "this can never fail"
            return Flaw(EMPTY, number, number, message, Severity.HIGH)
    elif file.path.endswith("package.json") and _NEUTRAL_SCRIPT.search(words):
        message = "the command for tests or lint can no longer fail"
        return Flaw(DISABLED, number, number, message, Severity.HIGH)
    elif file.path.startswith(".github/workflows/") and _NEUTRAL_PIPELINE.search(words):
        message = "a step of the pipeline can no longer fail"
        return Flaw(DISABLED, number, number, message, Severity.HIGH)
    return None
