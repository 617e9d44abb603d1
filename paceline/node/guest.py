"""One external worker as the node that speaks for it sees it: what it said, what it has in hand."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from paceline.node.logs import LogWriter
from paceline.node.web.ports import Document
from paceline.tasks.commands import AttemptRef
from paceline.tasks.model import Resources, Running, ToolState

QUEUE_LIMIT = 256
"""So many messages may wait for a worker that does not read; then its connection is closed."""


@dataclass(slots=True)
class Piece:
    """An attempt that the worker has in its hands. Times are of the monotonic clock.

    `told`: the worker was sent its assignment. `sure`: nothing has happened since that could have
    made it forget; where something has, it is asked to show signs of the work by `unsure_ms`.
    """

    ref: AttemptRef
    timeout_ms: int
    log: LogWriter
    begun_ms: int
    told: bool = False
    sure: bool = True
    unsure_ms: int = 0
    cancelled_ms: int | None = None
    finishing: bool = False
    """Its outcome is on its way into the log."""

    @property
    def running(self) -> Running:
        """Answer it as a heartbeat tells of it."""
        return Running(self.ref.subtask_id, self.ref.attempt, self.ref.token)


class Line:
    """A worker's connection: messages to it wait here, in bounds, until they are sent."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Document] = asyncio.Queue(QUEUE_LIMIT)
        self._closed = asyncio.Event()
        self.reason = ""

    @property
    def is_open(self) -> bool:
        """Answer whether something may still be said over it."""
        return not self._closed.is_set()

    def say(self, kind: str, **data: Any) -> None:
        """Queue a message in the seed's form; a worker that does not listen is cut off."""
        try:
            self._messages.put_nowait({"type": kind, "data": data})
        except asyncio.QueueFull:
            self.close("the worker does not read its messages")

    def close(self, reason: str) -> None:
        """Have the connection ended."""
        self.reason = self.reason or reason
        self._closed.set()

    async def next(self) -> Document | None:
        """Answer the next message; None once the line is closed."""
        getting = asyncio.ensure_future(self._messages.get())
        closed = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait((getting, closed), return_when=asyncio.FIRST_COMPLETED)
            return getting.result() if getting.done() else None
        finally:
            getting.cancel()
            closed.cancel()


@dataclass(slots=True)
class Guest:
    """An external worker that this node speaks for, since the entry `attached_index`."""

    worker_id: str
    name: str
    slots: int
    tools: tuple[ToolState, ...]
    attached_index: int
    heard_ms: int
    parted_ms: int
    """When its connection ended, or it came without one."""
    status: str = "online"
    resources: Resources = field(default_factory=Resources)
    line: Line | None = None
    met: bool = False
    """It has had a connection since it was attached."""
    pieces: dict[AttemptRef, Piece] = field(default_factory=dict)
    claiming: set[AttemptRef] = field(default_factory=set)
    sequence: int = 0
    resting_until_ms: int = 0
    leaving: bool = False
    """It is shutting down: it gets nothing new until it registers again."""

    @property
    def connected(self) -> bool:
        """Answer whether it can be told something now."""
        return self.line is not None and self.line.is_open

    def slots_now(self, now_ms: int) -> int:
        """Answer how many attempts it would take in all."""
        willing = self.connected and not self.leaving and now_ms >= self.resting_until_ms
        return self.slots if willing and self.status in ("online", "busy") else 0

    def working_on(self, subtask_id: str) -> Piece | None:
        """Answer what it has in hand of that subtask."""
        return next(
            (each for each in self.pieces.values() if each.ref.subtask_id == subtask_id), None
        )

    def say(self, kind: str, **data: Any) -> None:
        """Tell it something, if it is connected."""
        if self.line is not None:
            self.line.say(kind, **data)

    def drop(self, ref: AttemptRef) -> None:
        """Let go of an attempt."""
        piece = self.pieces.pop(ref, None)
        if piece is not None:
            piece.log.close()

    def drop_all(self) -> None:
        """Let go of everything."""
        for ref in list(self.pieces):
            self.drop(ref)

    def doubt(self, until_ms: int) -> None:
        """Begin to doubt that it still knows of what it was told."""
        for piece in self.pieces.values():
            if piece.told and piece.sure:
                piece.sure, piece.unsure_ms = False, until_ms

    @property
    def untold(self) -> list[Piece]:
        """Answer what it was never told of."""
        return [piece for piece in self.pieces.values() if not piece.told]

    def assure(self, subtask_id: str = "") -> None:
        """Note a sign that it works on that subtask, or on all."""
        for piece in self.pieces.values():
            if subtask_id in ("", piece.ref.subtask_id):
                piece.sure = True

    def assure_only(self, subtask_ids: Collection[str], now_ms: int) -> None:
        """Take the worker's word for what it works on; the rest is given back at once."""
        for piece in self.pieces.values():
            piece.sure = piece.ref.subtask_id in subtask_ids
            piece.unsure_ms = now_ms
