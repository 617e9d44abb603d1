from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from paceline.errors import ToolError
from paceline.tasks.model import ResultStatus, ToolState
from paceline.tools.contract import BaseTool, Job
from paceline.tools.events import Event, Final, Log, Text, ToolResult
from tests.tools.children import run


class Scripted(BaseTool):
    """Says what it was given to say, and keeps the job."""

    def __init__(self, events: Sequence[Event], *, healthy: bool = True) -> None:
        super().__init__({})
        self.events = events
        self.healthy = healthy
        self.job: Job

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        self.job = job
        job.output.write_bytes(b"\0output")
        for event in self.events:
            yield event

    async def validate_config(self) -> bool:
        return True

    async def detect(self) -> ToolState:
        return ToolState(self.name, healthy=self.healthy)


OK = Final(ToolResult(ResultStatus.OK, usage={"input_tokens": 3}))


def test_execute_collects_the_run() -> None:
    tool = Scripted([Log("stdout", "line"), Text("Hello "), Text("world"), OK])
    answer = run(tool.execute("Greet.", {"task_id": "t", "timeout_s": 5.0}))
    assert answer["success"] is True
    assert answer["status"] == "ok"
    assert answer["text"] == "Hello world"
    assert answer["log"] == ["line"]
    assert answer["output"] == b"\0output"
    assert answer["usage"] == {"input_tokens": 3}
    assert tool.job.instructions == "Greet."
    assert (tool.job.task_id, tool.job.timeout_s) == ("t", 5.0)


def test_execute_leaves_no_directory_but_those_it_was_given(tmp_path: Path) -> None:
    tool = Scripted([OK])
    run(tool.execute("", {"workspace": tmp_path}))
    assert tool.job.workspace == tmp_path
    assert tmp_path.exists()
    assert not tool.job.inputs.exists()


def test_the_log_that_execute_answers_is_bounded() -> None:
    tool = Scripted([Log("stdout", "line")] * 5000 + [OK])
    assert len(run(tool.execute("", {}))["log"]) == 1000


def test_a_run_without_a_result_is_an_error() -> None:
    with pytest.raises(ToolError, match="ended without a result"):
        run(Scripted([Text("half")]).execute("", {}))


def test_a_failure_is_an_answer() -> None:
    failed = Final(ToolResult(ResultStatus.FAILED, "why", exit_code=2))
    answer = run(Scripted([Text("said"), failed]).execute("", {}))
    assert (answer["success"], answer["text"], answer["exit_code"]) == (False, "why", 2)


@pytest.mark.parametrize("healthy", [True, False])
def test_health_is_what_detection_says(healthy: bool) -> None:
    assert run(Scripted([], healthy=healthy).health_check()) is healthy


def test_its_name_is_the_class_until_the_registry_says(tmp_path: Path) -> None:
    assert Scripted([]).name == "Scripted"
