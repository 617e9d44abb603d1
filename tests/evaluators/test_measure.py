"""Running a repository's own checks, for real, and which lines they reached."""

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from paceline.evaluators.builtin import testability, tests
from paceline.evaluators.change import Change, from_texts
from paceline.evaluators.config import Commands
from paceline.evaluators.context import Context, Ending, FileCoverage, Purpose
from paceline.evaluators.contract import BaseEvaluator, EvaluationResult
from paceline.evaluators.measure.commands import GIVEN, Command, commands_for
from paceline.evaluators.measure.running import measure
from tests.evaluators.repositories import write
from tests.tools.children import lives

UNITTEST = f"{sys.executable} -m unittest -q"

HALVES = """\
def half(n):
    if n < 0:
        raise ValueError(n)
    return n // 2
"""
TESTED = """\
import unittest

from halves import half


class Halves(unittest.TestCase):
    def test_half(self):
        self.assertEqual(half(4), 2)
"""


def run(
    directory: Path,
    files: dict[str, str],
    *lines: str,
    purpose: Purpose = Purpose.TEST,
    origin: str = GIVEN,
    time_s: float = 60.0,
    memory_mib: int = 2048,
) -> tuple[Context, Change]:
    write(directory, files)
    change = from_texts({}, files)
    commands = [Command(purpose, line, origin) for line in lines]

    async def bounded() -> Context:
        async with asyncio.timeout(100):
            return await measure(
                Context(repository=directory),
                change,
                commands,
                files,
                time_s=time_s,
                memory_mib=memory_mib,
            )

    return asyncio.run(bounded()), change


def judged(kind: type[BaseEvaluator], pair: tuple[Context, Change]) -> EvaluationResult:
    context, change = pair
    return asyncio.run(kind({}).evaluate(change, context))


def test_python_lines_are_watched(tmp_path: Path) -> None:
    pair = run(tmp_path, {"halves.py": HALVES, "test_halves.py": TESTED}, UNITTEST)
    assert pair[0].runs[0].ending is Ending.PASSED, pair[0].runs[0].tail
    assert pair[0].coverage == {
        "halves.py": FileCoverage(frozenset({1, 2, 3, 4}), frozenset({1, 2, 4}))
    }
    assert judged(tests.Tests, pair).score == 10
    result = judged(testability.Testability, pair)
    assert result.score == 7.5
    assert [(i.file, i.line, i.rule) for i in result.issues] == [("halves.py", 3, "uncovered")]


def test_lines_that_another_process_runs_count(tmp_path: Path) -> None:
    inner = "import halves; halves.half(2)"
    line = f'{sys.executable} -c \'import os; os.system("{sys.executable} -c \\"{inner}\\"")\''
    context, _ = run(tmp_path, {"halves.py": HALVES}, line)
    assert context.coverage is not None
    assert context.coverage["halves.py"].covered == {1, 2, 4}


def test_a_file_that_no_test_loads_is_not_covered(tmp_path: Path) -> None:
    context, _ = run(tmp_path, {"halves.py": HALVES}, f"{sys.executable} -c pass")
    assert context.coverage == {"halves.py": FileCoverage(frozenset({1, 2, 3, 4}), frozenset())}


def test_another_tracer_leaves_it_unknown(tmp_path: Path) -> None:
    line = f"{sys.executable} -c 'import sys; sys.settrace(lambda *a: None); import halves'"
    assert run(tmp_path, {"halves.py": HALVES}, line)[0].coverage is None


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_javascript_lines_are_watched(tmp_path: Path) -> None:
    source = (
        "function half(n) {\n  // halves\n  if (n < 0) {\n    throw new Error(`\U0001f4a5 ${n}`);\n"
        "  }\n  return n / 2;\n}\nfunction never() {\n  return 1;\n}\nmodule.exports = { half };\n"
    )
    test = "require('node:assert').equal(require('./half').half(4), 2);\n"
    pair = run(tmp_path, {"half.js": source, "half.test.js": test}, "node half.test.js")
    assert pair[0].coverage is not None, pair[0].runs
    found = pair[0].coverage["half.js"]
    assert found.runnable - found.covered == {4, 8, 9}
    assert judged(testability.Testability, pair).score == pytest.approx(10 * 4 / 7, abs=0.01)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="needs Go")
def test_go_lines_are_watched(tmp_path: Path) -> None:
    source = (
        "package half\n\nfunc Half(n int) int {\n\tif n < 0 {\n\t\treturn 0\n\t}\n"
        "\treturn n / 2\n}\n"
    )
    test = (
        'package half\n\nimport "testing"\n\nfunc TestHalf(t *testing.T) {\n'
        "\tif Half(4) != 2 {\n\t\tt.Fatal()\n\t}\n}\n"
    )
    files = {"go.mod": "module half\n\ngo 1.18\n", "half.go": source, "half_test.go": test}
    context, _ = run(tmp_path, files, "go test ./...", time_s=90)
    assert context.runs[0].ending is Ending.PASSED, context.runs[0].tail
    assert context.coverage is not None
    found = context.coverage["half.go"]
    assert found.covered == {3, 4, 7}
    assert 5 in found.runnable


