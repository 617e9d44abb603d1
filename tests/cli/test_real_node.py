"""The commands against a real node: one process in the background, started and stopped by them."""

import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cli.command import Ended, argv, environment, paceline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PLAN = """
description: Two steps
subtasks:
  - name: first
    tool: command
    run: echo "one line" | tee "$PACELINE_OUTPUT"
  - name: second
    needs: [first]
    tool: command
    run: cat "$PACELINE_INPUTS/first" > "$PACELINE_OUTPUT"
"""
SLOW = "subtasks: [{name: slow, tool: command, run: 'echo begun; sleep 60'}]"
FAILING = "subtasks: [{name: bad, tool: command, run: 'exit 3', max_attempts: 1}]"


class RealNode:
    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def run(self, *arguments: str, given: str = "") -> Ended:
        return paceline(*arguments, given=given, PACELINE_DATA_DIR=str(self.data_dir))

    def start(self, *arguments: str) -> Ended:
        always = ("node", "start", "--detach", "--no-mdns", "--bind", "127.0.0.1", "--port", "0")
        return self.run(*always, *(arguments or ("--web-port", "0")))

    @property
    def file(self) -> dict[str, str]:
        document: dict[str, str] = json.loads((self.data_dir / "node.json").read_text())
        return document


def lives(pid: int) -> bool:
    """Answer whether it runs; who adopted it may be slow to bury it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealNode]:
    node = RealNode(tmp_path / "data")
    started = node.start()
    assert started.status == 0, started.err
    pid = int(node.file["pid"])
    try:
        yield node
    finally:
        node.run("node", "stop")
        assert not lives(pid)


def test_ready_says_who_and_where(tmp_path: Path) -> None:
    node = RealNode(tmp_path / "data")
    started = node.start()
    said = node.file

    assert started.out == f"ready {said['node_id']} {said['page_url']}\n"
    assert node.run("node", "stop").status == 0
    assert not (node.data_dir / "node.json").exists()
    assert node.run("status").status == 3


def test_a_task_goes_from_submission_to_its_result(real: RealNode) -> None:
    submitted = real.run("submit", "--plan", "-", "--wait", given=PLAN)
    task = submitted.out.strip()

    assert submitted.status == 0, submitted.err
    shown = real.run("show", task[:8], "--json").json
    assert shown["status"] == "completed"
    assert [s["result"]["output"]["text"] for s in shown["subtasks"]] == ["one line\n"] * 2
    assert "one line" in real.run("show", task).out
    assert real.run("logs", task, "first").out == "one line\n"
    assert real.run("watch", task).out.splitlines()[-1] == f"{task}  completed"
    assert task[:8] in real.run("tasks", "--status", "completed").out
    assert real.run("events", "--task", task, "--json").json["events"]


def test_a_task_that_fails_is_1_and_may_be_tried_again(real: RealNode) -> None:
    submitted = real.run("submit", "--plan", "-", "--wait", "--timeout", "60", given=FAILING)
    task = submitted.out.strip()

    assert submitted.status == 1
    assert "exit status 3" in real.run("show", task).out
    assert real.run("retry", task).status == 0
    assert real.run("watch", task, "--timeout", "60").status == 1


def test_logs_follow_a_running_subtask_until_it_is_cancelled(real: RealNode) -> None:
    task = real.run("submit", "--plan", "-", given=SLOW).out.strip()
    process = subprocess.Popen(
        argv("logs", task, "-f"),
        stdout=subprocess.PIPE,
        text=True,
        env=environment(PACELINE_DATA_DIR=str(real.data_dir)),
    )
    assert process.stdout is not None
    with process.stdout as lines:
        assert lines.readline() == "slow begun\n"
        assert real.run("cancel", task, "--reason", "enough").status == 0
        lines.read()

    assert process.wait(60) == 0
    assert real.run("watch", task, "--timeout", "60").status == 1


def test_the_same_key_is_one_task(real: RealNode) -> None:
    submit = ("submit", "--plan", "-", "--idempotency-key", "k", "--json")
    first, second = real.run(*submit, given=PLAN).json, real.run(*submit, given=PLAN).json

    assert first["task_id"] == second["task_id"]
    assert (first["created"], second["created"]) == (True, False)


def test_wrong_plans_and_ids_are_told(real: RealNode) -> None:
    wrong = "subtasks:\n  - name: a\n    needs: [b]\n    tool: command\n    run: 'true'\n"
    refused = real.run("submit", "--plan", "-", given=wrong)

    assert refused.status == 2
    assert "standard input, line 3" in refused.err
    assert real.run("show", "ffffffff").status == 5
    assert real.run("submit", "x", "--type", "bug_fixx").status == 2


def test_the_page_opens_once_and_may_read(real: RealNode) -> None:
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    link = real.run("web", "--print-url").out.strip()
    with opener.open(link, timeout=30) as page:
        assert "<title>Paceline</title>" in page.read().decode()
    with opener.open(f"{real.file['page_url']}api/v1/status", timeout=30) as answer:
        assert json.load(answer)["node_id"] == real.file["node_id"]

    stranger = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with pytest.raises(urllib.error.HTTPError, match="403"):
        stranger.open(link, timeout=30)


def test_a_second_node_in_the_same_directory_is_refused(real: RealNode) -> None:
    second = real.start()

    assert second.status == 1
    assert "already runs" in second.err
    assert real.run("status").status == 0


def test_a_taken_web_port_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        started = RealNode(tmp_path / "data").start("--web-port", str(taken.getsockname()[1]))

    assert started.status != 0
    assert "--web-port" in started.err
    assert "Traceback" not in started.err


def test_metrics_and_the_log_tell_of_the_work_and_the_log_names_it(tmp_path: Path) -> None:
    node = RealNode(tmp_path / "data")
    started = node.start("--web-port", "0", "--log-format", "json", "--log-level", "debug")
    assert started.status == 0, started.err
    try:
        task = node.run("submit", "--plan", "-", "--wait", given=PLAN).out.strip()
        token = (node.data_dir / "api.token").read_text().strip()
        request = urllib.request.Request(
            node.file["page_url"] + "metrics", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            lines = answer.read().decode().splitlines()
    finally:
        node.run("node", "stop")

    assert 'paceline_attempts_finished_total{result="ok",tool="command"} 2.0' in lines
    assert 'paceline_tasks{status="completed"} 1.0' in lines
    logged = [
        json.loads(line)
        for line in (node.data_dir / "node.log").read_text().splitlines()
        if line.startswith("{")
    ]
    ended = [each for each in logged if each["event"] == "an attempt ended"]
    assert [(each["task_id"], each["attempt"], each["tool"]) for each in ended] == [
        (task, 1, "command")
    ] * 2
    assert len({each["subtask_id"] for each in ended}) == 2
