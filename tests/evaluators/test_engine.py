"""Evaluators in processes of their own: ours, and third parties' that misbehave in every way."""

import asyncio
import json
import sys
from pathlib import Path
from textwrap import dedent, indent

import pytest

from paceline.errors import NotFound, ToolError
from paceline.evaluators.aggregate import Evaluation, Judged, Verdict
from paceline.evaluators.change import Change, from_code, from_texts
from paceline.evaluators.config import Config, parse
from paceline.evaluators.context import Context
from paceline.evaluators.contract import BaseEvaluator, EvaluationResult
from paceline.evaluators.documents import change_document, read_change
from paceline.evaluators.engine import evaluate, in_processes
from paceline.evaluators.registry import Registry
from tests.tools.children import lives

ALONE = "".join(
    f"[evaluators.{name}]\nenabled = false\n"
    for name in ("code_quality", "completeness", "testability", "tests")
)
"""Configuration of those that a test is not about."""

OWN = ("architecture", "code_quality", "completeness", "security", "testability", "tests")

GOOD = '''
"""Sums."""


def add(first: int, second: int) -> int:
    """Answer the sum of two numbers."""
    return first + second
'''


def run(
    change: Change,
    site: Path | None = None,
    config: Config | None = None,
    extra: tuple[BaseEvaluator, ...] = (),
) -> Evaluation:
    path = [str(site)] if site else None
    registry = Registry(path)
    runner = in_processes(registry, [str(site), *sys.path] if site else None)

    async def bounded() -> Evaluation:
        async with asyncio.timeout(100):
            return await evaluate(
                change, Context(), config=config, registry=registry, run=runner, extra=extra
            )

    return asyncio.run(bounded())


def install(site: Path, body: str, *, name: str = "theirs", head: str = "") -> Path:
    """Install a distribution with one evaluator, whose `evaluate` has this body."""
    site.mkdir(exist_ok=True)
    source = f"""\
from paceline.evaluators.contract import BaseEvaluator, EvaluationResult, Issue, Severity
{head}

class Theirs(BaseEvaluator):
    weight = 2.0

    async def evaluate(self, change, context):
{indent(dedent(body), "        ")}
"""
    (site / f"plugin_{name}.py").write_text(source)
    information = site / f"plugin_{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plugin-{name}\n")
    (information / "entry_points.txt").write_text(
        f"[paceline.evaluators]\n{name} = plugin_{name}:Theirs\n"
    )
    return site


def theirs(evaluation: Evaluation, name: str = "theirs") -> Judged:
    return next(part for part in evaluation.parts if part.name == name)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_ours_come_by_entry_points_and_judge_a_change() -> None:
    evaluation = run(from_texts({}, {"sums.py": GOOD}))
    assert tuple(part.name for part in evaluation.parts) == OWN
    assert [part.failure for part in evaluation.parts] == [""] * len(OWN)
    assert {part.name: part.weight for part in evaluation.parts} == {
        "architecture": 0.5,
        "code_quality": 1.0,
        "completeness": 1.5,
        "security": 2.0,
        "testability": 1.0,
        "tests": 3.0,
    }
    assert evaluation.verdict is Verdict.PASS
    json.dumps(evaluation.document())


def test_theirs_counts_like_ours(site: Path) -> None:
    install(
        site,
        """
        file = change.texts[0]
        issue = Issue(file.path, 2, Severity.LOW, "licence", "no licence")
        return EvaluationResult(4, {"lines": len(file.added), "of": self.options["of"]},
                                ("add one",), (issue,))
        """,
    )
    part = theirs(run(from_code(GOOD), site, parse('[evaluators.theirs]\nof = "us"\n')))
    assert part.result is not None
    assert (part.weight, part.score) == (2.0, 4.0)
    assert part.result.details == {"lines": 7, "of": "us"}
    assert part.result.issues[0].rule == "licence"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('no idea')", "ValueError: no idea"),
        ("raise SystemExit(3)", "ended without an answer"),
        ("import os; os._exit(4)", r"status 4"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
        ("return 7", "AttributeError"),
        ("return EvaluationResult('good')", "TypeError"),
        ("return EvaluationResult(float('nan'))", "must be a number"),
        ("return EvaluationResult(5, {}, (), (Issue('a', -1, Severity.LOW, 'r', 'm'),))", "line"),
        ("return EvaluationResult(5, {}, (), (Issue('a', 1, Severity.LOW, 3, 'm'),))", "a text"),
        ("bytearray(2 << 30)", "more memory than 256 MiB"),
    ],
)
def test_a_failure_is_reported_and_never_fatal(site: Path, body: str, said: str) -> None:
    install(site, body + "\n")
    config = parse("[limits]\nmemory_mib = 256\n")
    part = theirs(run(from_code(GOOD), site, config))
    assert part.result is None
    assert said in part.failure or said.replace("\\", "") in part.failure


