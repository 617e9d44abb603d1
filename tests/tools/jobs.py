"""Jobs for tests: a directory as an attempt has it."""

from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

from paceline.tools.contract import BaseTool, Job
from paceline.tools.environment import build_environment
from paceline.tools.events import Event, Final, ToolResult
from tests.tools.children import PATH


def job(directory: Path, inputs: Mapping[str, bytes] | None = None, **fields: Any) -> Job:
    """Make the directories and answer a job in them."""
    for part in ("workspace", "inputs", "home", "tmp"):
        (directory / part).mkdir()
    for name, data in (inputs or {}).items():
        (directory / "inputs" / name).write_bytes(data)
    return Job(
        **{
            "task_id": "task-1",
            "subtask_id": "subtask-1",
            "name": "build",
            "attempt": 2,
            "node_id": "node-1",
            "workspace": directory / "workspace",
            "inputs": directory / "inputs",
            "output": directory / "output",
            "mark_file": directory / "run.mark",
            "environment": build_environment(
                {"PATH": PATH}, home=directory / "home", temporary=directory / "tmp"
            ),
            **fields,
        }
    )


async def play(tool: BaseTool, work: Job) -> tuple[ToolResult, list[Event]]:
    """Run a job to its end; answer the result and all events before it."""
    async with aclosing(tool.run(work)) as stream:
        events = [event async for event in stream]
    last = events.pop()
    assert isinstance(last, Final)
    assert not any(isinstance(event, Final) for event in events)
    return last.result, events
