"""One way to one peer: a send-only CURVE DEALER that keeps itself connected.

A peer may have several addresses, and nobody knows which of them lead to it from here. The socket
dials all of them; the first one on which the CURVE handshake completes (nobody but the owner of the
peer's key can complete it) is kept, the others are dropped until it breaks. While exactly one
connection is up, messages stay in order; while none is, nothing is queued at all.

What libzmq does not do, and is done here: after a handshake that the peer refused, or after bytes
that are not ZMTP, its session ends for good without another attempt. A peer refuses as long as it
has not yet heard that this node is a member, so such an address is dialled anew after a moment.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from paceline.node.keys import NodeKeys
from paceline.node.sockets import (
    KEEPING_OPTIONS,
    Context,
    Socket,
    SocketReader,
    apply_options,
    enable_ipv6,
    secure_client,
)
from paceline.node.wire import COALESCED_LIMIT_BYTES, MESSAGES_LIMIT, Kind, Lane, encode_frame

FRAME_TARGET_BYTES: Final = 64 * 1024
"""A frame that has reached this size is sent without waiting for the end of the loop's turn."""
WAITING_LIMIT_BYTES: Final = COALESCED_LIMIT_BYTES // 2
WAITING_LIMIT: Final = MESSAGES_LIMIT // 2
"""What may wait for room in the socket's queue; beyond it messages are dropped."""
OVERHEAD_BYTES: Final = 8
RETRY_FLUSH_S: Final = 0.005
REDIAL_S: Final = 0.25
"""Time for libzmq to say that it tries again by itself, before this module does."""
REDIAL_MAX_S: Final = 2.0

SEND_HIGH_WATER: Final = {Lane.CONTROL: 256, Lane.BULK: 8}
BLOCKED_S: Final = 5.0
"""A connection that takes nothing for so long is given up. A peer that is gone or frozen is noticed
much sooner; this is for a connection that libzmq has let go of without saying so."""
ANSWER_LIMIT_BYTES: Final = 4096
"""A peer's receiving socket never says anything but ZMTP's own commands."""

_FAILED: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
)
_TRYING: Final = zmq.EVENT_CONNECT_DELAYED | zmq.EVENT_CONNECT_RETRIED
_EVENTS: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED | _FAILED | _TRYING


