"""Names of things: ids made of randomness here, never inside `apply`."""

import uuid

NodeId = str
"""The fingerprint of a node's public key: 16 lower-case base32 characters."""

SHORT_LENGTH = 8


def new_id() -> str:
    """Answer a fresh random UUID (version 4), as the seed's database design has them."""
    return str(uuid.uuid4())


def short(identifier: str) -> str:
    """Answer the first eight characters, for people; commands accept any unique prefix."""
    return identifier[:SHORT_LENGTH]
