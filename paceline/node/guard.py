"""Bounds on who may be connected to a bound socket, which libzmq itself does not have.

libzmq accepts as many TCP connections as the process may have descriptors, and a process without
descriptors cannot open its log. So each bound socket has a guard. It hears of every connection that
is accepted or ended (socket monitor) and shuts down those that are too many:

* of one address, beyond `per_address`: the newest;
* of all, beyond `limit`: the oldest that has not yet lasted `proven_s`. On a CURVE socket, libzmq
  ends what has not completed its handshake by then, so the members' connections are safe from a
  crowd that only connects. Where all have lasted, the newest goes.
* older than `life_s`, where that is said: strangers have no business that takes long.

A connection is shut down by its descriptor, on which libzmq then reads the end of the stream. The
descriptor might have become another connection's between the news and the deed; it is only shut
down if it still has the same peer.
"""

import asyncio
import contextlib
import os
import resource
import socket
from collections import Counter
from dataclasses import dataclass
from typing import Final

import structlog
import zmq
from zmq.utils.monitor import parse_monitor_message

from paceline.node.sockets import Socket, SocketReader

PROVEN_S: Final = 3.0
"""Longer than the handshake may take (`sockets.KEEPING_OPTIONS`)."""
SWEEP_S: Final = 5.0
TURN_LIMIT: Final = 256
SHARE_OF_DESCRIPTORS: Final = 8
"""A guarded socket may have one in so many of the process's descriptors."""
LEAST: Final = 32
_EVENTS: Final = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED

log = structlog.get_logger(__name__)


def affordable(wanted: int) -> int:
    """Answer how many connections a socket may have, given the process's limit of descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(LEAST, soft // SHARE_OF_DESCRIPTORS))


def hang_up(descriptor: int, peer: tuple[str, int] | None = None) -> bool:
    """Shut down the TCP connection with that descriptor, if its other end is still `peer`.

    Answer whether that was done. Whoever uses the connection reads the end of the stream.
    """
    with contextlib.suppress(OSError):
        connection = socket.socket(fileno=os.dup(descriptor))
        with connection:
            if peer is None or connection.getpeername()[:2] == peer:
                connection.shutdown(socket.SHUT_RDWR)
                return True
    return False


def peer_of(descriptor: int) -> tuple[str, int] | None:
    """Answer address and port of the other end, or None if it has gone."""
    with contextlib.suppress(OSError):
        connection = socket.socket(fileno=os.dup(descriptor))
        with connection:
            host, port = connection.getpeername()[:2]
            return str(host), int(port)
    return None


@dataclass(frozen=True, slots=True)
class _Connection:
    peer: tuple[str, int]
    since_s: float


class Guard:
    """Watches one bound socket. Open it before the socket is bound, close it before the socket."""

    def __init__(
        self, *, bound: Socket, limit: int, per_address: int, life_s: float | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._bound = bound
        self._limit = affordable(limit)
        self._per_address = min(per_address, self._limit)
        self._life_s = life_s
        self._connections: dict[int, _Connection] = {}
        self._addresses: Counter[str] = Counter()
        self.shut = 0
        """Connections that were too many, or too old."""
        self._monitor: Socket = bound.get_monitor_socket(_EVENTS)
        self._reader = SocketReader(socket=self._monitor, drain=self._drain)
        self._sweep_timer = self._loop.call_later(SWEEP_S, self._sweep)

    @property
    def connections(self) -> int:
        """Answer how many there are now."""
        return len(self._connections)

    def close(self) -> None:
        """Stop watching."""
        self._sweep_timer.cancel()
        self._reader.close()
        self._bound.disable_monitor()
        self._monitor.close(linger=0)

    def _drain(self) -> bool:
        for _ in range(TURN_LIMIT):
            try:
                parts = self._monitor.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return False
            event = parse_monitor_message(parts)
            if event["event"] == zmq.EVENT_ACCEPTED:
                self._accepted(int(event["value"]))
            else:
                self._ended(int(event["value"]))
        return True

    def _accepted(self, descriptor: int) -> None:
        self._ended(descriptor)  # the news of its former end may have been lost
        peer = peer_of(descriptor)
        if peer is None:
            return
        self._connections[descriptor] = _Connection(peer, self._loop.time())
        self._addresses[peer[0]] += 1
        if self._addresses[peer[0]] > self._per_address:
            self._shut(descriptor)
        elif len(self._connections) > self._limit:
            self._shut(self._oldest_unproven() or descriptor)

    def _ended(self, descriptor: int) -> None:
        connection = self._connections.pop(descriptor, None)
        if connection is None:
            return
        address = connection.peer[0]
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def _oldest_unproven(self) -> int | None:
        """Answer the connection that has waited longest to prove itself; they are in order of age.

        Where connections have a limited life none is proven.
        """
        proven_since_s = self._loop.time() - PROVEN_S
        for descriptor, connection in self._connections.items():
            if self._life_s is not None or connection.since_s > proven_since_s:
                return descriptor
        return None

    def _sweep(self) -> None:
        self._sweep_timer = self._loop.call_later(SWEEP_S, self._sweep)
        if self._life_s is None:
            return
        born_before_s = self._loop.time() - self._life_s
        for descriptor, connection in tuple(self._connections.items()):
            if connection.since_s < born_before_s:
                self._shut(descriptor)

    def _shut(self, descriptor: int) -> None:
        connection = self._connections[descriptor]
        self._ended(descriptor)
        if hang_up(descriptor, connection.peer):
            self.shut += 1
            if self.shut & (self.shut - 1) == 0:  # 1, 2, 4, 8 ...: a flood must not flood the log
                log.warning("too many connections", address=connection.peer[0], shut=self.shut)
