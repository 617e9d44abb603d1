"""One way to run a child process: bounded, watched, and gone when it is over.

What a tool starts is not trusted to behave. So, for every child:

- its environment is built from nothing (`environment`), its stdin is closed, or a file that ends;
- it leads a session of its own, and carries a random mark in its environment. Agents' shell tools
  call setsid, so killing the process group is not enough: whoever carries the mark is killed too
  (`marks`). What clears its environment *and* leaves the session *and* loses its parent escapes,
  unless it is confined (`isolation`): then the kernel ends it with the others;
- output is read by callbacks into a bounded buffer: a slow reader pauses the pipe, a flood past
  the limit is counted and thrown away at a bounded rate, a line has a limit of its own;
- wall-clock, silence and memory have limits. Ending is TERM, five seconds of grace, KILL, then the
  sweep.

There is no task behind it: the transport calls back, one reader waits. So whoever leaves the
`async with`, by a result, an error or cancellation, has ended everything.
"""

import asyncio
import contextlib
import math
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from paceline.errors import ToolError
from paceline.tools.isolation import Confinement, confined
from paceline.tools.lines import LINE_LIMIT_BYTES, LineSplitter
from paceline.tools.marks import KILL_LIMIT_S, MARK_VARIABLE, Mark

BUFFER_BYTES = 1024 * 1024
"""Read but not yet consumed; above it the pipes are paused."""

OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024
"""Given to the reader in all; what comes after is counted and thrown away."""

FLOOD_PAUSE_S = 0.002
"""Between two reads of what is thrown away (a pipe holds 64 KiB): some 30 MB/s, little CPU."""

GRACE_S = 5.0
GONE_POLL_S = 0.02

DRAIN_S = 5.0
"""How long to wait for the pipes to close once all processes that we know of are dead."""

WEIGH_EVERY_S = 2.0
"""How often the memory of a child and of what it started is added up."""

BREATHE_LINES = 64

LINE_OVERHEAD_BYTES = 100
"""What an empty line costs in the buffer."""

STREAMS = {1: "stdout", 2: "stderr"}


