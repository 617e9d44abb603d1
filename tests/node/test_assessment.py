"""Judging, reviewing and correcting on the worker: real git, real evaluators, a scripted agent."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paceline.node.assessing import Assessing
from paceline.node.briefed import briefed
from paceline.node.desk import Work
from paceline.tasks.model import (
    Evaluation,
    Finding,
    Outcome,
    Repository,
    RepositoryChange,
    ResultStatus,
    Review,
)
from paceline.tasks.queries_quality import Briefing
from paceline.tasks.queries_results import NamedChange
from paceline.tools.contract import Job
from paceline.tools.events import Event, Final, ToolResult
from paceline.tools.isolation import probe
from tests.node.desks import Played, attempt, make_desk, make_repository, make_work
from tests.tools.children import PATH, run

GOOD = '''\
"""Arithmetic for lists."""


def mean(numbers: list[float]) -> float:
    """Answer the mean. Raise ValueError for an empty list."""
    if not numbers:
        raise ValueError("an empty list has no mean")
    return sum(numbers) / len(numbers)
'''
WRITE_GOOD = f"cat > mean.py <<'END'\n{GOOD}END\n"
EVIL = "printf 'import os\\nos.system(input())\\neval(input())\\n' > mean.py"


class Bench:
    """A desk that judges, a pinned repository, and an agent that runs a line and says a text."""

    def __init__(self, directory: Path, files: dict[str, str] | None = None) -> None:
        source = make_repository(directory / "source", {"a.txt": "one\n", **(files or {})})
        self.desk = make_desk(directory, assessing=Assessing(), agent=Played(self._play))
        self.pinned: Repository = run(self.desk.repositories.pin(source))[0]
        self.line = self.says = ""
        self.job: Job | None = None
        self.seen = ""
        self._attempts = 0

    async def _play(self, job: Job) -> AsyncGenerator[Event, None]:
        self.job = job
        child = await asyncio.create_subprocess_shell(
            self.line,
            cwd=job.workspace,
            env={**job.environment, **job.variables()},
            stdout=asyncio.subprocess.PIPE,
        )
        self.seen = (await child.communicate())[0].decode()
        yield Final(ToolResult(ResultStatus.OK, self.says))

    def do(self, line: str, briefing: Briefing | None = None, **fields: Any) -> Outcome:
        self.line = line
        self._attempts += 1
        work = make_work("", tool="agent", repository=self.pinned, attempt=self._attempts, **fields)
        return run(attempt(_briefed(work, briefing or Briefing()), self.desk))

    def change(self, line: str) -> RepositoryChange:
        change = self.do(line, settings={"evaluate": False}).change
        assert change is not None
        return change

    def judged(self, line: str, **fields: Any) -> Evaluation:
        outcome = self.do(line, **fields)
        assert outcome.evaluation is not None, outcome
        return outcome.evaluation


def _briefed(work: Work, briefing: Briefing) -> Work:
    changes = (NamedChange("x", briefing.change),) if briefing.change else ()
    spec = briefed(work.spec, work.task, briefing)
    return replace(work, spec=spec, submitted=work.spec, briefing=briefing, changes=changes)


def test_a_change_is_judged_and_shown(tmp_path: Path) -> None:
    found = Bench(tmp_path).judged(WRITE_GOOD, instructions="Write mean(), which refuses []")
    assert found.score is not None
    assert found.score >= 7, found
    assert {"code_quality", "security", "completeness"} <= set(found.scores)
    assert (found.files, found.doubts, found.tests_failed) == (1, (), False)
    assert "+def mean(numbers: list[float]) -> float:" in found.diff


def test_a_dangerous_change_scores_low_with_the_place(tmp_path: Path) -> None:
    found = Bench(tmp_path).judged(EVIL)
    assert found.score is not None
    assert found.score < 7
    assert ("mean.py", "security") in {(each.file, each.source) for each in found.findings}


def test_tests_that_the_plan_names_are_run_on_the_result(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"check.sh": "test -f mean.py\n"})
    settings = {"gates": {"tests": ["sh check.sh"]}}
    assert not bench.judged(WRITE_GOOD, settings=settings).tests_failed
    found = bench.judged("echo two >> a.txt", settings=settings)
    assert found.tests_failed
    assert found.score is not None
    assert found.score < 5, "tests that fail are never a pass"


def test_tests_run_behind_the_walls_of_whoever_made_the_change(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (tmp_path / "probe").mkdir()
    isolation = run(probe(PATH, tmp_path / "probe"))
    bench.desk = replace(bench.desk, isolation=isolation)
    outside = tmp_path / "source" / "a.txt"
    line = f"touch here && test -e mean.py && test ! -e {outside}"
    found = bench.judged(WRITE_GOOD, settings={"gates": {"tests": [line]}})
    assert outside.exists()
    assert found.tests_failed is not isolation.is_sandbox, "it is there, and cannot be seen"


def test_the_rules_are_those_of_the_base(tmp_path: Path) -> None:
    rules = "[thresholds]\ncheckpoint = 3.0\nretry = 1.0\n"
    bench = Bench(tmp_path, {".paceline/evaluators.toml": rules})
    found = bench.judged(f"{WRITE_GOOD} echo 'nonsense' > .paceline/evaluators.toml")
    assert (found.checkpoint_below, found.retry_below) == (3.0, 1.0)


def test_what_cannot_be_judged_is_a_doubt_and_no_failure(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {".paceline/evaluators.toml": "[thresholds]\ncheckpoint = 'high'\n"})
    outcome = bench.do(WRITE_GOOD)
    assert outcome.status is ResultStatus.OK
    assert outcome.evaluation is not None
    assert outcome.evaluation.score is None
    assert "line 2" in outcome.evaluation.doubts[0]


@pytest.mark.parametrize(
    ("line", "settings"), [("true", {}), ("echo 2 > a.txt", {"evaluate": False})]
)
def test_what_is_not_judged(tmp_path: Path, line: str, settings: dict[str, Any]) -> None:
    outcome = Bench(tmp_path).do(line, settings=settings)
    assert (outcome.status, outcome.evaluation) == (ResultStatus.OK, None)


# --- reviews and corrections ----------------------------------------------------------------------


def test_a_reviewer_sees_the_change_and_changes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    change = bench.change(WRITE_GOOD)
    bench.says = (
        'I looked.\n{"verdict": "revise", "summary": "No.", "findings": [{"file": "mean.py", '
        '"line": 4, "severity": "high", "message": "wrong for []"}]}'
    )
    outcome = bench.do(
        'cat "$PACELINE_INPUTS/change.diff"; head -1 mean.py; echo mine > mean.py',
        Briefing(review=True, cycle=2, feedback="- x", start=change.start, change=change),
        instructions="Write mean()",
    )
    assert outcome.review == Review(False, "No.", (Finding("mean.py", 4, "high", "wrong for []"),))
    assert outcome.change is None
    assert outcome.evaluation is None
    assert "+def mean" in bench.seen
    assert bench.seen.endswith('"""Arithmetic for lists."""\n'), "it is applied, too"
    assert bench.job is not None
    assert "Write mean()" in bench.job.instructions
    assert bench.job.settings["permission"] == "read"


def test_a_review_that_is_none_has_failed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    change = bench.change(WRITE_GOOD)
    bench.says = "Looks good to me!"
    outcome = bench.do("true", Briefing(review=True, start=change.start, change=change))
    assert (outcome.status, outcome.review) == (ResultStatus.FAILED, None)
    assert "cannot be read" in outcome.text


def test_a_correction_goes_on_from_the_earlier_work(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    first = bench.change(WRITE_GOOD)
    told = Briefing(feedback="Say it in one line.", start=first.start, change=first)
    outcome = bench.do("cat mean.py; echo '# end' >> mean.py", told, instructions="Write mean()")
    assert bench.seen == GOOD
    assert bench.job is not None
    assert "Write mean()" in bench.job.instructions
    assert "Say it in one line." in bench.job.instructions
    assert outcome.change is not None
    assert outcome.change.start == first.commit
    assert outcome.evaluation is not None
    assert "+def mean" in outcome.evaluation.diff, "the whole is judged, not only the correction"


def test_a_correction_that_changes_nothing_stands_by_its_work(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    first = bench.change(WRITE_GOOD)
    told = Briefing(feedback="Really?", start=first.start, change=first)
    assert bench.do("true", told, settings={"evaluate": False}).change == first
