"""Strangers: nodes that look for each other before either is a member of the other's cluster.

The greeting socket is plain, without CURVE: a stranger's key is not known, and nothing secret is
said here. What it says of itself is a claim. Two kinds of exchange pass through it, each one small
frame there and one back:

* hello: both tell who and where they are, as multicast does, and nothing about others;
* join: an opaque body and its answer; admission (proof of the token, bound to both keys) is built
  on it in `admission`.

How many may be connected, and for how long, is bounded (`guard`). Whoever sends anything that is
not a frame (`node.hello`), or too many, is not answered; what was dropped is counted. The rates
hold per address and for all addresses together.
"""

import asyncio
import contextlib
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog
import zmq

from paceline import codec
from paceline.errors import ProtocolError, Unavailable
from paceline.node.greeting_client import greet, join
from paceline.node.guard import Guard
from paceline.node.hello import (
    REQUEST_LIMIT_BYTES,
    GreetingKind,
    Hello,
    HelloReply,
    checked_hello,
    decode_greeting,
    encode_greeting,
    encode_reply,
)
from paceline.node.sockets import (
    KEEPING_OPTIONS,
    Context,
    Socket,
    SocketReader,
    apply_options,
    bind_address,
    bound_port,
    enable_ipv6,
)

__all__ = ["Greeting", "GreetingStats", "Hello", "HelloReply", "JoinHandler", "greet", "join"]

JOINS_LIMIT: Final = 16
"""Joins that are worked on at once."""
JOIN_TIMEOUT_S: Final = 30.0
CONNECTIONS_LIMIT: Final = 256
CONNECTIONS_PER_ADDRESS: Final = 64
CONNECTION_LIFE_S: Final = 60.0
"""A stranger's business is one frame and its answer."""
RATE_PER_ADDRESS: Final = 50.0
RATE_OF_ALL: Final = 500.0
TURN_LIMIT: Final = 64
MAPPED_IPV4: Final = "::ffff:"
"""How a socket of both families writes an IPv4 address (RFC 4291 section 2.5.5.2)."""

JoinHandler = Callable[[bytes, str], Awaitable[bytes]]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class GreetingStats:
    """What came from strangers."""

    hellos: int = 0
    joins: int = 0
    malformed: int = 0
    over_rate: int = 0


class RateLimit:
    """Token buckets: `rate` a second each, with a burst of one second's worth. Bounded memory."""

    def __init__(self, rate: float, *, addresses_limit: int = 1024) -> None:
        self._rate = rate
        self._limit = addresses_limit
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, now_s: float) -> bool:
        """Answer whether that address may do something now."""
        tokens, then_s = self._buckets.pop(address, (self._rate, now_s))
        tokens = min(self._rate, tokens + (now_s - then_s) * self._rate)
        allowed = tokens >= 1
        self._buckets[address] = (tokens - 1 if allowed else tokens, now_s)
        if len(self._buckets) > self._limit:
            self._buckets.popitem(last=False)
        return allowed


