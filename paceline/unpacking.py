"""How much memory a few bytes may demand: checked before msgpack decodes them.

A decoder makes room for an array when it reads its header, so a header of five bytes can demand
gigabytes; and an empty array of one byte becomes an object of 56. Both are bounded here by walking
over the headers alone, which skips texts and bytes without looking at them. Walking costs about a
third of a microsecond for each value, so it is done only where counting certain bytes (a thousand
times faster) cannot rule out that it matters. What passes takes at most some 20 times its own size,
and 80 MiB.
"""

from typing import Final

from paceline.errors import ProtocolError

DEPTH_LIMIT: Final = 1024
"""The decoder's own; so many arrays may be begun and not yet filled at one time."""
ROOM_LIMIT: Final = 8 * 1024 * 1024
"""Places of 8 bytes that arrays may announce without a look at whether they are ever filled."""
HARMLESS_BYTES: Final = ROOM_LIMIT // DEPTH_LIMIT
"""So little cannot demand more than that, whatever it says."""
VALUES_LIMIT: Final = 256 * 1024
"""Values that a message may hold for certain; the largest task there can be has 200,000."""

_CONTAINERS: Final = bytes(range(0x80, 0xA0))
_FIX_ARRAY, _FIX_TEXT, _NIL = 0x90, 0xA0, 0xC0
_LENGTH_BYTES: Final = {
    0xC4: 1, 0xC5: 2, 0xC6: 4,  # bytes
    0xD9: 1, 0xDA: 2, 0xDB: 4,  # text
}  # fmt: skip
_FIXED_BYTES: Final = {
    0xCA: 4, 0xCB: 8,  # floats
    0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8,  # unsigned
    0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,  # signed
}  # fmt: skip
_COUNT_BYTES: Final = {
    0xDC: (2, 1), 0xDD: (4, 1),  # arrays: the width of their count, values for each
    0xDE: (2, 2), 0xDF: (4, 2),  # maps
}  # fmt: skip


def require_modest(data: bytes) -> None:
    """Raise ProtocolError if decoding `data` could take far more memory than it has bytes."""
    size = len(data)
    if size <= HARMLESS_BYTES:
        return
    large = data.count(b"\xdd") * size + data.count(b"\xdc") * min(size, 0xFFFF)
    if large > ROOM_LIMIT or (size > VALUES_LIMIT and _containers(data) > VALUES_LIMIT):
        _walk(data)


def _containers(data: bytes) -> int:
    """Answer an upper bound of how many small arrays and maps there are."""
    return len(data) - len(data.translate(None, _CONTAINERS))


def _walk(data: bytes) -> None:
    """Go from header to header. What is cut short or impossible is left for the decoder to say."""
    at, end = 0, len(data)
    wanted, values = 1, 0
    while wanted and at < end:
        wanted -= 1
        values += 1
        inside, after = _header(data, at)
        wanted += inside
        at = after
        if wanted > end - at or values > VALUES_LIMIT:
            raise ProtocolError(f"a message of {end} bytes announces too many values")


def _header(data: bytes, at: int) -> tuple[int, int]:
    """Answer how many values belong to the one at `at`, and where the next one stands."""
    code = data[at]
    at += 1
    if code < 0x80 or code >= 0xE0 or 0xC0 <= code <= 0xC3:
        return 0, at
    if code < _FIX_ARRAY:
        return 2 * (code & 15), at
    if code < _FIX_TEXT:
        return code & 15, at
    if code < _NIL:
        return 0, at + (code & 31)
    if code in _FIXED_BYTES:
        return 0, at + _FIXED_BYTES[code]
    if code in _LENGTH_BYTES:
        width = _LENGTH_BYTES[code]
        return 0, at + width + int.from_bytes(data[at : at + width], "big")
    if code in _COUNT_BYTES:
        width, each = _COUNT_BYTES[code]
        return each * int.from_bytes(data[at : at + width], "big"), at + width
    raise ProtocolError("extension types are not part of the protocol")