class Ending(StrEnum):
    """Why a child is over."""

    EXITED = "exited"
    TIMEOUT = "timeout"
    IDLE = "idle"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """What to run. `environment` is complete: nothing of the node's own is added but the mark.

    Times are seconds, 0 = no limit. `mark_file` is where the mark is kept while the child lives,
    for the sweep at the next start of a node that crashed; None = do without mark and sweep, for
    programs of our own choice that start nothing.
    """

    argv: Sequence[str]
    directory: Path
    environment: Mapping[str, str]
    mark_file: Path | None = None
    stdin: Path | None = None
    """What it reads from its standard input; None = nothing."""
    timeout_s: float = 0.0
    idle_timeout_s: float = 0.0
    grace_s: float = GRACE_S
    nice: int = 10
    line_limit_bytes: int = LINE_LIMIT_BYTES
    output_limit_bytes: int = OUTPUT_LIMIT_BYTES
    memory_limit_bytes: int = 0
    """Of all its processes together, 0 = none; needs a mark."""
    confinement: Confinement | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output, decoded as UTF-8 with replacements, without its newline."""

    stream: str
    text: str


@asynccontextmanager
async def child_process(spec: ProcessSpec) -> AsyncIterator["ChildProcess"]:
    """Start a child, and end it and all that it started on the way out.

    Raise ToolError if it cannot be started at all.
    """
    mark = Mark.create(spec.mark_file) if spec.mark_file else None
    child = ChildProcess(spec, mark)
    try:
        # Not to be cancelled in the middle: asyncio would then wait for the pipes to close, which
        # a grandchild may hold open for ever.
        await _to_the_end(_start(spec, mark, child))
        yield child
    finally:
        await _to_the_end(_end(child, mark))


async def _start(spec: ProcessSpec, mark: Mark | None, child: "ChildProcess") -> None:
    environment, argv = dict(spec.environment), list(spec.argv)
    marked = {MARK_VARIABLE: mark.value} if mark else {}
    if spec.confinement:
        # What builds the walls has no mark: asked to end, it would end all inside at once.
        argv = confined(argv, spec.confinement, directory=spec.directory, added=marked)
    else:
        environment |= marked
    loop = asyncio.get_running_loop()
    try:
        stdin = os.open(spec.stdin or os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ToolError(f"cannot read {spec.stdin}: {error}") from error
    try:
        await loop.subprocess_exec(
            lambda: child,
            *argv,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=spec.directory,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise ToolError(f"cannot start {spec.argv[0]}: {error}") from error
    finally:
        os.close(stdin)
    with contextlib.suppress(OSError):  # already over, or no such right: the work matters more
        os.setpriority(os.PRIO_PGRP, child.pid, spec.nice)


async def _end(child: "ChildProcess", mark: Mark | None) -> None:
    if child.pid:
        await child.stop()
    if mark is not None and (child.gone or not child.pid):
        mark.forget()


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Finish what is itself bounded in time, whoever cancels us meanwhile; then be cancelled."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    task.result()


class ChildProcess(asyncio.SubprocessProtocol):
    """A child that runs. Made by `child_process`; read by one reader.

    Iterate over it for its output. `ending` and `exit_code` (negative: killed by that signal) are
    known once the iteration has ended.
    """

    def __init__(self, spec: ProcessSpec, mark: Mark | None) -> None:
        self._spec = spec
        self._mark = mark
        self._loop = asyncio.get_running_loop()
        self._splitters = {fd: LineSplitter(spec.line_limit_bytes) for fd in STREAMS}
        self._lines: deque[Line] = deque()
        self._buffered = 0
        self._given = 0
        self._taken = 0
        self._news = asyncio.Event()
        self._exited = asyncio.Event()
        self._closed = asyncio.Event()
        self._swept = False
        self._weigh_at = math.inf
        if spec.memory_limit_bytes and mark:
            self._weigh_at = self._loop.time() + WEIGH_EVERY_S
        self._stop_reading_at = math.inf
        self._started = self._last_output = self._loop.time()
        self.pid = 0
        self.ending = Ending.EXITED
        self.exit_code: int | None = None
        self.dropped_bytes = 0
        """Printed past the output limit, and thrown away."""
        self.gone = False
        """Whether nobody who carries the mark is left."""

    def __aiter__(self) -> "ChildProcess":
        return self

    async def __anext__(self) -> Line:
        """Answer the next line, of both streams as they come, until the child is over.

        When its time is up the child is stopped, and what it still said is given.
        """
        while self._lines or not self._closed.is_set():
            if self._exited.is_set() and not self._swept:
                await self._kill_leftovers()
            elif self._loop.time() >= self._deadline():
                await self._expire()
            elif self._loop.time() >= self._weigh_at:
                await self._weigh()
            elif self._lines:
                self._taken += 1
                if self._taken % BREATHE_LINES == 0:  # a flood must not starve the event loop
                    await asyncio.sleep(0)
                return self._take()
            else:
                await self._wait_for_news()
        if not self._swept:
            await self._kill_leftovers()
        raise StopAsyncIteration

    async def stop(self) -> None:
        """End it and all that it started: TERM, grace, KILL. Harmless when it is over."""
        if not self._exited.is_set():
            await self._terminate()
        await self._kill_leftovers()
        await _wait(self._exited, KILL_LIMIT_S)
        self._transport.close()
        await _wait(self._closed, DRAIN_S)

    # --- what the transport calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self.pid = self._transport.get_pid()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Buffer output; pause its pipe if the reader is behind or the limit is reached."""
        self._last_output = self._loop.time()
        if self._given >= self._spec.output_limit_bytes:
            self.dropped_bytes += len(data)
            self._reading(fd, False)
            self._loop.call_later(FLOOD_PAUSE_S, self._reading, fd, True)
            return
        self._given += len(data)
        self._buffer(fd, self._splitters[fd].feed(data))
        if self._buffered > BUFFER_BYTES:
            self._reading(fd, False)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Give out the last line, if it had no newline."""
        self._buffer(fd, self._splitters[fd].end())

    def process_exited(self) -> None:
        """Wake the reader: what the child started is to be ended now."""
        self.exit_code = self._transport.get_returncode()
        self._exited.set()
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake the reader: it is over, and both pipes are closed."""
        self._closed.set()
        self._news.set()

    # --- the buffer ---

    def _buffer(self, fd: int, lines: Iterable[str]) -> None:
        for text in lines:
            self._lines.append(Line(STREAMS[fd], text))
            self._buffered += len(text) + LINE_OVERHEAD_BYTES
        self._news.set()

    def _take(self) -> Line:
        line = self._lines.popleft()
        self._buffered -= len(line.text) + LINE_OVERHEAD_BYTES
        if not self._lines:
            self._last_output = max(self._last_output, self._loop.time())
            for fd in STREAMS:
                self._reading(fd, True)
        return line

    def _reading(self, fd: int, wanted: bool) -> None:
        pipe = self._transport.get_pipe_transport(fd)
        if isinstance(pipe, asyncio.ReadTransport) and not pipe.is_closing():
            if wanted:
                pipe.resume_reading()
            else:
                pipe.pause_reading()

    # --- time ---

    def _deadline(self) -> float:
        """Answer when waiting for the child ends, on the loop's clock."""
        if self._swept:
            return self._stop_reading_at
        return min(
            self._started + (self._spec.timeout_s or math.inf),
            self._last_output + (self._spec.idle_timeout_s or math.inf),
        )

    async def _wait_for_news(self) -> None:
        self._news.clear()
        deadline = self._deadline() if self._swept else min(self._deadline(), self._weigh_at)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(None if deadline == math.inf else deadline):
                await self._news.wait()

    async def _expire(self) -> None:
        """Act on a deadline: the child's own, or that of its pipes to close after its end."""
        if self._swept:
            self._transport.close()
            await _wait(self._closed, DRAIN_S)
            self._closed.set()
            return
        timeout_s = self._spec.timeout_s or math.inf
        over = self._loop.time() >= self._started + timeout_s
        await self._end_for(Ending.TIMEOUT if over else Ending.IDLE)

    async def _weigh(self) -> None:
        """Stop it if all that it started has too much memory."""
        assert self._mark is not None
        used = await self._mark.memory_bytes(self.pid)
        self._weigh_at = self._loop.time() + WEIGH_EVERY_S
        if used > self._spec.memory_limit_bytes and not self._exited.is_set():
            await self._end_for(Ending.MEMORY)

    async def _end_for(self, reason: Ending) -> None:
        self.ending = reason
        self._weigh_at = math.inf
        await self._terminate()
        await self._kill_leftovers()

    # --- ending it ---

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def _terminate(self) -> None:
        """Ask the child and all that it started to end, and wait for that, within the grace."""
        give_up = self._loop.time() + self._spec.grace_s
        # Confined, the first process of the session is the wall: it ends by itself, last.
        session = None if self._spec.confinement else self.pid
        if self._mark:
            await self._mark.terminate(session)
        else:
            self._signal_group(signal.SIGTERM)
        await _wait(self._exited, self._spec.grace_s)
        # Nothing tells when a process ends that is not our own child: look again and again.
        while self._mark and self._loop.time() < give_up and await self._mark.alive(session):  # noqa: ASYNC110
            await asyncio.sleep(GONE_POLL_S)

    async def _kill_leftovers(self) -> None:
        """Kill the session and whoever carries the mark; the pipes close with them."""
        if self._swept:
            return
        if not self._exited.is_set():
            self._signal_group(signal.SIGKILL)
        if self._mark:
            self.gone = await self._mark.kill(self.pid)
        self._swept = True
        self._stop_reading_at = self._loop.time() + DRAIN_S


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
