"""What a tool is: a program or service that does a subtask's work.

A tool is a class named by an entry point of the group `paceline.tools` (see `registry`). The face
(`execute`, `validate_config`, `health_check`) is the seed's "Tool Integration"; `run` is the same
work as a stream of events, which is what a node uses. A tool keeps no state between runs, may run
many jobs at once, and writes only below the directories that its job names.
"""

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from paceline.errors import ToolError
from paceline.tasks.model import ResultStatus, ToolState
from paceline.tools.brief import Brief
from paceline.tools.environment import build_environment
from paceline.tools.events import Event, Final, Log, Text, ToolResult
from paceline.tools.isolation import Confinement

API_VERSION = 1
"""Of this contract. A tool that was written for another one is not loaded."""

EXECUTE_LINES = 1000
"""`execute` answers at most so many lines of log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of work. The directories exist, are this job's own, and are absolute.

    `output` is where the result for dependents goes; it does not exist yet. `inputs` holds one
    file per dependency, under its name. `environment` is all that a child process may see (a tool
    adds its own, and never hands on the node's). Times are seconds; 0 = no limit.
    """

    task_id: str
    subtask_id: str
    name: str = ""
    """The subtask's, within its task."""
    attempt: int = 1
    node_id: str = ""
    instructions: str = ""
    run: str = ""
    """A shell line, for the tool `command`."""
    workspace: Path
    inputs: Path
    output: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 3600.0
    idle_timeout_s: float = 0.0
    """How long the tool may say nothing."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The subtask's own wishes; the node's are the tool's `config`. Agents know `permission`,
    `model`, `max_turns` and `budget_usd` (see `wishes`)."""
    session: str = ""
    """A session of this tool, on this node, to go on with (a correction, a crash)."""
    session_usage: Mapping[str, int] = field(default_factory=dict)
    """What that session had used before, where it was said: some tools count it again."""
    must_change: bool = False
    """The work is to change files of the repository: none changed is a failure."""
    sensitive: bool = False
    """The words must stay on this machine; a tool that cannot promise it answers `denied`."""
    mark_file: Path | None = None
    """Where the mark of the job's processes is kept, for a node that starts after a crash."""
    confinement: Confinement | None = None
    """The walls around what the job starts; None = it is not confined."""
    memory_limit_bytes: int = 0
    """Of all its processes together; 0 = none."""
    changes: Path | None = None
    """Holds one file per earlier change that it begins with, `NAME.diff`."""
    brief: Brief = field(default_factory=Brief)
    """What an agent is told besides; see `prompt`."""

    def variables(self) -> dict[str, str]:
        """Answer the job as environment variables, for programs that are told so where to work."""
        changes = {"PACELINE_CHANGES": str(self.changes)} if self.changes else {}
        item = {"PACELINE_ITEM": str(self.settings["item"])} if "item" in self.settings else {}
        return (changes | item) | {
            "PACELINE_TASK_ID": self.task_id,
            "PACELINE_SUBTASK": self.name,
            "PACELINE_SUBTASK_ID": self.subtask_id,
            "PACELINE_ATTEMPT": str(self.attempt),
            "PACELINE_NODE": self.node_id,
            "PACELINE_OUTPUT": str(self.output),
            "PACELINE_INPUTS": str(self.inputs),
        }


class BaseTool(ABC):
    """The root of all tools. `config` is the node's configuration of this tool, checked late.

    A constructor must not block, spend money or fail for want of a program: `detect` says so.
    """

    api_version: ClassVar[int] = API_VERSION
    name: str = ""
    """What plans call it: set by the registry to the entry point's name."""
    agent: ClassVar[bool] = True
    """Whether a model decides what it does: such a tool never sees a repository's agent files."""
    idle_timeout_s: ClassVar[float] = 600.0
    """Unless the subtask says otherwise."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.name = self.name or type(self).__name__

    @property
    def local(self) -> bool:
        """Answer whether words given to it stay on this machine (asked for sensitive work)."""
        return False

    @property
    def passed_environment(self) -> tuple[str, ...]:
        """Answer which of the node's variables its children may see, besides the usual few."""
        return tuple(self.config.get("pass_environment", ()))

    @property
    def secrets(self) -> tuple[str, ...]:
        """Answer the values that must be taken out of whatever its runs say."""
        return ()

    @property
    def agent_files(self) -> tuple[str, ...]:
        """Answer which files of a repository steer it, besides those that steer any agent."""
        return ()

    @property
    def resumes(self) -> bool:
        """Answer whether a later job with the same home, at the same place, can name a session."""
        return False

    @abstractmethod
    def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """Do the work; say what happens; end with exactly one `Final`.

        Closing the generator, or cancelling whoever waits in it, ends the work and leaves no
        process behind. What the work came to is a `Final`, failures included; only what keeps the
        tool from being run at all is raised, as ToolError.
        """

    @abstractmethod
    async def validate_config(self) -> bool:
        """Answer whether `config` makes sense. Raise InvalidSettings with the reason if not."""

    @abstractmethod
    async def detect(self) -> ToolState:
        """Answer whether it can be used here now, which version, or why not; spends no tokens."""

    async def health_check(self) -> bool:
        """Answer whether it can be used here now."""
        return (await self.detect()).healthy

    async def execute(self, instructions: str, context: Mapping[str, Any]) -> dict[str, Any]:
        """Run to the end and answer the result as plain data; for scripts and tests.

        `context` may name any field of `Job`; directories that it does not name are temporary.
        The answer has the fields of `ToolResult`, and `success`, `output` (bytes), `log` (lines).
        """
        with _job(instructions, context) as job:
            answer = await self._collect(job)
            answer["output"] = job.output.read_bytes() if job.output.is_file() else b""
            return answer

    async def _collect(self, job: Job) -> dict[str, Any]:
        said: list[str] = []
        log: list[str] = []
        result: ToolResult | None = None
        async with aclosing(self.run(job)) as events:
            async for event in events:
                match event:
                    case Final():
                        result = event.result
                    case Text() if len(said) < EXECUTE_LINES:
                        said.append(event.text)
                    case Log() if len(log) < EXECUTE_LINES:
                        log.append(event.line)
        if result is None:
            raise ToolError(f"the tool {self.name} ended without a result")
        answer = asdict(result)
        answer["text"] = result.text or "".join(said)
        return answer | {"success": result.status is ResultStatus.OK, "log": log}


@contextmanager
def _job(instructions: str, context: Mapping[str, Any]) -> Iterator[Job]:
    with tempfile.TemporaryDirectory(prefix="paceline-") as name:
        base = Path(name)
        for part in ("workspace", "inputs", "home", "tmp"):
            (base / part).mkdir()
        fields: dict[str, Any] = {
            "task_id": "",
            "subtask_id": "",
            "workspace": base / "workspace",
            "inputs": base / "inputs",
            "output": base / "output",
            "environment": build_environment(
                os.environ, home=base / "home", temporary=base / "tmp"
            ),
        }
        yield Job(**(fields | dict(context) | {"instructions": instructions}))
