"""What strangers say to each other, and the frames in which it travels.

A frame is the msgpack array `[version, kind, request id, body]`. The decoder is told how long
arrays may be, because anybody at all may send one.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import msgpack

from paceline import codec
from paceline.discovery.record import Contact, heard
from paceline.errors import ProtocolError

GREETING_VERSION: Final = 1
REQUEST_LIMIT_BYTES: Final = 8 * 1024
REPLY_LIMIT_BYTES: Final = 64 * 1024
FRAME_OVERHEAD_BYTES: Final = 64
MEMBERS_LIMIT: Final = 128
"""Contacts in one reply; about 250 bytes each."""
CLAIMS_LIMIT: Final = 32
CLUSTER_ID_LIMIT: Final = 64


class GreetingKind(IntEnum):
    """What a body is. An answer's number is its question's plus one."""

    HELLO = 1
    HELLO_REPLY = 2
    JOIN = 3
    JOIN_REPLY = 4


@dataclass(frozen=True, slots=True)
class Hello:
    """What a node says of itself to a stranger."""

    contact: Contact
    cluster_id: str = ""
    claims: dict[str, str] = field(default_factory=dict)
    """Whatever the membership protocol wants to compare; at most 32 short texts."""


@dataclass(frozen=True, slots=True)
class HelloReply:
    """The answer: the same of the other side, and whom it knows."""

    hello: Hello
    members: tuple[Contact, ...] = ()


def encode_greeting(kind: GreetingKind, request_id: bytes, body: bytes) -> bytes:
    """Answer the bytes that travel."""
    return codec.pack([GREETING_VERSION, int(kind), request_id, body])


def decode_greeting(data: bytes, limit_bytes: int) -> tuple[int, bytes, bytes]:
    """Answer kind, request id and body. Raise ProtocolError for anything else."""
    if len(data) > limit_bytes:
        raise ProtocolError(f"a greeting of {len(data)} bytes")
    try:
        frame = msgpack.unpackb(data, max_array_len=8, max_map_len=0, max_str_len=0, max_ext_len=0)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise ProtocolError(f"malformed greeting: {error}") from error
    match frame:
        case [int(version), int(kind), bytes(request_id), bytes(body), *_]:
            if version == GREETING_VERSION and len(request_id) <= 16:
                return kind, request_id, body
    raise ProtocolError("not a greeting of this version")


def encode_reply(reply: HelloReply) -> bytes:
    """Encode as many of the members as fit."""
    members = reply.members[:MEMBERS_LIMIT]
    while True:
        body = codec.encode(HelloReply(reply.hello, members))
        if len(body) < REPLY_LIMIT_BYTES - FRAME_OVERHEAD_BYTES or not members:
            return body
        members = members[: len(members) // 2]


def checked_hello(hello: Hello) -> Hello:
    """Answer a hello that could be a node's. Raise ProtocolError otherwise."""
    if len(hello.claims) > CLAIMS_LIMIT or len(hello.cluster_id) > CLUSTER_ID_LIMIT:
        raise ProtocolError("a hello with too much to say")
    return Hello(heard(hello.contact), hello.cluster_id, hello.claims)


def checked_reply(reply: HelloReply) -> HelloReply:
    """Answer a reply that could be a node's. Raise ProtocolError otherwise."""
    if len(reply.members) > MEMBERS_LIMIT:
        raise ProtocolError("a reply with too many members")
    members = tuple(heard(member) for member in reply.members)
    return HelloReply(checked_hello(reply.hello), members)
