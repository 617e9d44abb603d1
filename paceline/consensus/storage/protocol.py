"""What the replica asks of a log's storage, and of the state machine. Both complete by callback.

Callback style, not `async`, so that the same replica runs under asyncio and in the simulation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from paceline.consensus.messages import Entry, HardState, SnapshotMeta
from paceline.errors import StorageFull


@dataclass(frozen=True, slots=True)
class StoredLog:
    """What a node finds on its disk when it starts.

    `entries` follow `snapshot.index` gaplessly; they may begin before it, with what compaction kept
    for slow followers, and then have no gap there either.
    """

    hard_state: HardState
    snapshot: SnapshotMeta | None
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class LogWrite:
    """One atomic write: the snapshot's mark (which empties the log), hard state, entries."""

    hard_state: HardState | None
    snapshot: SnapshotMeta | None
    entries: tuple[Entry, ...]


class LogStorage(Protocol):
    """A durable log. Writes complete in the order in which they were asked for."""

    def load(self) -> StoredLog:
        """Read everything. Raise CorruptStorage if it is not what was written."""
        ...

    def write(self, write: LogWrite, done: Callable[[], None]) -> None:
        """Queue an atomic write; call `done` once it, and all before it, are on the disk.

        A full disk is retried inside until there is room (`done` comes late; `stalled` tells); any
        other failure to write or sync goes to the failure callback given at construction and is
        final: a node whose disk lies must stop.
        """
        ...

    def compact(self, snapshot: SnapshotMeta, keep_from: int) -> None:
        """Queue: drop entries before `keep_from`: the state to `snapshot.index` is durable.

        `keep_from` is at most `snapshot.index + 1`.
        """
        ...

    @property
    def stalled(self) -> bool:
        """Answer whether writes cannot complete now (disk full)."""
        ...

    def close(self) -> None:
        """Finish queued writes and let go of the files."""
        ...


class SnapshotSource(Protocol):
    """A finished snapshot of the state machine, read in pieces while it is sent."""

    size: int
    sha256: bytes

    def read(self, offset: int, limit: int) -> bytes:
        """Answer up to `limit` bytes from `offset`."""
        ...

    def close(self) -> None:
        """Let go of it (a file is deleted)."""
        ...


class StateMachine(Protocol):
    """What the log is for. Deterministic: the same entries give the same state everywhere."""

    @property
    def applied_index(self) -> int:
        """Answer the last index whose effect is in the state (kept in the same transaction)."""
        ...

    @property
    def snapshot_meta(self) -> SnapshotMeta | None:
        """Answer the `meta` of the last `restore`, kept with the state; None if there was none.

        A crash may fall between restoring a snapshot and marking it in the log; see `recovery`.
        """
        ...

    def apply(self, entries: Sequence[Entry]) -> list[Any]:
        """Apply entries in order, all of them or (by raising) none; answer one result each.

        Entries that are not commands, and those at or below `applied_index`, change nothing and
        give None. A command that the state refuses gives its error as the result, unraised.
        Raise StorageFull if there is no room: the same entries are given again later. Any other
        error is final.
        """
        ...

    def save(
        self, done: Callable[[SnapshotSource], None], failed: Callable[[StorageFull], None]
    ) -> None:
        """Make a durable, consistent copy of the state as of now, without blocking for long.

        `failed` is called instead of `done` if there is no room for it; nothing is left of it then.
        Raise Busy where too many copies are being made. Any other failure is final, and goes to
        whom the machine was told at construction.
        """
        ...

    def restore(self, source: SnapshotSource, meta: SnapshotMeta) -> None:
        """Replace the whole state, durably, by a verified snapshot.

        Raise StorageFull, and change nothing, if there is no room: it is tried again later.
        """
        ...

    def make_durable(self, done: Callable[[int], None]) -> None:
        """Sync applied state to the disk; `done` gets the index up to which it is durable now."""
        ...

    def digest(self) -> bytes:
        """Answer SHA-256 over the applied state in a fixed order."""
        ...
