"""The HTTP server of a node: routes, checks and errors around a `NodeService`, on loopback.

    web = WebServer(service=service, host="127.0.0.1", port=0, token_path=path)
    await web.start()       raises InvalidSettings where the port is taken
    ... web.port ...
    await web.stop()

The order of the checks is the order of the code in `_Node.__call__`: the place it is addressed to,
then the caller, then the form of the request, then the node itself.
"""

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from paceline.errors import InvalidSettings
from paceline.node.meters import RequestMeter, unmetered
from paceline.node.web import (
    access,
    checkpoints,
    errors,
    inspection,
    live,
    members,
    metrics,
    openapi,
    page,
    results,
    status,
    tasks,
    tools,
    workers,
)
from paceline.node.web.auth import Guard, read_or_make_token
from paceline.node.web.call import Call, Row, answer, parse
from paceline.node.web.ports import NodeService
from paceline.node.web.rates import Rates

CONNECTIONS_MAX = 256
KEEP_ALIVE_S = 30
STOP_S = 3

_HEADERS = {
    b"cache-control": b"no-store",
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        b"require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}


async def _document(call: Call) -> Response:
    """Answer this interface as an OpenAPI document."""
    return answer(openapi.describe(DOCUMENTED))


DOCUMENTED = (
    *status.ROWS,
    *tasks.ROWS,
    *checkpoints.ROWS,
    *results.ROWS,
    *workers.ROWS,
    *access.ROWS,
    *inspection.ROWS,
    *tools.ROWS,
    *members.ROWS,
    *metrics.ROWS,
    *live.ROWS,
    *page.ROWS,
    Row("GET", "/api/v1/openapi.json", _document, "This document", "openapi, paths"),
)
_ROWS = (*DOCUMENTED, *page.PUBLIC_ROWS)


class WebServer:
    """Serves a node's REST interface and page until it is stopped."""

    def __init__(
        self,
        *,
        service: NodeService,
        host: str,
        port: int,
        token_path: Path,
        monotonic_s: Callable[[], float] = time.monotonic,
        meter: RequestMeter = unmetered,
    ) -> None:
        self._service = service
        self._host = host
        self._port = port
        self._token_path = token_path
        self._monotonic_s = monotonic_s
        self._meter = meter
        self._closing = asyncio.Event()
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Answer the port that it listens on (the one asked for, before `start`)."""
        return self._port

    @property
    def address(self) -> str:
        """Answer HOST:PORT."""
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen and serve. Raise InvalidSettings (port) or StorageError (token file)."""
        token = read_or_make_token(self._token_path)
        listener = _listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        guard = Guard(token=token, host=self._host, port=self._port, monotonic_s=self._monotonic_s)
        rates = Rates(self._monotonic_s)
        app = build_app(self._service, guard, rates, self._closing, self._meter)
        self._server = _Server(_config(app))
        self._serving = asyncio.create_task(self._server.serve([listener]), name="web")
        while not self._server.started:
            if self._serving.done():
                await self._serving
                raise RuntimeError("the HTTP server ended before it had started")
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """End the streams, let answers under way finish for some seconds, close."""
        self._closing.set()
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: signals belong to the node."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="h11",
        ws="wsproto",
        ws_max_size=workers.MESSAGE_LIMIT_BYTES,
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise InvalidSettings(_why_not(error, host, port)) from error
    listener.setblocking(False)
    return listener


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is taken, perhaps by another node; choose another one with "
            "--web-port (0 = any free one)"
        )
    return f"cannot serve HTTP on {host}:{port} ({error.strerror}); see --web-port"


def build_app(
    service: NodeService,
    guard: Guard,
    rates: Rates,
    closing: asyncio.Event,
    meter: RequestMeter = unmetered,
) -> ASGIApp:
    """Answer the ASGI application: every call of the table behind the guard."""
    routes: list[BaseRoute] = [
        Route(row.path, partial(_serve, row, service, meter), methods=[row.method]) for row in _ROWS
    ]

    async def worker_line(socket: WebSocket) -> None:
        await workers.line(socket, service, guard)

    routes.append(WebSocketRoute(workers.LINE_PATH, worker_line))
    app = Starlette(
        routes=routes, exception_handlers={HTTPException: _http_problem, Exception: _problem}
    )
    app.router.redirect_slashes = False
    app.state.guard = guard
    app.state.closing = closing
    return _Front(app, guard, rates)


async def _serve(row: Row, service: NodeService, meter: RequestMeter, request: Request) -> Response:
    """Answer one request, and count it."""
    begun = time.perf_counter()
    response = await _answer(row, service, request)
    meter(row.method, row.path, response.status_code, time.perf_counter() - begun)
    return response


async def _answer(row: Row, service: NodeService, request: Request) -> Response:
    """Check the caller and the form, then let the row's handler answer."""
    guard: Guard = request.app.state.guard
    try:
        if not row.public:
            guard.check_caller(request, bearer_only=row.bearer_only)
        return await row.handler(await parse(row, service, request))
    except Exception as error:  # the edge: everything becomes a problem document
        return errors.response(error)


async def _http_problem(request: Request, error: Exception) -> Response:
    """Answer Starlette's own refusals (unknown path, wrong method) in our form."""
    assert isinstance(error, HTTPException)
    code = {404: "NotFound", 405: "MethodNotAllowed"}.get(error.status_code, "InputError")
    refusal = errors.Refused(
        error.status_code, code, f"{error.detail}: {request.url.path}", error.headers
    )
    return errors.response(refusal)


async def _problem(request: Request, error: Exception) -> Response:
    return errors.response(error)


class _Front:
    """Checks where a request is addressed to and how many came before it.

    It puts the security headers on every answer.
    """

    def __init__(self, app: ASGIApp, guard: Guard, rates: Rates) -> None:
        self._app = app
        self._guard = guard
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message["headers"] if pair[0].lower() not in _HEADERS]
                message["headers"] = [*kept, *_HEADERS.items()]
            await send(message)

        try:
            connection = HTTPConnection(scope)
            self._guard.check_place(connection)
            self._rates.take(connection)
        except errors.Refused as refusal:
            await _refuse(errors.response(refusal), scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)


async def _refuse(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)
