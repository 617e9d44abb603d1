"""What a repository wants done in each new work tree, before anybody works there.

    # .paceline/workspace.toml
    setup = "npm ci --ignore-scripts"     a shell line, run as the tool `command` runs one
    timeout_s = 600
    [copy]                                files of the repository, to where they are needed
    "config/example.toml" = "config/local.toml"

The file counts as it is in the task's own commit: what an agent writes there runs nothing. What the
setup leaves is no change of the subtask's, unless somebody goes on to change it.
"""

import os
import shutil
import stat
import tomllib
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from paceline.errors import InputError
from paceline.node.desk import Desk
from paceline.node.git import GitFailed, git
from paceline.node.logs import LogWriter
from paceline.tasks.draft import COMMAND
from paceline.tasks.model import ResultStatus
from paceline.tools.contract import Job
from paceline.tools.events import Final as FinalEvent
from paceline.tools.events import Log

FILE: Final = ".paceline/workspace.toml"
FILE_LIMIT_BYTES: Final = 64 * 1024
TIMEOUT_S: Final = 600.0
TIMEOUT_LIMIT_S: Final = 3600.0
COPIES_LIMIT: Final = 100


@dataclass(frozen=True, slots=True)
class Setup:
    """What is wanted. `copies` are pairs of paths within the work tree."""

    run: str = ""
    timeout_s: float = TIMEOUT_S
    copies: Mapping[str, str] = field(default_factory=dict)


async def read_setup(workspace: Path, commit: str) -> Setup | None:
    """Answer what the repository wants at that commit, or None. Raise InputError."""
    try:
        lines = await git("cat-file", "blob", f"{commit}:{FILE}", directory=workspace)
    except GitFailed:
        return None
    text = "\n".join(lines)
    if len(text) > FILE_LIMIT_BYTES:
        raise InputError(f"{FILE} has more than {FILE_LIMIT_BYTES} bytes")
    try:
        return _checked(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{FILE} of the repository cannot be read: {error}") from error


def _checked(said: Mapping[str, Any]) -> Setup:
    unknown = sorted(set(said) - {"setup", "timeout_s", "copy"})
    if unknown:
        raise InputError(f"{FILE}: there is no {unknown[0]}; there are setup, timeout_s and copy")
    run, timeout_s, copies = said.get("setup", ""), said.get("timeout_s", TIMEOUT_S), _copies(said)
    if not isinstance(run, str):
        raise InputError(f"{FILE}: setup must be a shell line")
    if not isinstance(timeout_s, int | float) or not 0 < timeout_s <= TIMEOUT_LIMIT_S:
        raise InputError(f"{FILE}: timeout_s must be above 0, at most {TIMEOUT_LIMIT_S:g}")
    return Setup(run.strip(), float(timeout_s), copies)


def _copies(said: Mapping[str, Any]) -> dict[str, str]:
    copies = said.get("copy", {})
    if not isinstance(copies, dict) or len(copies) > COPIES_LIMIT:
        raise InputError(f"{FILE}: copy must be a table of at most {COPIES_LIMIT} paths")
    for path in (*copies, *copies.values()):
        parts = path.split("/") if isinstance(path, str) else [".."]
        if "" in parts or ".." in parts or ".git" in parts:
            raise InputError(f"{FILE}: {path!r} must be a path within the repository")
    return copies


def copy_files(setup: Setup, workspace: Path) -> None:
    """Copy plain files to new places; no link is followed. Raise InputError."""
    for source, target in setup.copies.items():
        if not _is_plain(workspace, source):
            raise InputError(f"{FILE}: {source} is no plain file of the repository")
        place = workspace
        for part in Path(target).parts[:-1]:
            place /= part
            if place.is_symlink():
                raise InputError(f"{FILE}: {target} lies behind a link")
            place.mkdir(exist_ok=True)
        if not os.path.lexists(workspace / target):
            shutil.copyfile(workspace / source, workspace / target)


def _is_plain(workspace: Path, path: str) -> bool:
    place = workspace
    for part in Path(path).parts:
        place /= part
        if place.is_symlink():
            return False
    return place.exists() and stat.S_ISREG(place.lstat().st_mode)


async def run_setup(setup: Setup, job: Job, desk: Desk, log: LogWriter) -> str:
    """Run the line as `command` would; answer why it failed, or nothing. Raise ToolError."""
    tool = desk.tools.tool(COMMAND)
    output = job.output.with_name("setup")
    work = replace(job, run=setup.run, output=output, timeout_s=setup.timeout_s, settings={})
    log.write("node", f"setting up: {setup.run}")
    failure = "it ended without a result"
    async with aclosing(tool.run(work)) as events:
        async for event in events:
            if isinstance(event, Log):
                log.write("setup", event.line)
            elif isinstance(event, FinalEvent):
                good = event.result.status is ResultStatus.OK
                failure = "" if good else event.result.text
    return failure
