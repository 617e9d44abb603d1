"""Bytes that no correct node sends: a ProtocolError, and not much memory, is all that they get."""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paceline import codec
from paceline.consensus.messages import Membership, decode_message
from paceline.consensus.transfer import SNAPSHOT_MESSAGES
from paceline.discovery.gossip import decode_contacts
from paceline.errors import NewerFormat, ProtocolError
from paceline.node.hello import Hello, HelloReply, decode_greeting
from paceline.node.vitals import Beat, BeatReply
from paceline.node.wire import LIMIT_BYTES, Lane, decode_frame
from paceline.tasks.commands import decode_envelope
from paceline.tasks.model import Outcome, SubtaskSpec
from paceline.unpacking import HARMLESS_BYTES, VALUES_LIMIT
from tests.golden.samples import samples

MIB = 1024 * 1024
LIMIT = LIMIT_BYTES[Lane.CONTROL]
SLACK_BYTES = 80 * MIB
AMPLIFICATION = 20

Decode = Callable[[bytes], Any]

DECODERS: dict[str, Decode] = {
    "codec": codec.unpack,
    "frame": lambda data: decode_frame(data, LIMIT),
    "greeting": lambda data: decode_greeting(data, LIMIT),
    "raft": decode_message,
    "snapshot": SNAPSHOT_MESSAGES.decode,
    "log entry": decode_envelope,
    "gossip": decode_contacts,
    "hello": lambda data: codec.decode(Hello, data),
    "hello reply": lambda data: codec.decode(HelloReply, data),
    "membership": lambda data: codec.decode(Membership, data),
    "beat": lambda data: codec.decode(Beat, data),
    "beat reply": lambda data: codec.decode(BeatReply, data),
    "subtask": lambda data: codec.decode(SubtaskSpec, data),
    "outcome": lambda data: codec.decode(Outcome, data),
}
GOLDEN = [sample.data for sample in samples().values()]

PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=True)
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


@contextmanager
def bounded(limit_bytes: int) -> Iterator[None]:
    """Fail if what is done inside takes more memory at any one time."""
    tracemalloc.start()
    try:
        yield
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < limit_bytes


def try_all(data: bytes) -> None:
    """Nothing but these may come out, whatever went in."""
    for name, decode in DECODERS.items():
        try:
            decode(data)
        except ProtocolError:
            continue
        except NewerFormat:
            assert name == "log entry"


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    try_all(data)


@given(PLAIN)
@example([1, b"id", 0, 0, "n1", [[]], []])
@example([[], "a"])
@example([2.0, [1, b""]])
@example([3, "a", "b", 1, 1, 1, 1, [[1, 1, 1, b"", 1], [1]]])
def test_any_values(plain: Any) -> None:
    try_all(msgpack.packb(plain))


@settings(max_examples=300)
@given(st.sampled_from(GOLDEN), st.data())
def test_right_messages_gone_wrong(data: bytes, draw: st.DataObject) -> None:
    """A byte changed, a piece cut out, a piece doubled: still mostly what a decoder expects."""
    at = draw.draw(st.integers(0, len(data)))
    other = draw.draw(st.integers(0, len(data)))
    byte = bytes([draw.draw(st.integers(0, 255))])
    try_all(data[:at] + byte + data[at + 1 :])
    try_all(data[:at] + data[other:])


@settings(max_examples=300)
@given(st.sampled_from(GOLDEN), st.data())
def test_right_messages_with_another_value_somewhere(data: bytes, draw: st.DataObject) -> None:
    try_all(msgpack.packb(_replaced(codec.unpack(data), draw)))


def _replaced(plain: Any, draw: st.DataObject) -> Any:
    """Answer `plain` with one value in it exchanged for any other."""
    if not isinstance(plain, list) or not plain or draw.draw(st.integers(0, 3)) == 0:
        return draw.draw(PLAIN)
    at = draw.draw(st.integers(0, len(plain) - 1))
    return [*plain[:at], _replaced(plain[at], draw), *plain[at + 1 :]]


@dataclass(frozen=True, slots=True)
class Nest:
    inner: "Nest | None" = None


