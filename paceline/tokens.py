"""How a join token is written: what a person copies from one machine to another.

A token of our own is `pl1-`, 32 random bytes in Crockford's base32, `-`, and four characters of
checksum over those bytes. The alphabet has no I, L, O and U; they are read as what they were
mistaken for, and letters may be of either case. The checksum tells a mistyped token, which is
refused on the spot, from a wrong one, which only the cluster can refuse. The version in the prefix
lets a later release change any of this.

Any other text is a preset: a secret that a person chose before there was a cluster. It is taken
letter by letter.
"""

import hashlib
import re
import secrets
from typing import Final

from paceline.errors import InvalidSettings

SECRET_BYTES: Final = 32
PRESET_MIN: Final = 16
PRESET_MAX: Final = 512
"""Characters of a preset."""

_PREFIX: Final = "pl1-"
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_LOOKALIKES: Final = str.maketrans("oil", "011")
_BITS: Final = 5
_BODY_LENGTH: Final = 52
_CHECK_LENGTH: Final = 4
_OURS = re.compile(r"pl\d{1,3}[-:]", re.IGNORECASE)


def new_token() -> str:
    """Answer a token of 256 random bits."""
    return format_token(secrets.token_bytes(SECRET_BYTES))


def format_token(secret: bytes) -> str:
    """Answer how 32 bytes are written."""
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a token is made of {SECRET_BYTES} bytes")
    return f"{_PREFIX}{_write(secret, _BODY_LENGTH)}-{_checksum(secret)}"


def parse_token(text: str) -> str:
    """Answer the one spelling of a token that all nodes agree on.

    Raise InvalidSettings for one of ours that was mistyped or cut, or is of a version that this
    release does not know, and for a preset that is too short, too long or not printable ASCII.
    """
    text = text.strip()
    if not _OURS.match(text):
        return _preset(text)
    if not text.lower().startswith(_PREFIX):
        version = text.partition("-")[0]
        raise InvalidSettings(
            f"a token that begins with {version!r} is of a version that this release does not "
            "know; upgrade paceline on this machine"
        )
    return _own(text.lower().removeprefix(_PREFIX))


def _own(rest: str) -> str:
    body, dash, check = rest.translate(_LOOKALIKES).partition("-")
    if not dash or len(body) != _BODY_LENGTH or len(check) != _CHECK_LENGTH:
        raise _mistyped(f"it has {len(_PREFIX + rest)} characters instead of {TOKEN_LENGTH}")
    if set(body + check) - set(_ALPHABET):
        raise _mistyped("it has a character that no token has")
    secret = _read(body)
    if secret is None or _checksum(secret) != check:
        raise _mistyped("its checksum does not fit")
    return format_token(secret)


def _mistyped(reason: str) -> InvalidSettings:
    return InvalidSettings(
        f"the token was mistyped or cut: {reason}; `paceline token show` on a member prints it"
    )


def _preset(text: str) -> str:
    if not PRESET_MIN <= len(text) <= PRESET_MAX:
        raise InvalidSettings(
            f"the token has {len(text)} characters and must have {PRESET_MIN} to {PRESET_MAX}; "
            "leave it out and the first node makes a good one, or use `openssl rand -hex 32`"
        )
    if any(not "!" <= character <= "~" for character in text):
        raise InvalidSettings("the token must be plain ASCII without spaces")
    return text


def _checksum(secret: bytes) -> str:
    digest = hashlib.sha256(b"paceline token check\0" + secret).digest()
    return crockford(digest)[:_CHECK_LENGTH]


def crockford(data: bytes) -> str:
    """Answer bytes in the alphabet that people can read to each other, in lower case."""
    return _write(data, -(-len(data) * 8 // _BITS))


def _write(data: bytes, length: int) -> str:
    number = int.from_bytes(data, "big") << (length * _BITS - len(data) * 8)
    return "".join(
        _ALPHABET[number >> shift & 31] for shift in range((length - 1) * _BITS, -1, -_BITS)
    )


def _read(body: str) -> bytes | None:
    """Answer the bytes, or None where the last character has bits that no token sets."""
    number = 0
    for character in body:
        number = number << _BITS | _ALPHABET.index(character)
    surplus = _BODY_LENGTH * _BITS - SECRET_BYTES * 8
    if number & ((1 << surplus) - 1):
        return None
    return (number >> surplus).to_bytes(SECRET_BYTES, "big")


TOKEN_LENGTH: Final = len(_PREFIX) + _BODY_LENGTH + 1 + _CHECK_LENGTH
