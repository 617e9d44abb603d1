"""Committed entries on their way into the state machine, and the log cut behind them.

The machine is given one bounded slice at a time, so that no turn takes long. When enough has been
applied, the machine is asked to make its state durable, and only then is the log before it
forgotten: by the core, and by the storage.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from paceline.consensus.compaction import Compaction
from paceline.consensus.core import Core
from paceline.consensus.messages import Entry, SnapshotMeta
from paceline.consensus.replica_model import ReplicaLimits
from paceline.consensus.stall import Stall
from paceline.consensus.storage.protocol import LogStorage, StateMachine
from paceline.errors import StorageFull

OnApplied = Callable[[Sequence[Entry], Sequence[Any]], None]


class Applying:
    """One replica's entries between commitment and application."""

    def __init__(
        self,
        *,
        core: Core,
        storage: LogStorage,
        machine: StateMachine,
        room: Stall,
        limits: ReplicaLimits,
        holds: Callable[[], Sequence[int]],
        applied: OnApplied,
        compacted: Callable[[SnapshotMeta], None],
    ) -> None:
        """Wire it.

        `holds` answers the indexes that followers still copy from; `applied` gets each slice with
        its results, and `compacted` hears of each cut.
        """
        self._core = core
        self._storage = storage
        self._machine = machine
        self._room = room
        self._limits = limits
        self._holds = holds
        self._applied = applied
        self._compacted = compacted
        self._backlog: deque[Entry] = deque()
        self._compaction = Compaction(machine.applied_index, limits.compaction)
        self._compacting = False
        self._installed_index = 0
        self._closed = False

    @property
    def may_go_on(self) -> bool:
        """Answer whether there is something to apply, and it is time to try."""
        return bool(self._backlog) and not self._room.waiting

    def add(self, entries: Sequence[Entry]) -> None:
        """Take entries that are committed, the next ones in order."""
        self._backlog.extend(entries)

    def meta(self) -> SnapshotMeta:
        """Answer what a snapshot of the state as it is now stands for."""
        return self._core.snapshot_meta(self._machine.applied_index)

    def apply_slice(self) -> None:
        """Apply what one turn has time for; where there is no room, keep it for a later one."""
        if not self.may_go_on:
            return
        entries = self._next_slice()
        try:
            results = self._machine.apply(entries)
        except StorageFull:
            self._backlog.extendleft(reversed(entries))
            self._room.refused()
            return
        self._room.relieved()
        self._core.applied(entries[-1].index)
        self._compaction.note_applied(entries)
        self._applied(entries, results)
        self._compact_if_due()

    def installed(self, meta: SnapshotMeta) -> None:
        """Take note that a snapshot has replaced the state, and what was to be applied to it."""
        self._backlog.clear()
        self._compaction.installed(meta.index)
        self._installed_index = meta.index
        self._core.applied(meta.index)

    def close(self) -> None:
        """Cut the log no more."""
        self._closed = True

    def _next_slice(self) -> list[Entry]:
        entries: list[Entry] = []
        size = 0
        while self._backlog and len(entries) < self._limits.apply_entries:
            size += len(self._backlog[0].data)
            if entries and size > self._limits.apply_bytes:
                break
            entries.append(self._backlog.popleft())
        return entries

    def _compact_if_due(self) -> None:
        if self._compacting or not self._compaction.due(self._holds()):
            return
        meta = self.meta()
        if meta.membership.voters:  # else this node joined, and has not yet applied who they are
            self._compacting = True
            self._machine.make_durable(lambda index: self._durable(meta, index))

    def _durable(self, meta: SnapshotMeta, index: int) -> None:
        """Cut the log at `meta` now that the state up to `index` is on the disk."""
        self._compacting = False
        if self._closed or index < meta.index or meta.index <= self._installed_index:
            return
        keep_from = self._compaction.compacted(meta.index)
        self._core.compact(meta, keep_from)
        self._storage.compact(meta, keep_from)
        self._compacted(meta)
