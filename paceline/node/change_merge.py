"""One commit out of the changes of several subtasks: the same one on every node.

What contains another change stands for it; the rest is merged in the order in which it is given. A
merge has a fixed author, the date of its younger parent and words made of the names, so that nodes
that merge the same changes make the same commit. Nothing is checked out for it, and no hook, filter
or merge driver runs.

Where two changes touch the same lines, the merged files have the usual marks, and the commit is one
to be resolved: what becomes of it is for the caller to say.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paceline.errors import Conflict, ToolError
from paceline.node.git import BULK_TIMEOUT_S, GitFailed, git, signature
from paceline.tasks.queries_results import NamedChange

TOLD_FILES = 20
"""A message names at most so many files."""

_USAGE = 129


@dataclass(frozen=True, slots=True)
class Merged:
    """A commit. Where `conflicts` names files, they have marks in them and it is to be resolved."""

    commit: str
    parents: tuple[str, ...] = ()
    """Of a merge that was made here."""
    conflicts: tuple[str, ...] = ()


class MergeConflict(Conflict):
    """Changes that nobody has reconciled. `files` are where they meet, `names` whose they are."""

    def __init__(self, files: Sequence[str], names: Sequence[str]) -> None:
        told = ", ".join(files[:TOLD_FILES])
        more = f" and {len(files) - TOLD_FILES} more" if len(files) > TOLD_FILES else ""
        super().__init__(f"the changes of {_listed(names)} do not go together in {told}{more}")
        self.files = tuple(files)
        self.names = tuple(names)


async def merge(repository: Path, base: str, changes: Sequence[NamedChange]) -> Merged:
    """Answer the merge of changes that the repository has, or `base` if there are none.

    Raise GitFailed, TimedOut; ToolError where git is too old.
    """
    left = await _independent(repository, base, changes)
    if not left:
        return Merged(base)
    merged, names = Merged(left[0].change.commit), [left[0].name]
    for each in left[1:]:
        merged = await _merge_two(repository, merged, each, names)
        names.append(each.name)
    return merged


async def _independent(
    repository: Path, base: str, changes: Sequence[NamedChange]
) -> list[NamedChange]:
    """Answer the changes that no other contains, in their order; of equal ones the first."""
    by_commit = {each.change.commit: each for each in reversed(changes)}
    by_commit.pop(base, None)
    if len(by_commit) < 2:
        return list(by_commit.values())
    found = await git("merge-base", "--independent", *by_commit, directory=repository)
    kept = set(found)
    return [
        each
        for each in dict.fromkeys(changes)
        if by_commit.get(each.change.commit) is each and each.change.commit in kept
    ]


async def _merge_two(
    repository: Path, ours: Merged, theirs: NamedChange, names: Sequence[str]
) -> Merged:
    parents = (ours.commit, theirs.change.commit)
    tree, conflicts = await _merge_trees(repository, *parents)
    words = f"Merge {theirs.name} with {_listed(names)}"
    if conflicts:
        words += "\n\nNot resolved yet:\n" + "\n".join(conflicts[:TOLD_FILES])
    commit = await _commit(repository, tree, parents, words)
    return Merged(commit, parents, tuple(dict.fromkeys((*ours.conflicts, *conflicts))))


async def _merge_trees(repository: Path, ours: str, theirs: str) -> tuple[str, list[str]]:
    """Answer the merged tree, and the files that have marks in it."""
    asked = ("merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", ours, theirs)
    try:
        output = await git(*asked, directory=repository, timeout_s=BULK_TIMEOUT_S)
    except GitFailed as error:
        if error.status == _USAGE:
            raise ToolError("git on this node is too old to merge: 2.38 is needed") from error
        if error.status != 1:
            raise
        output = list(error.output)
    tree, *files = [part for part in "\n".join(output).split("\0") if part]
    return tree, list(dict.fromkeys(files))


async def _commit(repository: Path, tree: str, parents: Sequence[str], words: str) -> str:
    dates = await git("show", "--no-patch", "--format=%ct", *parents, directory=repository)
    youngest = max(int(date) for date in dates if date)
    named = [part for parent in parents for part in ("-p", parent)]
    asked = ("commit-tree", tree, *named, "-m", words)
    return (await git(*asked, directory=repository, added=signature(youngest)))[0]


def _listed(names: Sequence[str]) -> str:
    """Answer names as people list them."""
    shown = [f'"{name}"' for name in names]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


async def take_later(workspace: Path, merged: Merged) -> Merged:
    """Answer the merge with the later change's lines wherever two met, checked out already.

    What has no lines (a binary file, one that was deleted) stays as the merge left it.
    """
    for path in merged.conflicts:
        await asyncio.to_thread(_keep_later, workspace / path)
    await git("add", "--all", "--", ".", directory=workspace, timeout_s=BULK_TIMEOUT_S)
    tree = (await git("write-tree", directory=workspace))[0]
    words = "Merge, with the later lines where two changes met"
    commit = await _commit(workspace, tree, merged.parents, words)
    await git("reset", "--quiet", "--soft", commit, directory=workspace)
    return Merged(commit, merged.parents)


def _keep_later(file: Path) -> None:
    """Rewrite a file with conflict marks; no link is followed."""
    if file.is_symlink() or not file.is_file():
        return
    kept, side = [], b""
    for line in file.read_bytes().splitlines(keepends=True):
        if line.startswith(b"<<<<<<< "):
            side = b"<"
        elif side and line.startswith(b"======="):
            side = b">"
        elif side and line.startswith(b">>>>>>> "):
            side = b""
        elif side != b"<":
            kept.append(line)
    file.write_bytes(b"".join(kept))
