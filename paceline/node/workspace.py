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
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from paceline.node.disk import out_of_space
from paceline.node.git import BULK_TIMEOUT_S, borrow, git, object_format

AGENT_FILES = (
    *(".claude", ".mcp.json", ".gemini", ".qwen", ".codex", ".opencode", "opencode.json*"),
    *(".vscode", ".aider*", ".env*"),
    *(".github/hooks", ".github/mcp.json", ".github/copilot*"),
)
"""What agents' programs obey when they find it in a repository: hooks, servers, addresses, keys."""

REMOVAL_PAUSES_S = (0.0, 0.05, 0.5, 2.0)

_IDENTITY = "[user]\n\tname = Paceline\n\temail = paceline@localhost\n"


def branch_of(task_id: str, subtask_id: str, attempt: int) -> str:
    """Answer the branch that an attempt works on."""
    return f"paceline/{task_id}/{subtask_id}/{attempt}"


async def checkout(cache: Path, commit: str, *, branch: str, workspace: Path) -> None:
    """Check a commit of a cache out into an empty directory, on a new branch.

    Raise GitFailed, TimedOut, StorageFull.
    """
    await borrow(workspace, cache / "objects", bare=False, object_format=object_format(commit))
    await asyncio.to_thread(_append, workspace / ".git" / "config", _IDENTITY)
    switch = ("checkout", "--quiet", "--no-track", "-b", branch, commit)
    await git(*switch, directory=workspace, timeout_s=BULK_TIMEOUT_S)


async def strip_agent_files(workspace: Path) -> tuple[str, ...]:
    """Take out what would steer or deceive an agent's program, and answer what it was.

    That is `AGENT_FILES` in any directory, and symbolic links that lead out of the work tree.
    """
    return await asyncio.to_thread(_strip, workspace)


async def remove_directory(directory: Path) -> None:
    """Delete a directory and all below it, also where its owner has withdrawn the right to."""
    await asyncio.to_thread(_remove, directory)


def _append(file: Path, text: str) -> None:
    with out_of_space(), file.open("a", encoding="ascii") as config:
        config.write(text)


def _strip(workspace: Path) -> tuple[str, ...]:
    removed = []
    for found in _to_strip(workspace.resolve()):
        if found.is_dir() and not found.is_symlink():
            _remove(found)
        else:
            found.unlink()
        removed.append(str(found.relative_to(workspace.resolve())))
    return tuple(sorted(removed))


def _to_strip(root: Path) -> Iterator[Path]:
    """Walk the tree without following links; what is to go is not looked into."""
    for name, directories, files in os.walk(root):
        here = Path(name)
        if here == root and ".git" in directories:
            directories.remove(".git")
        for entry in (*directories, *files):
            path = here / entry
            if _is_agent_file(here.name, entry) or _leads_out(path, root):
                if entry in directories:
                    directories.remove(entry)
                yield path


def _is_agent_file(parent: str, name: str) -> bool:
    for pattern in AGENT_FILES:
        directory, _, last = pattern.rpartition("/")
        if fnmatchcase(name.lower(), last) and directory in ("", parent.lower()):
            return True
    return False


def _leads_out(path: Path, root: Path) -> bool:
    """Answer whether it is a link to somewhere outside, or into the repository's own data."""
    if not path.is_symlink():
        return False
    target = Path(os.path.realpath(path))
    return not target.is_relative_to(root) or target.is_relative_to(root / ".git")


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
