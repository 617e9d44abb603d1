"""The demo for real: what it prints, what it finds, and that nothing of it stays."""

import contextlib
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.cli.command import argv, environment, paceline, paceline_on_terminal

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def processes_of(directory: Path) -> list[str]:
    """Answer whatever still runs in, or speaks of, that directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                words = [*process.cmdline(), process.cwd(), *process.environ().values()]
                if any(str(directory) in word for word in words):
                    found.append(" ".join(process.cmdline()))
    return found


def assert_nothing_stays(directory: Path) -> None:
    assert processes_of(directory) == []
    assert list(directory.iterdir()) == []


def test_the_task_completes_although_its_leader_is_killed(tmp_path: Path) -> None:
    ended = paceline("demo", "--json", TMPDIR=str(tmp_path))

    assert ended.status == 0, ended.err
    assert ended.err == ""
    found = ended.json
    assert found["task"]["status"] == "completed"
    assert len(found["task"]["subtasks"]) >= 12
    assert {found["leader_before"], found["leader_after"]} <= set(found["nodes"])
    assert found["leader_before"] != found["leader_after"]
    assert (found["lost_results"], found["duplicated_results"]) == (0, 0)
    assert found["failover_ms"] > 0
    survivors = set(found["nodes"]) - {found["leader_before"]}
    assert {s["node_id"] for s in found["task"]["subtasks"][-2:]} <= survivors
    assert_nothing_stays(tmp_path)


def test_the_report_holds_every_part_that_it_was_merged_from(tmp_path: Path) -> None:
    subtasks = paceline("demo", "--json", TMPDIR=str(tmp_path)).json["task"]["subtasks"]
    output = {s["name"]: s["result"]["output"]["text"] for s in subtasks}

    assert "Ran 9 tests" in output["unit-tests"]
    for part in ("languages", "todos", "docstrings", "verify-checksums", "history"):
        assert output[part]
        assert output["report"].count(output[part]) == 1


def test_a_repository_of_the_person_is_examined_and_left_as_it_was(tmp_path: Path) -> None:
    repository, temporary = tmp_path / "mine", tmp_path / "tmp"
    repository.mkdir()
    temporary.mkdir()
    (repository / "main.py").write_text("print('hello')  # TODO: say more\n")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q"], cwd=repository, check=True)
    subprocess.run([*git, "add", "."], cwd=repository, check=True)
    subprocess.run([*git, "commit", "-qm", "Begin"], cwd=repository, check=True)
    before = sorted(path.name for path in repository.rglob("*"))

    ended = paceline("demo", "--repo", str(repository), TMPDIR=str(temporary))

    assert ended.status == 0, ended.err
    assert "killed with -9" in ended.out
    assert "0 lost, 0 doubled" in ended.out
    assert sorted(path.name for path in repository.rglob("*")) == before
    assert_nothing_stays(temporary)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", ["starting", "leads", "done on", "killed"])
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, number: int, after: str) -> None:
    process = subprocess.Popen(
        argv("demo"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(TMPDIR=str(tmp_path)),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout as lines, process.stderr as errors:
        assert any(after in line for line in lines)
        process.send_signal(number)
        lines.read()
        said = errors.read()

    assert process.wait(60) == 128 + number
    assert said == ""
    assert_nothing_stays(tmp_path)


def test_a_demo_whose_reader_goes_away_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        argv("demo"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(TMPDIR=str(tmp_path), PYTHONUNBUFFERED="1"),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    with process.stderr as errors:
        assert errors.read() == ""

    assert process.wait(60) == 141
    assert_nothing_stays(tmp_path)


def test_nodes_that_cannot_start_are_explained_with_their_log(tmp_path: Path) -> None:
    broken, temporary = tmp_path / "broken", tmp_path / "tmp"
    broken.mkdir()
    temporary.mkdir()
    (broken / "zmq.py").write_text("raise ImportError('no sockets today')\n")

    ended = paceline("demo", "--json", TMPDIR=str(temporary), PYTHONPATH=str(broken))

    assert ended.status == 1
    assert ended.out == ""
    assert "the node did not start" in ended.err
    assert "no sockets today" in ended.err
    # A defect inside a node writes a report of its own; that one is meant to stay.
    assert processes_of(temporary) == []
    assert [p.name for p in temporary.iterdir() if not p.name.startswith("paceline-report-")] == []


def test_a_terminal_is_left_as_it_was(tmp_path: Path) -> None:

    ended = paceline_on_terminal("demo", TMPDIR=str(tmp_path))

    assert ended.status == 0
    hidden, shown = ended.out.count("\x1b[?25l"), ended.out.count("\x1b[?25h")
    assert hidden == shown > 0
    assert_nothing_stays(tmp_path)
