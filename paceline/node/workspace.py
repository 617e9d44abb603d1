"""Where an attempt works: a directory of its own, with the repository's commit checked out.

The work tree is a repository of its own that borrows its objects from the node's cache, not a
`git worktree` of the cache: a worktree shares configuration, hooks and refs with all others, so an
agent could leave a program there that runs when git is next used for somebody else. This way
nothing is shared but objects that are only read, attempts do not wait for each other's locks, and
taking one away is deleting its directory.
"""

import asyncio
import os
import shutil
import stat
import time
from pathlib import Path

from paceline.node.disk import out_of_space
from paceline.node.git import BULK_TIMEOUT_S, IDENTITY, borrow, git, object_format
from paceline.tools.worktree import PLAIN_ATTRIBUTES

REMOVAL_PAUSES_S = (0.0, 0.05, 0.5, 2.0)

_CONFIG = "[user]\n\tname = {}\n\temail = {}\n".format(*IDENTITY)


def branch_of(task_id: str, subtask_id: str, attempt: int) -> str:
    """Answer the branch that an attempt works on."""
    return f"paceline/{task_id}/{subtask_id}/{attempt}"


async def open_workspace(cache: Path, workspace: Path, format_name: str) -> None:
    """Make a repository in an empty directory that has all that a cache has, and no files yet.

    Its files will be byte for byte what was committed: no conversion of line ends or encodings, so
    that what has changed can be told from outside. Raise GitFailed, TimedOut, StorageFull.
    """
    await borrow(workspace, cache / "objects", bare=False, object_format=format_name)
    await asyncio.to_thread(_configure, workspace / ".git")


async def check_out(workspace: Path, commit: str, *, branch: str) -> None:
    """Check a commit out in a repository that has no files yet, on a new branch. Raise likewise."""
    switch = ("checkout", "--quiet", "--no-track", "-b", branch, commit)
    await git(*switch, directory=workspace, timeout_s=BULK_TIMEOUT_S)


async def checkout(cache: Path, commit: str, *, branch: str, workspace: Path) -> None:
    """Check a commit of a cache out into an empty directory, on a new branch.

    Raise GitFailed, TimedOut, StorageFull.
    """
    await open_workspace(cache, workspace, object_format(commit))
    await check_out(workspace, commit, branch=branch)


async def remove_directory(directory: Path) -> None:
    """Delete a directory and all below it, also where its owner has withdrawn the right to."""
    await asyncio.to_thread(_remove, directory)


def _configure(git_directory: Path) -> None:
    with out_of_space():
        with (git_directory / "config").open("a", encoding="ascii") as config:
            config.write(_CONFIG)
        (git_directory / "info").mkdir(exist_ok=True)
        (git_directory / "info" / "attributes").write_text(PLAIN_ATTRIBUTES, encoding="ascii")


def _remove(directory: Path) -> None:
    """Delete it, again if need be: a thread whose attempt was cancelled may still write a file."""
    for pause_s in REMOVAL_PAUSES_S:
        try:
            shutil.rmtree(directory)
        except PermissionError:
            _allow(directory)
        except OSError:
            if not os.path.lexists(directory):
                return
        else:
            return
        time.sleep(pause_s)
    shutil.rmtree(directory)


def _allow(directory: Path) -> None:
    """Take back the right to all directories below (package caches are made read-only)."""
    directory.chmod(stat.S_IRWXU)
    for name, directories, _ in os.walk(directory):
        for each in (Path(name) / entry for entry in directories):
            if not each.is_symlink():
                each.chmod(stat.S_IRWXU)
