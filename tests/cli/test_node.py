"""Starting and stopping processes: what is waited for, and who is never touched."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from paceline.cli import launch
from paceline.errors import NodeUnreachable, PacelineError, TimedOut
from paceline.settings import NodeSettings
from tests.cli.command import paceline

ROOT = Path(__file__).parents[2]


def settings(data_dir: Path) -> NodeSettings:
    return NodeSettings(data_dir=data_dir, name="n", port=0, web_port=0, mdns=False)


@contextmanager
def small_node(data_dir: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.small_node", str(data_dir), *arguments], cwd=ROOT
    )
    try:
        launch.wait_ready(process, settings(data_dir))
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def child(code: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_stop_asks_over_rest_and_waits_until_the_process_is_gone(tmp_path: Path) -> None:
    with small_node(tmp_path) as process:
        ended = paceline("node", "stop", "--data-dir", str(tmp_path))

        assert (ended.status, ended.out, ended.err) == (0, "", "")
        assert process.wait(10) == 0


def test_stop_ends_a_node_that_does_not_answer(tmp_path: Path) -> None:
    with small_node(tmp_path, "deaf") as process:
        assert paceline("node", "stop", "--data-dir", str(tmp_path)).status == 0
        assert process.wait(10) == 0


def test_stop_says_when_it_takes_too_long(tmp_path: Path) -> None:
    with small_node(tmp_path) as process:
        os.kill(process.pid, 19)  # SIGSTOP: it hears nothing until it is killed.
        ended = paceline("node", "stop", "--data-dir", str(tmp_path), "--timeout", "0.5")

        assert ended.status == 4
        assert str(process.pid) in ended.err


def test_stop_without_a_node_is_3(tmp_path: Path) -> None:
    assert paceline("node", "stop", "--data-dir", str(tmp_path)).status == 3


def test_a_process_that_got_the_id_later_is_never_touched(tmp_path: Path) -> None:
    with child("import time; time.sleep(60)") as stranger:
        node_file = tmp_path / "node.json"
        node_file.write_text(json.dumps({"pid": stranger.pid, "page_url": "http://127.0.0.1:1/"}))
        before = time.time() - 3600
        os.utime(node_file, (before, before))

        with pytest.raises(NodeUnreachable):
            launch.node_process(tmp_path)
        assert paceline("node", "stop", "--data-dir", str(tmp_path)).status == 3
        assert stranger.poll() is None


def test_a_file_without_a_process_is_no_node(tmp_path: Path) -> None:
    with child("pass") as gone:
        gone.wait()
    (tmp_path / "node.json").write_text(json.dumps({"pid": gone.pid, "page_url": "http://x:1/"}))

    with pytest.raises(NodeUnreachable):
        launch.node_process(tmp_path)


def test_a_node_that_does_not_start_is_explained_with_its_log(tmp_path: Path) -> None:
    node = settings(tmp_path)
    node.log_file.write_text("first\nthe port is taken\n")

    with (
        child("raise SystemExit(3)") as process,
        pytest.raises(PacelineError, match=r"exit status 3(.|\n)*the port is taken"),
    ):
        launch.wait_ready(process, node)


def test_the_file_of_an_earlier_process_is_not_mistaken_for_readiness(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text('{"pid": 1, "page_url": "http://127.0.0.1:1/"}')

    with child("import time; time.sleep(60)") as process, pytest.raises(TimedOut):
        launch.wait_ready(process, settings(tmp_path), timeout_s=0.2)


def test_the_token_is_in_the_environment_and_not_in_argv(tmp_path: Path) -> None:
    node = NodeSettings(
        data_dir=tmp_path, name="n", token="t" * 32, join=("h:1",), labels={"a": "b"}, mdns=False
    )

    assert "t" * 32 not in " ".join(launch.arguments(node))
    assert launch.arguments(node)[-5:] == ["--join", "h:1", "--label", "a=b", "--no-mdns"]


def test_a_log_tail_is_bounded(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x" * 200_000 + "\n" + "\n".join(map(str, range(100))))

    tail = launch.log_tail(log).splitlines()
    assert tail[-1].strip() == "99"
    assert len(tail) == launch.LOG_TAIL_LINES
