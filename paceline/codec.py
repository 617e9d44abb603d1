"""One codec for everything that is stored in the log or sent to a peer: msgpack, arrays, typed.

A frozen dataclass (or NamedTuple) is written as the array of its fields in order, and read back by
its annotations, so that nothing is decoded that the type does not name. Rules for changing a type:
only append fields, with defaults, marked `LATER`. A reader fills missing trailing fields with their
defaults and ignores surplus ones, which lets two minor versions talk to each other. And what is
marked is not written while it says nothing, so that the bytes are those of the older version.

A closed family of types (all commands, all Raft messages) is a `Union_`: `[tag, fields...]`.
Decoding checks sizes first, refuses msgpack extension types and anything of the wrong type with
`ProtocolError`; it never imports, calls or constructs anything that the type does not name.
"""

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import msgpack

from paceline.errors import ProtocolError
from paceline.unpacking import require_modest

T = TypeVar("T")

Encoder = Callable[[Any], Any]
Decoder = Callable[[Any], Any]

LIMIT_BYTES = 16 * 1024 * 1024
"""No single value may be larger than this, encoded."""

_SCALARS = (int, str, bytes, bool)


def pack(value: object) -> bytes:
    """Encode plain data (None, bool, int, float, str, bytes, lists, tuples, dicts)."""
    return typing.cast(bytes, msgpack.packb(value, use_bin_type=True))


def unpack(data: bytes | memoryview, limit_bytes: int = LIMIT_BYTES) -> Any:
    """Decode plain data. Raise ProtocolError if it is too large, malformed or has extensions.

    Its memory is bounded by `limit_bytes` and `unpacking`, and its depth by the decoder's stack.
    """
    if len(data) > limit_bytes:
        raise ProtocolError(f"a message of {len(data)} bytes is over the limit of {limit_bytes}")
    data = bytes(data)
    require_modest(data)
    try:
        return msgpack.unpackb(
            data, use_list=True, raw=False, max_ext_len=0, ext_hook=_refuse_extension
        )
    except ProtocolError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise ProtocolError(f"malformed message: {error}") from error


def encode(value: Any) -> bytes:
    """Encode an instance of a dataclass or NamedTuple as the msgpack array of its fields."""
    return pack(_encoder(_hashable(type(value)))(value))


def decode(kind: type[T], data: bytes, limit_bytes: int = LIMIT_BYTES) -> T:
    """Decode what `encode` made of a `kind`. Raise ProtocolError for anything else."""
    return from_plain(kind, unpack(data, limit_bytes))


def to_plain(value: Any) -> Any:
    """Answer the nested arrays that `encode` packs, to be put into a larger message."""
    return _encoder(_hashable(type(value)))(value)


def from_plain(kind: type[T], plain: object) -> T:
    """Read the nested arrays of `to_plain` back. Raise ProtocolError where they do not fit."""
    try:
        return typing.cast(T, _decoder(_hashable(kind))(plain))
    except RecursionError:
        raise ProtocolError("a message that is nested too deeply") from None


class Union_(Generic[T]):  # noqa: N801 - `Union` is typing's
    """A closed family of dataclasses, each under a small integer tag that never changes meaning."""

    def __init__(self, members: Mapping[int, type[T]]) -> None:
        self._class_of = dict(members)
        self._tag_of = {kind: tag for tag, kind in members.items()}

    def tag_of(self, kind: type[T]) -> int:
        """Answer the tag of a member. Raise KeyError for a type that is none."""
        return self._tag_of[kind]

    def knows(self, plain: object) -> bool:
        """Answer whether `[tag, ...]` begins with the tag of a member."""
        if not isinstance(plain, list) or not plain or type(plain[0]) is not int:
            return False
        return plain[0] in self._class_of

    def to_plain(self, value: T) -> list[Any]:
        """Answer `[tag, field, field, ...]`."""
        kind = type(value)
        return [self._tag_of[kind], *_encoder(_hashable(kind))(value)]

    def from_plain(self, plain: object) -> T:
        """Read `[tag, field, ...]`. Raise ProtocolError for an unknown tag or wrong fields."""
        if not isinstance(plain, list) or not plain or type(plain[0]) is not int:
            raise ProtocolError("expected an array that starts with a tag")
        kind = self._class_of.get(plain[0])
        if kind is None:
            raise ProtocolError(f"unknown tag {plain[0]}: the sender may be a newer version")
        return from_plain(kind, plain[1:])

    def encode(self, value: T) -> bytes:
        """Pack `to_plain`."""
        return pack(self.to_plain(value))

    def decode(self, data: bytes, limit_bytes: int = LIMIT_BYTES) -> T:
        """Read what `encode` made. Raise ProtocolError for anything else."""
        return self.from_plain(unpack(data, limit_bytes))