class Link:
    """Sends to one peer on one lane. `on_change(up)` is called when that becomes (im)possible."""

    def __init__(
        self,
        *,
        context: Context,
        keys: NodeKeys,
        server_key: bytes,
        lane: Lane,
        on_change: Callable[[bool], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = context
        self._keys = keys
        self._server_key = server_key
        self._lane = lane
        self._on_change = on_change
        self._wanted: tuple[str, ...] = ()
        self._stalled: set[str] = set()
        self._redial_s = REDIAL_S
        self._redial_timer: asyncio.TimerHandle | None = None
        self._waiting: list[int | bytes] = []
        self._waiting_bytes = 0
        self._flush_handle: asyncio.Handle | None = None
        self._blocked_since_s: float | None = None
        self.endpoint: str | None = None
        """The address in use, or None while there is no connection."""
        self.proven_endpoint: str | None = None
        """The last address at which the peer proved its key."""
        self.lost_s = 0.0
        """When the last connection broke, on the loop's clock."""
        self.refusals = 0
        self.sent_messages = 0
        self.sent_bytes = 0
        self.dropped = 0
        self._open()

    @property
    def up(self) -> bool:
        """Answer whether the peer is connected."""
        return self.endpoint is not None

    def connect(self, endpoints: Sequence[str]) -> None:
        """Look for the peer at these addresses from now on.

        A connection that works is kept: the peer proved its key there, while addresses may be a
        lie. If the peer has moved, the connection breaks by itself. For the same reason the last
        proven address stays among those that are tried.
        """
        proven = [self.proven_endpoint] if self.proven_endpoint is not None else []
        before, self._wanted = self._wanted, tuple(dict.fromkeys([*endpoints, *proven]))
        if self.endpoint is None:
            self._redial_s = REDIAL_S
            for endpoint in (set(before) - set(self._wanted)) | self._stalled:
                self._hang_up(endpoint)
            for endpoint in self._wanted:
                self._dial(endpoint)

    def send(self, kind: Kind, body: bytes) -> bool:
        """Queue a message. Answer False, and drop it, if there is no connection or no room."""
        if self.endpoint is None:
            self.dropped += 1
            return False
        if self._waiting_bytes + len(body) > FRAME_TARGET_BYTES and self._waiting:
            self._flush()
        if self._waiting_bytes > WAITING_LIMIT_BYTES or len(self._waiting) > 2 * WAITING_LIMIT:
            self.dropped += 1
            return False
        self._waiting.append(kind)
        self._waiting.append(body)
        self._waiting_bytes += len(body) + OVERHEAD_BYTES
        if self._lane is Lane.BULK:
            return self._flush_or_drop()
        if self._flush_handle is None:
            self._flush_handle = self._loop.call_soon(self._flush)
        return True

    def flush(self) -> None:
        """Send what is queued; it would go by itself in the loop's next turn."""
        if self._waiting and self.endpoint is not None:
            self._flush()

    def close(self) -> None:
        """Drop what is queued and hang up. `on_change` is not called."""
        self.endpoint = None
        for handle in (self._redial_timer, self._flush_handle):
            if handle is not None:
                handle.cancel()
        self._shut()

    # --- sending ----------------------------------------------------------------------------------

    def _flush(self) -> bool:
        """Send all that waits as one frame. Answer whether nothing waits any more."""
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        if not self._waiting:
            return True
        try:
            self._socket.send(encode_frame(self._waiting), zmq.DONTWAIT)
        except zmq.Again:
            self._flush_handle = self._loop.call_later(RETRY_FLUSH_S, self._flush)
            self._give_up_if_blocked()
            return False
        self._blocked_since_s = None
        self.sent_messages += len(self._waiting) // 2
        self.sent_bytes += self._waiting_bytes
        self._forget_waiting()
        return True

    def _give_up_if_blocked(self) -> None:
        now_s = self._loop.time()
        self._blocked_since_s = self._blocked_since_s or now_s
        if self.endpoint is not None and now_s - self._blocked_since_s > BLOCKED_S:
            lost = self.endpoint
            self._hang_up(lost)
            self._went_down(lost)

    def _flush_or_drop(self) -> bool:
        """Bulk data has a sender that waits for room; it must learn at once that there is none."""
        if self._flush():
            return True
        self._drop_waiting()
        return False

    def _drop_waiting(self) -> None:
        self.dropped += len(self._waiting) // 2
        self._forget_waiting()
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None

    def _forget_waiting(self) -> None:
        self._waiting = []
        self._waiting_bytes = 0

    # --- staying connected ------------------------------------------------------------------------

    def _open(self) -> None:
        self._socket: Socket = self._context.socket(zmq.DEALER)
        apply_options(self._socket, KEEPING_OPTIONS)
        apply_options(
            self._socket,
            {
                zmq.SNDHWM: SEND_HIGH_WATER[self._lane],
                zmq.RCVHWM: 1,
                zmq.MAXMSGSIZE: ANSWER_LIMIT_BYTES,
                zmq.AFFINITY: 1 << self._lane,
            },
        )
        enable_ipv6(self._socket)
        secure_client(self._socket, self._keys, self._server_key)
        self._monitor: Socket = self._socket.get_monitor_socket(_EVENTS)
        self._reader = SocketReader(socket=self._monitor, drain=self._drain_events)

    def _shut(self) -> None:
        self._reader.close()
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)

    def _dial(self, endpoint: str) -> None:
        """Start connecting; libzmq ignores this where it is connecting already."""
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError:
            self._stall(endpoint)  # for instance an fe80 address whose interface is gone

    def _hang_up(self, endpoint: str) -> None:
        self._stalled.discard(endpoint)
        try:
            self._socket.disconnect(endpoint)
        except zmq.ZMQError:
            return  # it was never dialled

    def _drain_events(self) -> bool:
        while not self._socket.closed:  # a handler may close it
            try:
                parts = self._monitor.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return False
            event = parse_monitor_message(parts)
            self._handle(event["event"], event["endpoint"].decode())
        return False

    def _handle(self, event: int, endpoint: str) -> None:
        if endpoint not in self._wanted:
            return
        if event & _TRYING:
            self._stalled.discard(endpoint)
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._connected(endpoint)
        elif event & _FAILED:
            self._disconnected(event, endpoint)

    def _connected(self, endpoint: str) -> None:
        if self.endpoint is not None:
            if endpoint != self.endpoint:
                self._hang_up(endpoint)
            return
        self.endpoint = self.proven_endpoint = endpoint
        self._redial_s = REDIAL_S
        self._stalled.clear()
        for other in self._wanted:
            if other != endpoint:
                self._hang_up(other)
        self._socket.getsockopt(zmq.EVENTS)  # take note of the connection now: a send would not
        self._on_change(True)

    def _disconnected(self, event: int, endpoint: str) -> None:
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self.refusals += 1
        if self.endpoint is None:
            self._stall(endpoint)
        elif endpoint == self.endpoint:
            self._went_down(endpoint)

    def _went_down(self, lost: str) -> None:
        self.endpoint = None
        self._blocked_since_s = None
        self.lost_s = self._loop.time()
        self._drop_waiting()
        for endpoint in self._wanted:
            if endpoint != lost:
                self._dial(endpoint)
        self._stall(lost)
        self._on_change(False)  # last, for it may close this link

    def _stall(self, endpoint: str) -> None:
        """Dial an address anew unless libzmq says, before the timer ends, that it does so."""
        self._stalled.add(endpoint)
        if self._redial_timer is None:
            self._redial_timer = self._loop.call_later(self._redial_s, self._redial)

    def _redial(self) -> None:
        self._redial_timer = None
        if not self._stalled or self.endpoint is not None:
            return
        self._redial_s = min(2 * self._redial_s, REDIAL_MAX_S)
        for endpoint in tuple(self._stalled):
            self._hang_up(endpoint)
            self._dial(endpoint)
