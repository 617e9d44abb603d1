"""Asking git about a repository that may be hostile, without letting it run or change anything.

What a repository's own `.git/config` says is a program's choice of programs: filters, external
diffs, monitors. Switching each of them off by name forgets the next one. So git is never run in the
repository itself, but for finding it: a scratch repository borrows its objects, has a
configuration of our own, and looks at its work tree from outside. Then `.gitattributes` may name
filters, but none of them is defined; and what hides a file from a diff is unset from above.

Nothing is written but in the scratch directory; the repository's index is neither read nor
refreshed, so that `git update-index --assume-unchanged` hides nothing either.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from paceline.errors import InputError, TimedOut, ToolError
from paceline.tools.environment import build_environment
from paceline.tools.process import Ending, ProcessSpec, child_process

TIMEOUT_S = 300.0
"""For reading a whole work tree."""

OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024
ERROR_CHARACTERS = 2000

_ENVIRONMENT = {
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
    *("-c", "core.quotePath=true"),
    *("-c", "gc.auto=0"),
    *("-c", "maintenance.auto=false"),
)
_UNSET = "* !diff !filter !ident !working-tree-encoding\n"
"""The scratch repository's own attributes: they go before those of the tree."""

_SHELL = 'ulimit -f "$1"; in=$2; out=$3; shift 3; exec "$@" <"$in" >"$out"'
_NOWHERE = Path("/nonexistent")


@dataclass(frozen=True, slots=True)
class Scratch:
    """A repository of our own that sees the objects and the work tree of another one."""

    directory: Path
    work_tree: Path

    async def git(self, *arguments: str, given: bytes = b"") -> bytes:
        """Run git on the work tree and answer its output. Raise InputError, TimedOut, ToolError."""
        return await _git(
            *arguments,
            directory=self.work_tree,
            scratch=self.directory,
            given=given,
            added={
                "GIT_DIR": str(self.directory / "repository"),
                "GIT_WORK_TREE": str(self.work_tree),
            },
        )


@asynccontextmanager
async def scratch_repository(path: Path) -> AsyncIterator[Scratch]:
    """Make a scratch repository for the work tree that `path` lies in; it goes at the end.

    Raise InputError if there is none, or it has no work tree.
    """
    with tempfile.TemporaryDirectory(prefix="paceline-evaluate-") as name:
        directory = Path(name)
        top, objects, kind = await _inspect(path, directory)
        scratch = Scratch(directory, top)
        created = ("--quiet", "--template=", f"--object-format={kind}")
        where = str(directory / "repository")
        await _git("init", "--bare", *created, where, directory=directory, scratch=directory)
        await _git(
            f"--git-dir={where}", "config", "core.bare", "false",
            directory=directory, scratch=directory,
        )  # fmt: skip
        await asyncio.to_thread(_borrow, directory / "repository", objects)
        yield scratch


async def commit_of(scratch: Scratch, path: Path, ref: str) -> str:
    """Answer the tree to compare with: that of a commit, or the empty one before the first commit.

    Raise InputError for an unknown ref.
    """
    wanted = f"{ref}^{{commit}}"
    asked = ("rev-parse", "--verify", "--quiet", "--end-of-options", wanted)
    try:
        said = await _git(*asked, directory=path, scratch=scratch.directory)
    except InputError:
        if ref == "HEAD":
            return (
                (await scratch.git("hash-object", "-t", "tree", "-w", "--stdin")).decode().strip()
            )
        raise InputError(f"{ref} is no commit of {path}") from None
    return said.decode().strip()


def _borrow(repository: Path, objects: str) -> None:
    (repository / "info").mkdir(exist_ok=True)
    (repository / "info" / "attributes").write_text(_UNSET, encoding="ascii")
    (repository / "objects" / "info").mkdir(exist_ok=True)
    (repository / "objects" / "info" / "alternates").write_bytes(os.fsencode(objects) + b"\n")


async def _inspect(path: Path, scratch: Path) -> tuple[Path, str, str]:
    """Answer the work tree's top, where the objects are, and which hash they are named by."""
    if not await asyncio.to_thread(path.is_dir):
        raise InputError(f"{path} is not a directory on this machine")
    asked = ("--path-format=absolute", "--show-toplevel", "--git-path", "objects")
    try:
        said = await _git(
            "rev-parse", *asked, "--show-object-format", directory=path, scratch=scratch
        )
    except InputError as error:
        if "not a git repository" in str(error):
            raise InputError(f"{path} is not a git repository") from error
        raise
    lines = os.fsdecode(said).removesuffix("\n").split("\n")
    if len(lines) != 3:
        raise InputError(f"{path}: the path of a repository must not contain a line break")
    return Path(lines[0]), lines[1], lines[2]


async def _git(
    *arguments: str,
    directory: Path,
    scratch: Path,
    given: bytes = b"",
    added: dict[str, str] | None = None,
) -> bytes:
    source, target = scratch / "input", scratch / "output"
    await asyncio.to_thread(source.write_bytes, given)
    blocks = str(OUTPUT_LIMIT_BYTES // 512)
    command = ("git", *_OPTIONS, *arguments)
    spec = ProcessSpec(
        argv=("/bin/sh", "-c", _SHELL, "sh", blocks, str(source), str(target), *command),
        directory=directory,
        environment=build_environment(
            os.environ, home=_NOWHERE, temporary=scratch, added=_ENVIRONMENT | (added or {})
        ),
        timeout_s=TIMEOUT_S,
        nice=0,
        output_limit_bytes=ERROR_CHARACTERS * 4,
    )
    said = []
    async with child_process(spec) as child:
        async for line in child:
            said.append(line.text)  # noqa: PERF401 - an asynchronous comprehension reads worse
    _check(arguments, child.ending, child.exit_code, "\n".join(said)[:ERROR_CHARACTERS])
    return await asyncio.to_thread(target.read_bytes)


def _check(arguments: tuple[str, ...], ending: Ending, status: int | None, said: str) -> None:
    word = next((part for part in arguments if not part.startswith("-")), "")
    if ending is not Ending.EXITED:
        raise TimedOut(f"git {word} took longer than {TIMEOUT_S:g} s and was stopped")
    if status == 127:
        raise ToolError("there is no git on this machine: install it")
    if status is not None and status < 0:
        raise InputError(f"git {word} was stopped: its output is larger than what can be judged")
    if status != 0:
        raise InputError(f"git {word} failed ({status}): {said}")
