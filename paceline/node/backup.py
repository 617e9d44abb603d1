"""A copy of everything that a cluster knows, in one file, made while it runs.

The file is a plain tar archive, so that it can be looked into with what every machine has:

    backup.json     what it is: format, versions, cluster, log index, checksums
    state.db        the replicated state as of that index
    blobs/SHA256    bytes that the state refers to, as far as this node has them

The join token is not in it: whoever restores makes a new cluster with a token of its own. Tasks,
their words, outputs and logs' tails are, so the file is private (0600), and should stay so.
"""

import asyncio
import contextlib
import io
import json
import os
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from paceline import __version__
from paceline.errors import Conflict, InputError, StorageError
from paceline.node.blobs import BlobStore
from paceline.node.disk import out_of_space, sync_directory
from paceline.tasks import queries, queries_members, snapshot
from paceline.tasks.queries_storage import live_storage
from paceline.tasks.schema import open_reader

FORMAT: Final = 1
ABOUT: Final = "backup.json"
STATE: Final = "state.db"
BLOBS: Final = "blobs/"


@dataclass(frozen=True, slots=True)
class About:
    """What a backup says of itself."""

    format: int
    paceline: str
    cluster_id: str
    index: int
    term: int
    made_at_ms: int
    state_sha256: str
    tasks: int
    blobs: int
    missing_blobs: int
    """The state refers to them, but this node did not have them."""


class Backups:
    """Makes backups of one node's state and blobs."""

    def __init__(self, *, state: Path, blobs: BlobStore) -> None:
        self._state = state
        self._blobs = blobs
        self._one_at_a_time = asyncio.Lock()

    async def write(self, target: Path) -> About:
        """Write a backup to a new file. Raise InputError, Conflict if it is there, StorageFull."""
        if not target.is_absolute() or not target.parent.is_dir():
            raise InputError(f"{target} must be an absolute path in a directory that exists")
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._write, target)

    def _write(self, target: Path) -> About:
        if target.exists():
            raise Conflict(f"{target} exists; a backup never replaces a file: name another one")
        copy = snapshot.copy(self._state, snapshot.pin(self._state))
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            about, blobs = self._described(copy.path)
            with _storage_errors(target), out_of_space():
                _write_archive(unfinished, about, copy.path, blobs)
                os.link(unfinished, target)  # refuses a name that has been taken meanwhile
                sync_directory(target.parent)
            return about
        finally:
            unfinished.unlink(missing_ok=True)
            copy.close()

    def _described(self, copy: Path) -> tuple[About, list[Path]]:
        """Take the token out of the copy; answer what it is, and the files of its blobs."""
        _forget_token(copy)
        with contextlib.closing(open_reader(copy)) as connection:
            record = queries_members.cluster(connection)
            index, term = connection.execute(
                "SELECT applied_index, applied_term FROM meta"
            ).fetchone()
            wanted = sorted(live_storage(connection).blobs)
            tasks = sum(queries.task_counts(connection).values())
        found = [self._blobs.path(sha256) for sha256 in wanted if self._blobs.has(sha256)]
        about = About(
            format=FORMAT,
            paceline=__version__,
            cluster_id=record.cluster_id if record else "",
            index=index,
            term=term,
            made_at_ms=time.time_ns() // 1_000_000,
            state_sha256=snapshot.digest_of(copy).hex(),
            tasks=tasks,
            blobs=len(found),
            missing_blobs=len(wanted) - len(found),
        )
        return about, found


def _forget_token(copy: Path) -> None:
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("UPDATE cluster SET token = ''")


def _write_archive(target: Path, about: About, state: Path, blobs: list[Path]) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            text = json.dumps(asdict(about), indent=2).encode() + b"\n"
            archive.addfile(_member(ABOUT, len(text), about), io.BytesIO(text))
            for name, path in ((STATE, state), *((BLOBS + blob.name, blob) for blob in blobs)):
                with path.open("rb") as source:
                    size = os.fstat(source.fileno()).st_size
                    archive.addfile(_member(name, size, about), source)
        file.flush()
        os.fsync(file.fileno())


def _member(name: str, size: int, about: About) -> tarfile.TarInfo:
    """Answer an archive's member that tells nothing of this machine."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, about.made_at_ms // 1000
    return member


@contextlib.contextmanager
def _storage_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise Conflict(f"{target} exists; a backup never replaces a file") from None
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror}") from error