def test_a_type_that_nests_itself_has_an_end() -> None:
    plain: Any = None
    for _ in range(900):
        plain = [plain]
    with pytest.raises(ProtocolError, match="deep"):
        codec.from_plain(Nest, plain)


# --- memory ---------------------------------------------------------------------------------------


def filled(head: bytes, size: int, filler: bytes = b"\x00") -> bytes:
    """Answer `size` bytes: `head` again and again for the first 6000, then the filler."""
    repeated = head * (6_000 // len(head))
    return (repeated + filler * (size // len(filler)))[:size]


HOSTILE: dict[str, bytes] = {
    "arrays in arrays": filled(b"\xdd\x00\x3f\xff\xff", 4 * MIB),
    "short arrays in arrays": filled(b"\xdc\xff\xff", 4 * MIB),
    "arrays in arrays, in little": filled(b"\xdd\x00\x00\x20\x00", HARMLESS_BYTES),
    "arrays in arrays, just too much": filled(b"\xdd\x00\x00\x20\x01", HARMLESS_BYTES + 1),
    "maps in maps": filled(b"\xdf\x00\x1f\xff\xff\xa1a", 4 * MIB),
    "empty arrays": b"\xdd" + (4 * MIB).to_bytes(4, "big") + b"\x90" * 4 * MIB,
    "empty maps": b"\xdd" + (4 * MIB).to_bytes(4, "big") + b"\x80" * 4 * MIB,
    "arrays of arrays": b"\xdd" + MIB.to_bytes(4, "big") + b"\x92\x90\x90\x00" * MIB,
    "text without an end": b"\xdb\xff\xff\xff\xff" + bytes(4 * MIB),
    "bytes without an end": b"\xc6\xff\xff\xff\xff" + bytes(4 * MIB),
    "one array without an end": b"\xdd\xff\xff\xff\xff" + bytes(4 * MIB),
    "one map without an end": b"\xdf\xff\xff\xff\xff" + bytes(4 * MIB),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("name", ["codec", "frame", "greeting", "log entry"])
def test_little_cannot_demand_much(name: str, data: bytes) -> None:
    """Each way to the decoder; all the others are through `codec`."""
    with bounded(AMPLIFICATION * len(data) + SLACK_BYTES), pytest.raises(ProtocolError):
        DECODERS[name](data)


def test_many_small_values_are_refused_before_they_are_made() -> None:
    data = b"\xdd" + (4 * MIB).to_bytes(4, "big") + b"\x90" * 4 * MIB
    with bounded(16 * MIB), pytest.raises(ProtocolError, match="too many values"):
        codec.unpack(data)


def test_announced_room_is_refused_before_it_is_made() -> None:
    with bounded(8 * MIB), pytest.raises(ProtocolError, match="too many values"):
        codec.unpack(HOSTILE["arrays in arrays"])


@pytest.mark.parametrize(
    "value",
    [
        bytes(range(256)) * 4 * 4096,
        [bytes(range(256))] * 4096,
        ["ÿ" * 300] * 1000,
        [[0] * 16] * 15_000,
        {str(number): [number, -number, 0.5, None] for number in range(20_000)},
        [list(range(70_000)), {"a": [1] * 70_000}],
        [0xDCDCDCDCDCDCDCDC] * 2_000,
        [0xDDDDDDDD] * 4_000,
    ],
    ids=["bytes", "many bytes", "texts", "small arrays", "map", "large arrays", "a", "b"],
)
def test_large_and_honest_messages_pass(value: Any) -> None:
    assert codec.unpack(codec.pack(value)) == value


@settings(max_examples=60)
@given(st.lists(PLAIN, min_size=1, max_size=4), st.integers(1, 400))
def test_the_walk_agrees_with_the_decoder(values: list[Any], times: int) -> None:
    """Padded with bytes that look like large arrays, so that the check looks closely."""
    value = [values * times, b"\xdd" * 16_384]
    data = msgpack.packb(value)
    assert msgpack.packb(codec.unpack(data)) == data


def test_the_number_of_values_is_bounded() -> None:
    over: list[Any] = [[]] * (VALUES_LIMIT + 1)
    with pytest.raises(ProtocolError, match="too many values"):
        codec.unpack(codec.pack(over))
