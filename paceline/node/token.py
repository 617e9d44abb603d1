"""The keys that a cluster's token stands for.

Nobody ever sends the token itself to a stranger. Admission proves knowledge of a key derived from
it, and the hint, by which nodes of one token find each other, is derived from it too. Both can be
had by anybody on the network, who may then try out guesses in peace. Against a token of 256 random
bits that is hopeless. A preset that a person made up is weaker, so each guess is made to cost some
50 ms and 16 MiB (scrypt, RFC 7914); that is a price, not a protection, and `token show` after a
start without a preset gives a better one.

The salt is a constant, as two nodes must come to the same keys before they have exchanged a word.
Each use has a key of its own (HKDF-Expand, RFC 5869), so that no value made for one is of any use
in another.
"""

import asyncio
import hashlib
import hmac
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from paceline.tokens import new_token, parse_token

__all__ = ["TokenKeys", "derive", "derive_in_thread", "new_token", "parse_token"]

_COST: Final = 2**14
_BLOCK: Final = 8
_MEMORY_LIMIT_BYTES: Final = 64 * 1024 * 1024
_SALT: Final = b"paceline token 1"
HINT_LENGTH: Final = 24
KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """What a token is used for. Equal for equal tokens."""

    hint: str
    """Tells clusters apart on the network: 24 hexadecimal digits."""
    admission: bytes = field(repr=False)
    """Proves to each other, in `admission`, that two nodes know the token."""


@lru_cache(maxsize=8)  # a node has one; an old and a new one meet while it is rotated
def derive(token: str) -> TokenKeys:
    """Answer the keys of a token that passed `parse_token`. Takes some 50 ms."""
    root = hashlib.scrypt(
        token.encode(),
        salt=_SALT,
        n=_COST,
        r=_BLOCK,
        p=1,
        maxmem=_MEMORY_LIMIT_BYTES,
        dklen=KEY_BYTES,
    )
    return TokenKeys(
        hint=expand(root, b"hint").hex()[:HINT_LENGTH], admission=expand(root, b"admission")
    )


async def derive_in_thread(token: str) -> TokenKeys:
    """Answer the same, while the event loop goes on."""
    return await asyncio.to_thread(derive, token)


def expand(root: bytes, label: bytes) -> bytes:
    """Answer the key for one use: the first block of HKDF-Expand with SHA-256."""
    return hmac.digest(root, b"paceline " + label + b"\x01", "sha256")
