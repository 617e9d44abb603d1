"""The receiving end of a lane: one bound CURVE ROUTER that never sends.

Every frame carries the User-Id that ZAP gave its connection, which is the sender's node id. The
ROUTER's routing ids are not used: a client may choose its own, and take over one that is free.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
import zmq

from paceline.errors import ProtocolError
from paceline.ids import NodeId
from paceline.node.guard import Guard, hang_up, peer_of
from paceline.node.keys import NodeKeys
from paceline.node.sockets import (
    KEEPING_OPTIONS,
    Context,
    Socket,
    SocketReader,
    apply_options,
    bind_address,
    bound_port,
    enable_ipv6,
    secure_server,
)
from paceline.node.wire import LIMIT_BYTES, Lane, decode_frame

RECEIVE_HIGH_WATER: Final = {Lane.CONTROL: 1000, Lane.BULK: 8}
TURN_LIMIT: Final = {Lane.CONTROL: 256, Lane.BULK: 8}
"""Frames taken in one turn of the loop, so that timers and other sockets get theirs."""

CONNECTIONS_LIMIT: Final = 512
CONNECTIONS_PER_ADDRESS: Final = 64
"""Several nodes may share an address: on one machine, or behind a router."""

Handler = Callable[[NodeId, bytes], None]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Sender:
    """A key that was let in, and what came from it."""

    node_id: NodeId
    public_key: bytes
    received_messages: int = 0
    received_bytes: int = 0
    malformed: int = 0
    last_heard_ms: int | None = None
    """When the last frame came, on the monotonic clock."""


class Inbound:
    """Receives one lane and hands each message to the handler of its kind.

    `senders` and `handlers` belong to the transport, and are only read here. `allowed(public_key)`
    is asked for every frame: a member that is thrown out is not heard from that moment on, and the
    next frame that it sends ends its connection. `turn_over()` is called when everything that had
    arrived has been handed out.
    """

    def __init__(
        self,
        *,
        context: Context,
        keys: NodeKeys,
        lane: Lane,
        senders: Mapping[NodeId, Sender],
        handlers: Mapping[int, Handler],
        allowed: Callable[[bytes], bool],
        turn_over: Callable[[], None],
    ) -> None:
        self._turn_over = turn_over
        self._lane = lane
        self._senders = senders
        self._handlers = handlers
        self._allowed = allowed
        self._reader: SocketReader | None = None
        self.refused = 0
        """Frames of keys that are not members any more."""
        self.unhandled = 0
        """Messages of a kind that nobody here knows."""
        self.failed = 0
        """Messages whose handler raised."""
        self._socket: Socket = context.socket(zmq.ROUTER)
        apply_options(self._socket, KEEPING_OPTIONS)
        apply_options(
            self._socket,
            {
                zmq.RCVHWM: RECEIVE_HIGH_WATER[lane],
                zmq.SNDHWM: 1,
                zmq.MAXMSGSIZE: LIMIT_BYTES[lane],
                zmq.AFFINITY: 1 << lane,
            },
        )
        secure_server(self._socket, keys)
        self._guard = Guard(
            bound=self._socket, limit=CONNECTIONS_LIMIT, per_address=CONNECTIONS_PER_ADDRESS
        )

    def open(self, bind_host: str, port: int) -> int:
        """Bind, and answer the port. Raise zmq.ZMQError if the address cannot be had."""
        try:
            enable_ipv6(self._socket)
            self._socket.bind(bind_address(bind_host, port))
        except zmq.ZMQError as error:
            if error.errno != zmq.EAFNOSUPPORT:
                raise
            self._socket.setsockopt(zmq.IPV6, 0)  # a machine without IPv6
            self._socket.bind(bind_address(bind_host, port))
        self._reader = SocketReader(socket=self._socket, drain=self._drain)
        return bound_port(self._socket)

    def close(self) -> None:
        """Hang up on everybody."""
        if self._reader is not None:
            self._reader.close()
        self._guard.close()
        self._socket.close(linger=0)

    def _drain(self) -> bool:
        more = self._take_turn()
        self._turn_over()
        return more

    def _take_turn(self) -> bool:
        """Hand out what has arrived; answer whether there may be more."""
        now_ms = time.monotonic_ns() // 1_000_000
        receive = self._socket.recv
        for _ in range(TURN_LIMIT[self._lane]):
            try:
                receive(zmq.DONTWAIT)
            except zmq.Again:
                return False
            frame = receive(zmq.DONTWAIT, copy=False, track=False)
            if frame.more:
                self._skip_rest()
            else:
                self._receive(frame, now_ms)
            if self._socket.closed:  # a handler closed the transport
                return False
        return True

    def _skip_rest(self) -> None:
        """Throw away a message of several parts: no correct node sends one."""
        while self._socket.getsockopt(zmq.RCVMORE):
            self._socket.recv(zmq.DONTWAIT)
        self.unhandled += 1

    def _receive(self, frame: zmq.Frame, now_ms: int) -> None:
        sender = self._senders.get(frame.get("User-Id"))  # type: ignore[arg-type]
        if sender is None or not self._allowed(sender.public_key):
            self.refused += 1
            _hang_up(frame)
            return
        data = frame.bytes
        try:
            messages = decode_frame(data, LIMIT_BYTES[self._lane])
        except ProtocolError as error:
            sender.malformed += 1
            log.warning("malformed frame", sender=sender.node_id, reason=str(error))
            return
        sender.last_heard_ms = now_ms
        sender.received_bytes += len(data)
        sender.received_messages += len(messages) // 2
        pairs = iter(messages)
        for kind in pairs:
            self._deliver(sender, kind, next(pairs))

    def _deliver(self, sender: Sender, kind: int, body: bytes) -> None:
        handler = self._handlers.get(kind)
        if handler is None:
            self.unhandled += 1
            return
        try:
            handler(sender.node_id, body)
        except ProtocolError as error:
            sender.malformed += 1
            log.warning("malformed message", sender=sender.node_id, kind=kind, reason=str(error))
        except Exception:
            # One message that this node cannot digest must not end the hearing of all others.
            self.failed += 1
            log.exception("message not handled", sender=sender.node_id, kind=kind)


def _hang_up(frame: zmq.Frame) -> None:
    """End the connection of a member that was thrown out; ZAP refuses its next one.

    libzmq cannot do it, but says on which descriptor the frame came. Should that be another
    connection's by now, then one of the same address is broken, which mends itself.
    """
    descriptor = int(frame.get(zmq.SRCFD))
    peer = peer_of(descriptor)
    if peer is not None and peer[0] == str(frame.get("Peer-Address")):
        hang_up(descriptor, peer)