class Greeting:
    """The greeting socket of a node.

    `answer(hello)` says what to answer to whom; it must not block, and may raise ProtocolError to
    stay silent. `join(body, address)` works on a join request in a task of this object's own.
    """

    def __init__(
        self,
        *,
        bind_host: str = "*",
        port: int = 0,
        answer: Callable[[Hello], HelloReply],
        join: JoinHandler | None = None,
    ) -> None:
        self._bind_host = bind_host
        self._port = port
        self._answer = answer
        self._join = join
        self._per_address = RateLimit(RATE_PER_ADDRESS)
        self._of_all = RateLimit(RATE_OF_ALL)
        self._joins = 0
        self._tasks: asyncio.TaskGroup | None = None
        self._context: Context | None = None
        self.guard: Guard
        self.stats = GreetingStats()
        self.port = 0

    async def open(self) -> None:
        """Bind. Raise Unavailable if the port is taken or the address is not ours."""
        self._context = zmq.Context()
        self._socket: Socket = self._context.socket(zmq.ROUTER)
        apply_options(self._socket, KEEPING_OPTIONS)
        apply_options(
            self._socket,
            {zmq.MAXMSGSIZE: REQUEST_LIMIT_BYTES, zmq.RCVHWM: 64, zmq.SNDHWM: 64},
        )
        self.guard = Guard(
            bound=self._socket,
            limit=CONNECTIONS_LIMIT,
            per_address=CONNECTIONS_PER_ADDRESS,
            life_s=CONNECTION_LIFE_S,
        )
        try:
            self._bind()
        except zmq.ZMQError as error:
            self.guard.close()
            self._context.destroy(linger=0)
            self._context = None
            raise Unavailable(f"cannot listen on {self._bind_host!r}: {error}") from error
        self.port = bound_port(self._socket)
        self._reader = SocketReader(socket=self._socket, drain=self._drain)

    async def run(self) -> None:
        """Work on joins until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await asyncio.Event().wait()
        finally:
            self._tasks = None

    def close(self) -> None:
        """Answer nobody any more."""
        if self._context is not None:
            self._reader.close()
            self.guard.close()
            self._context.destroy(linger=0)
            self._context = None

    def _bind(self) -> None:
        try:
            enable_ipv6(self._socket)
            self._socket.bind(bind_address(self._bind_host, self._port))
        except zmq.ZMQError as error:
            if error.errno != zmq.EAFNOSUPPORT:
                raise
            self._socket.setsockopt(zmq.IPV6, 0)  # a machine without IPv6
            self._socket.bind(bind_address(self._bind_host, self._port))

    def _drain(self) -> bool:
        for _ in range(TURN_LIMIT):
            try:
                route = self._socket.recv(zmq.DONTWAIT)
            except zmq.Again:
                return False
            frame = self._socket.recv(zmq.DONTWAIT, copy=False, track=False)
            if frame.more:
                self._skip_rest()
            else:
                self._receive(route, frame)
        return True

    def _skip_rest(self) -> None:
        self.stats.malformed += 1
        while self._socket.getsockopt(zmq.RCVMORE):
            self._socket.recv(zmq.DONTWAIT)

    def _receive(self, route: bytes, frame: zmq.Frame) -> None:
        address = str(frame.get("Peer-Address")).removeprefix(MAPPED_IPV4)
        now_s = time.monotonic()
        if not (self._per_address.take(_origin(address), now_s) and self._of_all.take("", now_s)):
            self.stats.over_rate += 1
            return
        try:
            kind, request_id, body = decode_greeting(frame.bytes, REQUEST_LIMIT_BYTES)
            self._dispatch(route, address, kind, request_id, body)
        except ProtocolError as error:
            self.stats.malformed += 1
            log.debug("malformed greeting", address=address, reason=str(error))

    def _dispatch(
        self, route: bytes, address: str, kind: int, request_id: bytes, body: bytes
    ) -> None:
        if kind == GreetingKind.HELLO:
            reply = self._answer(checked_hello(codec.decode(Hello, body)))
            self.stats.hellos += 1
            self._reply(route, GreetingKind.HELLO_REPLY, request_id, encode_reply(reply))
        elif kind == GreetingKind.JOIN:
            self._start_join(route, address, request_id, body)
        else:
            raise ProtocolError(f"{kind} is not a greeting")

    def _start_join(self, route: bytes, address: str, request_id: bytes, body: bytes) -> None:
        if self._join is None or self._tasks is None or self._joins >= JOINS_LIMIT:
            self.stats.over_rate += 1
            return
        self._joins += 1
        self.stats.joins += 1
        work = self._work_on_join(self._join, route, address, request_id, body)
        self._tasks.create_task(work)

    async def _work_on_join(
        self, join: JoinHandler, route: bytes, address: str, request_id: bytes, body: bytes
    ) -> None:
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                answer = await join(body, address)
        except (ProtocolError, TimeoutError) as error:
            self.stats.malformed += 1
            log.info("a join came to nothing", address=address, reason=str(error))
        except Exception:
            log.exception("a join failed", address=address)
        else:
            self._reply(route, GreetingKind.JOIN_REPLY, request_id, answer)
        finally:
            self._joins -= 1

    def _reply(self, route: bytes, kind: GreetingKind, request_id: bytes, body: bytes) -> None:
        if self._context is None:
            return
        with contextlib.suppress(zmq.ZMQError):  # the stranger has gone, or does not read
            self._socket.send_multipart(
                [route, encode_greeting(kind, request_id, body)], zmq.DONTWAIT
            )
        self._reader.look_again()


def _origin(address: str) -> str:
    """Answer what a stranger cannot change at will: of an IPv6 address, the network's 64 bits."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    return address if parsed.version == 4 else str(int(parsed) >> 64)
