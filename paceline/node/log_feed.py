"""Logs of a task, wherever its attempts ran, as one stream from any node.

A log lies on the node that ran the attempt. Another node reads it page by page; while it grows, the
node that has it answers as soon as there is something new, so that a follower sees a line within
a round trip. When that node is away, the end of the log that came with the outcome is shown
instead.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from paceline.codec import from_plain, to_plain
from paceline.errors import NotFound, PacelineError, Unavailable
from paceline.ids import NodeId
from paceline.node.calls import Calls
from paceline.node.logs import LogKey, LogLine, LogPage, LogStore
from paceline.node.progress import AppliedProgress
from paceline.node.web.ports import Document, LogQuery
from paceline.tasks import queries, queries_external

READ = "log.read"
PAGE_LINES = 500
WAIT_S = 5.0
"""A reader waits so long for a new line before it asks again."""
READ_TIMEOUT_S = 12.0
QUEUE_LIMIT = 256
PAUSE_S = 0.2
AWAY_PAUSE_S = 1.0
TASK_ENDED = frozenset({"completed", "failed", "cancelled"})
ATTEMPT_ENDED = frozenset({"succeeded", "failed", "cancelled", "lost"})


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which lines of which log, and whether to wait for some."""

    key: LogKey
    after: int
    wait: bool


@dataclass(frozen=True, slots=True)
class Source:
    """An attempt whose log is wanted."""

    key: LogKey
    name: str
    node_id: NodeId


