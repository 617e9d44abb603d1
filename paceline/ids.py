"""Names of things: ids made of randomness here, never inside `apply`."""

import base64
import hashlib
import uuid
from functools import lru_cache

NodeId = str
"""The fingerprint of a node's public key: 16 lower-case base32 characters."""

SHORT_LENGTH = 8
FINGERPRINT_BYTES = 10
"""80 bits: whoever wants to pose as a given node must find a second preimage of that size."""


@lru_cache(maxsize=1024)  # asked for each frame that arrives
def fingerprint(public_key: bytes) -> NodeId:
    """Answer the node id that belongs to a public key: the head of its SHA-256 in base32."""
    digest = hashlib.sha256(public_key).digest()
    return base64.b32encode(digest[:FINGERPRINT_BYTES]).decode("ascii").lower()


def new_id() -> str:
    """Answer a fresh random UUID (version 4), as the seed's database design has them."""
    return str(uuid.uuid4())


def short(identifier: str) -> str:
    """Answer the first eight characters, for people; commands accept any unique prefix."""
    return identifier[:SHORT_LENGTH]
