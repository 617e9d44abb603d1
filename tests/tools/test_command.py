import asyncio
import os
from contextlib import aclosing
from pathlib import Path

import pytest

from paceline.errors import InvalidSettings
from paceline.tasks.model import ResultStatus
from paceline.tools.command import Command
from paceline.tools.events import Log
from tests.tools.children import has_number, lives, number_in, run, until
from tests.tools.jobs import job, play


def test_exit_status_0_is_success(tmp_path: Path) -> None:
    work = job(tmp_path, run="echo said; pwd; printf result > $PACELINE_OUTPUT")
    result, events = run(play(Command({}), work))
    assert result.status is ResultStatus.OK
    assert result.exit_code == 0
    assert events == [Log("stdout", "said"), Log("stdout", str(work.workspace))]
    assert work.output.read_bytes() == b"result"


def test_a_failure_says_why_in_its_last_lines(tmp_path: Path) -> None:
    line = "seq 100; echo 'no such thing' >&2; exit 3"
    result, events = run(play(Command({}), job(tmp_path, run=line)))
    assert result.status is ResultStatus.FAILED
    assert result.exit_code == 3
    assert result.text.startswith("exit status 3\n")
    assert "no such thing" in result.text
    assert len(result.text.splitlines()) == 21
    assert len(events) == 101


def test_it_sees_its_job_and_its_inputs(tmp_path: Path) -> None:
    line = (
        "echo $PACELINE_TASK_ID $PACELINE_SUBTASK_ID $PACELINE_SUBTASK $PACELINE_ATTEMPT"
        ' $PACELINE_NODE; cat "$PACELINE_INPUTS/its name"'
    )
    work = job(tmp_path, {"its name": b"from before\n"}, run=line)
    _, events = run(play(Command({}), work))
    assert events == [
        Log("stdout", "task-1 subtask-1 build 2 node-1"),
        Log("stdout", "from before"),
    ]


def test_nothing_secret_is_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node's own environment is full of secrets; the child prints all that it has."""
    names = "ANTHROPIC_API_KEY GH_TOKEN AWS_SECRET_ACCESS_KEY SSH_AUTH_SOCK PACELINE_TOKEN X"
    for name in names.split():
        monkeypatch.setenv(name, "the-secret-value")
    answer = run(Command({}).execute("", {"run": "env; cat /proc/self/environ | tr '\\0' '\\n'"}))
    assert answer["success"]
    assert "the-secret-value" not in "\n".join(answer["log"])
    seen = {line.partition("=")[0] for line in answer["log"]}
    allowed = {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TERM", "TZ", "HOME", "TMPDIR"}
    shells = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert {name for name in seen if not name.startswith("PACELINE_")} <= allowed | shells


def test_installed_programs_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment's programs come by the node's PATH."""
    program = tmp_path / "installed-program"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    answer = run(Command({}).execute("", {"run": "installed-program"}))
    assert answer["log"] == ["found"]


def test_configured_variables(tmp_path: Path) -> None:
    config = {"environment": {"TOOLCHAIN": "stable", "PACELINE_TASK_ID": "forged"}}
    work = job(tmp_path, run="echo $TOOLCHAIN $PACELINE_TASK_ID")
    _, events = run(play(Command(config), work))
    assert events == [Log("stdout", "stable task-1")]


def test_out_of_time(tmp_path: Path) -> None:
    result, _ = run(play(Command({}), job(tmp_path, run="sleep 1000", timeout_s=0.3)))
    assert result.status is ResultStatus.TIMEOUT
    assert result.text == "stopped: it ran for longer than 0.3 s"


def test_silent_for_too_long(tmp_path: Path) -> None:
    result, _ = run(play(Command({}), job(tmp_path, run="sleep 1000", idle_timeout_s=0.3)))
    assert result.status is ResultStatus.TIMEOUT
    assert result.text == "stopped: it printed nothing for 0.3 s"


def test_without_a_line_it_is_refused(tmp_path: Path) -> None:
    result, _ = run(play(Command({}), job(tmp_path, run=" ")))
    assert result.status is ResultStatus.DENIED


def test_closing_the_stream_ends_it(tmp_path: Path) -> None:
    async def test() -> int:
        work = job(tmp_path, run="echo $$; exec sleep 1000")
        async with aclosing(Command({}).run(work)) as events:
            async for event in events:
                assert isinstance(event, Log)
                return int(event.line)
        raise AssertionError

    assert not lives(run(test()))


def test_many_at_once_do_not_end_each_other(tmp_path: Path) -> None:
    """Each sweep ends its own run's processes only."""

    async def test() -> None:
        detached = "setsid sh -c 'echo $$ > pid; exec sleep 1000' &"
        line = f"{detached} while [ ! -s ../go ]; do sleep 0.01; done"
        async with asyncio.TaskGroup() as group:
            places = [tmp_path / str(number) for number in range(5)]
            for place in places:
                place.mkdir()
                group.create_task(play(Command({}), job(place, run=line)))
            pids = [place / "workspace" / "pid" for place in places]
            await until(lambda: all(map(has_number, pids)))
            for index, place in enumerate(places):
                (place / "go").write_text("go")
                await until(lambda index=index: not lives(number_in(pids[index])))  # type: ignore[misc]
                assert all(lives(number_in(pid)) for pid in pids[index + 1 :])

    run(test())


@pytest.mark.parametrize(
    "config",
    [
        {"environment": ["A=1"]},
        {"environment": {"A": 1}},
        {"nice": 20},
        {"nice": "low"},
        {"pass_environment": ["GH_TOKEN"]},
    ],
)
def test_a_wrong_configuration_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(InvalidSettings):
        run(Command(config).validate_config())


def test_a_right_configuration_and_its_health() -> None:
    tool = Command({"environment": {"A": "1"}, "nice": 5, "pass_environment": ["JAVA_HOME"]})
    assert run(tool.validate_config())
    assert run(tool.health_check())
