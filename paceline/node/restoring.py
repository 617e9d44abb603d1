"""A new cluster of one node from a backup: offline, into a directory of its own.

Everything is put together beside the data directory and takes its name in one step, at the end: a
restore that was cut short leaves nothing that a node would start with. The log begins with a mark
at the backup's index, and the new node's membership of itself; from there on it is a recovery (see
`recovery`): the old members have left, what they were working on starts again, and the cluster gets
a new id and a new token.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import IO, Any, Final

from paceline.clock import Clock
from paceline.consensus.messages import HardState, Membership, SnapshotMeta
from paceline.consensus.storage.protocol import LogWrite
from paceline.consensus.storage.sqlite import SqliteLogStorage
from paceline.errors import Conflict, CorruptStorage, NotFound, StorageError
from paceline.node import belonging
from paceline.node.backup import ABOUT, BLOBS, FORMAT, STATE, About
from paceline.node.data_dir import write_atomically
from paceline.node.disk import out_of_space
from paceline.node.keys import load_or_create_keys
from paceline.node.recovery import WRITE_TIMEOUT_S, Recovered, Recovery
from paceline.tasks.schema import open_writer

ABOUT_LIMIT_BYTES: Final = 64 * 1024
CHUNK_BYTES: Final = 1024 * 1024
HASH_LENGTH: Final = 64


def restore(backup: Path, data_dir: Path, *, clock: Clock) -> tuple[About, Recovered]:
    """Make a node's data directory from a backup. Answer what was restored, and the new cluster.

    Raise NotFound if there is no backup, Conflict if the directory is in use, CorruptStorage for a
    file that is not a whole backup, StorageFull.
    """
    _require_free(data_dir)
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    staged = data_dir.with_name(f".{data_dir.name}.restore-{os.getpid()}")
    try:
        staged.mkdir(mode=0o700)
        with out_of_space():
            about = _unpack(backup, staged)
            _make_node(staged, about)
        recovery = Recovery(staged, clock=clock)
        try:
            recovered = recovery.carry_out()
        finally:
            recovery.close()
        with contextlib.suppress(FileNotFoundError):
            data_dir.rmdir()
        staged.rename(data_dir)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return about, recovered


def _require_free(data_dir: Path) -> None:
    if data_dir.exists() and (not data_dir.is_dir() or any(data_dir.iterdir())):
        raise Conflict(
            f"{data_dir} is not empty; a restore never replaces a node: name a new directory with "
            "--data-dir"
        )


# --- the archive ----------------------------------------------------------------------------------


def _unpack(backup: Path, staged: Path) -> About:
    """Take out what belongs into a backup, and only that, whatever else the archive names."""
    with _explained(backup), tarfile.open(backup, "r:") as archive:
        about = _about(archive, backup)
        (staged / "blobs").mkdir(mode=0o700)
        blobs = 0
        for member in archive:
            source = archive.extractfile(member) if member.isfile() else None
            if member.name == STATE and source:
                _take(source, staged / STATE, about.state_sha256, backup)
            elif _is_blob(member.name) and source:
                _take_blob(source, staged, member.name, backup)
                blobs += 1
    if not (staged / STATE).exists() or blobs != about.blobs:
        raise _damaged(backup, "it ends before all of it was there")
    return about


def _about(archive: tarfile.TarFile, backup: Path) -> About:
    first = archive.next()
    source = (
        archive.extractfile(first) if first and first.isfile() and first.name == ABOUT else None
    )
    if source is None:
        raise _damaged(backup, f"it does not begin with {ABOUT}")
    known: dict[str, Any] = json.loads(source.read(ABOUT_LIMIT_BYTES))
    if known["format"] != FORMAT:
        raise StorageError(
            f"{backup} is a backup of format {known['format']}, and this program knows {FORMAT}: "
            "restore it with a newer one"
        )
    return About(**{field.name: known[field.name] for field in fields(About)})


def _is_blob(name: str) -> bool:
    sha256 = name.removeprefix(BLOBS)
    return name.startswith(BLOBS) and len(sha256) == HASH_LENGTH and sha256.isalnum()


def _take_blob(source: IO[bytes], staged: Path, name: str, backup: Path) -> None:
    sha256 = name.removeprefix(BLOBS)
    directory = staged / "blobs" / sha256[:2]
    directory.mkdir(mode=0o700, exist_ok=True)
    _take(source, directory / sha256, sha256, backup)


def _take(source: IO[bytes], target: Path, sha256: str, backup: Path) -> None:
    digest = hashlib.sha256()
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != sha256:
        raise _damaged(backup, f"the checksum of {target.name} is wrong")


def _damaged(backup: Path, reason: str) -> CorruptStorage:
    return CorruptStorage(
        f"{backup} is no whole backup: {reason}. Take another copy of it, or an older one"
    )


@contextlib.contextmanager
def _explained(backup: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"there is no file {backup}") from None
    except (tarfile.TarError, ValueError, KeyError, TypeError, EOFError) as error:
        raise _damaged(backup, str(error)) from error


# --- the node -------------------------------------------------------------------------------------


def _make_node(staged: Path, about: About) -> None:
    """Write the files with which the node would have that state, and be its only member."""
    _check_state(staged / STATE)
    keys = load_or_create_keys(staged)
    alone = Membership(voters=(keys.node_id,))
    mark = SnapshotMeta(about.index, about.term, alone)
    write = LogWrite(HardState(about.term, "", about.index), mark, ())
    written = threading.Event()
    storage = SqliteLogStorage(
        staged / "raft.db", loop_call=lambda call: call(), on_failure=lambda error: None
    )
    try:
        storage.write(write, written.set)
        if not written.wait(WRITE_TIMEOUT_S):
            raise StorageError(f"{staged / 'raft.db'} cannot be written; is the disk full?")
    finally:
        storage.close()
    known = {"cluster_id": about.cluster_id, "founded": True, "members": []}
    write_atomically(staged / belonging.FILE, json.dumps(known) + "\n")


def _check_state(path: Path) -> None:
    """Open it once as a node would, migrations included, and have SQLite look through it."""
    connection = open_writer(path)
    try:
        (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    finally:
        connection.close()
    if verdict != "ok":
        raise CorruptStorage(f"the state in the backup is damaged: {verdict}; take an older backup")
