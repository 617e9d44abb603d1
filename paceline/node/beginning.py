"""Where an attempt begins in its task's repository: a work tree with all that it builds on."""

import asyncio
import shutil
from pathlib import Path

from paceline.errors import InputError
from paceline.node.briefed import write_change
from paceline.node.briefing import briefing, write_changes
from paceline.node.change_merge import MergeConflict, Merged, merge, take_later
from paceline.node.desk import Desk, Work
from paceline.node.git import object_format
from paceline.node.harvest import Start, Unfit, entries
from paceline.node.logs import LogWriter
from paceline.node.setup import copy_files, read_setup, run_setup
from paceline.node.workspace import branch_of, check_out, open_workspace
from paceline.tasks.model import PermissionLevel, Repository, ResultStatus
from paceline.tasks.peer_review import CHANGE_FILE
from paceline.tools.brief import Brief
from paceline.tools.contract import BaseTool, Job
from paceline.tools.hygiene import strip
from paceline.tools.worktree import work_tree

SETUP_FILES_LIMIT = 1_000


async def begin(
    repository: Repository, work: Work, desk: Desk, tool: BaseTool, *, job: Job, log: LogWriter
) -> tuple[Start, Brief]:
    """Check out what the work begins with: the task's commit, or the merge of what it needs.

    Answer that, and what an agent is told of it. Raise MergeConflict if what it depends on does not
    go together and it cannot be the one to resolve that; Unfit where its setup fails; Unavailable,
    CorruptStorage, StorageFull.
    """
    place = desk.place_of(work)
    workspace = place / "workspace"
    cache = await desk.repositories.ensure(repository)
    for each in work.changes:
        await desk.repositories.bring(cache, each.change)
    await open_workspace(cache, workspace, object_format(repository.commit))
    merged = await merge(workspace, repository.commit, work.changes)
    if merged.conflicts and not work.takes_later and not _can_resolve(work, tool):
        raise MergeConflict(merged.conflicts, [each.name for each in work.changes])
    branch = branch_of(work.task.task_id, work.spec.subtask_id, work.attempt)
    await check_out(workspace, merged.commit, branch=branch)
    resolved = bool(merged.conflicts) and work.takes_later
    if resolved:
        merged = await take_later(workspace, merged)
    await asyncio.to_thread(_require_folder, workspace, repository.folder)
    _tell(merged, work, log)
    if work.briefing.review and work.briefing.change:
        file = place / "inputs" / CHANGE_FILE
        await write_change(workspace, work.briefing.start, merged.commit, file)
    upstream = await write_changes(work, workspace, place / "changes")
    await asyncio.to_thread(shutil.copyfile, workspace / ".git" / "index", place / "index")
    prepared = await _set_up(repository, merged.commit, cache, desk, job=job, log=log)
    start = Start(
        cache=cache,
        base=repository.commit,
        commit=merged.commit,
        index=place / "index",
        kept=place / "kept",
        taken=await _strip(work, desk, tool, log) if tool.agent else (),
        parents=merged.parents,
        conflicts=merged.conflicts,
        prepared=prepared,
        resolved=resolved,
    )
    return start, await briefing(work, workspace, upstream, merged.conflicts)


async def _set_up(
    repository: Repository, commit: str, cache: Path, desk: Desk, *, job: Job, log: LogWriter
) -> dict[str, tuple[str, str]]:
    """Do what the repository wants done first; answer what that left, by path."""
    setup = await read_setup(job.workspace, repository.commit)
    if setup is None:
        return {}
    await asyncio.to_thread(copy_files, setup, job.workspace)
    if setup.run and (failure := await run_setup(setup, job, desk, log)):
        raise Unfit(ResultStatus.FAILED, f"the repository's setup failed: {failure}")
    place = job.workspace.parent
    async with work_tree(
        job.workspace,
        within=place,
        index=place / "index",
        borrowed=[cache / "objects", job.workspace / ".git" / "objects"],
        object_format=object_format(commit),
    ) as tree:
        found = await entries(tree, commit, await tree.state())
    if len(found) > SETUP_FILES_LIMIT:
        words = f"the repository's setup leaves {len(found)} files that git does not ignore"
        raise Unfit(ResultStatus.FAILED, f"{words}: add them to .gitignore")
    return {path: each.after for path, each in found.items()}


def _require_folder(workspace: Path, folder: str) -> None:
    """Raise InputError if the folder to work in is not there: somebody may have deleted it."""
    place = workspace
    for part in Path(folder).parts:
        place /= part
        if place.is_symlink() or not place.is_dir():
            raise InputError(f"the folder {folder} is not in the repository any more")


def _can_resolve(work: Work, tool: BaseTool) -> bool:
    return tool.agent and work.spec.settings.get("permission") != PermissionLevel.READ


def _tell(merged: Merged, work: Work, log: LogWriter) -> None:
    if work.changes:
        names = ", ".join(each.name for each in work.changes)
        log.write("node", f"begins with the changes of {names}: commit {merged.commit}")
    for path in merged.conflicts:
        log.write("node", f"to be resolved: {path}")


async def _strip(work: Work, desk: Desk, tool: BaseTool, log: LogWriter) -> tuple[str, ...]:
    place = desk.place_of(work)
    taken = await asyncio.to_thread(strip, place / "workspace", place / "kept", tool.agent_files)
    for removed in taken:
        log.write("node", f"taken out of the work tree: {removed}")
    return taken
