"""Running the repository's own commands, once, before any evaluator looks.

This executes what the repository says: it is only ever called where whoever evaluates has permitted
that. The commands get a private home, no key or token of the caller's environment, limits of time,
memory and output, and end with all that they started (`tools.process`). They do see the file system
and the network as the user does; who needs more than that gives a `runner` that has a sandbox.
"""

import asyncio
import contextlib
import json
import os
import re
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from paceline.errors import ToolError
from paceline.evaluators.analysis.languages import Language, language_of
from paceline.evaluators.change import Change
from paceline.evaluators.context import CommandRun, Context, Ending, FileCoverage, Lint, Purpose
from paceline.evaluators.measure import coverage
from paceline.evaluators.measure.commands import GIVEN, Command
from paceline.evaluators.reading import read_bytes
from paceline.tools import process
from paceline.tools.environment import build_environment
from paceline.tools.isolation import Confinement
from paceline.tools.process import ChildProcess, ProcessSpec, child_process

OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024
TAIL_LINES = 200
TAIL_CHARACTERS = 6000
LOOK_EVERY_S = 0.5
"""At the memory that a command uses."""

ESLINT_TIME_S = 120.0
ESLINT_FILES = 200
LINTS_LIMIT = 2000

_ABSENT = re.compile(
    r"No module named '?(pytest|ruff)\b|command not found|: not found|Missing script"
)
_NO_TESTS_COLLECTED = 5
"""pytest's exit status."""

_ESLINT = "node_modules/.bin/eslint"
_ESLINT_CONFIGS = tuple(
    name + end
    for name, ends in (
        ("eslint.config", (".js", ".mjs", ".cjs", ".ts")),
        (".eslintrc", ("", ".js", ".cjs", ".json", ".yml", ".yaml")),
    )
    for end in ends
)
_MODULE = re.compile(r"^module\s+(\S+)", re.M)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One command, ready to be run. `environment` is complete.

    `place` is a directory of the order's own, with `home` and `tmp`; `confinement` are the walls
    behind which `run_here` runs it, if there are any.
    """

    line: str
    directory: Path
    environment: Mapping[str, str]
    mark_file: Path
    time_s: float
    memory_mib: int
    place: Path
    confinement: Confinement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an order. `output` has the last lines of both streams."""

    ending: Ending
    exit_code: int | None
    output: tuple[str, ...]


Runner = Callable[[Order], Awaitable[Outcome]]
"""Runs an order: `run_here`, or something with a sandbox."""


async def measure(
    context: Context,
    change: Change,
    commands: Sequence[Command],
    manifests: Mapping[str, str],
    *,
    time_s: float,
    memory_mib: int,
    runner: Runner | None = None,
) -> Context:
    """Answer the context with what the commands said, and which new lines the tests ran.

    `context.repository` must be there. Nothing is raised for a command that fails.
    """
    repository = context.repository
    if repository is None:
        raise ValueError("there is no work tree to run anything in")
    run = runner or run_here
    with tempfile.TemporaryDirectory(prefix="paceline-measure-") as name:
        directory = Path(name)
        watching = coverage.prepare(directory, repository, change)
        order = _order(repository, directory, time_s, memory_mib)
        runs = [
            await _command(run, command, order, watching, number)
            for number, command in enumerate(commands)
        ]
        lints = await _eslint(run, replace(order, time_s=min(time_s, ESLINT_TIME_S)), change)
        module = _MODULE.search(manifests.get("go.mod", ""))
        covered = await asyncio.to_thread(
            coverage.read, directory, repository, change, module[1] if module else ""
        )
    return replace(
        context,
        runs=tuple(runs),
        lints=lints,
        coverage=_believed(runs, covered),
        permitted=True,
    )


def _believed(
    runs: Sequence[CommandRun], covered: dict[str, FileCoverage] | None
) -> dict[str, FileCoverage] | None:
    """Answer the coverage if tests ran: a linter alone reaches nothing."""
    tested = any(
        run.purpose is Purpose.TEST and run.ending is not Ending.NOT_STARTED for run in runs
    )
    return covered if tested else None


def _order(repository: Path, directory: Path, time_s: float, memory_mib: int) -> Order:
    for part in ("home", "tmp"):
        (directory / part).mkdir()
    environment = build_environment(
        os.environ,
        home=directory / "home",
        temporary=directory / "tmp",
        added={"CI": "1", "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"} | _go_caches(),
    )
    return Order(
        line="",
        directory=repository,
        environment=environment,
        mark_file=directory / "mark",
        time_s=time_s,
        memory_mib=memory_mib,
        place=directory,
    )


def _go_caches() -> dict[str, str]:
    """Answer where Go keeps what it has built and fetched: without it, it has no libraries."""
    home = Path.home()
    places = {"GOMODCACHE": home / "go" / "pkg" / "mod", "GOCACHE": home / ".cache" / "go-build"}
    found = {name: str(place) for name, place in places.items() if place.is_dir()}
    return found | {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}


async def _command(
    run: Runner, command: Command, order: Order, watching: Mapping[str, str], number: int
) -> CommandRun:
    line = command.line
    environment = dict(order.environment)
    if command.purpose is Purpose.TEST:
        environment |= watching
        line = coverage.watched_line(command, order.mark_file.parent, number)
    start = time.monotonic()
    outcome = await run(replace(order, line=line, environment=environment))
    tail = "\n".join(outcome.output)[-TAIL_CHARACTERS:]
    return CommandRun(
        purpose=command.purpose,
        command=command.line,
        origin=command.origin,
        ending=_ending(command, outcome, tail),
        exit_code=outcome.exit_code,
        duration_s=round(time.monotonic() - start, 3),
        tail=tail,
    )


