"""ZeroMQ sockets inside an asyncio loop, and the options that make them notice a dead peer.

`zmq.asyncio` costs seven times as much per message as a reader on the socket's file descriptor, and
its `send(..., DONTWAIT)` hides a full queue in a future that nobody awaits. So sockets here are the
plain ones, never blocking, and `SocketReader` hides the one difficulty with that: the descriptor
is edge-triggered. It becomes readable once for any number of events, and not for those that a send
has taken note of, so a reader goes on until the socket is empty, and looks again after a send.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import zmq

from paceline.node.keys import NodeKeys

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]

ZAP_DOMAIN: Final = b"paceline"

KEEPING_OPTIONS: Final[Mapping[int, int]] = {
    zmq.HEARTBEAT_IVL: 500,
    zmq.HEARTBEAT_TIMEOUT: 1500,
    zmq.HEARTBEAT_TTL: 1500,
    zmq.IMMEDIATE: 1,
    zmq.CONNECT_TIMEOUT: 1000,
    zmq.RECONNECT_IVL: 100,
    zmq.RECONNECT_IVL_MAX: 1000,
    zmq.HANDSHAKE_IVL: 2000,
    zmq.LINGER: 0,
}
"""Milliseconds. Chosen together: a silent cut is noticed within 2 s on both sides, sending resumes
within 1.5 s of its end, and nothing that was queued meanwhile is delivered late (`IMMEDIATE` keeps
no queue for a peer that is not connected)."""


def apply_options(socket: Socket, options: Mapping[int, int]) -> None:
    """Set integer options."""
    for option, value in options.items():
        socket.setsockopt(option, value)


def enable_ipv6(socket: Socket) -> None:
    """Let the socket speak both families."""
    socket.setsockopt(zmq.IPV6, 1)


def secure_server(socket: Socket, keys: NodeKeys) -> None:
    """Make a bound socket demand CURVE and ask ZAP about every client.

    A CURVE server that has a domain but does not enforce it lets every key in as long as nobody
    answers ZAP requests (libzmq issue 2711).
    """
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
    socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def secure_client(socket: Socket, keys: NodeKeys, server_key: bytes) -> None:
    """Make a connecting socket prove its key, and talk to nobody but the owner of `server_key`."""
    socket.setsockopt(zmq.CURVE_SERVERKEY, server_key)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)


def format_host(host: str) -> str:
    """Answer a host as it stands before a colon: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def bind_address(bind_host: str, port: int) -> str:
    """Answer the endpoint to bind. `""`, `*` and `::` mean every address; port 0 any free port."""
    host = "*" if bind_host in {"", "*", "::"} else format_host(bind_host)
    return f"tcp://{host}:{port or '*'}"


def bound_port(socket: Socket) -> int:
    """Answer the TCP port of a bound socket."""
    endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
    return int(endpoint.rpartition(":")[2])


class SocketReader:
    """Calls `drain` in the running loop whenever its socket may have something to read.

    `drain` reads without blocking until there is nothing more and answers False, or stops after a
    fair share and answers True; it is then called again in the loop's next turn.
    """

    def __init__(self, *, socket: Socket, drain: Callable[[], bool]) -> None:
        self._loop = asyncio.get_running_loop()
        self._drain = drain
        self._descriptor = socket.fileno()
        self._scheduled: asyncio.Handle | None = None
        self._loop.add_reader(self._descriptor, self._run)
        self.look_again()  # the edge may have passed before there was a reader

    def look_again(self) -> None:
        """Have the socket read soon, even without an edge; to be called after a send on it."""
        if self._scheduled is None:
            self._scheduled = self._loop.call_soon(self._run)

    def close(self) -> None:
        """Stop reading; must come before the socket is closed."""
        self._loop.remove_reader(self._descriptor)
        if self._scheduled is not None:
            self._scheduled.cancel()
        self._drain = _nothing

    def _run(self) -> None:
        self._scheduled = None
        if self._drain():
            self.look_again()


def _nothing() -> bool:
    return False
