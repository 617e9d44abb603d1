"""Frames: what travels in one ZeroMQ message between two members.

A frame is the msgpack array `[version, [kind, body, kind, body, ...]]`. One frame carries all that
a node said to a peer in one turn of its loop, because a frame costs ten times what a message in it
does. Later versions may append to the outer array; a receiver ignores what it does not know there.

Sizes are checked before anything is decoded, and the decoder is told how long arrays may be: a few
bytes that announce an enormous array must not make this node allocate it. A body is opaque here.
Who sent a frame is not part of it: the transport knows that from the connection's key.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final

import msgpack

from paceline.errors import ProtocolError

PROTOCOL_VERSION: Final = 1
"""Grows only when an old node could not make sense of what a new one says."""


class Lane(IntEnum):
    """Two pairs of sockets per pair of nodes, so that bulk data never delays a heartbeat."""

    CONTROL = 0
    BULK = 1


class Kind(IntEnum):
    """What a body is, and thereby whose it is. Numbers never change their meaning."""

    RAFT = 1
    """A message of the consensus core (`consensus.messages`)."""
    VITALS = 2
    """A heartbeat of a node: leases, load, what it runs."""
    REQUEST = 3
    """A call (`node.calls`)."""
    RESPONSE = 4
    """The answer to a call."""
    ERROR = 5
    """The refusal of a call."""
    CANCEL = 6
    """The caller of a call no longer waits."""
    GOSSIP = 7
    """Contacts of other nodes (`discovery.gossip`)."""
    CREDIT = 8
    """A receiver of bulk data lets its sender go on."""
    VITALS_REPLY = 9
    """The leader has heard a heartbeat: the worker may go on for another lease."""
    SNAPSHOT = 16
    """A chunk of the state machine's snapshot."""
    BLOB = 17
    """A chunk of a blob or of a git bundle."""
    LOG = 18
    """A chunk of an attempt's log."""


CONTROL_LIMIT_BYTES: Final = 4 * 1024 * 1024
"""The largest body on the control lane."""
BULK_LIMIT_BYTES: Final = 1024 * 1024
"""The largest body on the bulk lane; 256 KiB are a good chunk."""
COALESCED_LIMIT_BYTES: Final = 512 * 1024
"""What a frame may hold besides its largest body."""
LIMIT_BYTES: Final = {
    Lane.CONTROL: CONTROL_LIMIT_BYTES + COALESCED_LIMIT_BYTES,
    Lane.BULK: BULK_LIMIT_BYTES + COALESCED_LIMIT_BYTES,
}
"""The largest frame of each lane; a connection that brings a larger one is dropped."""
BODY_LIMIT_BYTES: Final = {Lane.CONTROL: CONTROL_LIMIT_BYTES, Lane.BULK: BULK_LIMIT_BYTES}
MESSAGES_LIMIT: Final = 4096
"""Messages in one frame."""

_packer = msgpack.Packer(use_bin_type=True)


def encode_frame(messages: Sequence[int | bytes]) -> bytes:
    """Encode `[kind, body, kind, body, ...]`, at most MESSAGES_LIMIT pairs."""
    frame: bytes = _packer.pack((PROTOCOL_VERSION, messages))
    return frame


def decode_frame(data: bytes, limit_bytes: int) -> list[Any]:
    """Answer `[kind, body, kind, body, ...]`: as many ints as bytes, taking turns.

    Raise ProtocolError for anything that `encode_frame` would not make.
    """
    if len(data) > limit_bytes:
        raise ProtocolError(f"a frame of {len(data)} bytes is over the limit of {limit_bytes}")
    try:
        frame = msgpack.unpackb(
            data,
            max_array_len=min(2 * MESSAGES_LIMIT, len(data)),
            max_map_len=0,
            max_str_len=0,
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise ProtocolError(f"malformed frame: {error}") from error
    return _checked(frame)


def _checked(frame: object) -> list[Any]:
    if not isinstance(frame, list) or len(frame) < 2:
        raise ProtocolError("a frame is an array of a version and messages")
    version, messages = frame[0], frame[1]
    if version != PROTOCOL_VERSION:
        raise ProtocolError(f"protocol version {version!r} is not {PROTOCOL_VERSION}")
    if not isinstance(messages, list) or len(messages) % 2 or not messages:
        raise ProtocolError("messages are pairs of kind and body")
    for kind, body in zip(messages[::2], messages[1::2], strict=True):
        if type(kind) is not int or type(body) is not bytes:
            raise ProtocolError("a message is a number and bytes")
    return messages
