"""The codec: what goes in comes out, and nothing that the type does not name is accepted."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline import codec
from paceline.errors import ProtocolError
from paceline.later import LATER


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Leaf:
    name: str
    colour: Colour = Colour.RED


@dataclass(frozen=True, slots=True)
class Tree:
    data: bytes
    points: tuple[Point, ...] = ()
    leaves: tuple[Leaf, ...] = ()
    best: Leaf | None = None
    by_name: dict[str, Leaf] = field(default_factory=dict)
    weight: float = 0.0
    anything: Any = None
    parent: "Tree | None" = None


@dataclass(frozen=True, slots=True)
class NewerLeaf:
    name: str
    colour: Colour = Colour.RED
    size: int = 7


FAMILY: codec.Union_[object] = codec.Union_({1: Leaf, 2: Tree})

leaves = st.builds(Leaf, st.text(max_size=20), st.sampled_from(Colour))
integers = st.integers(-(2**63), 2**64 - 1)
trees = st.recursive(
    st.builds(Tree, st.binary(max_size=20)),
    lambda parents: st.builds(
        Tree,
        st.binary(max_size=20),
        st.tuples(st.builds(Point, integers, integers)),
        st.lists(leaves, max_size=3).map(tuple),
        st.none() | leaves,
        st.dictionaries(st.text(max_size=5), leaves, max_size=3),
        st.floats(allow_nan=False),
        st.none() | st.booleans() | st.text(max_size=5),
        parents,
    ),
    max_leaves=3,
)


@given(trees)
def test_what_goes_in_comes_out(tree: Tree) -> None:
    assert codec.decode(Tree, codec.encode(tree)) == tree
    assert FAMILY.decode(FAMILY.encode(tree)) == tree


@given(st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(data: bytes) -> None:
    for kind in (Tree, Leaf):
        try:
            codec.decode(kind, data)
        except ProtocolError:
            continue


def test_an_older_reader_ignores_what_a_newer_writer_appended() -> None:
    assert codec.decode(Leaf, codec.encode(NewerLeaf("a", Colour.BLUE, 3))) == Leaf(
        "a", Colour.BLUE
    )


def test_a_newer_reader_fills_in_what_an_older_writer_did_not_know() -> None:
    assert codec.decode(NewerLeaf, codec.encode(Leaf("a"))) == NewerLeaf("a", Colour.RED, 7)


@pytest.mark.parametrize(
    "plain",
    [
        None,
        3,
        [],
        [1],
        ["a", "green"],
        {"name": "a"},
        [b"bytes are not text"],
    ],
)
def test_what_does_not_fit_the_type_is_refused(plain: object) -> None:
    with pytest.raises(ProtocolError):
        codec.from_plain(Leaf, plain)


def test_a_bool_is_not_an_int() -> None:
    with pytest.raises(ProtocolError):
        codec.from_plain(Point, [True, 1])


def test_an_unknown_tag_is_refused() -> None:
    with pytest.raises(ProtocolError, match="unknown tag 9"):
        FAMILY.decode(codec.pack([9, "a"]))


def test_extension_types_are_refused() -> None:
    with pytest.raises(ProtocolError, match="ext"):
        codec.unpack(msgpack.packb(msgpack.ExtType(5, b"x")))
    with pytest.raises(ProtocolError, match="extension type 5"):
        codec.unpack(msgpack.packb(msgpack.ExtType(5, b"")))


def test_timestamps_are_extensions_too() -> None:
    with pytest.raises(ProtocolError):
        codec.unpack(msgpack.packb([msgpack.Timestamp(1), "red"]))


def test_size_is_checked_before_decoding() -> None:
    with pytest.raises(ProtocolError, match="over the limit of 10"):
        codec.unpack(b"x" * 11, limit_bytes=10)


def test_deep_nesting_is_refused_not_a_crash() -> None:
    with pytest.raises(ProtocolError):
        codec.unpack(b"\x91" * 100_000)


@dataclass(frozen=True, slots=True)
class Grown:
    """A type that had one field in an older version."""

    name: str
    tags: tuple[str, ...] = field(default=(), metadata=LATER)
    size: int = field(default=0, metadata=LATER)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Grown("a"), ["a"]),
        (Grown("a", ("x",)), ["a", ["x"]]),
        (Grown("a", (), 3), ["a", [], 3]),
    ],
)
def test_later_fields_are_not_written_while_they_say_nothing(
    value: Grown, plain: list[object]
) -> None:
    """So the bytes are those of the older version."""
    assert codec.unpack(codec.encode(value)) == plain
    assert codec.from_plain(Grown, plain) == value
