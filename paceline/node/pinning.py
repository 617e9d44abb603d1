"""Making a ref fast: from a person's repository to a commit and a bundle of its history.

The repository is read and never written: the bundle needs a ref, so it is made in an empty
repository that borrows the objects of the person's.
"""

import asyncio
import hashlib
import tempfile
from pathlib import Path

from paceline.errors import InputError
from paceline.node.git import BULK_TIMEOUT_S, GitFailed, borrow, git, object_format


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
