"""What the tests of the durable log share."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from paceline.consensus.messages import Entry, HardState, SnapshotMeta
from paceline.consensus.storage.protocol import LogWrite
from paceline.consensus.storage.sqlite import SqliteLogStorage
from paceline.errors import StorageError

LONG_S = 30.0
"""Far longer than anything takes; only a hanging test waits so long."""


def database_of(directory: Path) -> Path:
    return directory / "raft.db"


def open_storage(
    directory: Path, on_failure: Callable[[StorageError], None] | None = None
) -> SqliteLogStorage:
    """Answer a storage whose callbacks come on its own thread."""
    return SqliteLogStorage(
        database_of(directory),
        loop_call=lambda callback: callback(),
        on_failure=on_failure or _unexpected,
    )


def _unexpected(error: StorageError) -> None:
    raise AssertionError(f"unexpected failure: {error}")


def entries(first: int, count: int, term: int = 1, data: bytes = b"data") -> tuple[Entry, ...]:
    return tuple(Entry(index, term, 1, data) for index in range(first, first + count))


def write(
    storage: SqliteLogStorage,
    rows: Sequence[Entry] = (),
    *,
    hard_state: HardState | None = None,
    snapshot: SnapshotMeta | None = None,
) -> None:
    """Write, and wait until it is on the disk."""
    done = threading.Event()
    if hard_state is None and rows:
        hard_state = HardState(term=rows[-1].term)
    storage.write(LogWrite(hard_state, snapshot, tuple(rows)), done.set)
    assert done.wait(LONG_S)
