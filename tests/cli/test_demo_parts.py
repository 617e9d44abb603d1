"""The parts of the demo that need no node: counting, choosing the moment, being interrupted."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from paceline.cli.demo_report import Report, duplicated_results, lost_results, restarted
from paceline.cli.demo_run import is_ripe
from paceline.cli.demo_stop import Interrupted, noting_signals
from paceline.cli.demo_view import summary
from paceline.cli.demo_work import make_repository, plan
from paceline.errors import PacelineError
from paceline.tasks.plan import parse

LEADER, OTHER = "leader", "other"


def subtask(name: str, status: str, node_id: str | None, *attempts: tuple[str, str]) -> Any:
    return {
        "subtask_id": name,
        "name": name,
        "status": status,
        "node_id": node_id,
        "attempts": [
            {"attempt": number, "status": ended, "node_id": where}
            for number, (ended, where) in enumerate(attempts, start=1)
        ],
    }


def task(*subtasks: Any, status: str = "in_progress") -> Any:
    return {"task_id": "t", "status": status, "subtasks": list(subtasks)}


DONE = subtask("done", "completed", OTHER, ("succeeded", OTHER))
MOVED = subtask("moved", "completed", OTHER, ("lost", LEADER), ("succeeded", OTHER))
LOST = subtask("lost", "completed", OTHER, ("failed", OTHER))
DOUBLE = subtask("double", "completed", OTHER, ("succeeded", LEADER), ("succeeded", OTHER))
WAITING = subtask("waiting", "pending", None)


def test_a_completed_subtask_without_an_accepted_outcome_is_lost() -> None:
    assert lost_results(task(DONE, MOVED, LOST, WAITING)) == 1


def test_a_subtask_with_two_accepted_outcomes_is_doubled() -> None:
    assert duplicated_results(task(DONE, MOVED, DOUBLE)) == 1


def test_restarts_say_why() -> None:
    assert restarted(task(DONE, MOVED), {LEADER: "ann"}, LEADER) == [
        {"name": "moved", "attempts": 2, "reasons": ["attempt 1 lost on ann, the killed leader"]}
    ]


def report(document: Any) -> Report:
    return Report(
        task=document,
        leader_before=LEADER,
        leader_after=OTHER,
        failover_ms=120,
        restarts=restarted(document, {}, LEADER),
        lost_results=lost_results(document),
        duplicated_results=duplicated_results(document),
        duration_ms=9000,
        nodes={LEADER: "ann", OTHER: "bo"},
    )


@pytest.mark.parametrize(
    ("document", "good"),
    [
        (task(DONE, MOVED, status="completed"), True),
        (task(DONE, status="failed"), False),
        (task(LOST, status="completed"), False),
        (task(DOUBLE, status="completed"), False),
    ],
)
def test_only_a_completed_task_with_nothing_lost_or_doubled_is_good(
    document: Any, good: bool
) -> None:
    assert report(document).good is good


def test_the_summary_tells_what_ran_where_and_what_it_cost() -> None:
    told = summary(report(task(DONE, MOVED, status="completed")))

    assert "ann → bo" in told
    assert "120 ms" in told
    assert "0 lost, 0 doubled" in told


def running(node_id: str) -> Any:
    return subtask(f"on-{node_id}", "in_progress", node_id, ("running", node_id))


@pytest.mark.parametrize(
    ("document", "ripe"),
    [
        (task(DONE, running(OTHER), running(LEADER)), True),
        (task(DONE, WAITING, WAITING, running(OTHER), running(LEADER)), False),
        (task(DONE, WAITING, running(LEADER)), False),
        (task(DONE, WAITING, running(OTHER)), False),
        (task(DONE, MOVED, running(OTHER)), True),
    ],
)
def test_the_moment_is_in_the_middle_of_the_work(document: Any, ripe: bool) -> None:
    assert is_ripe(document, LEADER) is ripe


def test_a_task_that_ended_too_early_is_said() -> None:
    with pytest.raises(PacelineError, match="failed before"):
        is_ripe(task(DONE, status="failed"), LEADER)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_noted_and_raised_only_where_the_demo_looks(number: int) -> None:
    before = signal.getsignal(number)
    with noting_signals() as stop:
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted) as raised:
            stop.pause(60)

    assert raised.value.exit_status == 128 + number
    assert signal.getsignal(number) is before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with noting_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            stop.check()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_plan_is_one_that_a_node_takes() -> None:
    draft = parse(plan(), "yaml")

    assert len(draft.subtasks) >= 12
    assert any(len(spec.needs) >= 3 for spec in draft.subtasks)


def test_the_repository_is_real_and_its_tests_pass(tmp_path: Path) -> None:
    path = tmp_path / "repository"
    make_repository(path)
    log = subprocess.run(
        ["git", "log", "--format=%an %s"], cwd=path, capture_output=True, text=True, check=True
    )
    suite = subprocess.run(
        ["python3", "-m", "unittest", "discover"], cwd=path, capture_output=True, check=False
    )

    assert len(log.stdout.splitlines()) == 2
    assert suite.returncode == 0
    assert b"Ran 9 tests" in suite.stderr


def test_a_missing_git_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(PacelineError, match="install git"):
        make_repository(tmp_path / "repository")
