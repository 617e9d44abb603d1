"""Small writes that are made at once, on the caller's thread, while the disk is quick."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from paceline.consensus.messages import Entry, HardState, Membership, SnapshotMeta
from paceline.consensus.storage import writer
from paceline.consensus.storage.protocol import LogWrite
from paceline.consensus.storage.sqlite import SqliteLogStorage
from paceline.errors import StorageError
from tests.consensus.sqlite_storage import LONG_S, database_of, entries


class Owner:
    """A thread with a loop: callbacks wait until the test lets them run, on the test's thread."""

    def __init__(self, directory: Path) -> None:
        self.callbacks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.failures: list[StorageError] = []
        self.done: list[int] = []
        self.storage = SqliteLogStorage(
            database_of(directory),
            loop_call=self.callbacks.put,
            on_failure=self.failures.append,
        )

    def write(self, rows: tuple[Entry, ...]) -> bool:
        """Write; answer whether it was done when the call returned."""
        last = rows[-1].index
        self.storage.write(LogWrite(HardState(1), None, rows), lambda: self.done.append(last))
        return self.done[-1:] == [last]

    def run_callback(self) -> None:
        self.callbacks.get(timeout=LONG_S)()

    def warm_up(self) -> int:
        """Write until writes are made at once; answer the index of the next entry."""
        for index in range(1, 1000):
            if self.write(entries(index, 1)):
                return index + 1
            self.run_callback()
        raise AssertionError("no write was made at once")


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Owner]:
    monkeypatch.setattr(writer, "QUICK_S", 60.0)  # whatever the disk of this machine is like
    owner = Owner(tmp_path)
    yield owner
    owner.storage.close()


def logged(directory: Path) -> list[int]:
    connection = sqlite3.connect(database_of(directory))
    found = [row[0] for row in connection.execute("SELECT idx FROM entry ORDER BY idx")]
    connection.close()
    return found


def test_a_small_write_is_durable_when_the_call_returns(owner: Owner, tmp_path: Path) -> None:
    following = owner.warm_up()
    assert owner.write(entries(following, writer.SMALL_ENTRIES))
    assert owner.callbacks.empty()
    owner.storage.close()
    assert logged(tmp_path) == list(range(1, following + writer.SMALL_ENTRIES))


def test_the_first_writes_and_large_ones_go_to_the_thread(owner: Owner) -> None:
    assert not owner.write(entries(1, 1))
    owner.run_callback()
    following = owner.warm_up()
    assert not owner.write(entries(following, writer.SMALL_ENTRIES + 1))
    owner.run_callback()
    following += writer.SMALL_ENTRIES + 1
    assert not owner.write(entries(following, 1, data=b"x" * (writer.SMALL_BYTES + 1)))


def test_a_slow_disk_gets_no_writes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "QUICK_S", -1.0)
    owner = Owner(tmp_path)
    for index in range(1, 3 * writer.QUICK_ROW):
        assert not owner.write(entries(index, 1))
        owner.run_callback()
    owner.storage.close()


def test_one_slow_transaction_sends_the_next_writes_to_the_thread(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = owner.warm_up()
    monkeypatch.setattr(writer, "QUICK_S", -1.0)
    assert owner.write(entries(following, 1))
    assert not owner.write(entries(following + 1, 1))


def test_a_write_never_overtakes_one_that_is_queued(owner: Owner) -> None:
    following = owner.warm_up()
    assert not owner.write(entries(following, writer.SMALL_ENTRIES + 1))
    last = following + writer.SMALL_ENTRIES
    assert not owner.write(entries(last + 1, 1))  # also not when the thread has done it meanwhile
    while owner.done[-1] != last + 1:
        owner.run_callback()
    assert owner.done == sorted(owner.done)
    assert owner.write(entries(last + 2, 1))


def test_a_write_of_nothing_is_done_at_once_if_nothing_waits(owner: Owner) -> None:
    owner.warm_up()
    told: list[bool] = []
    owner.storage.write(LogWrite(None, None, ()), lambda: told.append(True))
    assert told == [True]


def test_a_compaction_is_not_overtaken(owner: Owner, tmp_path: Path) -> None:
    following = owner.warm_up()
    meta = SnapshotMeta(following - 1, 1, Membership(voters=("a",)))
    owner.storage.compact(meta, following - 2)
    assert not owner.write(entries(following, 1))
    while owner.done[-1] != following:
        owner.run_callback()
    owner.storage.close()
    assert logged(tmp_path)[-3:] == [following - 2, following - 1, following]


def test_a_failed_write_is_final_and_is_not_tried_again(
    owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = owner.warm_up()
    tries = []

    def broken(*_: object) -> None:
        tries.append(threading.current_thread())
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(writer, "write_entries", broken)
    assert not owner.write(entries(following, 1))
    owner.run_callback()
    assert [str(error) for error in owner.failures] == [
        f"{database_of(tmp_path)}: disk I/O error; the node stops: its log may be incomplete"
    ]
    assert tries == [threading.current_thread()]
    assert not owner.write(entries(following, 1))
    assert owner.done[-1] == following - 1


def test_the_thread_keeps_house_after_writes_that_it_did_not_make(
    owner: Owner, tmp_path: Path
) -> None:
    """What is written at once gets into the database's file, although the thread was asleep."""
    following = owner.warm_up()
    path = database_of(tmp_path)
    deadline = time.monotonic() + LONG_S
    while b"the last of the quiet ones" not in path.read_bytes():
        assert time.monotonic() < deadline
        if owner.storage._writer._sleeps:
            assert owner.write(entries(following, 1, data=b"the last of the quiet ones"))
            following += 1
        time.sleep(0.01)
