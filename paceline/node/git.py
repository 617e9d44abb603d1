"""Running git so that nothing but our arguments decides what it does.

A repository, a home directory or the machine may configure hooks, filters, credential helpers and
monitors, which are programs. None of them is wanted here: global and system configuration are not
read, hooks and monitors are off, no protocol is allowed, nothing is ever asked on a terminal.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from paceline.errors import PacelineError, TimedOut
from paceline.tools.environment import build_environment
from paceline.tools.process import Ending, ProcessSpec, child_process

TIMEOUT_S = 60.0
BULK_TIMEOUT_S = 900.0
"""For what reads or writes a whole history."""

OUTPUT_LIMIT_BYTES = 1024 * 1024

IDENTITY = ("Paceline", "paceline@localhost")
"""Who commits what nobody else has committed."""

_NOWHERE = Path("/nonexistent")

_ISOLATED = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_ALLOW_PROTOCOL": "",
    "LC_ALL": "C",
}
_OPTIONS = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "credential.helper="),
    *("-c", "gc.auto=0"),
    *("-c", "maintenance.auto=false"),
    *("-c", "submodule.recurse=false"),
    *("-c", "advice.detachedHead=false"),
)


class GitFailed(PacelineError):
    """A git command ended with an error.

    `said` is its standard error, `status` its exit status, `output` the lines of its output.
    """

    def __init__(
        self, command: str, status: int | None, said: str, output: Sequence[str] = ()
    ) -> None:
        super().__init__(f"git {command} failed ({status}): {said}")
        self.status = status
        self.said = said
        self.output = tuple(output)


async def git(
    *arguments: str,
    directory: Path,
    timeout_s: float = TIMEOUT_S,
    added: Mapping[str, str] | None = None,
) -> list[str]:
    """Run git in a directory and answer the lines of its output; `added` are variables for it.

    Raise GitFailed; TimedOut; ToolError if there is no git.
    """
    spec = ProcessSpec(
        argv=("git", *_OPTIONS, *arguments),
        directory=directory,
        environment=build_environment(
            os.environ, home=_NOWHERE, temporary=directory, added={**_ISOLATED, **(added or {})}
        ),
        timeout_s=timeout_s,
        nice=0,
        output_limit_bytes=OUTPUT_LIMIT_BYTES,
    )
    output: list[str] = []
    errors: list[str] = []
    async with child_process(spec) as child:
        async for line in child:
            (output if line.stream == "stdout" else errors).append(line.text)
    if child.ending is not Ending.EXITED:
        raise TimedOut(f"git {arguments[0]} took longer than {timeout_s:g} s and was stopped")
    if child.exit_code != 0:
        raise GitFailed(arguments[0], child.exit_code, "\n".join(errors)[:2000], output)
    return output


def signature(time_s: int) -> dict[str, str]:
    """Answer the variables that make a commit ours, of that moment (seconds since 1970)."""
    name, address = IDENTITY
    return {
        f"GIT_{role}_{part}": value
        for role in ("AUTHOR", "COMMITTER")
        for part, value in (("NAME", name), ("EMAIL", address), ("DATE", f"{time_s} +0000"))
    }


async def borrow(directory: Path, objects: Path, *, bare: bool, object_format: str) -> None:
    """Make an empty repository that reads its objects from another one's, and writes its own."""
    shape = ["--bare"] if bare else []
    await git(
        "init",
        "--quiet",
        "--template=",
        f"--object-format={object_format}",
        *shape,
        ".",
        directory=directory,
    )
    own = directory / ("objects" if bare else ".git/objects")
    (own / "info").mkdir(exist_ok=True)
    (own / "info" / "alternates").write_bytes(os.fsencode(objects) + b"\n")


def object_format(commit: str) -> str:
    """Answer which hash a repository uses, by the length of a commit's name."""
    return "sha256" if len(commit) == 64 else "sha1"
