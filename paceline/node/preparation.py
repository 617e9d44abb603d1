"""Everything that must be there before a tool starts: directories, inputs, the repository."""

import asyncio
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from paceline.errors import Conflict, InputError
from paceline.node.briefed import write_change
from paceline.node.change_merge import MergeConflict, Merged, merge
from paceline.node.desk import Desk, Work
from paceline.node.disk import out_of_space
from paceline.node.git import object_format
from paceline.node.harvest import Start
from paceline.node.logs import LogWriter
from paceline.node.workspace import branch_of, check_out, open_workspace
from paceline.tasks.model import Output, PermissionLevel, Repository
from paceline.tasks.peer_review import CHANGE_FILE
from paceline.tools.contract import BaseTool, Job
from paceline.tools.environment import build_environment
from paceline.tools.hygiene import strip

PRIVATE = 0o700
READ_ONLY = 0o400
NAME_LIMIT_BYTES = 255

DIRECTORIES = ("inputs", "workspace", "home", "tmp")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job that can be done now. `start` is where it begins in the repository, if it has one."""

    job: Job
    start: Start | None = None


async def prepare(work: Work, desk: Desk, tool: BaseTool, log: LogWriter) -> Prepared:
    """Make the attempt's directory complete and answer the job.

    Raise InputError for a name that no file can have, Conflict if this very attempt was begun here
    before, MergeConflict if what it depends on does not go together and it cannot be the one to
    resolve that, Unavailable if an input or the repository cannot be had, StorageFull.
    """
    place = desk.directory_of(work.key)
    await asyncio.to_thread(_make, place)
    for name, output in work.inputs.items():
        await _bring(name, output, place / "inputs", desk)
    start = None
    if work.task.repository:
        start = await _begin(work.task.repository, work, desk, tool, log)
    return Prepared(_job(work, desk, tool, place), start)


async def _begin(
    repository: Repository, work: Work, desk: Desk, tool: BaseTool, log: LogWriter
) -> Start:
    """Check out what the work begins with: the task's commit, or the merge of what it needs."""
    place = desk.directory_of(work.key)
    workspace = place / "workspace"
    cache = await desk.repositories.ensure(repository)
    for each in work.changes:
        await desk.repositories.bring(cache, each.change)
    await open_workspace(cache, workspace, object_format(repository.commit))
    merged = await merge(workspace, repository.commit, work.changes)
    if merged.conflicts and not _can_resolve(work, tool):
        raise MergeConflict(merged.conflicts, [each.name for each in work.changes])
    branch = branch_of(work.task.task_id, work.spec.subtask_id, work.attempt)
    await check_out(workspace, merged.commit, branch=branch)
    _tell_start(merged, work, log)
    if work.briefing.review and work.briefing.change:
        file = place / "inputs" / CHANGE_FILE
        await write_change(workspace, work.briefing.start, merged.commit, file)
    await asyncio.to_thread(shutil.copyfile, workspace / ".git" / "index", place / "index")
    taken: tuple[str, ...] = ()
    if tool.agent:
        taken = await asyncio.to_thread(strip, workspace, place / "kept", tool.agent_files)
        for removed in taken:
            log.write("node", f"taken out of the work tree: {removed}")
    return Start(
        cache=cache,
        base=repository.commit,
        commit=merged.commit,
        index=place / "index",
        kept=place / "kept",
        taken=taken,
        parents=merged.parents,
        conflicts=merged.conflicts,
    )


def _can_resolve(work: Work, tool: BaseTool) -> bool:
    return tool.agent and work.spec.settings.get("permission") != PermissionLevel.READ


def _tell_start(merged: Merged, work: Work, log: LogWriter) -> None:
    if work.changes:
        names = ", ".join(each.name for each in work.changes)
        log.write("node", f"begins with the changes of {names}: commit {merged.commit}")
    for path in merged.conflicts:
        log.write("node", f"to be resolved: {path}")


def _make(place: Path) -> None:
    with out_of_space():
        place.parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        try:
            place.mkdir(mode=PRIVATE)
        except FileExistsError:
            raise Conflict("this attempt was begun on this node before") from None
        for name in DIRECTORIES:
            (place / name).mkdir(mode=PRIVATE)


async def _bring(name: str, output: Output, inputs: Path, desk: Desk) -> None:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise InputError(f"{name!r} cannot be the name of a file: rename that subtask")
    if len(name.encode()) > NAME_LIMIT_BYTES:
        raise InputError(f"the name {name[:40]}... is too long for a file: rename that subtask")
    if output.blob:
        await desk.blobs.fetch(output.blob)
        await desk.blobs.copy(output.blob.sha256, inputs / name)
    else:
        await asyncio.to_thread(_write, inputs / name, output.inline)
    (inputs / name).chmod(READ_ONLY)


def _write(file: Path, data: bytes) -> None:
    with out_of_space():
        file.write_bytes(data)


def _job(work: Work, desk: Desk, tool: BaseTool, place: Path) -> Job:
    spec = work.spec
    return Job(
        task_id=work.task.task_id,
        subtask_id=spec.subtask_id,
        name=spec.name,
        attempt=work.attempt,
        node_id=desk.node_id,
        instructions=spec.instructions or spec.description or work.task.description,
        run=spec.run,
        workspace=place / "workspace",
        inputs=place / "inputs",
        output=place / "output",
        environment=build_environment(
            desk.environment,
            home=place / "home",
            temporary=place / "tmp",
            passed=tool.passed_environment,
        ),
        timeout_s=spec.timeout_s,
        idle_timeout_s=_idle_timeout_s(work.spec.settings, tool),
        settings=spec.settings,
        must_change=work.must_change,
        sensitive=work.sensitive,
        mark_file=place / "run.mark",
    )


def _idle_timeout_s(settings: Mapping[str, object], tool: BaseTool) -> float:
    """Answer the subtask's wish, else the node's configuration, else the tool's own default."""
    for wishes in (settings, tool.config):
        wanted = wishes.get("idle_timeout_s")
        if isinstance(wanted, int | float) and math.isfinite(wanted) and wanted >= 0:
            return float(wanted)
    return tool.idle_timeout_s
