"""A node's data directory: who owns it, what lies where, and small files written safely.

lock            held (flock) by the running node: one process per directory
node.json       who and where the running node is; no secret
cluster.json    which cluster this node belongs to; absent until it has founded or joined one
api.token       the bearer token of the REST interface (0600)
node.key        the CURVE key pair (see `keys`)
raft.db         Raft's log and hard state
state.db        tasks, subtasks, attempts, workers ...
outbox.db       outcomes that are not yet committed
blobs/ cache/ attempts/ logs/   bytes by content, git caches, working directories, logs
"""

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import IO, Any

from paceline.errors import Conflict, CorruptStorage, StorageError
from paceline.node.disk import disk_errors, sync_directory

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700


class DataDir:
    """One node's directory, locked for as long as this object is open."""

    def __init__(self, path: Path) -> None:
        """Make the directory if need be and lock it. Raise Conflict if another node has it."""
        self.path = path
        try:
            path.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            path.chmod(PRIVATE_DIRECTORY)
            self._lock: IO[str] = (path / "lock").open("a+")
        except OSError as error:
            raise StorageError(
                f"cannot use {path}: {error.strerror}; name another directory with --data-dir"
            ) from error
        self._take_lock()

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise Conflict(
                f"a node (process {holder}) already runs with {self.path}; "
                "stop it with `paceline node stop`, or give this one its own --data-dir"
            ) from error
        with contextlib.suppress(OSError):  # who holds it is a help; a full disk may not have it
            os.ftruncate(self._lock.fileno(), 0)
            os.write(self._lock.fileno(), str(os.getpid()).encode())

    def close(self) -> None:
        """Let another node have it."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / "node.json").unlink()
        self._lock.close()

    def directory(self, name: str) -> Path:
        """Answer a private subdirectory, made if need be."""
        path = self.path / name
        with disk_errors(path):
            path.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
        return path

    def write_json(self, name: str, document: dict[str, Any]) -> None:
        """Replace a small file as a whole: a reader sees the old one or the new one."""
        write_atomically(self.path / name, json.dumps(document, indent=2) + "\n")

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Answer what the file holds, or None if there is none. Raise CorruptStorage."""
        path = self.path / name
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            raise CorruptStorage(f"{path} cannot be read: {error}") from error
        if not isinstance(document, dict):
            raise CorruptStorage(f"{path} does not hold a JSON object")
        return document


def write_atomically(path: Path, text: str) -> None:
    """Write a private file so that it is there as a whole, on disk, or not at all.

    Raise StorageFull, StorageError; the file is then what it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with disk_errors(path):
        try:
            _write_synced(temporary, text.encode())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    with open(descriptor, "wb", buffering=0) as file:
        while data:
            data = data[file.write(data) :]
        os.fsync(descriptor)
