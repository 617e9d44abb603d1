"""The tool `command`: a shell line, run in the workspace. Needs no model and no network."""

import os
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar

from paceline.errors import InvalidSettings
from paceline.tasks.model import ResultStatus, ToolState
from paceline.tools.contract import BaseTool, Job
from paceline.tools.environment import check_passed
from paceline.tools.events import Event, Final, Log, ToolResult
from paceline.tools.isolation import check_walls
from paceline.tools.process import ChildProcess, Ending, ProcessSpec, child_process

SHELL = "/bin/sh"

LAST_LINES = 20
LAST_LINE_LENGTH = 400


class Command(BaseTool):
    """Runs `/bin/sh -c RUN` in the workspace.

    Exit status 0 is success; the output is what it wrote to `$PACELINE_OUTPUT`. What it leaves
    running in the background is ended with it.

    Configuration: `environment` (variables with their values), `pass_environment` (names of the
    node's variables to pass on), `nice` (0-19, default 10), and `sandbox`, `readable`, `writable`,
    `memory_limit_mib` (see `isolation`); a person's own line is confined only if that is said.
    """

    agent: ClassVar[bool] = False
    idle_timeout_s: ClassVar[float] = 0.0

    @property
    def local(self) -> bool:
        """Answer True: the line itself decides what leaves the machine, and a person wrote it."""
        return True

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """Run the line; give its output as log, line by line."""
        if not job.run.strip():
            yield Final(ToolResult(ResultStatus.DENIED, "the subtask has no `run` line"))
            return
        last: deque[str] = deque(maxlen=LAST_LINES)
        async with child_process(self._spec(job)) as child:
            async for line in child:
                last.append(line.text[:LAST_LINE_LENGTH])
                yield Log(line.stream, line.text)
        if child.dropped_bytes:
            yield Log("tool", f"{child.dropped_bytes} bytes of output were not kept")
        yield Final(_result(child, job, list(last)))

    def _spec(self, job: Job) -> ProcessSpec:
        environment = {**job.environment, **self.config.get("environment", {}), **job.variables()}
        return ProcessSpec(
            argv=(SHELL, "-c", job.run),
            directory=job.workspace,
            environment=environment,
            mark_file=job.mark_file or job.output.with_name(f"{job.output.name}.mark"),
            timeout_s=job.timeout_s,
            idle_timeout_s=job.idle_timeout_s,
            nice=int(self.config.get("nice", 10)),
            memory_limit_bytes=job.memory_limit_bytes,
            confinement=job.confinement,
        )

    async def validate_config(self) -> bool:
        """Check `environment`, `pass_environment` and `nice`."""
        check_passed(self.passed_environment)
        check_walls(self.name, self.config)
        environment = self.config.get("environment", {})
        if not isinstance(environment, Mapping) or not _all_text(environment):
            raise InvalidSettings("tools.command.environment must map names to text")
        if self.config.get("nice", 10) not in range(20):
            raise InvalidSettings("tools.command.nice must be a number from 0 to 19")
        return True

    async def detect(self) -> ToolState:
        """Answer whether there is a shell."""
        if os.access(SHELL, os.X_OK):
            return ToolState(self.name)
        return ToolState(self.name, healthy=False, reason=f"{SHELL} cannot be run")


def _result(child: ChildProcess, job: Job, last: list[str]) -> ToolResult:
    """Success says nothing (the log's end is in the outcome anyway); a failure says why."""
    status, reason = _judge(child, job)
    text = "" if status is ResultStatus.OK else "\n".join([reason, *last])
    return ToolResult(status, text, exit_code=child.exit_code)


def _judge(child: ChildProcess, job: Job) -> tuple[ResultStatus, str]:
    if child.ending is Ending.TIMEOUT:
        return ResultStatus.TIMEOUT, f"stopped: it ran for longer than {job.timeout_s:g} s"
    if child.ending is Ending.IDLE:
        return ResultStatus.TIMEOUT, f"stopped: it printed nothing for {job.idle_timeout_s:g} s"
    if child.ending is Ending.MEMORY:
        limit = job.memory_limit_bytes / 1024**2
        return ResultStatus.FAILED, f"stopped: it had more than {limit:.0f} MiB of memory"
    code = child.exit_code
    if code == 0:
        return ResultStatus.OK, ""
    if code is not None and code < 0:
        return ResultStatus.FAILED, f"killed by signal {-code}"
    return ResultStatus.FAILED, f"exit status {code}"


def _all_text(environment: Mapping[Any, Any]) -> bool:
    return all(isinstance(part, str) for pair in environment.items() for part in pair)