class LogFeed:
    """Reads logs here and elsewhere."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        store: LogStore,
        calls: Calls,
        connection: sqlite3.Connection,
        progress: AppliedProgress[Any],
    ) -> None:
        self._node_id = node_id
        self._store = store
        self._calls = calls
        self._connection = connection
        self._progress = progress
        calls.serve(READ, self._serve_read)

    async def stream(self, query: LogQuery) -> AsyncIterator[Document]:
        """Check the ids, then answer the lines. Raise NotFound, InputError."""
        task_id = queries.resolve_task_id(self._connection, query.task_id)
        wanted = (
            queries.resolve_subtask_id(self._connection, task_id, query.subtask)
            if query.subtask
            else ""
        )
        if query.follow:
            return self._follow(task_id, wanted, query.attempt)
        return self._read_all(task_id, wanted, query.attempt)

    # --- what there is ----------------------------------------------------------------------------

    def _sources(self, task_id: str, wanted: str, attempt: int | None) -> list[Source]:
        found = [
            Source(
                LogKey(subtask["subtask_id"], each["attempt"], each["token"]),
                subtask["name"],
                each["node_id"],
            )
            for subtask in queries.subtasks(self._connection, task_id)
            if wanted in ("", subtask["subtask_id"])
            for each in subtask["attempts"]
            if attempt in (None, each["attempt"])
        ]
        return sorted(found, key=lambda source: source.key.token)

    def _ended(self, task_id: str, wanted: str) -> bool:
        """Answer whether no further attempt can come."""
        document = queries.task(self._connection, task_id)
        if document["status"] in TASK_ENDED:
            return True
        named = [each for each in document["subtasks"] if each["subtask_id"] == wanted]
        return bool(named) and named[0]["status"] in TASK_ENDED

    def _attempt(self, source: Source) -> Document:
        key = source.key
        row = self._connection.execute(
            "SELECT a.status, a.log_tail FROM attempts a"
            " JOIN subtasks s ON s.subtask_no = a.subtask_no"
            " WHERE s.subtask_id = ? AND a.attempt = ?",
            (key.subtask_id, key.attempt),
        ).fetchone()
        return {"status": row[0], "log_tail": row[1]} if row else {"status": "lost", "log_tail": ""}

    # --- streams ----------------------------------------------------------------------------------

    async def _read_all(
        self, task_id: str, wanted: str, attempt: int | None
    ) -> AsyncIterator[Document]:
        for source in self._sources(task_id, wanted, attempt):
            async with aclosing(self._lines(source, follow=False)) as lines:
                async for line in lines:
                    yield line

    async def _follow(
        self, task_id: str, wanted: str, attempt: int | None
    ) -> AsyncIterator[Document]:
        """Merge the logs of all attempts as they grow, and take up new attempts as they come."""
        queue: asyncio.Queue[Document] = asyncio.Queue(QUEUE_LIMIT)
        arrived = asyncio.Event()
        followed: dict[LogKey, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            try:
                while True:
                    arrived.clear()
                    for source in self._sources(task_id, wanted, attempt):
                        if source.key not in followed:
                            followed[source.key] = group.create_task(
                                self._pull(source, queue, arrived)
                            )
                    over = self._ended(task_id, wanted) and all(t.done() for t in followed.values())
                    while not queue.empty():
                        yield queue.get_nowait()
                    if over:
                        return
                    await self._news(arrived)
            finally:
                for task in followed.values():
                    task.cancel()

    async def _news(self, arrived: asyncio.Event) -> None:
        """Wait until a line has come, the state has moved, or a moment has passed."""
        stop = self._progress.listen(lambda changes: arrived.set())
        try:
            async with asyncio.timeout(PAUSE_S):
                await arrived.wait()
        except TimeoutError:
            return
        finally:
            stop()

    async def _pull(
        self, source: Source, queue: asyncio.Queue[Document], arrived: asyncio.Event
    ) -> None:
        async with aclosing(self._lines(source, follow=True)) as lines:
            async for line in lines:
                await queue.put(line)
                arrived.set()
        arrived.set()

    async def _lines(self, source: Source, *, follow: bool) -> AsyncGenerator[Document, None]:
        """Answer one attempt's lines; where its node is away for good, the end that is known."""
        after = 0
        while True:
            try:
                page = await self._page(source, after, wait=follow)
            except (Unavailable, NotFound) as error:
                over = self._attempt(source)["status"] in ATTEMPT_ENDED
                if follow and not over:
                    await asyncio.sleep(AWAY_PAUSE_S)
                    continue
                if after == 0:
                    for document in self._known_end(source, error):
                        yield document
                return
            for line in page.lines:
                yield _document(source, line)
            after = page.next
            if page.ended or (not page.lines and not follow):
                return

    def _known_end(self, source: Source, error: PacelineError) -> Sequence[Document]:
        tail = self._attempt(source)["log_tail"]
        words = [f"(its log cannot be read now: {error})"]
        if tail:
            words += ["(this is how it ended:)", *tail.splitlines()]
        return [_document(source, LogLine(0, "node", line)) for line in words]

    # --- pages ------------------------------------------------------------------------------------

    async def _page(self, source: Source, after: int, *, wait: bool) -> LogPage:
        # What an external worker says lies on the node that speaks for it.
        node_id = queries_external.via_of(self._connection, source.node_id) or source.node_id
        if node_id == self._node_id:
            return await self._own_page(source.key, after, wait=wait)
        plain = await self._calls.call(
            node_id,
            READ,
            to_plain(PageRequest(source.key, after, wait)),
            timeout_s=READ_TIMEOUT_S,
        )
        return from_plain(LogPage, plain)

    async def _own_page(self, key: LogKey, after: int, *, wait: bool) -> LogPage:
        if not wait:
            return await self._store.read(key, after, PAGE_LINES)
        try:
            async with asyncio.timeout(WAIT_S), aclosing(self._store.follow(key, after)) as pages:
                async for page in pages:
                    return page
        except TimeoutError:
            pass
        return LogPage((), after, ended=False)

    async def _serve_read(self, sender: NodeId, body: Any) -> Any:
        request = from_plain(PageRequest, body)
        page = await self._own_page(request.key, max(0, request.after), wait=request.wait)
        return to_plain(page)


def _document(source: Source, line: LogLine) -> Document:
    return {
        "subtask_id": source.key.subtask_id,
        "name": source.name,
        "attempt": source.key.attempt,
        "node_id": source.node_id,
        "time_ms": line.time_ms,
        "stream": line.stream,
        "line": line.line,
    }
