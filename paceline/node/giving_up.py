"""How a node gives up a cluster in which nothing was ever submitted, to join another of its token.

Nothing may be lost by that, whenever the power fails. So the node first stops and lets go of its
files, and its next start does the rest:

1. `joining.json` says which cluster is given up, and has the token (0600), which would otherwise be
   gone with the state. Written while the cluster still runs; by itself it changes nothing.
2. At the start, with no other process or task at the files, they are looked through: a task in the
   state, or a submission in the log, and the mark is taken away and the cluster goes on.
3. `cluster.json` is moved aside. From here on this node belongs to no cluster.
4. Log, state and outbox are moved aside, where those of a cluster given up earlier make room.
5. The node asks around like any newcomer. Once it belongs to a cluster, the mark is stale.

A crash after any of these is mended by the next start, which goes on where it was.
"""

import contextlib
import os
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from paceline.consensus.messages import EntryKind
from paceline.consensus.storage.sqlite import SqliteLogStorage
from paceline.errors import PacelineError
from paceline.node.belonging import FILE as CLUSTER_FILE
from paceline.node.data_dir import PRIVATE_DIRECTORY, DataDir
from paceline.tasks import queries_members
from paceline.tasks.commands import SubmitTask, decode_envelope

FILE: Final = "joining.json"
ASIDE: Final = "given-up"
_PATTERNS: Final = ("raft.db*", "state.db*", "outbox.db*")

log = structlog.get_logger(__name__)


def mark(data_dir: DataDir, *, cluster_id: str, token: str) -> None:
    """Note that this node wants to give up its cluster at its next start."""
    data_dir.write_json(FILE, {"gives_up": cluster_id, "token": token})


@dataclass(frozen=True, slots=True)
class Resumed:
    """What came of a mark. `token` is to join with; `refused`: the cluster goes on after all."""

    token: str | None = field(default=None, repr=False)
    refused: bool = False
    gave_up: str = ""


def resume(data_dir: DataDir) -> Resumed:
    """Do what the mark says, if there is one. To be called before anything there is opened."""
    document = data_dir.read_json(FILE)
    if document is None:
        return Resumed()
    cluster = data_dir.read_json(CLUSTER_FILE)
    if cluster is not None:
        meant = cluster.get("cluster_id") == document.get("gives_up")
        if not meant or not is_empty(data_dir.path):
            (data_dir.path / FILE).unlink()
            return Resumed(refused=meant)
        _move_aside(data_dir, CLUSTER_FILE)
    for pattern in _PATTERNS:
        _move_aside(data_dir, pattern)
    log.info("gave up an empty cluster for another of its token", gave_up=document["gives_up"])
    return Resumed(str(document["token"]), gave_up=str(document["gives_up"]))


def is_empty(directory: Path) -> bool:
    """Answer whether nothing was ever submitted, for certain, as far as this node's files know."""
    try:
        return not _state_has_work(directory / "state.db") and not _log_has_work(
            directory / "raft.db"
        )
    except (PacelineError, sqlite3.Error) as error:
        log.warning("cannot tell whether the cluster is empty; it stays", reason=str(error))
        return False


def _state_has_work(path: Path) -> bool:
    if not path.exists():
        return True  # gone, or never there: then nothing can be said for certain
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return queries_members.has_work(connection)


def _log_has_work(path: Path) -> bool:
    """Submissions that are in the log and not yet in the state were perhaps acknowledged."""
    if not path.exists():
        return True
    storage = SqliteLogStorage(path, loop_call=lambda call: call(), on_failure=_nothing)
    try:
        entries = storage.load().entries
    finally:
        storage.close()
    return any(
        isinstance(decode_envelope(entry.data).command, SubmitTask)
        for entry in entries
        if entry.kind == EntryKind.COMMAND
    )


def _nothing(error: BaseException) -> None:
    """Do nothing: reading raises by itself."""


def _move_aside(data_dir: DataDir, pattern: str) -> None:
    target = data_dir.path / ASIDE
    for path in sorted(data_dir.path.glob(pattern)):
        target.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
        path.replace(target / path.name)
    for directory in (target, data_dir.path):
        _sync(directory)


def _sync(directory: Path) -> None:
    """Have the moves on the disk, in their order, before anything is built on them."""
    if directory.exists():
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
