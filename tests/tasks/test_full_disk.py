"""The state on a file system that really is full: nothing is lost, and it goes on when it can."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline.consensus.messages import Membership, SnapshotMeta
from paceline.errors import StorageFull
from paceline.tasks.commands import SubmitTask
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import TaskSpec
from paceline.tasks.schema import open_reader
from paceline.tasks.snapshot import FileSnapshot
from tests.rigs.disks import Ballast, small_disk
from tests.tasks.entries import Entry, Log, subtask, worker

MIB = 1024 * 1024
WAL_INDEX_FRAMES = 4062
"""Beyond so many frames the index of the write-ahead log needs another 32 KiB."""


class Small:
    """A machine on a small disk, its twin on a roomy one, and the log that both are given."""

    def __init__(self, disk: Path, roomy: Path) -> None:
        self.path = disk / "state.db"
        self.ballast = Ballast(disk / "ballast")
        self.machine = TaskMachine(self.path, meta_type=SnapshotMeta)
        self.twin = TaskMachine(roomy / "twin.db", meta_type=SnapshotMeta)
        self.log = Log()
        self._tasks = 0

    def next_entry(self, size: int = 3000) -> Entry:
        self._tasks += 1
        spec = TaskSpec(
            f"t{self._tasks}", "", "plan", (subtask(f"s{self._tasks}", instructions="x" * size),)
        )
        return self.log.command(SubmitTask(spec, ""))

    def apply(self, entry: Entry) -> list[Any]:
        """Apply it to both; answer the small one's result, which must be the twin's."""
        results = self.machine.apply([entry])
        assert results == self.twin.apply([entry])
        return results

    @property
    def frames(self) -> int:
        return self.path.with_name("state.db-wal").stat().st_size // 4120

    def meta(self) -> SnapshotMeta:
        machine = self.machine
        return SnapshotMeta(machine.applied_index, machine.applied_term, Membership(("n1",)))

    def close(self) -> None:
        self.machine.close()
        self.twin.close()


@contextlib.contextmanager
def small(tmp_path: Path, size: int) -> Iterator[Small]:
    with small_disk(tmp_path / "disk", size) as disk:
        found = Small(disk, tmp_path)
        try:
            yield found
        finally:
            found.close()


@pytest.mark.parametrize("frames", [50, WAL_INDEX_FRAMES - 40], ids=["at once", "where it grows"])
def test_every_entry_waits_for_its_room_and_is_applied_once(tmp_path: Path, frames: int) -> None:
    """Room comes page by page, so that every write on the way of an entry is refused once."""
    with small(tmp_path, 32 * MIB) as on:
        while on.frames < frames:  # the log grows, the state does not
            on.apply(on.log.command(worker("n1", version=f"{on.frames}")))
        on.ballast.fill()
        refused = 0
        for _ in range(25):
            entry = on.next_entry()
            while True:
                before = on.machine.digest()
                try:
                    results = on.machine.apply([entry])
                except StorageFull:
                    refused += 1
                    assert on.machine.digest() == before
                    assert on.machine.applied_index == entry.index - 1
                    on.ballast.give()
                else:
                    break
            assert results == on.twin.apply([entry])
            assert on.machine.digest() == on.twin.digest()
        assert refused > 25


def test_what_was_refused_is_not_there_after_a_restart(tmp_path: Path) -> None:
    with small(tmp_path, 4 * MIB) as on:
        on.apply(on.next_entry())
        digest = on.machine.digest()
        on.ballast.fill()
        entry = on.next_entry(100_000)
        for _ in range(3):
            with pytest.raises(StorageFull):
                on.machine.apply([entry])
        on.machine.close()
        on.machine = TaskMachine(on.path, meta_type=SnapshotMeta)
        assert on.machine.digest() == digest
        on.ballast.drop()
        on.apply(entry)
        assert on.machine.digest() == on.twin.digest()


def test_readers_go_on(tmp_path: Path) -> None:
    with small(tmp_path, 4 * MIB) as on:
        on.apply(on.next_entry())
        on.ballast.fill()
        with pytest.raises(StorageFull):
            on.machine.apply([on.next_entry(100_000)])
        with contextlib.closing(open_reader(on.path)) as reader:
            assert reader.execute("SELECT count(*) FROM tasks").fetchone() == (1,)
        assert on.machine.connection.execute("SELECT count(*) FROM tasks").fetchone() == (1,)


def test_a_checkpoint_without_room_comes_later_and_undoes_nothing(tmp_path: Path) -> None:
    """The write-ahead log has room for one more batch, but the database has none to grow."""
    with small(tmp_path, 4 * MIB) as on:
        for _ in range(30):
            on.apply(on.next_entry())
        told: list[int] = []
        on.machine.make_durable(told.append)  # from here on the log is written from its beginning
        for _ in range(5):
            on.apply(on.next_entry())
        on.ballast.fill()
        on.machine.make_durable(told.append)
        assert told == [30]
        on.machine._durability._full_wal = True  # as after 64 MiB
        on.apply(on.next_entry())
        assert on.machine.digest() == on.twin.digest()
        on.ballast.drop()
        on.machine.make_durable(told.append)
        assert told == [30, 35, 36]


def test_a_copy_without_room_is_told_leaves_nothing_and_works_later(tmp_path: Path) -> None:
    with small(tmp_path, 8 * MIB) as on:
        for _ in range(5):
            on.apply(on.next_entry(100_000))
        on.ballast.fill()
        copies: list[FileSnapshot] = []
        failures: list[StorageFull] = []
        attempts = 0
        while not copies:
            attempts += 1
            on.machine.save(copies.append, failures.append)
            if not copies:
                assert not list(on.path.parent.glob("*.snapshot-*"))
                on.ballast.give(10)
        assert len(failures) == attempts - 1 > 5
        on.twin.restore(copies[0], on.meta())
        assert on.twin.digest() == on.machine.digest()
        copies[0].close()


def test_a_copy_that_the_disk_fills_under_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others write too: that there was room when it began says little."""
    with small(tmp_path, 8 * MIB) as on:
        for _ in range(5):
            on.apply(on.next_entry(100_000))
        monkeypatch.setattr("paceline.tasks.snapshot._require_room", lambda *_: None)
        on.ballast.fill()
        failures: list[StorageFull] = []
        for _ in range(20):
            on.machine.save(lambda copy: pytest.fail("there was no room"), failures.append)
            assert not list(on.path.parent.glob("*.snapshot-*"))
            on.ballast.give(3)
        assert len(failures) == 20


