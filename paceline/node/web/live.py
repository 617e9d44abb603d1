"""What a page needs to stay true, in one stream (server-sent events), so that it never polls.

Three kinds of message, each one JSON document:

    hello      first of all: which node and program this is, so that a page knows when to reload
    activity   one entry of the activity log, as soon as it is applied here; its `id` is the log id
    cluster    the document of the status, whenever it has changed, at most every `PERIOD_S`

A page that comes back says which entry it saw last (`Last-Event-ID`, or `after`). It is sent what
it missed, but no more than `NEWEST`: after a night's sleep it reads its lists again instead.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from paceline import __version__
from paceline.node.web.call import Call, Row
from paceline.node.web.errors import document
from paceline.node.web.ports import Document, EventQuery, NodeService
from paceline.node.web.schemas import LiveQuery
from paceline.node.web.streams import gone

MEDIA_TYPE = "text/event-stream"
PERIOD_S = 0.5
NEWEST = 200
QUIET_TURNS = 30
"""After so many periods without news something is sent, so that a dead connection is noticed."""

_RESTLESS = ("silent_ms",)
"""Members of a member's document that change by themselves and are no news."""


async def live(call: Call) -> Response:
    """Stream the cluster and what happens in it."""
    after = _after(call.request.headers.get("last-event-id", ""), call.query.after)
    events = await call.service.events(EventQuery(after=after, follow=True, newest=NEWEST))
    return LiveResponse(call.service, events, call.request.app.state.closing)


class LiveResponse(Response):
    """Sends until the source breaks, the reader goes away, or the server stops."""

    media_type = MEDIA_TYPE

    def __init__(
        self, service: NodeService, events: AsyncIterator[Document], closing: asyncio.Event
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._service = service
        self._events = events
        self._closing = closing
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, then messages, then the end."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self._tell(send, "hello", {"version": __version__})
        async with asyncio.TaskGroup() as group:
            ends = [
                group.create_task(self._copy_activity(send)),
                group.create_task(self._copy_cluster(send)),
                group.create_task(gone(receive)),
                group.create_task(_set(self._closing)),
            ]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in ends:
                task.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _copy_activity(self, send: Send) -> None:
        try:
            async for entry in self._events:
                await self._tell(send, "activity", entry, entry["log_id"])
        except Exception as error:  # the page must see that the stream broke, and why
            await self._tell(send, "problem", document(error))
        finally:
            if isinstance(self._events, AsyncGenerator):
                await self._events.aclose()

    async def _copy_cluster(self, send: Send) -> None:
        told: Document | None = None
        quiet = 0
        while True:
            try:
                status = await self._service.status()
            except Exception as error:
                await self._tell(send, "problem", document(error))
                return
            calm = _calm(status)
            if calm != told or quiet >= QUIET_TURNS:
                await self._tell(send, "cluster", status)
                told, quiet = calm, 0
            quiet += 1
            await asyncio.sleep(PERIOD_S)

    async def _tell(self, send: Send, kind: str, item: Document, number: int | None = None) -> None:
        text = json.dumps(item, ensure_ascii=False, separators=(",", ":"))
        lines = f"event: {kind}\n" + (f"id: {number}\n" if number else "") + f"data: {text}\n\n"
        body = lines.encode("utf-8", "replace")
        async with self._one_at_a_time:
            await send({"type": "http.response.body", "body": body, "more_body": True})


def _after(last_event_id: str, said: int) -> int:
    known = last_event_id.isascii() and last_event_id.isdecimal() and len(last_event_id) < 19
    return max(said, int(last_event_id)) if known else said


def _calm(status: Document) -> Document:
    """Answer the status without what is never still."""
    members: list[dict[str, Any]] = status["members"]
    kept = [{k: v for k, v in member.items() if k not in _RESTLESS} for member in members]
    return {**status, "members": kept}


async def _set(event: asyncio.Event) -> None:
    await event.wait()


ROWS = (
    Row(
        "GET",
        "/api/v1/live",
        live,
        "Stream the cluster and what happens in it, as server-sent events",
        "hello, activity, cluster",
        query=LiveQuery,
        media_type=MEDIA_TYPE,
    ),
)