def _hashable(kind: Any) -> Any:
    """Answer the type itself; type checkers do not take a class for hashable."""
    return kind


def _refuse_extension(code: int, data: bytes) -> Any:
    raise ProtocolError(f"extension type {code} is not part of the protocol")


# --- encoders -------------------------------------------------------------------------------------


@cache
def _encoder(kind: Any) -> Encoder:
    """Answer a function that turns a `kind` into plain data, compiled once per type."""
    if dataclasses.is_dataclass(kind) or _is_named_tuple(kind):
        names = _field_names(kind)
        hints = get_type_hints(kind)
        encoders = [_field_encoder(hints[name]) for name in names]
        if later := _later_defaults(kind):
            return _shortening_encoder(names, encoders, later)
        if all(encoder is None for encoder in encoders):
            return lambda value: [getattr(value, name) for name in names]
        fields = zip(names, encoders, strict=True)
        pairs = [(name, encoder or _as_it_is) for name, encoder in fields]
        return lambda value: [encoder(getattr(value, name)) for name, encoder in pairs]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return lambda value: value.value
    raise TypeError(f"{kind} is not a dataclass: the codec cannot encode it")


def _shortening_encoder(
    names: tuple[str, ...], encoders: list[Encoder | None], later: tuple[Any, ...]
) -> Encoder:
    """Answer an encoder that leaves out fields at the end that came later and say nothing."""
    first = len(names) - len(later)

    def write(value: Any) -> Any:
        values = [getattr(value, name) for name in names]
        while len(values) > first and values[-1] == later[len(values) - 1 - first]:
            values.pop()
        return [
            encoder(part) if encoder else part
            for encoder, part in zip(encoders, values, strict=False)
        ]

    return write


def _later_defaults(kind: Any) -> tuple[Any, ...]:
    """Answer the defaults of the fields that were appended after a release."""
    if not dataclasses.is_dataclass(kind):
        return ()
    return tuple(
        field.default_factory()
        if field.default_factory is not dataclasses.MISSING
        else field.default
        for field in dataclasses.fields(kind)
        if field.metadata.get("later")
    )


def _as_it_is(value: Any) -> Any:
    return value


def _each(inner: Encoder | None) -> Encoder | None:
    if inner is None:
        return None
    item = inner
    return lambda values: [item(value) for value in values]


def _each_value(inner: Encoder | None) -> Encoder | None:
    if inner is None:
        return None
    item = inner
    return lambda values: {key: item(value) for key, value in values.items()}


def _unless_none(inner: Encoder | None) -> Encoder | None:
    if inner is None:
        return None
    some = inner
    return lambda value: None if value is None else some(value)


def _late_encoder(kind: Any) -> Encoder:
    """Answer an encoder that is compiled at first use, so that a type may refer to itself."""

    def write(value: Any) -> Any:
        return _encoder(kind)(value)

    return write


