"""Who may connect: the answer to ZeroMQ's authentication requests (ZAP, ZeroMQ RFC 27).

libzmq proves that a client owns the key it shows; whether that key may come in is asked here, once
per handshake, over an in-process socket. The answer's User-Id is the node id of the key, and libzmq
attaches it to every frame of that connection: this, and never the frame, says who a sender is.
"""

from collections.abc import Callable
from typing import Final

import structlog
import zmq

from paceline.ids import NodeId
from paceline.node.keys import KEY_BYTES
from paceline.node.sockets import ZAP_DOMAIN, Context, SocketReader

ENDPOINT: Final = "inproc://zeromq.zap.01"
VERSION: Final = b"1.0"
OK: Final = b"200"
REFUSED: Final = b"400"
TURN_LIMIT: Final = 100
"""Requests answered in one turn of the loop."""

log = structlog.get_logger(__name__)


class ZapHandler:
    """Answers all handshakes of one context. Must be open before any socket is bound.

    `admit(public_key)` answers the node id of a key that may connect, or None.
    """

    def __init__(self, *, context: Context, admit: Callable[[bytes], NodeId | None]) -> None:
        self._admit = admit
        self._socket = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(ENDPOINT)
        self._reader = SocketReader(socket=self._socket, drain=self._drain)
        self.admitted = 0
        self.refused = 0

    def close(self) -> None:
        """Stop answering: with the domain enforced, nobody can connect any more."""
        self._reader.close()
        self._socket.close()

    def _drain(self) -> bool:
        for _ in range(TURN_LIMIT):
            try:
                request = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return False
            self._socket.send_multipart(self._answer(request))
        return True

    def _answer(self, request: list[bytes]) -> list[bytes]:
        """Answer `version, request id, status code, status text, user id, metadata`."""
        request_id = request[1] if len(request) > 1 else b""
        node_id = self._decide(request)
        if node_id is None:
            self.refused += 1
            return [VERSION, request_id, REFUSED, b"not a member", b"", b""]
        self.admitted += 1
        return [VERSION, request_id, OK, b"", node_id.encode("ascii"), b""]

    def _decide(self, request: list[bytes]) -> NodeId | None:
        if len(request) != 7:
            return None
        version, _, domain, _, _, mechanism, public_key = request
        if (version, domain, mechanism) != (VERSION, ZAP_DOMAIN, b"CURVE"):
            return None
        if len(public_key) != KEY_BYTES:
            return None
        try:
            return self._admit(public_key)
        except Exception:
            log.exception("membership check failed; the connection is refused")
            return None
