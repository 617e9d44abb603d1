"""What people see and press on a terminal: dashboard, top, watch, review, spinner, completion."""

import re
import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.cli.command import Node, environment, paceline
from tests.cli.terminal import Terminal, terminal
from tests.node.web.fake_service import a_task

TASK = "11112222-0000-4000-8000-000000000000"


@pytest.fixture(autouse=True)
def task(node: Node) -> None:
    node.service.documents[TASK] = a_task(TASK)


def on_terminal(
    node: Node, *arguments: str, columns: int = 120, **environ: str
) -> AbstractContextManager[Terminal]:
    return terminal(
        *arguments, columns=columns, rows=40, PACELINE_DATA_DIR=str(node.data_dir), **environ
    )


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize("command", [["status"], ["nodes"], ["tasks"], ["checkpoints"]])
@pytest.mark.parametrize("columns", [60, 80, 200])
def test_tables_fit_the_terminal(node: Node, command: list[str], columns: int) -> None:
    node.service.documents[TASK]["description"] = "漢字 and a long description " * 20
    with on_terminal(node, *command, columns=columns) as shown:
        assert shown.ends() == 0
        lines = plain(shown.shown).splitlines()

    # What cannot be cut any further may go over the edge on the narrowest only.
    assert columns == 60 or all(len(line) <= columns for line in lines), lines


def test_a_decision_that_waits_is_told_by_the_status(node: Node) -> None:
    waiting = paceline("status", PACELINE_DATA_DIR=str(node.data_dir)).out
    assert "paceline review" not in waiting
    node.service.task_counts = {"checkpoint": 2}
    waiting = paceline("status", PACELINE_DATA_DIR=str(node.data_dir)).out
    assert "2 tasks for your decision: `paceline review`" in waiting


def test_top_is_live_and_ends_with_q(node: Node) -> None:
    with on_terminal(node, "top", "--interval", "0.2") as shown:
        assert "\x1b[?1049h" in shown.until("q ends this")
        node.service.lines = ["something new"]
        shown.until("something new")
        shown.press("q")
        assert shown.ends() == 0
        assert "\x1b[?1049l" in shown.shown


def test_top_in_a_pipe_is_one_frame(node: Node) -> None:
    out = node.run("top").out

    assert "last events" in out
    assert "build" in out
    assert "\x1b" not in out


def test_watch_shows_a_tree_with_the_last_lines_and_then_all(node: Node) -> None:
    node.service.documents[TASK] = a_task(TASK, "in_progress")
    node.service.lines = ["compiling \x1b[2J things"]
    with on_terminal(node, "watch", TASK) as shown:
        live = plain(shown.until("compiling"))
        assert "● build" in live
        node.service.documents[TASK] = a_task(TASK)
        assert shown.ends() == 0
    assert "\x1b[2J" not in shown.shown
    assert "100 % done" in plain(shown.shown)


def test_review_shows_the_change_in_a_pager_and_accepts(node: Node) -> None:
    with on_terminal(node, "review", PAGER="cat") as shown:
        shown.until("[q]uit")
        shown.press("d")
        diff = shown.until("[q]uit")
        assert "+new" in diff
        assert "\x1b[31m line" not in diff
        shown.press("a")
        shown.until("accept; the task is in_progress")
        assert shown.ends() == 0
    decided = node.service.deciding.decided
    assert decided is not None
    assert decided.decision == "accept"


def test_review_corrects_with_the_words_of_an_editor(node: Node, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\ntest -z "$SILENT" && echo "use the new name" >> "$1"\nexit 0\n')
    editor.chmod(0o755)
    with on_terminal(node, "review", EDITOR=str(editor), SILENT="1") as shown:
        shown.until("[q]uit")
        shown.press("c")
        shown.until("nothing is decided")
        shown.press("q")
        assert shown.ends() == 0
    assert node.service.deciding.decided is None

    with on_terminal(node, "review", EDITOR=str(editor)) as shown:
        shown.until("[q]uit")
        shown.press("c")
        shown.until("correct; the task is")
    decided = node.service.deciding.decided
    assert decided is not None
    assert (decided.decision, decided.feedback) == ("correct", "use the new name")


def test_review_rejects_only_after_a_yes_and_skips(node: Node) -> None:
    def reject(shown: Terminal, answer: str) -> None:
        shown.until("[q]uit")
        shown.press("r")
        shown.until("Have it done anew?")
        shown.press(answer + "\n")

    with on_terminal(node, "review") as shown:
        reject(shown, "n")
        shown.until("[q]uit")
        shown.press("s")
        assert shown.ends() == 0
    assert node.service.deciding.decided is None
    with on_terminal(node, "review", "cccc") as shown:
        reject(shown, "y")
        shown.until("reject; the task is")


def test_review_without_a_terminal_says_what_to_use(node: Node) -> None:
    refused = node.run("review")

    assert refused.status == 2
    assert "accept, correct or reject" in refused.err


def test_whatever_takes_longer_shows_that_it_waits(node: Node) -> None:
    node.service.delay_s = 1.5
    with on_terminal(node, "status") as shown:
        shown.until("waiting for the node")
        assert shown.ends() == 0
        assert "quorum" in shown.shown
    node.service.delay_s = 0.0
    assert node.run("status").err == ""


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("paceline sta", "status"),
        ("paceline show 11", "11112222"),
        ("paceline logs 1111 bu", "build"),
        ("paceline trust al", "alpha"),
        ("paceline accept cc", "cccc1111"),
        ("paceline submit --type bug", "bug_fix"),
        ("paceline submit --tool com", "command"),
    ],
)
def test_shells_are_offered_commands_ids_and_names(node: Node, words: str, offered: str) -> None:
    asked = node.run(
        _PACELINE_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(words.count(" "))
    )

    assert offered in asked.out
    assert asked.err == ""


def test_completion_is_silent_where_no_node_runs(tmp_path: Path) -> None:
    asked = paceline(
        PACELINE_DATA_DIR=str(tmp_path),
        _PACELINE_COMPLETE="bash_complete",
        COMP_WORDS="paceline show 1",
        COMP_CWORD="2",
    )

    assert (asked.out.strip(), asked.err) == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_takes_its_script(shell: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(paceline("completion", shell).out)
    assert "_PACELINE_COMPLETE" in script.read_text()
    if program := shutil.which(shell):
        subprocess.run([program, "-n", str(script)], check=True, timeout=30)


def test_the_manual_page_names_every_command_and_is_sound(tmp_path: Path) -> None:
    page = tmp_path / "paceline.1"
    page.write_text(paceline("man").out)

    for name in ("node start", "node service install", "review", "config init", "completion"):
        assert f".SS paceline {name}" in page.read_text()
    if shutil.which("groff"):
        command = ["groff", "-man", "-Tutf8", "-ww", str(page)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment(), check=True, timeout=60
        )
        assert done.stderr == ""


def test_a_mistyped_command_and_name_get_the_right_one(node: Node) -> None:
    assert "Did you mean `status`" in paceline("statsu").err