def _ending(command: Command, outcome: Outcome, tail: str) -> Ending:
    """Answer how it ended; what was only guessed and is not there says nothing about the change."""
    if outcome.ending is not Ending.FAILED or command.origin == GIVEN:
        return outcome.ending
    absent = outcome.exit_code in (126, 127) or _ABSENT.search(tail) is not None
    empty = "pytest" in command.line and outcome.exit_code == _NO_TESTS_COLLECTED
    return Ending.NOT_STARTED if absent or empty else Ending.FAILED


# --- one command ----------------------------------------------------------------------------------


def behind_walls(walls: Confinement) -> Runner:
    """Answer a runner that keeps commands from the machine, as the one who made the change was.

    They see their own directory and the work tree, which they may change, and what `walls` shows.
    """

    async def run(order: Order) -> Outcome:
        own = replace(
            walls,
            place=order.place,
            readable=(*walls.readable, coverage.TRACER),
            writable=(*walls.writable, order.directory, order.place / "v8"),
        )
        environment = {**order.environment, "GOCACHE": str(order.place / "tmp" / "go-build")}
        return await run_here(replace(order, confinement=own, environment=environment))

    return run


async def run_here(order: Order) -> Outcome:
    """Run an order as this user, within its limits."""
    spec = ProcessSpec(
        argv=("/bin/sh", "-c", order.line),
        directory=order.directory,
        environment=order.environment,
        mark_file=order.mark_file,
        timeout_s=order.time_s,
        output_limit_bytes=OUTPUT_LIMIT_BYTES,
        confinement=order.confinement,
    )
    lines: deque[str] = deque(maxlen=TAIL_LINES)
    memory = _Memory(order.memory_mib * 1024 * 1024)
    try:
        async with child_process(spec) as child, asyncio.TaskGroup() as group:
            watch = group.create_task(memory.watch(child))
            async for line in child:
                lines.append(line.text)
            watch.cancel()
    except ToolError as error:
        return Outcome(ending=Ending.NOT_STARTED, exit_code=None, output=(str(error),))
    ending = _how_it_ended(child, too_large=memory.exceeded)
    return Outcome(ending=ending, exit_code=child.exit_code, output=tuple(lines))


def _how_it_ended(child: ChildProcess, *, too_large: bool) -> Ending:
    if too_large:
        return Ending.OUT_OF_MEMORY
    if child.ending is not process.Ending.EXITED:
        return Ending.TIMED_OUT
    return Ending.PASSED if child.exit_code == 0 else Ending.FAILED


@dataclass(slots=True)
class _Memory:
    """Watches what a command uses.

    A limit of address space would be exact, but Go and V8 reserve far more than they use.
    """

    limit_bytes: int
    exceeded: bool = False

    async def watch(self, child: ChildProcess) -> None:
        """Stop the child once it and its children use too much.

        Nothing tells when a process grows: look again and again. The verdict is set before the
        child is stopped, since whoever reads from it is told of its end first.
        """
        while await asyncio.to_thread(_used_bytes, child.pid) <= self.limit_bytes:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY_S)
        self.exceeded = True
        await child.stop()


def _used_bytes(pid: int) -> int:
    used = 0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for one in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                used += one.memory_info().rss
    return used


# --- ESLint ---------------------------------------------------------------------------------------


async def _eslint(run: Runner, order: Order, change: Change) -> tuple[Lint, ...]:
    """Answer what the repository's own ESLint says about the changed files, if it has one."""
    scripts = [f.path for f in change.texts if (lang := language_of(f.path)) and _is_script(lang)]
    has_config = any((order.directory / name).is_file() for name in _ESLINT_CONFIGS)
    if not scripts or not has_config or not (order.directory / _ESLINT).exists():
        return ()
    report = order.mark_file.parent / "eslint.json"
    listed = " ".join(_quoted(path) for path in scripts[:ESLINT_FILES])
    line = f"{_ESLINT} --format json --output-file {_quoted(str(report))} -- {listed}"
    await run(replace(order, line=line))
    data = await asyncio.to_thread(read_bytes, report.parent, report.name, OUTPUT_LIMIT_BYTES)
    return tuple(_lints(data or b"", order.directory))[:LINTS_LIMIT]


def _is_script(language: Language) -> bool:
    return language.is_script


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "'\\''") + "'"


def _lints(data: bytes, root: Path) -> list[Lint]:
    try:
        files = json.loads(data or b"[]")
    except (ValueError, RecursionError):
        return []
    start = os.path.realpath(root) + os.sep
    return [
        lint
        for file in (files if isinstance(files, list) else ())
        if isinstance(file, dict)
        for message in file.get("messages", ())
        if (lint := _lint(str(file.get("filePath", "")).removeprefix(start), message))
    ]


def _lint(path: str, message: Any) -> Lint | None:
    if not isinstance(message, dict) or not isinstance(message.get("line"), int):
        return None
    rule = str(message.get("ruleId") or "eslint")
    return Lint(
        path, message["line"], rule, str(message.get("message", "")), message.get("severity") == 2
    )
