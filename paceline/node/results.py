"""What a task came to, for people: the merge of its last changes, and what its subtasks gave out.

Any node can answer: the bundles come from whoever holds them. A merge is made in a repository of
its own that only borrows the cache's objects, and is gone when it has been told.
"""

import asyncio
import re
import shutil
import sqlite3
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from paceline.errors import Conflict, InputError, NotFound, PacelineError
from paceline.node.blobs import BlobStore
from paceline.node.change_merge import MergeConflict, Merged, merge
from paceline.node.git import BULK_TIMEOUT_S, GitFailed, borrow, git, object_format
from paceline.node.repository import Repositories
from paceline.node.web.ports import Document, Download
from paceline.tasks import queries
from paceline.tasks.documents import change_document
from paceline.tasks.model import Repository, SubtaskStatus, TaskStatus
from paceline.tasks.queries_results import NamedChange, output_of, result_points

PATCH_LIMIT_BYTES = 64 * 1024 * 1024
LISTED_FILES = 1_000
"""A document lists at most so many changed files; `files` counts them all."""
KNOWN = 64
"""So many results are kept in mind, by the commits that they are made of."""

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Whose result is asked for, as the state says."""

    task: Document
    subtask: Document | None
    repository: Repository | None
    points: tuple[NamedChange, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """A repository in which the result is one commit; `directory` is bare and temporary."""

    directory: Path
    key: str
    base: str
    commit: str


class Results:
    """Answers what tasks came to, from any node."""

    def __init__(
        self,
        *,
        directory: Path,
        connection: sqlite3.Connection,
        repositories: Repositories,
        blobs: BlobStore,
    ) -> None:
        """`directory` is this object's own; what a killed process left there is taken away."""
        self._directory = directory
        for left in directory.iterdir():
            shutil.rmtree(left, ignore_errors=True)
        self._connection = connection
        self._repositories = repositories
        self._blobs = blobs
        self._known: OrderedDict[tuple[str, ...], Document] = OrderedDict()

    async def document(self, task_id: str, subtask: str) -> Document:
        """Answer what a task, or one subtask, came to so far.

        Raise NotFound, InputError for ids. What keeps the changes from being merged or fetched
        stands in `problem`.
        """
        wanted = self._wanted(task_id, subtask)
        found: Document = {
            "commit": None,
            "files": 0,
            "insertions": 0,
            "deletions": 0,
            "changes": [],
        }
        problem, conflicts = "", list[str]()
        try:
            found |= await self._told(wanted)
        except MergeConflict as conflict:
            problem, conflicts = str(conflict), list(conflict.files)
        except (PacelineError, GitFailed) as error:
            problem = str(error)
        task = wanted.task
        subtasks = [wanted.subtask] if wanted.subtask else task["subtasks"]
        return {
            "task_id": task["task_id"],
            "status": task["status"],
            "description": task["description"],
            "complete": task["status"] == TaskStatus.COMPLETED,
            "repository": task["repository"],
            "base": wanted.repository.commit if wanted.repository else None,
            **found,
            "conflicts": conflicts,
            "problem": problem,
            "merged_from": [
                {"name": each.name, **change_document(each.change)} for each in wanted.points
            ],
            "subtasks": [_subtask(each) for each in subtasks],
        }

    async def patch(self, task_id: str, subtask: str) -> Download:
        """Answer the difference from where the task began, as `git apply` takes it.

        Raise NotFound where nothing was changed, Conflict, InputError where it is too long.
        """
        async with self._taken(task_id, subtask) as place:
            file = place.directory / "patch"
            asked = ("diff", "--binary", "--full-index", "--no-ext-diff", "--no-textconv")
            await git(
                *asked,
                f"--output={file}",
                place.base,
                place.commit,
                directory=place.directory,
                timeout_s=BULK_TIMEOUT_S,
            )
            if file.stat().st_size > PATCH_LIMIT_BYTES:
                raise InputError(
                    f"the patch has more than {PATCH_LIMIT_BYTES} bytes: take it as a branch"
                )
            return _download(file, "text/x-diff", f"{place.commit[:12]}.patch", place)

    async def bundle(self, task_id: str, subtask: str, since: str) -> Download:
        """Answer a git bundle of the result, of what `since` has not; empty = of everything.

        Raise as `patch` does; InputError for a commit that is none of its own.
        """
        async with self._taken(task_id, subtask) as place:
            head = f"refs/paceline/{place.key}/{place.commit}"
            await git("update-ref", head, place.commit, directory=place.directory)
            but = [f"^{await _ancestor(place, since)}"] if since else []
            file = place.directory / "bundle"
            create = ("bundle", "create", "--quiet", str(file), head, *but)
            await git(*create, directory=place.directory, timeout_s=BULK_TIMEOUT_S)
            name = f"{place.commit[:12]}.bundle"
            return _download(file, "application/octet-stream", name, place)

    async def output(self, subtask_id: str) -> Download:
        """Answer what a subtask gave out. Raise NotFound, Unavailable."""
        name, output = output_of(self._connection, subtask_id)
        if output.blob is None:
            file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 - given away
            file.write(output.inline)
            file.seek(0)
            return Download(file, output.size, "application/octet-stream", name)
        path = await self._blobs.fetch(output.blob)
        return Download(path.open("rb"), output.size, "application/octet-stream", name)

    # --- what is wanted ---------------------------------------------------------------------------

    def _wanted(self, task_id: str, subtask: str) -> _Wanted:
        task = queries.task(self._connection, task_id)
        found = task["task_id"]
        spec = queries.task_spec(self._connection, found)
        subtask_id = queries.resolve_subtask_id(self._connection, found, subtask) if subtask else ""
        chosen = next((s for s in task["subtasks"] if s["subtask_id"] == subtask_id), None)
        points = result_points(self._connection, found, subtask_id)
        return _Wanted(task, chosen, spec.repository, points)

    async def _told(self, wanted: _Wanted) -> Document:
        """Answer commit and counts of the result, remembered by what it is made of."""
        if not wanted.points or wanted.repository is None:
            return {}
        key = (wanted.repository.commit, *(each.change.commit for each in wanted.points))
        if key not in self._known:
            async with self._merged(wanted) as place:
                self._known[key] = await _counted(place)
        self._known.move_to_end(key)
        while len(self._known) > KNOWN:
            self._known.popitem(last=False)
        return self._known[key]

    @asynccontextmanager
    async def _taken(self, task_id: str, subtask: str) -> AsyncIterator[_Place]:
        try:
            async with self._merged(self._wanted(task_id, subtask)) as place:
                yield place
        except MergeConflict as conflict:
            raise Conflict(str(conflict)) from conflict

    @asynccontextmanager
    async def _merged(self, wanted: _Wanted) -> AsyncIterator[_Place]:
        repository = wanted.repository
        if repository is None:
            raise NotFound("this task has no repository")
        if not wanted.points:
            raise NotFound("nothing was changed in the repository")
        cache = await self._repositories.ensure(repository)
        for each in wanted.points:
            await self._repositories.bring(cache, each.change)
        make = tempfile.TemporaryDirectory(dir=self._directory, prefix="result-")
        with await asyncio.to_thread(lambda: make) as name:
            here = Path(name)
            format_name = object_format(repository.commit)
            await borrow(here, cache / "objects", bare=True, object_format=format_name)
            merged = await merge(here, repository.commit, wanted.points)
            _require_no_conflict(merged, wanted.points)
            yield _Place(here, cache.stem, repository.commit, merged.commit)


