"""A disk that is slow, full or broken, and forgets what was not synced when the power goes.

`Disk` is what survives a crash; `SimStorage` is one life's `LogStorage` on it. Writes are queued
and drained in groups, as the SQLite storage does: a group is durable when its latency has passed. A
crash keeps a random beginning of what was queued (each write whole or not at all: a torn one is
dropped, as a transaction is). A flipped bit must be found by `load`.
"""

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from paceline.codec import decode
from paceline.consensus.messages import (
    Entry,
    EntryKind,
    Membership,
    SnapshotMeta,
)
from paceline.consensus.storage.protocol import LogWrite, StoredLog
from paceline.errors import CorruptStorage
from tests.sim.world import MILLISECOND, SECOND, World

WORST_LATENCY_US = 3 * SECOND
NOTHING = SnapshotMeta(0, 0, Membership())


@dataclass(frozen=True, slots=True)
class _Compaction:
    snapshot: SnapshotMeta
    keep_from: int


class LogImage:
    """A log as a series of atomic writes leaves it. Twice per node: as queued, and as durable."""

    def __init__(self, stored: StoredLog) -> None:
        self.hard_state = stored.hard_state
        self.snapshot = stored.snapshot
        self.entries: list[Entry] = list(stored.entries)
        self.votes: dict[int, str] = {}
        """For each term in which it voted, for whom."""
        self._memberships = [
            (entry.index, decode(Membership, entry.data))
            for entry in self.entries
            if entry.kind == EntryKind.MEMBERSHIP
        ]

    def copy(self) -> "LogImage":
        """Answer an independent image."""
        twin = LogImage(StoredLog(self.hard_state, self.snapshot, ()))
        twin.entries = list(self.entries)
        twin.votes = dict(self.votes)
        twin._memberships = list(self._memberships)
        return twin

    @property
    def base(self) -> SnapshotMeta:
        """Answer the snapshot's mark, or nothing's."""
        return self.snapshot or NOTHING

    @property
    def first_index(self) -> int:
        """Answer the index of the first entry that is there, or would be."""
        return self.entries[0].index if self.entries else self.base.index + 1

    @property
    def last_index(self) -> int:
        """Answer the index of the last entry; the snapshot's if there is none after it."""
        return self.entries[-1].index if self.entries else self.base.index

    @property
    def last_term(self) -> int:
        """Answer the term at `last_index`."""
        return self.entries[-1].term if self.entries else self.base.term

    def term_at(self, index: int) -> int | None:
        """Answer the term at `index`; None beyond the end or before what is known."""
        if self.entries and index >= self.entries[0].index:
            position = index - self.entries[0].index
            return self.entries[position].term if position < len(self.entries) else None
        return self.base.term if index == self.base.index else None

    @property
    def membership(self) -> Membership:
        """Answer the newest membership in the log, which is the one in force."""
        return self._memberships[-1][1] if self._memberships else self.base.membership

    @property
    def membership_index(self) -> int:
        """Answer the index of the entry that brought the membership in force."""
        return self._memberships[-1][0] if self._memberships else self.base.index

    def write(self, write: LogWrite) -> None:
        """Do what one LogWrite asks for. Raise ValueError if it leaves a gap."""
        if write.hard_state is not None:
            self.hard_state = write.hard_state
            if write.hard_state.vote:
                self.votes[write.hard_state.term] = write.hard_state.vote
        if write.snapshot is not None:
            self.snapshot = write.snapshot
            self.entries, self._memberships = [], []
        if write.entries:
            self._put(write.entries)

    def _put(self, entries: tuple[Entry, ...]) -> None:
        start = entries[0].index
        if not self.first_index <= start <= self.last_index + 1:
            raise ValueError(
                f"entries from {start} do not fit a log of {self.first_index}..{self.last_index}"
            )
        if start <= self.last_index:
            del self.entries[start - self.entries[0].index :]
            while self._memberships and self._memberships[-1][0] >= start:
                self._memberships.pop()
        for entry in entries:
            if entry.index != self.last_index + 1:
                raise ValueError(f"entry {entry.index} follows {self.last_index}")
            self.entries.append(entry)
            if entry.kind == EntryKind.MEMBERSHIP:
                self._memberships.append((entry.index, decode(Membership, entry.data)))

    def compact(self, snapshot: SnapshotMeta, keep_from: int) -> None:
        """Forget entries before `keep_from`, and what the memberships before the mark were."""
        if snapshot.index <= self.base.index:
            return
        self.snapshot = snapshot
        self.entries = [entry for entry in self.entries if entry.index >= keep_from]
        self._memberships = [each for each in self._memberships if each[0] > snapshot.index]

    def stored(self) -> StoredLog:
        """Answer what a node finds when it starts."""
        return StoredLog(self.hard_state, self.snapshot, tuple(self.entries))


@dataclass(slots=True)
class DiskConditions:
    """How slow and small the disk is now."""

    latency_us: int = 300
    jitter_us: int = 500
    slow: int = 1
    """Factor on the latency."""
    full: bool = False
    """There is no room for the log."""
    state_full: bool = False
    """There is no room for the applied state, nor for a copy of it."""