def test_failing_tests_are_never_a_pass(tmp_path: Path) -> None:
    files = {"halves.py": HALVES.replace("// 2", "// 3"), "test_halves.py": TESTED}
    result = judged(tests.Tests, run(tmp_path, files, UNITTEST))
    assert result.score == 0
    assert [(i.severity.value, i.rule) for i in result.issues] == [("critical", "tests-failed")]
    assert "1 != 2" in result.issues[0].message


def test_failing_lint_costs_two(tmp_path: Path) -> None:
    pair = run(tmp_path, {"a.py": "x = 1\n"}, "echo bad style; exit 1", purpose=Purpose.LINT)
    result = judged(tests.Tests, pair)
    assert (result.score, [issue.rule for issue in result.issues]) == (8, ["lint-failed"])


def test_a_guess_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    for line in ("no-such-program", f"{sys.executable} -m no_such_pytest; exit 127"):
        pair = run(tmp_path, {"a.py": "x = 1\n"}, line, origin="pyproject.toml")
        assert pair[0].runs[0].ending is Ending.NOT_STARTED
        assert judged(tests.Tests, pair).score is None
    given = run(tmp_path, {"a.py": "x = 1\n"}, "no-such-program")
    assert judged(tests.Tests, given).score == 0


def test_time_and_memory_have_limits(tmp_path: Path) -> None:
    slow, _ = run(tmp_path, {"a.py": ""}, "sleep 1000", time_s=1)
    assert slow.runs[0].ending is Ending.TIMED_OUT
    line = f"{sys.executable} -c 'x = bytearray(400 << 20); import time; time.sleep(1000)'"
    large, _ = run(tmp_path, {"a.py": ""}, line, memory_mib=128)
    assert large.runs[0].ending is Ending.OUT_OF_MEMORY


def test_nothing_that_was_started_stays(tmp_path: Path) -> None:
    run(tmp_path, {"a.py": ""}, "setsid sleep 1000 & echo $! > pid; sleep 0.2; true")
    assert not lives(int((tmp_path / "pid").read_text()))


def test_no_secret_of_the_caller_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_TOKEN", "s3cr3t-word")
    context, _ = run(tmp_path, {"a.py": ""}, "env; exit 1")
    assert "HOME=" in context.runs[0].tail
    assert "s3cr3t-word" not in context.runs[0].tail
    assert f"HOME={Path.home()}\n" not in context.runs[0].tail


def test_the_repositorys_eslint_is_asked(tmp_path: Path) -> None:
    script = f"""#!{sys.executable}
import json, sys
target = sys.argv[sys.argv.index("--output-file") + 1]
path = sys.argv[-1]
message = {{"line": 1, "ruleId": "no-var", "severity": 2, "message": "no var"}}
place = {str(tmp_path)!r} + "/" + path
json.dump([{{"filePath": place, "messages": [message]}}], open(target, "w"))
sys.exit(1)
"""
    write(tmp_path, {"node_modules/.bin/eslint": script})
    (tmp_path / "node_modules/.bin/eslint").chmod(0o755)
    files = {"eslint.config.js": "module.exports = [];\n", "it's.js": "var a = 1;\n"}
    context, _ = run(tmp_path, files)
    assert [(lint.file, lint.line, lint.rule, lint.error) for lint in context.lints] == [
        ("it's.js", 1, "no-var", True)
    ]
    without, _ = run(tmp_path / "other", {"it's.js": "var a = 1;\n"})
    assert without.lints == ()


def lines(
    manifests: dict[str, str],
    *there: str,
    given: tuple[str, ...] = (),
    test: tuple[str, ...] | None = None,
    lint: tuple[str, ...] | None = None,
) -> list[str]:
    configured = Commands(test=test, lint=lint)
    found = commands_for(configured, manifests, has=lambda p: p in there, given=given)
    return [command.line for command in found]


def test_commands_are_detected() -> None:
    python = {"pyproject.toml": "[tool.pytest.ini_options]\n[tool.ruff]\n"}
    assert lines(python, ".venv/bin/python") == [
        ".venv/bin/python -m pytest -q -p no:cacheprovider",
        ".venv/bin/python -m ruff check --no-cache .",
    ]
    node = {"package.json": '{"scripts": {"test": "vitest", "lint": "eslint ."}}'}
    assert lines(node) == ["npm run --silent test", "npm run --silent lint"]
    assert lines(node | {"yarn.lock": ""})[0] == "yarn run --silent test"
    assert lines({"package.json": '{"scripts": {"test": "echo no test specified"}}'}) == []
    assert lines({"go.mod": "module x"}) == ["go test ./...", "go vet ./..."]
    assert lines({"Cargo.toml": ""}) == ["cargo test --quiet --offline"]
    assert lines({"Makefile": "test: x\nlint:\ntest := 3\n"}) == ["make test", "make lint"]
    assert lines({"package.json": "[", "pyproject.toml": "["}) == []


def test_what_was_named_goes_before_what_was_found() -> None:
    go = {"go.mod": "module x"}
    assert lines(go, test=("make check",)) == ["make check", "go vet ./..."]
    assert lines(go, test=(), lint=()) == []
    assert lines(go, test=("make check",), given=("true",)) == ["true", "go vet ./..."]
