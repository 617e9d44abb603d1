"""A repository's own agent configuration: out before an agent starts, back after, never changed.

Programs of agents obey what they find in a work tree: hooks and servers that are started when the
directory is opened, addresses to send the key to, variables. Measured with seven of them: only
taking the files away stops all seven; each has a flag or an environment that it heeds less. So:

- `strip` moves them out of the work tree, `restore` moves them back, whatever has been put in their
  place; both never follow a link that leads out of the work tree;
- `refusals` names what an agent has left that no result may carry: such files, links out of the
  tree, `.git`, repositories within the repository, more or larger files than is reasonable.

All are plain functions on a directory, without git; they block. What has changed is told by
`worktree`, which a hostile work tree cannot deceive.
"""

import os
import posixpath
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from paceline.errors import ToolError
from paceline.tools.worktree import Change

AGENT_FILES = (
    *(".claude", ".mcp.json", ".gemini", ".qwen", ".codex", ".opencode", "opencode.json*"),
    *(".copilot", ".vscode", ".cursor", ".aider*", ".env*"),
    *(".github/hooks", ".github/mcp.json", ".github/copilot*"),
)
"""In any directory, in any case of letters. The last part may have wildcards."""

FILE_LIMIT_BYTES = 50 * 1024 * 1024
TOTAL_LIMIT_BYTES = 512 * 1024 * 1024
FILES_LIMIT = 50_000


_IGNORED_BY_HFS = frozenset(
    map(chr, (*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF))
)
"""Code points that do not count in names on Apple's file system."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One path that a result must not have, and why."""

    path: str
    reason: str


def is_agent_file(path: str, more: Iterable[str] = ()) -> bool:
    """Answer whether a path, relative to the repository, is such a file or lies in one."""
    parts = path.lower().split("/")
    for pattern in (*AGENT_FILES, *more):
        directory, _, last = pattern.lower().rpartition("/")
        for place, part in enumerate(parts):
            parent = parts[place - 1] if place else ""
            if fnmatchcase(part, last) and directory in ("", parent):
                return True
    return False


def is_git_name(part: str) -> bool:
    """Answer whether some file system takes this name for `.git` (git: core.protectHFS, NTFS)."""
    bare = "".join(each for each in part if each not in _IGNORED_BY_HFS).rstrip(". ").lower()
    return bare == ".git" or bare.startswith(("git~", ".git:"))


def strip(root: Path, keep: Path, more: Iterable[str] = ()) -> tuple[str, ...]:
    """Move what would steer an agent from `root` to `keep`; answer the paths, sorted.

    So are links that lead out of the work tree. `keep` must not exist, and must lie outside `root`.
    """
    root = root.resolve()
    keep.mkdir(mode=0o700, parents=True)
    taken = []
    for path in list(_to_strip(root, tuple(more))):
        place = keep / path
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.move(root / path, place)
        taken.append(path)
    return tuple(sorted(taken))


def restore(root: Path, keep: Path, taken: Iterable[str]) -> tuple[str, ...]:
    """Move them back; answer the paths at which an agent had put something else, which is gone.

    A directory above that has become a file or a link is made a directory again. Raise ToolError
    if one of them is not kept any more.
    """
    root = root.resolve()
    replaced = []
    for path in taken:
        if not os.path.lexists(keep / path):
            raise ToolError(f"{path} of the repository was taken away and is lost: {keep} is gone")
        _make_parents(root, path)
        if os.path.lexists(root / path):
            _remove(root / path)
            replaced.append(path)
        shutil.move(keep / path, root / path)
    return tuple(sorted(replaced))


def refusals(
    root: Path,
    changes: Iterable[Change],
    more: Iterable[str] = (),
    *,
    file_limit_bytes: int = FILE_LIMIT_BYTES,
    total_limit_bytes: int = TOTAL_LIMIT_BYTES,
    files_limit: int = FILES_LIMIT,
) -> tuple[Refusal, ...]:
    """Answer what of these changes no result may carry, sorted by path; empty = all is well."""
    more = tuple(more)
    found, total, count = [], 0, 0
    for change in changes:
        total += change.size
        count += 1
        if reason := _reason(root, change, more, file_limit_bytes):
            found.append(Refusal(change.path, reason))
    if total > total_limit_bytes:
        found.append(Refusal("", f"the changed files have {total} bytes, over {total_limit_bytes}"))
    if count > files_limit:
        found.append(Refusal("", f"{count} files were changed, more than {files_limit}"))
    return tuple(sorted(found, key=lambda refusal: (refusal.path, refusal.reason)))


def _reason(root: Path, change: Change, more: tuple[str, ...], limit_bytes: int) -> str:
    if any(is_git_name(part) for part in change.path.split("/")):
        return "git's own data"
    if is_agent_file(change.path, more):
        return "a file that steers agents: a person must change it"
    if change.is_repository:
        return "a repository within the repository"
    if change.is_link and _leads_out(root, change.path, change.target):
        return f"a link out of the repository, to {change.target[:200]}"
    if change.size > limit_bytes:
        return f"{change.size} bytes, more than {limit_bytes}"
    return ""


def _to_strip(root: Path, more: tuple[str, ...]) -> Iterator[str]:
    """Walk the tree without following links; what is to go is not looked into."""
    for name, directories, files in os.walk(root):
        here = Path(name)
        if here == root and ".git" in directories:
            directories.remove(".git")
        for entry in (*directories, *files):
            path = str((here / entry).relative_to(root))
            target = os.readlink(here / entry) if (here / entry).is_symlink() else ""
            if is_agent_file(path, more) or (target and _leads_out(root, path, target)):
                if entry in directories:
                    directories.remove(entry)
                yield path


def _leads_out(root: Path, path: str, target: str) -> bool:
    """Answer whether a link at `path` leads out of the tree, itself or by way of other links."""
    if target.startswith("/"):
        return True
    said = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if said == ".." or said.startswith("../") or is_git_name(said.split("/")[0]):
        return True
    root = root.resolve()
    real = Path(os.path.realpath(root / path))
    return not real.is_relative_to(root) or real.is_relative_to(root / ".git")


def _make_parents(root: Path, path: str) -> None:
    """Make the directories above `path` real ones, without following a link."""
    place = root
    for part in Path(path).parts[:-1]:
        place /= part
        if not os.path.lexists(place) or not stat.S_ISDIR(place.lstat().st_mode):
            if os.path.lexists(place):
                place.unlink()
            place.mkdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
