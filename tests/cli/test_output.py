"""What stands on standard output: JSON alone, plain text in a pipe, colours on a terminal."""

import json
import signal
import subprocess
from collections.abc import Sequence

import pytest

from tests.cli.command import Node, argv, environment
from tests.node.web.fake_service import a_task

TASK = "11112222-0000-4000-8000-000000000000"
ESCAPE = "\x1b"


@pytest.fixture(autouse=True)
def task(node: Node) -> None:
    node.service.documents[TASK] = a_task(TASK)


READING: Sequence[tuple[list[str], str]] = (
    (["status"], "members"),
    (["top"], "running"),
    (["nodes"], "nodes"),
    (["tasks"], "tasks"),
    (["show", "1111"], "subtasks"),
    (["watch", "1111"], "subtasks"),
    (["logs", "1111"], "lines"),
    (["explain", "1111"], "subtasks"),
    (["tools"], "tools"),
    (["usage"], "rows"),
    (["templates"], "templates"),
    (["events"], "events"),
)


@pytest.mark.parametrize(("command", "key"), READING)
def test_json_is_one_document_and_nothing_else(node: Node, command: list[str], key: str) -> None:
    ended = node.run(*command, "--json")

    assert ended.status == 0
    assert ended.err == ""
    assert key in ended.json


@pytest.mark.parametrize("command", [command for command, _ in READING])
def test_json_on_a_terminal_is_the_same_document(node: Node, command: list[str]) -> None:
    piped, shown = node.run(*command, "--json"), node.on_terminal(*command, "--json")

    assert json.loads(shown.out) == piped.json


# `top` on a terminal goes on until somebody presses a key: see test_terminal.
@pytest.mark.parametrize("command", [command for command, _ in READING if command != ["top"]])
def test_a_pipe_gets_no_colours_and_a_terminal_gets_no_controls_of_others(
    node: Node, command: list[str]
) -> None:
    node.service.lines = ["\x1b]0;owned\x07 \x1b[2J text"]

    piped, shown = node.run(*command), node.on_terminal(*command)

    assert piped.status == shown.status == 0
    assert ESCAPE not in piped.out
    assert "\x1b]0;" not in shown.out
    assert "\x1b[2J text" not in shown.out


def test_a_terminal_gets_colours_unless_no_color_is_set(node: Node) -> None:
    assert f"{ESCAPE}[" in node.on_terminal("status").out
    assert ESCAPE not in node.on_terminal("status", NO_COLOR="1").out


def test_status_tells_its_warnings(node: Node) -> None:
    assert "warning: two voters: both must be up" in node.run("status").out


def test_show_tells_how_long_it_took_and_what_came_out(node: Node) -> None:
    shown = node.run("show", "1111").out

    assert "1.5 s" in shown
    assert "build\n  done" in shown


def test_submit_prints_the_id_alone(node: Node) -> None:
    ended = node.run("submit", "Mend it", "--type", "bug_fix", "--tool", "a", "--tool", "b")

    assert ended.status == 0
    assert ended.out.strip() in node.service.documents
    assert ended.err == ""
    request = node.service.requests[-1]
    assert (request.description, request.type) == ("Mend it", "bug_fix")
    assert request.tool_preferences == ("a", "b")


def test_submit_hints_on_a_terminal_only(node: Node) -> None:
    assert "paceline watch" in node.on_terminal("submit", "Mend it", "--type", "bug_fix").out


def test_submit_json_says_whether_it_was_new(node: Node) -> None:
    submit = ("submit", "Mend it", "--type", "bug_fix", "--idempotency-key", "k", "--json")

    first, second = node.run(*submit).json, node.run(*submit).json

    assert first == {"task_id": second["task_id"], "status": "pending", "created": True}
    assert second["created"] is False


def test_a_plan_from_standard_input_is_sent_as_it_is(node: Node) -> None:
    plan = "# Zeilen zählen\nsubtasks: []\n"

    ended = node.run("submit", "--plan", "-", "--json", "--wait", given=plan)

    assert ended.json["status"] == "completed"
    assert node.service.requests[-1].plan == plan


def test_a_plan_of_the_largest_size_may_be_in_any_script(node: Node) -> None:
    plan = "# " + "漢" * 349_000

    assert node.run("submit", "--plan", "-", given=plan).status == 0
    assert node.service.requests[-1].plan == plan


