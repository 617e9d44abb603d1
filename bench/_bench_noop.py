"""Tools that cost no process, as a plugin would bring them: `noop`, and `mark` that takes its time.

`bench._nodes` copies this file beside a distribution's metadata, so that the nodes find it by the
entry points of the group `paceline.tools`, which is the door of every third-party tool.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from paceline.tasks.model import ResultStatus, ToolState
from paceline.tools.contract import BaseTool, Job
from paceline.tools.events import Event, Final, ToolResult


class Noop(BaseTool):
    """Says when it was called."""

    agent = False

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        yield Final(ToolResult(ResultStatus.OK, repr(time.time())))

    async def validate_config(self) -> bool:
        return True

    async def detect(self) -> ToolState:
        return ToolState(self.name)


class Mark(Noop):
    """Notes in the file that its instructions name when it begins, and sleeps a while."""

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        seconds, file = job.instructions.split(maxsplit=1)
        _note(Path(file), f"{job.name} {os.getpid()} {time.time()}\n")
        await asyncio.sleep(float(seconds))
        yield Final(ToolResult(ResultStatus.OK))


def _note(file: Path, line: str) -> None:
    with file.open("a") as log:
        log.write(line)
