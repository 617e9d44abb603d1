"""A log in memory, for tests and for clusters that live in one process.

What has been completed is "on the disk": `load` answers it, and a test that crashes a node keeps
the storage and builds a new replica on it after `crash`, which drops what was not completed.
"""

from collections import deque
from collections.abc import Callable

from paceline.consensus.messages import Entry, HardState, SnapshotMeta
from paceline.consensus.storage.protocol import LogWrite, StoredLog


class MemoryLogStorage:
    """The LogStorage protocol in memory; completes writes at once, or when told."""

    def __init__(self, *, immediate: bool = True) -> None:
        self.stalled = False
        """Set it to make all writes wait, as on a full disk; see `complete`."""
        self.immediate = immediate
        """Whether writes complete at once; otherwise `complete` does it."""
        self._queue: deque[tuple[Callable[[], None], Callable[[], None]]] = deque()
        self._hard_state = HardState()
        self._snapshot: SnapshotMeta | None = None
        self._entries: list[Entry] = []

    @property
    def waiting(self) -> int:
        """Answer how many writes are not on the disk."""
        return len(self._queue)

    def load(self) -> StoredLog:
        """Answer what is on the disk."""
        return StoredLog(self._hard_state, self._snapshot, tuple(self._entries))

    def write(self, write: LogWrite, done: Callable[[], None]) -> None:
        """Queue a write; see LogStorage."""
        self._queue.append((lambda: self._write(write), done))
        self._go_on()

    def compact(self, snapshot: SnapshotMeta, keep_from: int) -> None:
        """Queue a compaction; see LogStorage."""
        self._queue.append((lambda: self._compact(snapshot, keep_from), _nobody))
        self._go_on()

    def complete(self, limit: int | None = None) -> int:
        """Complete up to `limit` writes (all by default) unless stalled; answer how many."""
        completed = 0
        while self._queue and not self.stalled and (limit is None or completed < limit):
            action, done = self._queue.popleft()
            action()
            completed += 1
            done()
        return completed

    def crash(self) -> None:
        """Forget what is not on the disk, and whom to tell."""
        self._queue.clear()
        self.stalled = False

    def close(self) -> None:
        """Complete what is queued."""
        self.complete()

    def _go_on(self) -> None:
        if self.immediate:
            self.complete()

    def _write(self, write: LogWrite) -> None:
        if write.hard_state is not None:
            self._hard_state = write.hard_state
        if write.snapshot is not None:
            self._snapshot, self._entries = write.snapshot, []
        if write.entries:
            keep = write.entries[0].index - self._first_index()
            self._entries[keep:] = write.entries

    def _compact(self, snapshot: SnapshotMeta, keep_from: int) -> None:
        if self._snapshot is not None and snapshot.index <= self._snapshot.index:
            return
        dropped = max(0, keep_from - self._first_index())
        self._snapshot = snapshot
        del self._entries[:dropped]

    def _first_index(self) -> int:
        if self._entries:
            return self._entries[0].index
        return 1 if self._snapshot is None else self._snapshot.index + 1


def _nobody() -> None:
    """Nobody waits for a compaction."""
