"""Streams of JSON documents, one per line (NDJSON), that end when the source does.

A stream has three ends: its source is exhausted, its reader goes away, or the server stops. The
response watches all three, so that a follower who closed a laptop holds nothing on the node.
A failure after the first byte cannot change the status line any more: it is the last line then,
`{"problem": {...}}`, and a stream without it ended as it should.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from paceline.node.web.call import Call
from paceline.node.web.errors import document
from paceline.node.web.ports import Document

NDJSON = "application/x-ndjson"


def stream(call: Call, source: AsyncIterator[Document]) -> Response:
    """Answer a response that sends each document of the source as a line, as it comes."""
    return NdjsonResponse(source, call.request.app.state.closing)


class NdjsonResponse(Response):
    """An ASGI response that copies from a source until one of the three ends."""

    media_type = NDJSON

    def __init__(self, source: AsyncIterator[Document], closing: asyncio.Event) -> None:
        super().__init__()
        del self.headers["content-length"]
        self.headers["X-Accel-Buffering"] = "no"
        self._source = source
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, then lines, then the end."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            async with asyncio.TaskGroup() as group:
                ends = [
                    group.create_task(self._copy(send)),
                    group.create_task(gone(receive)),
                    group.create_task(_set(self._closing)),
                ]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for task in ends:
                    task.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _copy(self, send: Send) -> None:
        try:
            async for item in self._source:
                await _send_line(send, item)
        except Exception as error:  # whatever it is, the reader must see that the stream broke
            await _send_line(send, {"problem": document(error)})
        finally:
            # A generator left suspended would hold its files until it is collected.
            if isinstance(self._source, AsyncGenerator):
                await self._source.aclose()


async def _send_line(send: Send, item: Document) -> None:
    line = json.dumps(item, ensure_ascii=False, separators=(",", ":")) + "\n"
    body = line.encode("utf-8", "replace")
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def gone(receive: Receive) -> None:
    """Wait until the reader has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _set(event: asyncio.Event) -> None:
    await event.wait()