def test_one_that_hangs_is_stopped_with_all_that_it_started(site: Path, tmp_path: Path) -> None:
    number = tmp_path / "pid"
    install(
        site,
        f"""
        import subprocess, time
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        open({str(number)!r}, "w").write(str(child.pid))
        time.sleep(1000)
        """,
    )
    part = theirs(run(from_code(GOOD), site, parse("[limits]\ntime_s = 2\n")))
    assert part.failure == "it took longer than 2 s and was stopped"
    assert not lives(int(number.read_text()))


def test_an_answer_is_not_believed(site: Path) -> None:
    """Who takes an evaluator's process over can write its answer, but not what is made of it."""
    install(
        site,
        """
        import os, sys
        place = [a for a in sys.orig_argv if a.endswith("/answer")][0]
        open(place, "w").write('{"weight": 1e300, "result": {"score": 10}}')
        os._exit(0)
        """,
    )
    assert "weight" in theirs(run(from_code(GOOD), site)).failure


def test_a_score_outside_is_clamped(site: Path) -> None:
    install(site, "return EvaluationResult(1e9)\n")
    assert theirs(run(from_code(GOOD), site)).score == 10


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("raise RuntimeError('broken plugin')", "cannot be loaded: RuntimeError: broken plugin"),
        ("import no_such_module", "cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_one_that_cannot_be_imported(site: Path, head: str, said: str) -> None:
    install(site, "return None\n", head=head)
    assert said in theirs(run(from_code(GOOD), site)).failure


def test_one_for_another_contract(site: Path) -> None:
    install(site, "return None\n")
    source = site / "plugin_theirs.py"
    source.write_text(source.read_text().replace("weight = 2.0", "api_version = 99"))
    assert "is for version 99 of the contract" in theirs(run(from_code(GOOD), site)).failure


def test_options_that_it_refuses() -> None:
    config = parse(ALONE + "[evaluators.architecture]\nlayers = 3\n")
    part = theirs(run(from_code(GOOD), config=config), "architecture")
    assert part.failure.startswith("layers must be a list of packages")


def test_switched_off_and_absent_ones() -> None:
    config = parse(
        ALONE + "[evaluators.security]\nenabled = false\n[evaluators.securty]\n[evaluators.judge]\n"
    )
    evaluation = run(from_code(GOOD), config=config)
    assert "security" not in {part.name for part in evaluation.parts}
    assert theirs(evaluation, "securty").failure.startswith("there is no evaluator securty here")
    assert "judge" not in {part.name for part in evaluation.parts}


def test_text_that_breaks_parsers_silences_nobody() -> None:
    """Whatever becomes of an evaluator that is required, the change does not pass."""
    config = parse(ALONE + "[evaluators.architecture]\nenabled = false\n[limits]\ntime_s = 30\n")
    files = {"deep.py": "x = " + "(" * 20_000 + "\n", "long.js": "f(" * 20_000 + "\n"}
    secret = {"a.py": 'key = "AKIA' + 'Q3EGP7WDNKX5SNH2"\n'}
    evaluation = run(from_texts({}, files | secret), config=config)
    assert evaluation.verdict is not Verdict.PASS
    assert evaluation.issues or evaluation.reasons


class Here(BaseEvaluator):
    """One that runs in this process."""

    weight = 5.0

    def __init__(self, outcome: object) -> None:
        super().__init__({})
        self.name = "here"
        self.outcome = outcome

    async def evaluate(self, change: Change, context: Context) -> EvaluationResult:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        assert isinstance(self.outcome, EvaluationResult)
        return self.outcome


def test_extra_ones_run_here_and_may_fail_too(tmp_path: Path) -> None:
    none = tmp_path / "none"
    good = theirs(run(from_code(GOOD), none, extra=(Here(EvaluationResult(3)),)), "here")
    assert (good.score, good.weight) == (3, 5)
    bad = theirs(run(from_code(GOOD), none, extra=(Here(RuntimeError("no agent")),)), "here")
    assert bad.failure == "RuntimeError: no agent"


def test_plugins_never_come_from_the_current_directory(tmp_path: Path) -> None:
    install(tmp_path, "return EvaluationResult(10)\n", name="local")
    assert "local" not in Registry([str(tmp_path), "", "."]).names
    with pytest.raises(NotFound, match="there is no evaluator local"):
        Registry([""]).load("local")


def test_what_is_no_evaluator_is_refused(site: Path) -> None:
    install(site, "return None\n", name="odd")
    entry_points = site / "plugin_odd-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text("[paceline.evaluators]\nodd = json:dumps\n")
    with pytest.raises(ToolError, match="is no subclass of BaseEvaluator"):
        Registry([str(site)]).load("odd")


def test_changes_travel_whole() -> None:
    change = from_texts(
        {"a.py": "1\n2\n", "gone.py": "x\n"}, {"a.py": "1\n3\n", "b/\udcffü.py": "y\u2028z\n"}
    )
    assert read_change(json.loads(json.dumps(change_document(change)))) == change
