"""What changed in a work tree, asked so that nothing in it can run a program or hide a change.

An agent may have written to the work tree's own `.git`: filters, monitors and hooks there are
programs that git would start for whoever next says `git add`; its index may hide files. So git is
never pointed at it. A scratch repository with a configuration of ours looks at the files from
outside; it only borrows the objects, so that nothing that is known is stored again.
"""

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from paceline.errors import TimedOut, ToolError
from paceline.tools.environment import build_environment
from paceline.tools.process import Ending, ProcessSpec, child_process

TIMEOUT_S = 900.0
"""For reading a whole work tree."""

OUTPUT_LIMIT_BYTES = 32 * 1024 * 1024

_ISOLATED = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "",
    "LC_ALL": "C",
}
_OPTIONS = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.untrackedCache=false"),
    *("-c", "core.quotePath=false"),
    *("-c", "core.autocrlf=false"),
    *("-c", "core.bigFileThreshold=32m"),
    *("-c", "pack.windowMemory=64m"),
    *("-c", "gc.auto=0"),
    *("-c", "maintenance.auto=false"),
    *("-c", "advice.addEmbeddedRepo=false"),
)
PLAIN_ATTRIBUTES = "* !diff !filter !ident !text !eol !working-tree-encoding\n"
"""Of the scratch repository: they go before those of the tree, so that files are what they are."""

BYPRODUCTS = (
    *("__pycache__/", "*.py[co]", ".pytest_cache/", ".mypy_cache/", ".ruff_cache/", ".hypothesis/"),
    *(".tox/", ".nox/", ".venv/", ".coverage", "node_modules/", ".gradle/", ".DS_Store"),
)
"""What running a project leaves behind, in git's patterns: no change of anybody's, unless it is
tracked or the repository's own `.gitignore` takes it in. Two that compiled would conflict."""


@dataclass(frozen=True, slots=True)
class Change:
    """One path that is different. Modes are git's (0 = not there); size in bytes of the new file.

    `target` is where a symbolic link leads.
    """

    path: str
    mode_before: int
    mode: int
    size: int = 0
    target: str = ""

    @property
    def is_link(self) -> bool:
        """Answer whether it is a symbolic link now."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_repository(self) -> bool:
        """Answer whether it is a repository within the repository now."""
        return self.mode == 0o160000


class WorkTree:
    """The files below `root`, seen from a scratch repository. Made by `work_tree`."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self._root = root
        self._scratch = scratch

    @property
    def objects(self) -> Path:
        """Answer where the objects are that were made here; it knows those that it borrows."""
        return self._scratch / "repository" / "objects"

    async def state(self) -> str:
        """Answer what the files are now, as the name of a git tree; ignored files do not count.

        Raise ToolError, TimedOut.
        """
        await self.git("add", "--all", "--", ".")
        return (await self.git("write-tree"))[0].strip()

    async def changes(self, before: str, after: str) -> tuple[Change, ...]:
        """Answer what is different between two states, sorted by path."""
        raw = await self.git(
            "diff-tree", "-r", "-z", "--raw", "--no-renames", "--full-index", before, after
        )
        return tuple(self._change(*row) for row in raw_rows("\n".join(raw)))

    def _change(self, mode_before: int, mode: int, path: str) -> Change:
        place = self._root / path
        try:
            found = place.lstat()
            target = os.readlink(place) if stat.S_ISLNK(found.st_mode) else ""
        except OSError:
            return Change(path, mode_before, mode)
        return Change(path, mode_before, mode, found.st_size, target)

    async def git(self, *arguments: str, added: Mapping[str, str] | None = None) -> list[str]:
        """Run git in the scratch repository and answer the lines of its output.

        `added` are variables for it. Raise ToolError, TimedOut.
        """
        return await _git(
            *arguments,
            directory=self._root,
            added={
                **(added or {}),
                "GIT_DIR": str(self._scratch / "repository"),
                "GIT_WORK_TREE": str(self._root),
                "GIT_INDEX_FILE": str(self._scratch / "index"),
            },
        )


