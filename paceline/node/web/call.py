"""One row per call: what the routes, the checks and the OpenAPI document are all made of."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from paceline.node.web.errors import Refused
from paceline.node.web.ports import NodeService
from paceline.node.web.schemas import Empty, parse_json, parse_query

BODY_LIMIT_BYTES = 2 * 1024 * 1024
DISCARD_LIMIT_BYTES = 4 * BODY_LIMIT_BYTES
BODY_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Call:
    """A request that passed every check: its parts, parsed."""

    service: NodeService
    request: Request
    body: Any
    query: Any

    @property
    def id(self) -> str:
        """Answer the `{id}` of the path."""
        return str(self.request.path_params["id"])


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Row:
    """A call of the REST interface: how it is spelt, what it takes, what answers it."""

    method: str
    path: str
    handler: Handler
    summary: str
    answer: str
    """The keys of the answer, for the OpenAPI document."""
    body: type[BaseModel] = Empty
    query: type[BaseModel] = Empty
    status: int = 200
    media_type: str = "application/json"
    public: bool = False
    """Needs no token."""
    bearer_only: bool = False
    """A browser's session does not open it."""


def answer(document: Any, status: int = 200) -> Response:
    """Answer a document as JSON; nothing of a node's state may be kept by a cache."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text, status, media_type="application/json")


async def parse(row: Row, service: NodeService, request: Request) -> Call:
    """Read what the row says that the request takes. Raise Refused or InputError."""
    query = parse_query(row.query, request.query_params.multi_items())
    body: BaseModel = Empty()
    if request.method not in ("GET", "HEAD"):
        body = parse_json(row.body, await read_body(request))
    return Call(service, request, body, query)


async def read_body(request: Request) -> bytes:
    """Answer the body, read within bounds of size and time.

    A client that is still sending when the connection closes never sees the refusal. So what is
    too large is read on for a while and thrown away, and what is far too large is cut off.
    """
    if int(request.headers.get("content-length") or 0) > DISCARD_LIMIT_BYTES:
        raise _too_large()
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.stream():
                size += len(part)
                if size > DISCARD_LIMIT_BYTES:
                    break
                if size <= BODY_LIMIT_BYTES:
                    parts.append(part)
    except TimeoutError:
        raise Refused(408, "TimedOut", "the body did not arrive in time") from None
    except ClientDisconnect:
        raise Refused(400, "InputError", "the body ended early") from None
    if size > BODY_LIMIT_BYTES:
        raise _too_large()
    _check_type(request, size)
    return b"".join(parts)


def _too_large() -> Refused:
    limit = f"{BODY_LIMIT_BYTES // (1024 * 1024)} MiB"
    return Refused(413, "TooLarge", f"a request may have at most {limit}", {"Connection": "close"})


def _check_type(request: Request, size: int) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if size and kind != "application/json":
        raise Refused(415, "InputError", "the body must be application/json")
