"""The memory storage must behave as the durable one does: same calls, same log."""

from pathlib import Path
from random import Random

import pytest

from paceline.consensus.messages import Entry, HardState, Membership, SnapshotMeta
from paceline.consensus.storage.memory import MemoryLogStorage
from paceline.consensus.storage.protocol import LogStorage, LogWrite
from paceline.consensus.storage.sqlite import SqliteLogStorage
from tests.consensus.sqlite_storage import open_storage

MEMBERS = Membership(voters=("a", "b", "c"))


def test_nothing_is_on_the_disk_before_it_is_completed() -> None:
    storage = MemoryLogStorage(immediate=False)
    done: list[int] = []
    for index in (1, 2, 3):
        write = LogWrite(None, None, (Entry(index, 1, 1, b"x"),))
        storage.write(write, lambda index=index: done.append(index))  # type: ignore[misc]
    assert storage.complete(limit=2) == 2
    assert done == [1, 2]
    storage.crash()
    assert storage.complete() == 0
    assert [entry.index for entry in storage.load().entries] == [1, 2]


def test_a_stalled_storage_completes_nothing() -> None:
    storage = MemoryLogStorage()
    storage.stalled = True
    storage.write(LogWrite(HardState(1), None, ()), lambda: None)
    assert storage.waiting == 1
    storage.stalled = False
    storage.complete()
    assert storage.load().hard_state == HardState(1)


class _Scribe:
    """Writes what a node might write: appends, truncations, snapshots, compactions."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.term = 1
        self.mark = 0
        self.last = 0
        self.last_terms = {0: 0}

    def step(self, *storages: LogStorage) -> None:
        kind = self.random.random()
        if kind < 0.06 and self.last > self.mark:
            self._compact(storages)
        elif kind < 0.1:
            self._install(storages)
        else:
            self._append(storages)

    def _append(self, storages: tuple[LogStorage, ...]) -> None:
        first = self.last + 1
        if self.random.random() < 0.2 and self.last > self.mark:
            first = self.random.randint(self.mark + 1, self.last)
            self.term += 1
        count = self.random.randint(0, 5)
        data = [self.random.randbytes(self.random.choice([0, 10, 3000])) for _ in range(count)]
        entries = tuple(Entry(first + i, self.term, 1, datum) for i, datum in enumerate(data))
        if entries:
            self.last = entries[-1].index
            self.last_terms.update((entry.index, entry.term) for entry in entries)
        hard_state = HardState(self.term, self.random.choice("abc"), self.mark)
        for storage in storages:
            storage.write(LogWrite(hard_state, None, entries), lambda: None)

    def _install(self, storages: tuple[LogStorage, ...]) -> None:
        self.mark = self.last = self.last + self.random.randint(1, 9)
        self.last_terms = {self.last: self.term}
        write = LogWrite(HardState(self.term), SnapshotMeta(self.last, self.term, MEMBERS), ())
        for storage in storages:
            storage.write(write, lambda: None)

    def _compact(self, storages: tuple[LogStorage, ...]) -> None:
        self.mark = self.random.randint(self.mark + 1, self.last)
        keep_from = max(1, self.mark + 1 - self.random.randint(0, 4))
        for storage in storages:
            storage.compact(SnapshotMeta(self.mark, self.last_terms[self.mark], MEMBERS), keep_from)


@pytest.mark.parametrize("seed", range(10))
def test_both_storages_hold_the_same_log_after_any_history(tmp_path: Path, seed: int) -> None:
    memory, durable = MemoryLogStorage(), open_storage(tmp_path)
    scribe = _Scribe(seed)
    try:
        for number in range(200):
            scribe.step(memory, durable)
            if number % 50 == 49:
                assert durable.load() == memory.load()
                durable.close()
                durable = open_storage(tmp_path)
        _assert_same(durable, memory)
    finally:
        durable.close()


def _assert_same(durable: SqliteLogStorage, memory: MemoryLogStorage) -> None:
    assert durable.load() == memory.load()
