"""Who a node is: a CURVE key pair, made at the first start and kept for ever.

The node id is the fingerprint of the public key, so nobody can claim another's id without that
node's secret key, and neither an address nor a host name says who somebody is. Whoever copies a
data directory copies the identity; two such nodes are one to all others.

The file is text of three lines: a title with the version of the format, the public key and the
secret key in Z85 (ZeroMQ RFC 32). The public key follows from the secret one, hence a damaged file
does not go unnoticed: the two no longer fit.
"""

import contextlib
import os
import secrets
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import zmq
from zmq.utils import z85

from paceline.errors import CorruptStorage
from paceline.ids import NodeId, fingerprint

FILE_NAME: Final = "node.key"
TITLE: Final = "paceline-node-key 1"
KEY_BYTES: Final = 32
Z85_LENGTH: Final = 40
LIMIT_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """A key pair, both halves 32 raw bytes. The secret half is never printed."""

    public: bytes
    secret: bytes = field(repr=False)

    @property
    def node_id(self) -> NodeId:
        """Answer the fingerprint of the public key."""
        return fingerprint(self.public)


def new_keys() -> NodeKeys:
    """Answer a fresh key pair from the system's randomness."""
    public, secret = zmq.curve_keypair()
    return NodeKeys(public=z85.decode(public), secret=z85.decode(secret))


def load_or_create_keys(data_dir: Path) -> NodeKeys:
    """Answer the node's keys; make them, and the directory, if this is its first start.

    The directory becomes private (0700) and the file is 0600. Raise CorruptStorage if there is a
    file but no valid key pair in it: a node must never take on a new identity silently.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_private(data_dir, 0o700)
    path = data_dir / FILE_NAME
    if not path.exists():
        _create(path, new_keys())
    _make_private(path, 0o600)
    return load_keys(path)


def load_keys(path: Path) -> NodeKeys:
    """Read a key file. Raise CorruptStorage if it is not what `load_or_create_keys` wrote."""
    with path.open("rb") as file:
        content = file.read(LIMIT_BYTES + 1)
    try:
        title, public, secret = content.decode("ascii").splitlines()
        keys = NodeKeys(
            public=_decode_key(public, "public "), secret=_decode_key(secret, "secret ")
        )
        derived = z85.decode(zmq.curve_public(z85.encode(keys.secret)))
    except (ValueError, KeyError, struct.error, zmq.ZMQError) as error:
        raise _damaged(path) from error
    if title != TITLE or derived != keys.public:
        raise _damaged(path)
    return keys


def _decode_key(line: str, label: str) -> bytes:
    text = line.removeprefix(label)
    if text == line or len(text) != Z85_LENGTH:
        raise ValueError("not a line of a key file")
    key = z85.decode(text)
    if len(key) != KEY_BYTES:
        raise ValueError("not a key")
    return bytes(key)


def _damaged(path: Path) -> CorruptStorage:
    return CorruptStorage(
        f"{path} holds no valid key pair: restore it from a backup, or delete it to let this node "
        "join as a new one"
    )


def _make_private(path: Path, mode: int) -> None:
    if path.stat().st_mode & 0o077:
        path.chmod(mode)


def _create(path: Path, keys: NodeKeys) -> None:
    """Write the file so that after a power cut there is either all of it or none.

    `os.link` refuses an existing name: of two first starts at once, one's key is kept by both.
    """
    public, secret = z85.encode(keys.public).decode(), z85.encode(keys.secret).decode()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(f"{TITLE}\npublic {public}\nsecret {secret}\n".encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
