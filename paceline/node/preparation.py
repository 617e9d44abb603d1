"""Everything that must be there before a tool starts: directories, inputs, the repository."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from paceline.errors import Conflict, InputError
from paceline.node.beginning import begin
from paceline.node.briefing import task_words
from paceline.node.desk import Desk, Work
from paceline.node.disk import out_of_space
from paceline.node.harvest import Start
from paceline.node.logs import LogWriter
from paceline.node.resuming import claim, resumed, wait_for_place
from paceline.node.walls import memory_limit_bytes, walls
from paceline.tasks.model import Output
from paceline.tools.brief import Brief
from paceline.tools.contract import BaseTool, Job
from paceline.tools.environment import build_environment

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
    place = desk.place_of(work)
    if work.resumes:
        await wait_for_place(place)
    await asyncio.to_thread(_make, place, work)
    for name, output in work.inputs.items():
        await _bring(name, output, place / "inputs", desk)
    job = _job(work, desk, tool, place)
    start = None
    if work.task.repository is None:
        job = replace(job, brief=Brief(task=task_words(work)))
    else:
        start, brief = await begin(work.task.repository, work, desk, tool, job=job, log=log)
        folder = work.task.repository.folder
        workspace = job.workspace / folder if folder else job.workspace
        job = replace(job, brief=brief, changes=place / "changes", workspace=workspace)
    job = await resumed(job, work, desk, tool, log)
    confinement = await asyncio.to_thread(walls, tool, desk, place)
    if confinement is not None:
        log.write("node", f"runs behind walls: {confinement.isolation.kind}")
    return Prepared(replace(job, confinement=confinement), start)


def _make(place: Path, work: Work) -> None:
    with out_of_space():
        place.parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        try:
            place.mkdir(mode=PRIVATE)
        except FileExistsError:
            raise Conflict("this attempt was begun on this node before") from None
        for name in DIRECTORIES:
            (place / name).mkdir(mode=PRIVATE)
        claim(place, work)


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
        settings=work.settings,
        must_change=work.must_change,
        sensitive=work.sensitive,
        mark_file=place / "run.mark",
        memory_limit_bytes=memory_limit_bytes(tool),
    )


def _idle_timeout_s(settings: Mapping[str, object], tool: BaseTool) -> float:
    """Answer the subtask's wish, else the node's configuration, else the tool's own default."""
    for wishes in (settings, tool.config):
        wanted = wishes.get("idle_timeout_s")
        if isinstance(wanted, int | float) and math.isfinite(wanted) and wanted >= 0:
            return float(wanted)
    return tool.idle_timeout_s