def test_a_plan_file_may_be_the_argument_and_says_where_it_lies(node: Node) -> None:
    plan = node.data_dir / "plan.toml"
    plan.write_text('description = "x"')

    assert node.run("submit", str(plan), "--repo", str(node.data_dir)).status == 0
    request = node.service.requests[-1]
    assert (request.format, request.directory) == ("toml", str(node.data_dir))
    assert request.repository is not None
    assert request.repository.path == str(node.data_dir)


def test_logs_name_the_subtask_unless_one_was_asked_for(node: Node) -> None:
    assert node.run("logs", "1111").out == "build one\nbuild two\nbuild drei ✓\n"
    assert node.run("logs", "1111", "build").out == "one\ntwo\ndrei ✓\n"


def test_an_old_locale_is_no_defect(node: Node) -> None:
    ended = node.run("logs", "1111", PYTHONIOENCODING="latin-1")

    assert ended.status == 0
    assert "drei ?" in ended.out
    assert node.run("show", "1111", "--json", PYTHONIOENCODING="latin-1").json["task_id"] == TASK


def test_jsonl_is_one_document_per_line(node: Node) -> None:
    lines = node.run("events", "--jsonl").out.splitlines()

    assert [json.loads(line)["log_id"] for line in lines] == [1, 2, 3]


def test_watch_in_a_pipe_prints_changes_and_the_end(node: Node) -> None:
    ended = node.run("watch", "1111")

    assert ended.out.splitlines() == [
        "build  completed  alpha",
        "check  completed  alpha",
        f"{TASK}  completed",
    ]


def test_watch_on_a_terminal_ends_with_the_whole_task(node: Node) -> None:
    assert "count the lines" in node.on_terminal("watch", "1111").out


def test_tasks_are_fetched_in_pages_up_to_the_limit(node: Node) -> None:
    for number in range(450):
        task_id = f"{number:08d}-1111-4000-8000-000000000000"
        node.service.documents[task_id] = a_task(task_id)

    assert len(node.run("tasks", "--limit", "450", "--json").json["tasks"]) == 450


def test_a_prefix_that_fits_two_is_refused(node: Node) -> None:
    other = TASK.replace("2222", "3333")
    node.service.documents[other] = a_task(other)

    assert node.run("show", "1111").status == 2
    assert node.run("show", "11112").status == 0


def test_an_id_cannot_leave_its_place_in_the_path(node: Node) -> None:
    assert node.run("show", "../status").status == 5
    assert node.run("show", "x?limit=1#y z/ü").status == 5


def test_a_broken_pipe_is_quiet(node: Node) -> None:
    node.service.lines = [f"line {number}" for number in range(20_000)]
    process = subprocess.Popen(
        argv("logs", "1111"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(PACELINE_DATA_DIR=str(node.data_dir)),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        err = process.stderr.read()

    assert process.wait(30) == 141
    assert err == b""


def test_a_follower_ends_quietly_by_ctrl_c_with_a_whole_document(node: Node) -> None:
    process = subprocess.Popen(
        argv("logs", "1111", "-f", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(PACELINE_DATA_DIR=str(node.data_dir), PYTHONUNBUFFERED="1"),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout as out, process.stderr as errors:
        head = b"".join(out.readline() for _ in range(3))
        process.send_signal(signal.SIGINT)
        rest, err = out.read(), errors.read()

    assert process.wait(30) == 130
    assert err.strip() == b""
    # The third line may or may not have been there when it ended; the document is whole.
    assert len(json.loads(head + rest)["lines"]) in (2, 3)


def test_following_goes_on_until_the_task_has_ended(node: Node) -> None:
    node.served.loop.call_soon_threadsafe(node.service.more.set)

    assert node.run("logs", "1111", "build", "-f").out.splitlines()[-1] == "more"


def test_web_prints_a_link_that_opens_the_page_once(node: Node) -> None:
    link = node.run("web", "--print-url").out.strip()
    path = "/login?" + link.partition("?")[2]

    assert node.served.call("GET", path, bearer=False).status == 303
    assert node.served.call("GET", path, bearer=False).status == 403
