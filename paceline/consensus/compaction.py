"""When the log is cut, and where.

The state machine keeps its state in its own durable file, so no snapshot file is needed to forget
entries: it is enough that the applied state is known to be on the disk. A tail of entries behind
that point is kept in memory, because a follower that was away for a moment is far cheaper to serve
with entries than with a whole state.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from paceline.consensus.messages import Entry

ENTRY_OVERHEAD_BYTES = 120
"""What an entry costs in memory besides its data (a tuple, three integers, a bytes head)."""


@dataclass(frozen=True, slots=True)
class CompactionLimits:
    """Bounds of the log. The core holds at most about `every` plus `keep_trailing` of it."""

    every_entries: int = 10_000
    every_bytes: int = 16 * 1024 * 1024
    keep_trailing_entries: int = 5_000
    keep_trailing_bytes: int = 8 * 1024 * 1024
    hold_factor: int = 4
    """A snapshot under way holds compaction back until the log is this many times `every_...`."""


class Compaction:
    """Follows what is applied; says when to compact and what to keep."""

    def __init__(self, index: int, limits: CompactionLimits) -> None:
        self._limits = limits
        self._applied = index
        self._total_bytes = 0
        self._cut = (index, 0)
        self._marks: deque[tuple[int, int]] = deque([(index, 0)])

    def note_applied(self, entries: Sequence[Entry]) -> None:
        """Take note of a slice that the machine has applied."""
        self._total_bytes += sum(len(entry.data) + ENTRY_OVERHEAD_BYTES for entry in entries)
        self._applied = entries[-1].index
        self._marks.append((self._applied, self._total_bytes))

    def installed(self, index: int) -> None:
        """Start over from a snapshot."""
        self._applied = index
        self._cut = (index, self._total_bytes)
        self._marks = deque([self._cut])

    def due(self, holds: Sequence[int]) -> bool:
        """Answer whether to compact now; `holds` are indexes that followers still copy from."""
        factor = self._limits.hold_factor if holds else 1
        entries = self._applied - self._cut[0]
        size = self._total_bytes - self._cut[1]
        limits = self._limits
        return entries >= limits.every_entries * factor or size >= limits.every_bytes * factor

    def compacted(self, index: int) -> int:
        """Note that the state at `index` is durable; answer the first index worth keeping."""
        cut_bytes = self._bytes_at(index)
        self._cut = (index, cut_bytes)
        self._drop_marks(index - self._limits.keep_trailing_entries)
        while len(self._marks) > 1 and self._too_many_bytes(cut_bytes):
            self._marks.popleft()
        return min(index, self._marks[0][0]) + 1

    def _too_many_bytes(self, cut_bytes: int) -> bool:
        index, size = self._marks[0]
        return index < self._cut[0] and cut_bytes - size > self._limits.keep_trailing_bytes

    def _drop_marks(self, index: int) -> None:
        while len(self._marks) > 1 and self._marks[0][0] < index:
            self._marks.popleft()

    def _bytes_at(self, index: int) -> int:
        return max((size for at, size in self._marks if at <= index), default=0)
