"""What a command's exit status and its one sentence say, in real processes."""

from pathlib import Path

import pytest

from paceline.errors import (
    Busy,
    Conflict,
    NoQuorum,
    NotFound,
    NotLeader,
    PacelineError,
    StorageFull,
    TimedOut,
)
from tests.cli.command import Node, paceline
from tests.node.web.fake_service import a_task

TASK = "11112222-0000-4000-8000-000000000000"


def test_no_node_is_3_and_says_how_to_start_one(tmp_path: Path) -> None:
    ended = paceline("status", "--data-dir", str(tmp_path))

    assert ended.status == 3
    assert ended.out == ""
    assert "paceline node start" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_node_that_was_killed_left_its_file_behind_and_is_3(node: Node) -> None:
    node.served.run(node.served.web.stop)

    assert node.run("status").status == 3


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NoQuorum("one of three voters is connected"), 4),
        (TimedOut("no answer in 10 s"), 4),
        (NotLeader(None), 4),
        (Busy("too many proposals wait"), 4),
        (NotFound("there is no task 11"), 5),
        (Conflict("decided already"), 1),
        (StorageFull("no room"), 1),
        (RuntimeError("a defect"), 1),
    ],
)
def test_each_failure_of_the_node_has_its_status(node: Node, error: Exception, status: int) -> None:
    node.service.failure = error

    ended = node.run("show", "11")

    assert ended.status == status
    assert ended.out == ""
    assert "Traceback" not in ended.err
    if isinstance(error, PacelineError):
        assert str(error) in ended.err


def test_no_quorum_says_where_to_look(node: Node) -> None:
    node.service.failure = NoQuorum("one of three voters is connected")

    assert "paceline status" in node.run("cancel", "11").err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["staus"], "Did you mean `status`"),
        (["node", "stat"], "Did you mean `start`"),
        (["show"], "TASK"),
        (["tasks", "--status", "done"], "completed"),
        (["tasks", "--limit", "0"], "--limit"),
        (["submit"], "DESCRIPTION"),
        (["submit", "words"], "--type"),
        (["submit", "words", "--plan", "x.yaml"], "--plan"),
        (["submit", "x.yaml", "--type", "bug_fix", "--format", "toml"], "--format"),
        (["submit", "no/such/plan.yaml"], "cannot read the plan"),
        (["submit", "words", "--type", "bug_fix", "--repo", "/no/such/place"], "--repo"),
        (["submit", "--plan", "plan.txt"], "--format"),
        (["submit", "words", "--type", "bug_fix", "--watch", "--json"], "--wait"),
        (["logs", "x", "--json", "--jsonl"], "exclude"),
        (["node", "start", "--bind", "nowhere"], "--bind"),
        (["node", "start", "--token", "pl1-mistyped"], "mistyped"),
        (["node", "start", "--label", "gpu"], "KEY=VALUE"),
        (["node", "start", "--port", "70000"], "--port"),
        (["demo", "--repo", "/no/such/place"], "--repo"),
    ],
)
def test_wrong_usage_is_2_and_says_what_would_be_right(
    node: Node, arguments: list[str], hint: str
) -> None:
    ended = node.run(*arguments)

    assert ended.status == 2
    assert ended.out == ""
    assert hint in ended.err


def test_a_refused_plan_is_2_with_its_file_and_line(node: Node, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("subtasks:\n- !bad\n")

    ended = node.run("submit", str(plan))

    assert ended.status == 2
    assert f"{plan}, line 2: `!bad` is no subtask" in ended.err


def test_waiting_ends_with_1_when_the_task_failed(node: Node) -> None:
    ended = node.run("submit", "--plan", "-", "--wait", given="subtasks: [!fail]")

    assert ended.status == 1


def test_waiting_ends_with_4_when_time_is_up_and_the_task_goes_on(node: Node) -> None:
    node.service.documents[TASK] = a_task(TASK, "in_progress")

    ended = node.run("watch", TASK, "--timeout", "0.2")

    assert ended.status == 4
    assert "still in_progress" in ended.err


def test_a_wrong_token_is_1_and_no_secret_is_shown(node: Node) -> None:
    (node.data_dir / "api.token").write_text("x" * 43)

    ended = node.run("status")

    assert ended.status == 1
    assert "api.token" in ended.err
    assert "x" * 43 not in ended.err


def test_a_stranger_on_the_port_is_no_node(node: Node) -> None:
    node.service.failure = None
    (node.data_dir / "node.json").write_text('{"page_url": "http://127.0.0.1:1/"}')

    assert node.run("status").status == 3


def test_a_defect_writes_a_report_without_the_token_and_is_1(node: Node, tmp_path: Path) -> None:
    (node.data_dir / "node.json").write_text('{"page_url": 5}')
    # Such a file cannot come from a node; whatever follows from it must not be a traceback.
    ended = node.run("status", TMPDIR=str(tmp_path))

    assert ended.status in (1, 3)
    assert "Traceback" not in ended.err
