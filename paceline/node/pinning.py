"""Making a ref fast: from a person's repository to a commit and a bundle of its history.

The repository is read and never written: the bundle needs a ref, so it is made in an empty
repository that borrows the objects of the person's.
"""

import asyncio
import hashlib
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path

from paceline.errors import InputError
from paceline.node.git import BULK_TIMEOUT_S, GitFailed, borrow, git, object_format, signature
from paceline.tools.hygiene import is_agent_file
from paceline.tools.worktree import WorkTree, work_tree


class Dirty(StrEnum):
    """What becomes of changes that are not committed, where HEAD is asked for."""

    REFUSE = "refuse"
    INCLUDE = "include"
    """They are taken as one more commit."""
    LEAVE = "leave"


async def resolve(path: Path, ref: str) -> str:
    """Answer the commit that a branch, tag or abbreviated id names. Raise InputError."""
    wanted = f"{ref or 'HEAD'}^{{commit}}"
    arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", wanted)
    try:
        return (await git(*arguments, directory=path))[-1]
    except GitFailed as error:
        if not await _any_commit(path):
            raise InputError(f"{path} has no commits yet: commit something first") from error
        raise InputError(f"{path} has no branch, tag or commit {ref!r}") from error


async def write_bundle(objects: Path, commit: str, bundle: Path) -> None:
    """Write a commit and all its history to a file, under the head `refs/paceline/KEY/COMMIT`."""
    with tempfile.TemporaryDirectory(dir=bundle.parent, prefix="pin-") as name:
        here = Path(name)
        await borrow(here, objects, bare=True, object_format=object_format(commit))
        roots = await git(
            "rev-list", "--max-parents=0", commit, directory=here, timeout_s=BULK_TIMEOUT_S
        )
        head = f"refs/paceline/{key_of(roots)}/{commit}"
        await git("update-ref", head, commit, directory=here)
        create = ("bundle", "create", "--quiet", str(bundle), head)
        await git(*create, directory=here, timeout_s=BULK_TIMEOUT_S)


def key_of(roots: list[str]) -> str:
    """Answer the name of a repository: its root commits', which all its states share."""
    return hashlib.sha256("\n".join(sorted(roots)).encode()).hexdigest()[:32]


async def inspect(path: Path) -> tuple[Path, bool]:
    """Answer where the objects are, and whether the repository is bare.

    Raise InputError where there is none, or where history is missing (shallow, partial clones).
    """
    if not await asyncio.to_thread(path.is_dir):
        raise InputError(f"{path} is not a directory on this machine")
    asked = ("--is-bare-repository", "--is-shallow-repository", "--git-path", "objects")
    try:
        bare, shallow, objects = await git("rev-parse", *asked, directory=path)
    except GitFailed as error:
        if "not a git repository" in error.said:
            raise InputError(f"{path} is not a git repository") from error
        raise InputError(f"{path} cannot be read: {error.said}") from error
    if shallow == "true":
        raise InputError(f"{path} is a shallow clone: run `git fetch --unshallow` there first")
    if await _is_partial(path):
        raise InputError(f"{path} is a partial clone: clone it as a whole first")
    return (path / objects).resolve(), bare == "true"


async def _is_partial(path: Path) -> bool:
    asked = ("config", "--get-regexp", r"^(extensions\.partialclone|remote\..*\.promisor)$")
    return await _has(path, *asked)


async def _any_commit(path: Path) -> bool:
    return bool(await git("rev-list", "--all", "--max-count=1", directory=path))


async def require_committed(path: Path) -> None:
    """Raise InputError if files that git knows have changes that are not committed."""
    changed = await git("status", "--porcelain", "--untracked-files=no", directory=path)
    if changed:
        names = ", ".join(line[3:] for line in changed[:3])
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise InputError(
            f"{path} has changes that are not committed ({names}{more}): commit them, take them "
            "with --include-dirty, or leave them behind with --leave-dirty"
        )


@asynccontextmanager
async def with_uncommitted(path: Path, objects: Path, head: str) -> AsyncIterator[tuple[str, Path]]:
    """Answer a commit on top of `head` with all that is not committed, and where its objects are.

    `head` itself where there is nothing. Ignored files stay; so do new files that steer agents or
    hold keys, such as `.env`. The repository is only read; the objects are there within the block.
    """
    top = Path((await git("rev-parse", "--show-toplevel", directory=path))[0])
    index = Path((await git("rev-parse", "--git-path", "index", directory=top))[0])
    index = top / index
    has_index = await asyncio.to_thread(index.is_file)
    async with work_tree(
        top,
        index=index if has_index else None,
        borrowed=[objects],
        object_format=object_format(head),
        attributes="",
    ) as tree:
        state = await _without_agent_files(tree, head, await tree.state())
        if not await tree.changes(head, state):
            yield head, objects
            return
        words = ("commit-tree", state, "-p", head, "-m", "Work that was not committed yet")
        made = await tree.git(*words, added=signature(int(time.time())))
        yield made[0], tree.objects


async def _without_agent_files(tree: WorkTree, head: str, state: str) -> str:
    new = [
        change.path
        for change in await tree.changes(head, state)
        if not change.mode_before and is_agent_file(change.path)
    ]
    for path in new:
        await tree.git("rm", "--quiet", "--cached", "--", path)
    return (await tree.git("write-tree"))[0] if new else state


async def require_folder(path: Path, commit: str, folder: str) -> None:
    """Raise InputError if that folder is none of the commit's."""
    try:
        kind = await git("cat-file", "-t", f"{commit}:{folder}", directory=path)
    except GitFailed:
        kind = []
    if kind != ["tree"]:
        raise InputError(f"the repository has no folder {folder!r} at commit {commit[:12]}")


async def notes_on(path: Path, commit: str, *, bare: bool) -> tuple[str, ...]:
    """Answer what a person should know: what of the work tree does not travel."""
    notes = []
    if not bare and await git("status", "--porcelain", directory=path):
        notes.append("there are changes that are not committed: they stay here")
    if await _has(path, "ls-tree", "--name-only", commit, ":/.gitmodules"):
        notes.append("submodules do not travel: their directories will be empty")
    if await _has(path, "grep", "-l", "filter=lfs", commit, "--", ":(glob)**/.gitattributes"):
        notes.append("Git LFS files do not travel: their pointers will be there instead")
    return tuple(notes)


async def _has(path: Path, *arguments: str) -> bool:
    """Answer whether a search finds anything; grep and config end with status 1 if not."""
    try:
        return bool(await git(*arguments, directory=path))
    except GitFailed as error:
        if error.status == 1:
            return False
        raise
