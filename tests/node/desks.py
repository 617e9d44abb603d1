"""A node's means for attempts, all real, in one directory; and a tool to be scripted by tests."""

import asyncio
import subprocess
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from paceline.clock import SystemClock
from paceline.errors import NotFound
from paceline.node.assessing import Assessing
from paceline.node.attempt import run_attempt
from paceline.node.blobs import BlobStore
from paceline.node.desk import Desk, Work
from paceline.node.logs import LogStore
from paceline.node.redaction import Redactor
from paceline.node.repository import Repositories
from paceline.tasks.model import (
    Outcome,
    Output,
    Privacy,
    Repository,
    SubtaskSpec,
    TaskSpec,
    ToolState,
)
from paceline.tools.command import Command
from paceline.tools.contract import BaseTool, Job
from paceline.tools.events import Event
from paceline.tools.registry import Registry
from tests.tools.children import PATH

MIB = 1024 * 1024

NODE_ENVIRONMENT = {
    "PATH": PATH,
    "LANG": "C.UTF-8",
    "HOME": "/home/the-person",
    "ANTHROPIC_API_KEY": "the-secret-value",
    "PACELINE_TOKEN": "the-secret-value",
    "SSH_AUTH_SOCK": "the-secret-value",
    "DATABASE_URL": "the-secret-value",
}


class Played(BaseTool):
    """A tool whose run is a function of the job."""

    def __init__(
        self,
        play: Callable[[Job], AsyncGenerator[Event, None]],
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(config or {})
        self._play = play

    def run(self, job: Job) -> AsyncGenerator[Event, None]:
        return self._play(job)

    async def validate_config(self) -> bool:
        return True

    async def detect(self) -> ToolState:
        return ToolState(self.name)


class Shelf(Registry):
    """A registry that has just these tools."""

    def __init__(self, **tools: BaseTool) -> None:
        super().__init__({}, path=[])
        self.shelf = {"command": Command({}), **tools}
        for name, tool in self.shelf.items():
            tool.name = name

    def tool(self, name: str) -> BaseTool:
        if name not in self.shelf:
            raise NotFound(f"this node has no tool {name}; it has command")
        return self.shelf[name]


def make_desk(
    directory: Path,
    *,
    budget_bytes: int = 100 * MIB,
    assessing: Assessing | None = None,
    **tools: BaseTool,
) -> Desk:
    """A node's means in a directory. Changes are judged only on request: that takes seconds."""
    clock, redactor = SystemClock(), Redactor(["the-secret-value"])
    blobs = BlobStore(directory=directory / "blobs", node_id="me", budget_bytes=budget_bytes)
    return Desk(
        node_id="me",
        directory=directory / "attempts",
        environment=NODE_ENVIRONMENT,
        tools=Shelf(**tools),
        blobs=blobs,
        logs=LogStore(directory=directory / "logs", clock=clock, redactor=redactor),
        repositories=Repositories(directory=directory / "cache", blobs=blobs),
        redactor=redactor,
        clock=clock,
        assessing=assessing or Assessing(enabled=False),
    )


def make_work(
    line: str = "",
    *,
    tool: str = "command",
    inputs: Mapping[str, Output] | None = None,
    repository: Repository | None = None,
    attempt: int = 1,
    subtask_id: str = "subtask-1",
    **fields: Any,
) -> Work:
    """One attempt at running a shell line."""
    spec = SubtaskSpec(subtask_id, "build", (tool,), run=line, **{"timeout_s": 60.0, **fields})
    task = TaskSpec("task-1", "Do it.", "plan", (spec,), repository=repository)
    return Work(
        task=task, spec=spec, attempt=attempt, token=40 + attempt, tool=tool, inputs=inputs or {}
    )


async def attempt(work: Work, desk: Desk, stop: asyncio.Event | None = None) -> Outcome:
    """Run an attempt that nobody stops, unless told otherwise."""
    return await run_attempt(work, desk, stop or asyncio.Event())


def sensitive(work: Work) -> Work:
    """The same work, of a sensitive task."""
    return replace(work, task=replace(work.task, privacy=Privacy.SENSITIVE))


def git(directory: Path, *arguments: str) -> str:
    """Run git as a person would, without anything of this machine's configuration."""
    environment = {
        "PATH": PATH,
        "HOME": str(directory),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@localhost",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@localhost",
        "GIT_ALLOW_PROTOCOL": "file",
    }
    done = subprocess.run(
        ("git", *arguments), cwd=directory, env=environment, check=True, capture_output=True
    )
    return done.stdout.decode().strip()


def make_repository(directory: Path, files: Mapping[str, str], message: str = "first") -> Path:
    """A repository with one commit of these files."""
    directory.mkdir(parents=True)
    git(directory, "init", "-q", "-b", "main")
    commit(directory, files, message)
    return directory


def commit(directory: Path, files: Mapping[str, str], message: str = "next") -> str:
    """Commit these files and answer the commit."""
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    git(directory, "add", "-A", "-f")
    git(directory, "commit", "-q", "--allow-empty", "-m", message)
    return git(directory, "rev-parse", "HEAD")