def _require_no_conflict(merged: Merged, points: Sequence[NamedChange]) -> None:
    if merged.conflicts:
        raise MergeConflict(merged.conflicts, [each.name for each in points])


async def _counted(place: _Place) -> Document:
    asked = ("diff", "--numstat", "-z", "--no-renames", "--no-ext-diff", "--no-textconv")
    raw = await git(*asked, place.base, place.commit, directory=place.directory)
    rows = [row.split("\t", 2) for row in "\n".join(raw).split("\0") if row.count("\t") >= 2]
    lines = [
        {"path": path, "insertions": _number(plus), "deletions": _number(minus)}
        for plus, minus, path in rows
    ]
    return {
        "commit": place.commit,
        "files": len(lines),
        "insertions": sum(each["insertions"] or 0 for each in lines),
        "deletions": sum(each["deletions"] or 0 for each in lines),
        "changes": lines[:LISTED_FILES],
    }


async def _ancestor(place: _Place, commit: str) -> str:
    """Answer the commit if the result builds on it. Raise InputError."""
    if not _COMMIT.fullmatch(commit):
        raise InputError("`since` must be the full name of a commit")
    if commit == place.commit:
        raise Conflict("that is the very commit of the result: there is nothing to fetch")
    asked = ("merge-base", "--is-ancestor", commit, place.commit)
    try:
        await git(*asked, directory=place.directory)
    except GitFailed as error:
        raise InputError(f"the result does not build on commit {commit}") from error
    return commit


def _download(file: Path, media_type: str, name: str, place: _Place) -> Download:
    opened = file.open("rb")  # it can be read although its directory is deleted
    head = f"refs/paceline/{place.key}/{place.commit}"
    return Download(opened, file.stat().st_size, media_type, name, place.commit, head)


def _number(text: str) -> int | None:
    """Answer a count of lines; None for a binary file."""
    return int(text) if text.isdecimal() else None


def _subtask(subtask: Document) -> Document:
    result = subtask["result"] if subtask["status"] == SubtaskStatus.COMPLETED else None
    output = dict((result or {}).get("output") or {"size": 0})
    return {
        "subtask_id": subtask["subtask_id"],
        "name": subtask["name"],
        "status": subtask["status"],
        "reason": subtask["reason"],
        "change": result["change"] if result else None,
        "output": {key: output[key] for key in ("size", "sha256", "holders") if key in output},
    }
