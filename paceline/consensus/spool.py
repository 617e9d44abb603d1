"""Where the bytes of a received snapshot wait until all of them are there and verified."""

import errno
import hashlib
import os
import shutil
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Protocol

from paceline.consensus.storage.protocol import SnapshotSource
from paceline.errors import CorruptStorage

READ_BYTES = 256 * 1024
PREFIX = "incoming-"


class Incoming(Protocol):
    """A snapshot of which `have` bytes are there."""

    @property
    def have(self) -> int:
        """Answer how many bytes are there."""
        ...

    def append(self, data: bytes) -> None:
        """Add the next bytes. Raise OSError if there is no room."""
        ...

    def finish(self) -> SnapshotSource:
        """Answer the whole. Raise CorruptStorage, and forget all bytes, if it is not the one."""
        ...

    def suspend(self) -> None:
        """Let go of it, but keep the bytes for a later `open` if that is possible."""
        ...


class Spool(Protocol):
    """Keeps at most one snapshot at a time."""

    def open(self, size: int, sha256: bytes) -> Incoming:
        """Begin, or go on with what is there of it; any other is forgotten.

        Raise OSError if there is no room.
        """
        ...


class FileSpool:
    """Keeps it in a file of the data directory, named by its hash, so that a restart resumes it."""

    def __init__(self, directory: Path, *, copies: int = 1) -> None:
        """Keep files there, if `copies` of the whole, this one included, will fit on the disk.

        What could not be restored is not worth receiving.
        """
        self._directory = directory
        self._copies = copies

    def open(self, size: int, sha256: bytes) -> Incoming:
        """Begin, or go on with what is there of it; any other is forgotten."""
        path = self._directory / f"{PREFIX}{sha256.hex()}.part"
        for other in self._directory.glob(f"{PREFIX}*.part"):
            if other != path:
                other.unlink(missing_ok=True)
        self._require_room(path, size)
        return _FileIncoming(path, size, sha256)

    def _require_room(self, path: Path, size: int) -> None:
        have = path.stat().st_size if path.exists() else 0
        if shutil.disk_usage(self._directory).free < self._copies * size - have:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _FileIncoming:
    """Appends to the file; hashes as it goes, so that nothing long is left for the end."""

    def __init__(self, path: Path, size: int, sha256: bytes) -> None:
        self._path = path
        self._size = size
        self._sha256 = sha256
        # Unbuffered: nothing is left behind that could not be written and that `close` would retry.
        self._file: FileIO = path.open("a+b", buffering=0)
        self._hash = hashlib.sha256()
        self.have = 0
        self._take_up()

    def append(self, data: bytes) -> None:
        try:
            _write_all(self._file, data)
        except OSError:
            with suppress(OSError):  # a part of `data` may be there; the hash knows nothing of it
                self._file.truncate(self.have)
            raise
        self._hash.update(data)
        self.have += len(data)

    def finish(self) -> SnapshotSource:
        if self.have != self._size or self._hash.digest() != self._sha256:
            self._file.close()
            self._path.unlink(missing_ok=True)
            raise CorruptStorage("a received snapshot does not have the announced SHA-256")
        return FileSource(self._path, self._file, self._size, self._sha256)

    def suspend(self) -> None:
        self._file.close()

    def _take_up(self) -> None:
        """Hash what an earlier run left. Too long a file is a wrong one."""
        if self._path.stat().st_size > self._size:
            self._file.truncate(0)
        self._file.seek(0)
        while piece := self._file.read(READ_BYTES):
            self._hash.update(piece)
            self.have += len(piece)


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


class FileSource:
    """A SnapshotSource over a file that it owns: `close` deletes it."""

    def __init__(self, path: Path, file: FileIO, size: int, sha256: bytes) -> None:
        self.size = size
        self.sha256 = sha256
        self._path = path
        self._file = file

    def read(self, offset: int, limit: int) -> bytes:
        """Answer up to `limit` bytes from `offset`."""
        self._file.seek(offset)
        return self._file.read(limit)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class MemorySpool:
    """Keeps it in memory: for tests, simulations and states that are known to be small."""

    def __init__(self) -> None:
        self._kept: dict[bytes, _MemoryIncoming] = {}

    def open(self, size: int, sha256: bytes) -> Incoming:
        """Begin, or go on with what is there of it; any other is forgotten."""
        incoming = self._kept.get(sha256) or _MemoryIncoming(self, size, sha256)
        self._kept = {sha256: incoming}
        return incoming

    def forget(self) -> None:
        """Let the bytes go."""
        self._kept = {}


class _MemoryIncoming:
    def __init__(self, spool: MemorySpool, size: int, sha256: bytes) -> None:
        self._spool = spool
        self._size = size
        self._sha256 = sha256
        self._data = bytearray()

    @property
    def have(self) -> int:
        return len(self._data)

    def append(self, data: bytes) -> None:
        self._data += data

    def finish(self) -> SnapshotSource:
        self._spool.forget()
        data = bytes(self._data)
        if len(data) != self._size or hashlib.sha256(data).digest() != self._sha256:
            raise CorruptStorage("a received snapshot does not have the announced SHA-256")
        return MemorySource(data)

    def suspend(self) -> None:
        """Leave the bytes with the spool."""


class MemorySource:
    """A SnapshotSource over bytes."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self.sha256 = hashlib.sha256(data).digest()
        self._data = data

    def read(self, offset: int, limit: int) -> bytes:
        """Answer up to `limit` bytes from `offset`."""
        return self._data[offset : offset + limit]

    def close(self) -> None:
        """Let the bytes go."""
        self._data = b""
