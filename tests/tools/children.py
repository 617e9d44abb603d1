"""Real child processes for tests: start them, wait for what they do, look whether they live."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from paceline.tools.process import ChildProcess, Line, ProcessSpec, child_process

T = TypeVar("T")

PATIENCE_S = 60.0
"""Far beyond anything that is waited for."""

PATH = os.environ["PATH"]


def run(test: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine; it fails if it takes for ever."""

    async def bounded() -> T:
        async with asyncio.timeout(PATIENCE_S):
            return await test

    return asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that has no event of its own."""
    async with asyncio.timeout(PATIENCE_S / 2):
        while not condition():
            await asyncio.sleep(0.005)


def lives(pid: int) -> bool:
    """Answer whether a process runs: one that nobody has buried yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in (b"Z", b"X")


def has_number(file: Path) -> bool:
    return file.exists() and file.read_text().strip().isdigit()


def number_in(file: Path) -> int:
    return int(file.read_text())


def shell(directory: Path, line: str, **fields: Any) -> ProcessSpec:
    """A shell line as a child with a mark."""
    return ProcessSpec(
        **{
            "argv": ("/bin/sh", "-c", line),
            "directory": directory,
            "environment": {"PATH": PATH},
            "mark_file": directory / "run.mark",
            **fields,
        }
    )


def python(directory: Path, program: str, **fields: Any) -> ProcessSpec:
    """A Python program as a child with a mark."""
    return shell(directory, "", argv=(sys.executable, "-c", program), **fields)


async def finish(spec: ProcessSpec) -> tuple[ChildProcess, list[Line]]:
    """Run a child to its end and answer what it said."""
    async with child_process(spec) as child:
        lines = [line async for line in child]
    return child, lines