@asynccontextmanager
async def work_tree(
    root: Path,
    *,
    within: Path | None = None,
    index: Path | None = None,
    borrowed: Sequence[Path] | None = None,
    object_format: str = "sha1",
    attributes: str = PLAIN_ATTRIBUTES,
) -> AsyncIterator[WorkTree]:
    """Look at the files below `root`, a repository's work tree or any other directory.

    The scratch repository lies in `within`, or among the temporary files. It begins with a copy of
    `index`, one that nobody else has touched: then only files that have changed since are read, and
    what is tracked counts although it is ignored. It reads objects of the directories `borrowed`;
    None = of the work tree's own repository. `attributes` go before
    those of the tree.
    """
    make = partial(tempfile.mkdtemp, prefix="paceline-look-", dir=within)
    scratch = Path(await asyncio.to_thread(make))
    try:
        repository = scratch / "repository"
        init = ("init", "--quiet", "--bare", "--template=", f"--object-format={object_format}")
        await _git(*init, str(repository), directory=scratch)
        objects = (root / ".git" / "objects",) if borrowed is None else borrowed
        await asyncio.to_thread(_prepare, repository, objects, attributes)
        if index is not None:
            await asyncio.to_thread(shutil.copyfile, index, scratch / "index")
        yield WorkTree(root, scratch)
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)


def watched(root: Path, wanted: bool) -> AbstractAsyncContextManager[WorkTree | None]:
    """Answer the work tree if somebody wants to know about it."""
    return work_tree(root) if wanted else nullcontext()


def _prepare(repository: Path, borrowed: Sequence[Path], attributes: str) -> None:
    (repository / "info").mkdir(exist_ok=True)
    (repository / "info" / "attributes").write_text(attributes, encoding="ascii")
    (repository / "info" / "exclude").write_text("\n".join(BYPRODUCTS), encoding="ascii")
    there = [each for each in borrowed if each.is_dir() and not each.is_symlink()]
    if there:
        (repository / "objects" / "info").mkdir(exist_ok=True)
        alternates = repository / "objects" / "info" / "alternates"
        alternates.write_bytes(b"".join(os.fsencode(each) + b"\n" for each in there))


def raw_rows(raw: str) -> list[tuple[int, int, str]]:
    r"""Read what `--raw -z` prints: `:MODE MODE NAME NAME STATUS\0PATH\0` again and again."""
    fields = raw.split("\0")
    rows = []
    for head, path in zip(fields[::2], fields[1::2], strict=False):
        before, after, *_ = head.strip().removeprefix(":").split(" ")
        rows.append((int(before, 8), int(after, 8), path))
    return rows


async def _git(*arguments: str, directory: Path, added: dict[str, str] | None = None) -> list[str]:
    """Run git and answer the lines of its output. Raise ToolError, TimedOut."""
    spec = ProcessSpec(
        argv=("git", *_OPTIONS, *arguments),
        directory=directory,
        environment=build_environment(
            os.environ,
            home=Path("/nonexistent"),
            temporary=directory,
            added={**_ISOLATED, **(added or {})},
        ),
        timeout_s=TIMEOUT_S,
        output_limit_bytes=OUTPUT_LIMIT_BYTES,
        line_limit_bytes=OUTPUT_LIMIT_BYTES,
    )
    said: dict[str, list[str]] = {"stdout": [], "stderr": []}
    async with child_process(spec) as child:
        async for line in child:
            said[line.stream].append(line.text)
    if child.ending is not Ending.EXITED:
        raise TimedOut(f"git {arguments[0]} took longer than {TIMEOUT_S:g} s and was stopped")
    if child.exit_code != 0 or child.dropped_bytes:
        raise ToolError(f"git {arguments[0]} failed: {' '.join(said['stderr'])[:1000]}")
    return said["stdout"]