class Disk:
    """What is left of a node when its process is gone."""

    def __init__(self, world: World, name: str, founding: StoredLog) -> None:
        self.name = name
        self.durable = LogImage(founding)
        self.conditions = DiskConditions()
        self.random: random.Random = world.random(f"disk of {name}")
        self.restored = NOTHING
        """The mark of the last snapshot that the machine has durably: `recover` marks it again."""
        self.flipped = False
        """A bit has flipped: no node must ever start from it again."""
        self._checksums: dict[int, int] = {}
        self._world = world

    @property
    def term(self) -> int:
        """Answer the term that a restart begins with, or one that is later."""
        return max(self.durable.hard_state.term, self.restored.term)

    def holds(self, index: int, term: int) -> bool:
        """Answer whether a restart finds that entry, or a state that has it."""
        log = self.durable
        return log.term_at(index) == term or index <= max(log.base.index, self.restored.index)

    def apply(self, job: "LogWrite | _Compaction") -> None:
        """Let one queued job reach the platter."""
        if isinstance(job, _Compaction):
            self.durable.compact(job.snapshot, job.keep_from)
            return
        self.durable.write(job)
        for entry in job.entries:
            self._checksums[entry.index] = _checksum(entry)

    def mend(self) -> None:
        """Make it as quick as it was, and give it room."""
        conditions = self.conditions
        conditions.slow, conditions.full, conditions.state_full = 1, False, False

    def flip_a_bit(self) -> bool:
        """Change one bit of one entry at rest; answer whether there was one."""
        entries = [number for number, entry in enumerate(self.durable.entries) if entry.data]
        if not entries:
            return False
        number = self.random.choice(entries)
        entry = self.durable.entries[number]
        place = self.random.randrange(len(entry.data))
        flipped = bytes([entry.data[place] ^ 1 << self.random.randrange(8)])
        data = entry.data[:place] + flipped + entry.data[place + 1 :]
        self.durable.entries[number] = entry._replace(data=data)
        self.flipped = True
        return True

    def load(self) -> StoredLog:
        """Read everything; raise CorruptStorage where a checksum does not fit."""
        for entry in self.durable.entries:
            if self._checksums.get(entry.index) != _checksum(entry):
                raise CorruptStorage(f"the checksum of entry {entry.index} does not fit")
        return self.durable.stored()


def _checksum(entry: Entry) -> int:
    return zlib.crc32(entry.data, entry.term)


class SimStorage:
    """The `LogStorage` of one life of a process. `post` brings callbacks back to the process."""

    def __init__(
        self,
        *,
        world: World,
        disk: Disk,
        post: Callable[[Callable[[], None]], None],
        on_write: Callable[[LogWrite], None],
        on_compact: Callable[[SnapshotMeta, int], None],
    ) -> None:
        self.queued = disk.durable.copy()
        self._world = world
        self._disk = disk
        self._post = post
        self._on_write = on_write
        self._on_compact = on_compact
        self._waiting: list[tuple[LogWrite | _Compaction, Callable[[], None] | None]] = []
        self._draining = 0
        self._dead = False

    def load(self) -> StoredLog:
        """See LogStorage."""
        return self._disk.load()

    def write(self, write: LogWrite, done: Callable[[], None]) -> None:
        """See LogStorage."""
        self._on_write(write)
        self.queued.write(write)
        self._queue(write, done)

    def compact(self, snapshot: SnapshotMeta, keep_from: int) -> None:
        """See LogStorage."""
        self._on_compact(snapshot, keep_from)
        self.queued.compact(snapshot, keep_from)
        self._queue(_Compaction(snapshot, keep_from), None)

    @property
    def stalled(self) -> bool:
        """See LogStorage."""
        return self._disk.conditions.full and bool(self._waiting)

    def close(self) -> None:
        """See LogStorage."""
        self.crash(keep_all=True)

    def crash(self, *, keep_all: bool = False) -> None:
        """End this life: keep a random beginning of what was queued, or all of it."""
        self._dead = True
        count = len(self._waiting)
        kept = count if keep_all else self._disk.random.randint(0, count)
        for job, _ in self._waiting[:kept]:
            self._disk.apply(job)
        if count:
            torn = kept < count and self._disk.random.random() < 0.5
            if kept < count:
                self._world.count("torn writes" if torn else "unsynced writes lost")
            self._world.tell("unsynced", self._disk.name, count, kept, "torn" if torn else "clean")
        self._waiting.clear()

    def _queue(self, job: LogWrite | _Compaction, done: Callable[[], None] | None) -> None:
        self._waiting.append((job, done))
        if not self._draining:
            self._drain()

    def _drain(self) -> None:
        """Start writing everything that waits, as one group."""
        self._draining = len(self._waiting)
        conditions, chance = self._disk.conditions, self._disk.random.random
        if conditions.slow > 1:
            self._world.count("writes to a slow disk")
        latency_us = conditions.latency_us + int(chance() * conditions.jitter_us)
        self._world.after(min(latency_us * conditions.slow, WORST_LATENCY_US), self._drained)

    def _drained(self) -> None:
        if self._dead:
            return
        if self._disk.conditions.full:
            self._world.count("writes to a full disk")
            self._world.after(50 * MILLISECOND, self._drained)
            return
        group, self._waiting = self._waiting[: self._draining], self._waiting[self._draining :]
        for job, _ in group:
            self._disk.apply(job)
        self._world.tell("durable", self._disk.name, self._disk.durable.last_index, len(group))
        self._draining = 0
        for _, done in group:
            if done is not None:
                self._post(done)
        if self._waiting and not self._draining:
            self._drain()
