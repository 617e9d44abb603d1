"""The log of each attempt: an append-only file of JSON lines `{"time_ms", "stream", "line"}`.

    logs/SUBTASK_ID/ATTEMPT-TOKEN.jsonl

A place in a log is a byte offset: 0, or a `next` that a read answered; so a page costs what it
holds, however long the log is. A log that nobody in this process writes has ended. Lines lose their
secrets before they reach the disk. Appending is not synced and happens on the event loop: it goes
to the page cache, and losing the end of a log to a power cut is no harm.
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from paceline.clock import Clock
from paceline.errors import NotFound
from paceline.node.redaction import RedactedStream, Redactor

LOG_LIMIT_BYTES = 16 * 1024 * 1024
LINE_LIMIT = 64 * 1024
"""Characters of one line that are kept."""

TAIL_LIMIT_BYTES = 4 * 1024
LIMIT_NOTE = "the log is full: what follows is not kept"

PAGE_LINES = 1000
PAGE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LogKey:
    """Which log: one attempt's, on this node."""

    subtask_id: str
    attempt: int
    token: int


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line; `stream` is `stdout`, `stderr`, `text` (the agent's words), `tool`, `node` ..."""

    time_ms: int
    stream: str
    line: str


@dataclass(frozen=True, slots=True)
class LogPage:
    """Some lines, where the next page begins, and whether there will never be more after it."""

    lines: tuple[LogLine, ...]
    next: int
    ended: bool


class LogStore:
    """All logs of this node."""

    def __init__(
        self,
        *,
        directory: Path,
        clock: Clock,
        redactor: Redactor,
        limit_bytes: int = LOG_LIMIT_BYTES,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._redactor = redactor
        self._limit_bytes = limit_bytes
        self._writers: dict[LogKey, LogWriter] = {}

    def open(self, key: LogKey) -> "LogWriter":
        """Begin a log; close it when the attempt is over."""
        writer = LogWriter(
            file=self._file(key),
            clock=self._clock,
            redactor=self._redactor,
            limit_bytes=self._limit_bytes,
            on_close=lambda: self._writers.pop(key, None),
        )
        self._writers[key] = writer
        return writer

    async def read(self, key: LogKey, after: int = 0, limit: int = PAGE_LINES) -> LogPage:
        """Answer up to `limit` lines after a place; none if there are none yet.

        Raise NotFound if this node has no such log.
        """
        ended = key not in self._writers  # before reading: what is written later is not missed
        try:
            lines, following, more = await asyncio.to_thread(_read, self._file(key), after, limit)
        except FileNotFoundError:
            if ended:
                raise NotFound(f"this node has no log of attempt {key.attempt}") from None
            return LogPage((), after, False)
        return LogPage(lines, following, ended and not more)

    async def follow(self, key: LogKey, after: int = 0) -> AsyncGenerator[LogPage, None]:
        """Answer page after page as lines come, until the log has ended."""
        while True:
            writer = self._writers.get(key)
            written = writer.written if writer else asyncio.Event()
            page = await self.read(key, after)
            if page.lines or page.ended:
                yield page
            if page.ended:
                return
            if page.next == after and writer:
                await written.wait()
            after = page.next

    def attempts(self, subtask_id: str) -> list[LogKey]:
        """Answer the logs that this node has of a subtask, oldest first."""
        names = (file.stem.split("-") for file in (self._directory / subtask_id).glob("*-*.jsonl"))
        keys = (LogKey(subtask_id, int(attempt), int(token)) for attempt, token in names)
        return sorted(keys, key=lambda key: key.token)

    async def collect(self, budget_bytes: int) -> int:
        """Delete the oldest logs that have ended until all fit; answer the bytes freed."""
        writing = {self._file(key) for key in self._writers}
        return await asyncio.to_thread(_collect, self._directory, writing, budget_bytes)

    async def remove(self, key: LogKey) -> None:
        """Delete a log that has ended."""
        file = self._file(key)
        await asyncio.to_thread(file.unlink, missing_ok=True)
        with contextlib.suppress(OSError):  # it has the logs of other attempts
            file.parent.rmdir()

    def _file(self, key: LogKey) -> Path:
        if not key.subtask_id or "/" in key.subtask_id or key.subtask_id.startswith("."):
            raise NotFound(f"no subtask is called {key.subtask_id!r}")
        return self._directory / key.subtask_id / f"{key.attempt}-{key.token}.jsonl"


class LogWriter:
    """One attempt's log while it is written. Never raises for want of disk: it drops and notes."""

    def __init__(
        self,
        *,
        file: Path,
        clock: Clock,
        redactor: Redactor,
        limit_bytes: int,
        on_close: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._redactor = redactor
        self._streams: dict[str, RedactedStream] = {}
        self._room_bytes = limit_bytes
        self._on_close = on_close
        self._tail: deque[str] = deque()
        self._tail_bytes = 0
        self._file = self._create(file)
        self.written = asyncio.Event()
        """Set at the next line or at the end; whoever waits takes the event before reading."""
        self.dropped_lines = 0

    def write(self, stream: str, line: str) -> str:
        """Append a line without its secrets, and answer it so; past the limit it only counts."""
        state = self._streams.setdefault(stream, RedactedStream(self._redactor))
        line = _shorten(state.line(line.replace("\n", "\\n")))
        self._remember(line)
        record = _encode(LogLine(self._clock.now_ms(), stream, line))
        if len(record) > self._room_bytes:
            if not self.dropped_lines:
                self._append(_encode(LogLine(self._clock.now_ms(), "node", LIMIT_NOTE)))
            self._room_bytes = 0
            self.dropped_lines += 1
        else:
            self._room_bytes -= len(record)
            self._append(record)
        return line

    def tail(self) -> str:
        """Answer the last lines, at most 4 KiB."""
        text = "\n".join(self._tail).encode("utf-8", "replace")
        return text[-TAIL_LIMIT_BYTES:].decode("utf-8", "ignore")

    def close(self) -> None:
        """End the log; readers see that it has ended."""
        if self._file:
            self._file.close()
            self._file = None
        self._on_close()
        self._announce()

    def _create(self, file: Path) -> IO[bytes] | None:
        with contextlib.suppress(OSError):
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return file.open("ab", buffering=0)
        return None

    def _append(self, record: bytes) -> None:
        if self._file is None:
            return
        try:
            whole = self._file.write(record) == len(record)
        except OSError:
            whole = False
        if not whole:  # a full disk must not end the work that is logged
            self._room_bytes = 0
        self._announce()

    def _announce(self) -> None:
        self.written.set()
        self.written = asyncio.Event()

    def _remember(self, line: str) -> None:
        self._tail.append(line[-TAIL_LIMIT_BYTES:])
        self._tail_bytes += len(self._tail[-1]) + 1
        while self._tail_bytes - len(self._tail[0]) - 1 > TAIL_LIMIT_BYTES:
            self._tail_bytes -= len(self._tail.popleft()) + 1


def _collect(directory: Path, spared: Collection[Path], budget_bytes: int) -> int:
    files = [(file, file.stat()) for file in directory.glob("*/*.jsonl")]
    excess = sum(found.st_size for _, found in files) - budget_bytes
    freed = 0
    for file, found in sorted(files, key=lambda each: each[1].st_mtime_ns):
        if freed >= excess:
            break
        if file not in spared:
            file.unlink(missing_ok=True)
            freed += found.st_size
            with contextlib.suppress(OSError):  # it has the logs of other attempts
                file.parent.rmdir()
    return freed


def _shorten(line: str) -> str:
    cut = len(line) - LINE_LIMIT
    return line if cut <= 0 else f"{line[:LINE_LIMIT]} [{cut} characters cut]"


def _encode(line: LogLine) -> bytes:
    record = {"time_ms": line.time_ms, "stream": line.stream, "line": line.line}
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _read(file: Path, after: int, limit: int) -> tuple[tuple[LogLine, ...], int, bool]:
    """Answer lines from a place, the next place, and whether there is more now."""
    with file.open("rb") as source:
        size = source.seek(0, 2)
        source.seek(after)
        complete = source.read(PAGE_BYTES).split(b"\n")[:-1][:limit]
    following = after + sum(len(record) + 1 for record in complete)
    lines = tuple(line for record in complete if (line := _decode(record)))
    return lines, following, bool(complete) and following < size


def _decode(record: bytes) -> LogLine | None:
    """Answer the line; None for what a crash or a full disk left half written."""
    try:
        fields = json.loads(record)
        return LogLine(int(fields["time_ms"]), str(fields["stream"]), str(fields["line"]))
    except (ValueError, LookupError, TypeError):
        return None
