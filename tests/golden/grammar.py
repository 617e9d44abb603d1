"""A small language that says what a reader of one release understands of msgpack data.

A reader takes decoded data and answers the part that its release knows: fields that were appended
since are dropped, because that is what the release's own decoder does. Whatever that decoder would
not take raises `Unreadable`. Independent of `paceline.codec`, or the two could be wrong together.
"""

from collections.abc import Callable, Mapping
from typing import Any

Reader = Callable[[Any], Any]


class Unreadable(Exception):
    """The release would refuse it."""


def _exactly(kind: type, name: str) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise Unreadable(f"{value!r} is no {name}")
        return value

    return read


integer = _exactly(int, "integer")
text = _exactly(str, "text")
binary = _exactly(bytes, "binary")
boolean = _exactly(bool, "boolean")


def number(value: Any) -> Any:
    """Read an integer or a float."""
    if type(value) not in (int, float):
        raise Unreadable(f"{value!r} is no number")
    return value


def anything(value: Any) -> Any:
    """Read whatever it is."""
    return value


def one_of(*words: Any) -> Reader:
    """Read one of the values of an enumeration."""

    def read(value: Any) -> Any:
        if value not in words:
            raise Unreadable(f"{value!r} is none of {words}")
        return value

    return read


def optional(inner: Reader) -> Reader:
    """Read nothing, or what `inner` reads."""
    return lambda value: None if value is None else inner(value)


def array(inner: Reader) -> Reader:
    """Read an array of such."""

    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise Unreadable(f"{value!r} is no array")
        return [inner(each) for each in value]

    return read


def mapping(inner: Reader) -> Reader:
    """Read a map from text to such."""

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Unreadable(f"{value!r} is no map")
        return {text(key): inner(each) for key, each in value.items()}

    return read


def record(*fields: Reader) -> Reader:
    """Read an array of at least these fields. The release itself always wrote all of them."""

    def read(value: Any) -> Any:
        if not isinstance(value, list) or len(value) < len(fields):
            raise Unreadable(f"{value!r} lacks some of {len(fields)} fields")
        return [field(each) for field, each in zip(fields, value, strict=False)]

    return read


def family(members: Mapping[int, Reader]) -> Reader:
    """Read `[tag, field, ...]` of a closed family."""

    def read(value: Any) -> Any:
        if not isinstance(value, list) or not value or value[0] not in members:
            raise Unreadable(f"{value!r} begins with no known tag")
        return [value[0], *members[value[0]](value[1:])]

    return read