@pytest.mark.parametrize("checked", [True, False], ids=["looked before", "filled meanwhile"])
def test_a_snapshot_is_restored_wholly_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checked: bool
) -> None:
    with small(tmp_path, 16 * MIB) as on:
        for _ in range(5):
            on.apply(on.next_entry(100_000))
        copies: list[FileSnapshot] = []
        for _ in range(10):
            on.twin.apply([on.next_entry(100_000)])
        on.twin.save(copies.append)
        meta = SnapshotMeta(on.twin.applied_index, on.twin.applied_term, Membership(("n1",)))
        before = on.machine.digest()
        if not checked:
            monkeypatch.setattr("paceline.tasks.snapshot._require_room", lambda *_: None)
        on.ballast.fill()
        refused = 0
        while on.machine.digest() == before:
            try:
                on.machine.restore(copies[0], meta)
            except StorageFull:
                refused += 1
                assert on.machine.snapshot_meta is None
                assert not list(on.path.parent.glob("*.restore*"))
                on.ballast.give(20)
        assert refused > 10
        assert on.machine.snapshot_meta == meta
        assert on.machine.digest() == on.twin.digest()
        copies[0].close()


def test_no_room_at_the_start_is_told_and_changes_nothing(tmp_path: Path) -> None:
    with small(tmp_path, 4 * MIB) as on:
        on.apply(on.next_entry())
        digest = on.machine.digest()
        on.machine.close()
        on.ballast.fill()
        with pytest.raises(StorageFull, match=r"no room on the disk of .*state\.db"):
            TaskMachine(on.path, meta_type=SnapshotMeta)
        on.ballast.drop()
        on.machine = TaskMachine(on.path, meta_type=SnapshotMeta)
        assert on.machine.digest() == digest
