"""The asking side of greetings: one frame to a `HOST:PORT`, and one back."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final

import zmq

from paceline import codec
from paceline.discovery.record import split_address
from paceline.errors import InputError, NodeUnreachable, ProtocolError, TimedOut
from paceline.node.hello import (
    REPLY_LIMIT_BYTES,
    REQUEST_LIMIT_BYTES,
    GreetingKind,
    Hello,
    HelloReply,
    checked_reply,
    decode_greeting,
    encode_greeting,
)
from paceline.node.sockets import (
    KEEPING_OPTIONS,
    Context,
    Socket,
    SocketReader,
    apply_options,
    enable_ipv6,
    format_host,
)

ADDRESSES_LIMIT: Final = 4
"""Of the addresses of a host name, so many are tried."""
_LIMITS: Final[Mapping[int, int]] = {
    zmq.MAXMSGSIZE: REPLY_LIMIT_BYTES,
    zmq.RCVHWM: 4,
    zmq.SNDHWM: 4,
}


async def greet(address: str, hello: Hello, timeout_s: float) -> HelloReply:
    """Say hello at `HOST:PORT` and answer what comes back, checked.

    Raise InputError for an address that is none, NodeUnreachable if the host is not known, TimedOut
    if there was no answer in time, and ProtocolError if there was one that no correct node gives.
    """
    body = await _ask(address, GreetingKind.HELLO, codec.encode(hello), timeout_s)
    return checked_reply(codec.decode(HelloReply, body, REPLY_LIMIT_BYTES))


async def join(address: str, body: bytes, timeout_s: float) -> bytes:
    """Send a join request to `HOST:PORT` and answer what comes back. Raise as `greet` does."""
    return await _ask(address, GreetingKind.JOIN, body, timeout_s)


async def _ask(address: str, kind: GreetingKind, body: bytes, timeout_s: float) -> bytes:
    host, port = split_address(address)
    question = _Question(kind, body)
    try:
        async with asyncio.timeout(timeout_s):
            with _stranger(await _resolve(host, port)) as stranger:
                return await question.put(stranger)
    except TimeoutError:
        raise TimedOut(f"nobody answered at {address} within {timeout_s:g} s") from None


async def _resolve(host: str, port: int) -> list[str]:
    """Answer the endpoints of a host; here, because libzmq would block its IO thread with it."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the latter for a label that DNS cannot carry
        raise NodeUnreachable(f"the host {host!r} is not known: {error}") from error
    hosts = dict.fromkeys(_scoped(entry[4]) for entry in found)
    return [f"tcp://{format_host(host)}:{port}" for host in list(hosts)[:ADDRESSES_LIMIT]]


def _scoped(address: tuple[Any, ...]) -> str:
    """Answer the host of a socket address, with the scope that a link-local IPv6 one needs."""
    host = str(address[0])
    needs_scope = len(address) == 4 and address[3] and "%" not in host
    return f"{host}%{address[3]}" if needs_scope else host


@contextlib.contextmanager
def _stranger(endpoints: list[str]) -> Iterator[Socket]:
    """Open a socket that dials all endpoints, and sends over whichever answers first."""
    context: Context = zmq.Context.instance()
    stranger = context.socket(zmq.DEALER)
    try:
        apply_options(stranger, KEEPING_OPTIONS)
        apply_options(stranger, _LIMITS)
        enable_ipv6(stranger)
        for endpoint in endpoints:
            stranger.connect(endpoint)
        yield stranger
    finally:
        stranger.close(linger=0)


class _Question:
    """One request on a socket of its own; answered by the first frame that repeats its id."""

    def __init__(self, kind: GreetingKind, body: bytes) -> None:
        self._kind = kind
        self._request_id = secrets.token_bytes(8)
        self._request = encode_greeting(kind, self._request_id, body)
        self._sent = False
        if len(self._request) > REQUEST_LIMIT_BYTES:
            raise InputError(f"a greeting of {len(self._request)} bytes is too large")

    async def put(self, stranger: Socket) -> bytes:
        """Send it once there is a connection, and answer the body that comes back."""
        self._socket = stranger
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        reader = SocketReader(socket=stranger, drain=self._drain)
        try:
            return await self._answer
        finally:
            reader.close()

    def _drain(self) -> bool:
        try:
            if not self._sent:
                self._socket.send(self._request, zmq.DONTWAIT)
                self._sent = True
            while not self._answer.done():
                self._receive(self._socket.recv(zmq.DONTWAIT))
        except zmq.Again:
            return False  # not connected yet, or nothing there yet
        except ProtocolError as error:
            self._answer.set_exception(error)
        return False

    def _receive(self, data: bytes) -> None:
        kind, request_id, body = decode_greeting(data, REPLY_LIMIT_BYTES)
        if (kind, request_id) == (self._kind + 1, self._request_id):
            self._answer.set_result(body)
