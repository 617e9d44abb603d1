"""The keys that a token stands for."""

import asyncio
import hashlib
import hmac

from paceline.node.token import derive, derive_in_thread, expand

TOKEN = "a-token-of-mine-1"


def test_equal_tokens_have_equal_keys_and_others_have_others() -> None:
    keys = [derive(token) for token in (TOKEN, TOKEN, "another-token-x")]
    assert keys[0] == keys[1]
    assert keys[0].hint != keys[2].hint
    assert keys[0].admission != keys[2].admission
    assert asyncio.run(derive_in_thread(TOKEN)) == keys[0]


def test_the_keys_are_what_the_standards_say() -> None:
    """A second implementation of another version must come to the same."""
    root = hashlib.scrypt(TOKEN.encode(), salt=b"paceline token 1", n=16384, r=8, p=1, dklen=32)
    first_block = hmac.new(root, b"paceline hint" + b"\x01", hashlib.sha256).digest()
    assert derive(TOKEN).hint == first_block.hex()[:24]
    assert expand(root, b"hint") == first_block


def test_nothing_shows_a_key() -> None:
    keys = derive(TOKEN)
    assert keys.hint in repr(keys)
    assert "admission" not in repr(keys)
