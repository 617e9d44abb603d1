"""Authenticated messages between members, over two lanes of ZeroMQ sockets with CURVE.

Each node binds one receive-only ROUTER per lane and opens one send-only DEALER per lane and peer.
Splitting the directions gives every peer a queue of its own, makes the connection's key (and no
routing id) the identity of a sender, and makes throwing somebody out a matter of closing the DEALER
and no longer listening. Control and bulk have an IO thread each; encrypting a snapshot does not
delay a heartbeat.

Delivery is at most once, in order while a connection lasts, and never late: what cannot be sent now
is dropped, because the protocols above repeat themselves and stale messages only harm them.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import zmq

from paceline.discovery.addresses import one_spelling
from paceline.errors import InputError, Unavailable
from paceline.ids import NodeId, fingerprint
from paceline.node.inbound import Handler, Inbound, Sender
from paceline.node.keys import NodeKeys
from paceline.node.link import Link
from paceline.node.probe import refuses
from paceline.node.sockets import Context, format_host
from paceline.node.wire import BODY_LIMIT_BYTES, Kind, Lane
from paceline.node.zap import ZapHandler

LinkHandler = Callable[[NodeId, bool], None]

CONTROL_PORT_OFFSET: Final = 1
BULK_PORT_OFFSET: Final = 2
HOSTS_LIMIT: Final = 8
SOCKETS_LIMIT: Final = 4096
PROOF_S: Final = 60.0
"""So long after a connection broke, its address is taken to be the same machine's."""
ROOM_RETRY_S: Final = 0.002
ROOM_RETRY_MAX_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class LinkStats:
    """What went to and came from one peer, both lanes together, since it was added."""

    up: bool
    address: str | None
    """Where the peer's control port was last proven to be, as `tcp://HOST:PORT`."""
    sent_messages: int
    sent_bytes: int
    dropped: int
    refusals: int
    """How often the peer refused this node's key."""
    received_messages: int
    received_bytes: int
    malformed: int
    last_heard_ms: int | None
    """On the monotonic clock, or None if never."""


@dataclass(frozen=True, slots=True)
class TransportStats:
    """What befell this node as a whole."""

    admitted: int
    """Handshakes of members."""
    refused: int
    """Handshakes of others."""
    refused_frames: int
    """Frames on live connections of keys that are no longer members."""
    unhandled: int
    failed: int


@dataclass(slots=True)
class _Peer:
    public_key: bytes
    links: dict[Lane, Link] = field(default_factory=dict)


