"""Where an attempt begins in its task's repository: a work tree with all that it builds on."""

import asyncio
import shutil
from pathlib import Path

from paceline.errors import InputError
from paceline.node.briefed import write_change
from paceline.node.briefing import briefing, write_changes
from paceline.node.change_merge import MergeConflict, Merged, merge
from paceline.node.desk import Desk, Work
from paceline.node.git import object_format
from paceline.node.harvest import Start
from paceline.node.logs import LogWriter
from paceline.node.workspace import branch_of, check_out, open_workspace
from paceline.tasks.model import PermissionLevel, Repository
from paceline.tasks.peer_review import CHANGE_FILE
from paceline.tools.brief import Brief
from paceline.tools.contract import BaseTool
from paceline.tools.hygiene import strip


async def begin(
    repository: Repository, work: Work, desk: Desk, tool: BaseTool, log: LogWriter
) -> tuple[Start, Brief]:
    """Check out what the work begins with: the task's commit, or the merge of what it needs.

    Answer that, and what an agent is told of it. Raise MergeConflict if what it depends on does not
    go together and it cannot be the one to resolve that; Unavailable, CorruptStorage, StorageFull.
    """
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
    await asyncio.to_thread(_require_folder, workspace, repository.folder)
    _tell(merged, work, log)
    if work.briefing.review and work.briefing.change:
        file = place / "inputs" / CHANGE_FILE
        await write_change(workspace, work.briefing.start, merged.commit, file)
    upstream = await write_changes(work, workspace, place / "changes")
    await asyncio.to_thread(shutil.copyfile, workspace / ".git" / "index", place / "index")
    start = Start(
        cache=cache,
        base=repository.commit,
        commit=merged.commit,
        index=place / "index",
        kept=place / "kept",
        taken=await _strip(work, desk, tool, log) if tool.agent else (),
        parents=merged.parents,
        conflicts=merged.conflicts,
    )
    return start, await briefing(work, workspace, upstream, merged.conflicts)


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
    place = desk.directory_of(work.key)
    taken = await asyncio.to_thread(strip, place / "workspace", place / "kept", tool.agent_files)
    for removed in taken:
        log.write("node", f"taken out of the work tree: {removed}")
    return taken