def _field_encoder(hint: Any) -> Encoder | None:
    """Answer how to encode a field of that annotation; None = as it is."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (tuple, list) and (len(args) == 1 or (len(args) == 2 and args[1] is Ellipsis)):
        return _each(_field_encoder(args[0]))
    if origin is dict:
        return _each_value(_field_encoder(args[1]))
    if origin in (Union, types.UnionType):
        return _unless_none(_field_encoder(_only_alternative(hint)))
    if isinstance(hint, type) and (
        dataclasses.is_dataclass(hint) or _is_named_tuple(hint) or issubclass(hint, enum.Enum)
    ):
        if issubclass(hint, tuple) and all(t in _SCALARS for t in get_type_hints(hint).values()):
            return None  # msgpack writes a tuple of scalars as the array that it is
        return _late_encoder(hint)
    return None


# --- decoders -------------------------------------------------------------------------------------


@cache
def _decoder(hint: Any) -> Decoder:
    """Answer a function that turns plain data into the annotated type, compiled once per type."""
    if hint is Any:
        return lambda value: value
    if hint is None or hint is type(None):
        return _none
    if hint is float:
        return _float
    if hint in _SCALARS:
        return _scalar(hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (tuple, list):
        return _sequence(origin, args)
    if origin is dict:
        return _mapping(args[1])
    if origin in (Union, types.UnionType):
        inner = _decoder(_only_alternative(hint))
        return lambda value: None if value is None else inner(value)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _enumeration(hint)
    if dataclasses.is_dataclass(hint) or _is_named_tuple(hint):
        return _record(hint)
    raise TypeError(f"the codec cannot decode {hint}")


def _none(value: object) -> None:
    if value is not None:
        raise ProtocolError("expected nothing here")


def _float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ProtocolError(f"expected a number, got {type(value).__name__}")
    return float(value)


def _scalar(kind: type) -> Decoder:
    def read(value: object) -> object:
        if type(value) is not kind:
            raise ProtocolError(f"expected {kind.__name__}, got {type(value).__name__}")
        return value

    return read


def _sequence(origin: type, args: tuple[Any, ...]) -> Decoder:
    if (len(args) == 2 and args[1] is not Ellipsis) or len(args) > 2:
        return _fixed_tuple(args)
    item = _decoder(args[0])

    def read(value: object) -> object:
        if not isinstance(value, list):
            raise ProtocolError(f"expected an array, got {type(value).__name__}")
        return origin(map(item, value))

    return read


def _fixed_tuple(args: tuple[Any, ...]) -> Decoder:
    items = [_decoder(arg) for arg in args]

    def read(value: object) -> object:
        if not isinstance(value, list) or len(value) != len(items):
            raise ProtocolError(f"expected an array of {len(items)}")
        return tuple(item(element) for item, element in zip(items, value, strict=True))

    return read


def _mapping(hint: Any) -> Decoder:
    item = _decoder(hint)

    def read(value: object) -> object:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise ProtocolError("expected a map with text keys")
        return {key: item(element) for key, element in value.items()}

    return read


def _enumeration(kind: type[enum.Enum]) -> Decoder:
    def read(value: object) -> enum.Enum:
        try:
            return kind(value)
        except ValueError as error:
            raise ProtocolError(f"{value!r} is no {kind.__name__}") from error

    return read


def _record(kind: Any) -> Decoder:
    names = _field_names(kind)
    required = _required_fields(kind)
    decoders: list[Decoder] = []

    def read(value: object) -> object:
        if not isinstance(value, list) or len(value) < required:
            raise ProtocolError(f"expected the {required} fields of {kind.__name__}")
        if not decoders:  # late, so that a type may refer to itself
            hints = get_type_hints(kind)
            decoders.extend(_decoder(hints[name]) for name in names)
        try:
            return kind(*[read_field(part) for read_field, part in zip(decoders, value)])  # noqa: B905
        except (ValueError, TypeError) as error:
            raise ProtocolError(f"{kind.__name__}: {error}") from error

    return read


def _only_alternative(hint: Any) -> Any:
    """Answer X of `X | None`; other unions are families and belong in `Union_`."""
    rest = [arg for arg in get_args(hint) if arg is not type(None)]
    if len(rest) != 1:
        raise TypeError(f"the codec knows only `X | None`, not {hint}")
    return rest[0]


def _is_named_tuple(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


@cache
def _field_names(kind: Any) -> tuple[str, ...]:
    if _is_named_tuple(kind):
        return typing.cast(tuple[str, ...], kind._fields)
    return tuple(field.name for field in dataclasses.fields(kind))


def _required_fields(kind: Any) -> int:
    if _is_named_tuple(kind):
        return len(kind._fields) - len(kind._field_defaults)
    return sum(
        field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        for field in dataclasses.fields(kind)
    )
