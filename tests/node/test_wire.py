"""Frames, whole and hostile."""

import tracemalloc

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import ProtocolError
from paceline.node.wire import (
    LIMIT_BYTES,
    MESSAGES_LIMIT,
    PROTOCOL_VERSION,
    Kind,
    Lane,
    decode_frame,
    encode_frame,
)

LIMIT = LIMIT_BYTES[Lane.CONTROL]


@given(st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=100)), min_size=1))
def test_what_is_encoded_is_decoded(messages: list[tuple[Kind, bytes]]) -> None:
    flat = [part for message in messages for part in message]
    assert decode_frame(encode_frame(flat), LIMIT) == flat


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_a_protocol_error(data: bytes) -> None:
    try:
        messages = decode_frame(data, LIMIT)
    except ProtocolError:
        return
    assert len(messages) % 2 == 0


@pytest.mark.parametrize(
    "frame",
    [
        None,
        [],
        [PROTOCOL_VERSION],
        [PROTOCOL_VERSION, []],
        [PROTOCOL_VERSION, [1]],
        [PROTOCOL_VERSION, [b"", 1]],
        [PROTOCOL_VERSION, [1, "text"]],
        [PROTOCOL_VERSION, [True, b""]],
        [PROTOCOL_VERSION, [1.0, b""]],
        [PROTOCOL_VERSION, {1: b""}],
        [PROTOCOL_VERSION + 1, [1, b""]],
        ["1", [1, b""]],
        [PROTOCOL_VERSION, [1, msgpack.ExtType(1, b"x")]],
        [PROTOCOL_VERSION, [1, msgpack.ExtType(1, b"")]],
        [PROTOCOL_VERSION, [1, msgpack.Timestamp(1)]],
    ],
)
def test_anything_else_is_refused(frame: object) -> None:
    with pytest.raises(ProtocolError):
        decode_frame(msgpack.packb(frame), LIMIT)


def test_a_later_version_may_append() -> None:
    frame = msgpack.packb([PROTOCOL_VERSION, [1, b"body"], {}])
    assert decode_frame(frame, LIMIT) == [1, b"body"]


def test_the_size_is_checked_first() -> None:
    with pytest.raises(ProtocolError, match="limit"):
        decode_frame(b"\xc1" * 11, 10)


def test_a_few_bytes_cannot_demand_much_memory() -> None:
    announced = b"\xdd\x00\x3f\xff\xff"  # an array of four million, in an array of four million ...
    tracemalloc.start()
    with pytest.raises(ProtocolError):
        decode_frame(announced * 500 + bytes(4 * 1024 * 1024), LIMIT)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 16 * 1024 * 1024


def test_too_many_messages_are_refused() -> None:
    frame = msgpack.packb([PROTOCOL_VERSION, [1, b""] * (MESSAGES_LIMIT + 1)])
    with pytest.raises(ProtocolError):
        decode_frame(frame, LIMIT)