class Transport:
    """Sends to and receives from members. All methods are for the loop in which it was opened.

    `allowed(public_key)` says who is a member now; it is asked at each handshake and again for each
    frame that arrives, so it should be a look-up in a set. Given `port` P, control is bound at P+1
    and bulk at P+2 (P itself is the greeting socket's); with P = 0 each gets any free port.
    """

    def __init__(
        self,
        *,
        keys: NodeKeys,
        bind_host: str = "*",
        port: int = 0,
        allowed: Callable[[bytes], bool],
    ) -> None:
        self._keys = keys
        self._bind_host = bind_host
        self._port = port
        self._allowed = allowed
        self._peers: dict[NodeId, _Peer] = {}
        self._senders: dict[NodeId, Sender] = {}
        self._handlers: dict[int, Handler] = {}
        self._link_handlers: list[LinkHandler] = []
        self._turn_handlers: list[Callable[[], None]] = []
        self._context: Context | None = None
        self._zap: ZapHandler | None = None
        self._inbounds: dict[Lane, Inbound] = {}
        self.control_port = 0
        self.bulk_port = 0

    @property
    def node_id(self) -> NodeId:
        """Answer this node's id."""
        return self._keys.node_id

    async def open(self) -> None:
        """Bind both lanes. Raise Unavailable if a port is taken or the address is not ours."""
        context: Context = zmq.Context(io_threads=len(Lane))
        context.set(zmq.MAX_SOCKETS, SOCKETS_LIMIT)
        self._context = context
        self._zap = ZapHandler(context=context, admit=self._admit)
        try:
            self.control_port = self._bind(Lane.CONTROL, CONTROL_PORT_OFFSET)
            self.bulk_port = self._bind(Lane.BULK, BULK_PORT_OFFSET)
        except zmq.ZMQError as error:
            self.close()
            reason = f"cannot listen on {self._bind_host!r} from port {self._port} on: {error}"
            raise Unavailable(reason) from error

    def close(self) -> None:
        """Hang up and let go of all ports. Nothing is delivered after this."""
        for peer in self._peers.values():
            for link in peer.links.values():
                link.close()
        for inbound in self._inbounds.values():
            inbound.close()
        if self._zap is not None:
            self._zap.close()
        if self._context is not None:
            self._context.destroy(linger=0)
        self._peers, self._inbounds, self._zap, self._context = {}, {}, None, None

    # --- peers ------------------------------------------------------------------------------------

    def add_peer(
        self,
        node_id: NodeId,
        public_key: bytes,
        hosts: Sequence[str],
        control_port: int,
        bulk_port: int,
    ) -> None:
        """Keep a connection to a peer, trying all of `hosts` (at most eight IP addresses).

        For a peer that is known already, change its addresses; a connection that works is kept.
        Raise InputError if the id is not the key's, or an address is no IP address (names would be
        resolved in an IO thread).
        """
        if fingerprint(public_key) != node_id or node_id == self.node_id:
            raise InputError(f"{node_id} is not the id of that key, or is this node's own")
        peer = self._peers.get(node_id)
        if peer is None:
            peer = self._peers[node_id] = self._new_peer(node_id, public_key)
        for lane, port in ((Lane.CONTROL, control_port), (Lane.BULK, bulk_port)):
            endpoints = [_endpoint(host, port) for host in hosts[:HOSTS_LIMIT]]
            peer.links[lane].connect(endpoints)

    def remove_peer(self, node_id: NodeId) -> None:
        """Hang up on a peer, and drop what still comes from it until it is admitted again."""
        self._senders.pop(node_id, None)
        peer = self._peers.pop(node_id, None)
        if peer is None:
            return
        was_up = peer.links[Lane.CONTROL].up
        for link in peer.links.values():
            link.close()
        if was_up:
            self._link_changed(node_id, up=False)

    @property
    def peers(self) -> tuple[NodeId, ...]:
        """Answer the peers that were added, connected or not."""
        return tuple(self._peers)

    def connected(self, node_id: NodeId) -> bool:
        """Answer whether messages can be sent to a peer now."""
        peer = self._peers.get(node_id)
        return peer is not None and peer.links[Lane.CONTROL].up

    async def probe_refused(self, node_id: NodeId) -> bool:
        """Answer whether the peer's process is certainly gone: its machine refuses its port.

        Only the address at which the peer last proved its key is asked, and not after a minute: any
        other address might be this machine's own or by now somebody else's, where a refusal proves
        nothing. Silence proves nothing either.
        """
        peer = self._peers.get(node_id)
        link = peer.links[Lane.CONTROL] if peer is not None else None
        endpoint = link.proven_endpoint if link is not None else None
        if link is None or endpoint is None:
            return False
        if not link.up and asyncio.get_running_loop().time() - link.lost_s > PROOF_S:
            return False
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        return await refuses(host.strip("[]"), int(port))

    # --- messages ---------------------------------------------------------------------------------

    def send(self, to: NodeId, kind: Kind, body: bytes, lane: Lane = Lane.CONTROL) -> bool:
        """Hand a message on, without waiting. Answer False if it was dropped.

        True does not mean that it arrives. Raise InputError if it is over the lane's limit.
        """
        if len(body) > BODY_LIMIT_BYTES[lane]:
            raise InputError(f"{len(body)} bytes are over the {lane.name} lane's limit")
        peer = self._peers.get(to)
        return peer is not None and peer.links[lane].send(kind, body)

    async def send_when_room(
        self, to: NodeId, kind: Kind, body: bytes, *, lane: Lane = Lane.BULK, timeout_s: float
    ) -> bool:
        """Send, waiting for room in the peer's queue. Answer False if there was none in time."""
        deadline = time.monotonic() + timeout_s
        pause_s = ROOM_RETRY_S
        while not self.send(to, kind, body, lane):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, ROOM_RETRY_MAX_S)
        return True

    def on(self, kind: Kind, handler: Handler) -> None:
        """Have `handler(sender, body)` called for each message of a kind, in order of arrival.

        It must not block. What it raises is logged and counted. Raise ValueError for a second
        handler of one kind.
        """
        if kind in self._handlers:
            raise ValueError(f"{kind!r} has a handler")
        self._handlers[kind] = handler

    def on_link(self, handler: LinkHandler) -> None:
        """Have `handler(node_id, up)` called when the way to a peer opens or breaks."""
        self._link_handlers.append(handler)

    def on_turn(self, handler: Callable[[], None]) -> None:
        """Have `handler()` called after each turn in which messages were handed to handlers.

        Whoever answers from there, and then calls `flush`, saves the loop two turns.
        """
        self._turn_handlers.append(handler)

    def flush(self) -> None:
        """Send now what waits for the end of this turn of the loop to travel together."""
        for peer in self._peers.values():
            peer.links[Lane.CONTROL].flush()

    # --- what happened ----------------------------------------------------------------------------

    def last_heard_ms(self, node_id: NodeId) -> int | None:
        """Answer when a peer's last frame came, on the monotonic clock; None if never."""
        sender = self._senders.get(node_id)
        return sender.last_heard_ms if sender is not None else None

    def link_stats(self, node_id: NodeId) -> LinkStats | None:
        """Answer a peer's statistics, or None for a stranger."""
        peer, sender = self._peers.get(node_id), self._senders.get(node_id)
        if peer is None:
            return None
        heard = sender or Sender(node_id, peer.public_key)
        links = peer.links.values()
        control = peer.links[Lane.CONTROL]
        return LinkStats(
            up=control.up,
            address=control.proven_endpoint,
            sent_messages=sum(link.sent_messages for link in links),
            sent_bytes=sum(link.sent_bytes for link in links),
            dropped=sum(link.dropped for link in links),
            refusals=sum(link.refusals for link in links),
            received_messages=heard.received_messages,
            received_bytes=heard.received_bytes,
            malformed=heard.malformed,
            last_heard_ms=heard.last_heard_ms,
        )

    def stats(self) -> TransportStats:
        """Answer the counts of the whole node."""
        inbounds = self._inbounds.values()
        return TransportStats(
            admitted=self._zap.admitted if self._zap else 0,
            refused=self._zap.refused if self._zap else 0,
            refused_frames=sum(inbound.refused for inbound in inbounds),
            unhandled=sum(inbound.unhandled for inbound in inbounds),
            failed=sum(inbound.failed for inbound in inbounds),
        )

    # --- inside -----------------------------------------------------------------------------------

    def _bind(self, lane: Lane, offset: int) -> int:
        assert self._context is not None
        inbound = self._inbounds[lane] = Inbound(
            context=self._context,
            keys=self._keys,
            lane=lane,
            senders=self._senders,
            handlers=self._handlers,
            allowed=self._allowed,
            turn_over=self._turn_over,
        )
        return inbound.open(self._bind_host, self._port + offset if self._port else 0)

    def _turn_over(self) -> None:
        for handler in self._turn_handlers:
            handler()

    def _admit(self, public_key: bytes) -> NodeId | None:
        if not self._allowed(public_key):
            return None
        node_id = fingerprint(public_key)
        self._senders.setdefault(node_id, Sender(node_id, public_key))
        return node_id

    def _new_peer(self, node_id: NodeId, public_key: bytes) -> _Peer:
        if self._context is None:
            raise Unavailable("the transport is not open")
        self._senders.setdefault(node_id, Sender(node_id, public_key))
        peer = _Peer(public_key)
        for lane in Lane:
            changed = self._link_changer(node_id) if lane is Lane.CONTROL else _ignore
            peer.links[lane] = Link(
                context=self._context,
                keys=self._keys,
                server_key=public_key,
                lane=lane,
                on_change=changed,
            )
        return peer

    def _link_changer(self, node_id: NodeId) -> Callable[[bool], None]:
        return lambda up: self._link_changed(node_id, up=up)

    def _link_changed(self, node_id: NodeId, *, up: bool) -> None:
        for handler in self._link_handlers:
            handler(node_id, up)


def _ignore(up: bool) -> None:
    """Do nothing: the bulk lane's connection says no more than the control lane's."""


def _endpoint(host: str, port: int) -> str:
    try:
        address = one_spelling(host)
    except ValueError as error:
        raise InputError(f"{host!r} is not an IP address") from error
    return f"tcp://{format_host(address)}:{port}"
