"""The task machine, as consensus wants to see it.

`tasks` knows nothing of Raft, so it keeps the membership of a snapshot as bytes that mean nothing
to it. Here they get their meaning back; everything else passes through.
"""

from collections.abc import Callable, Sequence
from typing import Any

from paceline.codec import decode
from paceline.consensus.messages import Entry, Membership, SnapshotMeta
from paceline.consensus.storage.protocol import SnapshotSource
from paceline.tasks.machine import TaskMachine


class TaskState:
    """A `StateMachine` of consensus over a `TaskMachine`."""

    def __init__(self, machine: TaskMachine) -> None:
        self._machine = machine

    @property
    def applied_index(self) -> int:
        """Answer the last index whose effect is in the state."""
        return self._machine.applied_index

    @property
    def snapshot_meta(self) -> SnapshotMeta | None:
        """Answer the meta of the last restored snapshot, or None."""
        mark = self._machine.restored_from
        if mark is None:
            return None
        return SnapshotMeta(mark.index, mark.term, decode(Membership, mark.membership))

    def apply(self, entries: Sequence[Entry]) -> list[Any]:
        """Apply a batch in one transaction."""
        return self._machine.apply(entries)

    def save(self, done: Callable[[SnapshotSource], None]) -> None:
        """Copy the state in the background."""
        self._machine.save(done)

    def restore(self, source: SnapshotSource, meta: SnapshotMeta) -> None:
        """Replace the whole state."""
        self._machine.restore(source, meta)

    def make_durable(self, done: Callable[[int], None]) -> None:
        """Sync the state."""
        self._machine.make_durable(done)

    def digest(self) -> bytes:
        """Answer SHA-256 over the state."""
        return self._machine.digest()
