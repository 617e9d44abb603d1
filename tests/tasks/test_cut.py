"""Seeing the state just behind one entry, however the log is cut into batches."""

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import Busy, StorageFull
from paceline.tasks.commands import LoseAttempts, SubmitTask
from paceline.tasks.cut import WATCHED_LIMIT
from paceline.tasks.digest import UNREADABLE, combined, digest, table_digests
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import TaskSpec
from tests.tasks.entries import Driver, Entry, Log, subtask, worker

MARK = b"mark 0123456789abcdef"


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db")
    yield Driver(machine)
    machine.close()


def marked(log: Log) -> Entry:
    return log.command(LoseAttempts((), MARK.decode()))


def log_with_mark(before: int, after: int) -> Sequence[Entry]:
    log = Log()
    for number in range(before):
        log.command(worker(f"n{number}"))
    marked(log)
    for number in range(after):
        log.command(worker(f"m{number}"))
    return log.entries


class Seen:
    """Takes the digest of what it is shown."""

    def __init__(self) -> None:
        self.found: list[tuple[int, bytes]] = []

    def __call__(self, index: int, connection: sqlite3.Connection) -> None:
        with closing(connection):
            self.found.append((index, digest(connection)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6), st.data())
def test_nodes_that_cut_the_log_differently_see_the_same(
    before: int, after: int, draw: st.DataObject
) -> None:
    entries = log_with_mark(before, after)
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / name for name in ("one.db", "other.db")]
        seen = [seen_with(path, entries, draw.draw(st.integers(1, 8))) for path in paths]
    assert seen[0] == seen[1]
    assert seen[0][0][0] == before + 1


def seen_with(path: Path, entries: Sequence[Entry], size: int) -> list[tuple[int, bytes]]:
    machine, seen = TaskMachine(path), Seen()
    try:
        machine.see(MARK, seen)
        for start in range(0, len(entries), size):
            machine.apply(entries[start : start + size])
    finally:
        machine.close()
    return seen.found


def test_it_shows_the_state_of_that_moment(drive: Driver) -> None:
    shown: list[sqlite3.Connection] = []
    drive.machine.see(MARK, lambda index, connection: shown.append(connection))
    drive.register("n1")
    drive.machine.apply([marked(drive.log), drive.log.command(worker("n2"))])
    drive.register("n3")
    with closing(shown[0]) as connection:
        rows = connection.execute("SELECT worker_id FROM workers").fetchall()
    assert rows == [("n1",)]


def test_only_the_first_such_entry_counts(drive: Driver) -> None:
    seen = Seen()
    drive.machine.see(MARK, seen)
    drive.machine.apply([marked(drive.log), marked(drive.log)])
    drive.machine.apply([marked(drive.log)])
    assert [index for index, _ in seen.found] == [1]


def test_who_no_longer_waits_is_not_called(drive: Driver) -> None:
    seen = Seen()
    stop = drive.machine.see(MARK, seen)
    stop()
    stop()
    drive.machine.apply([marked(drive.log)])
    assert seen.found == []


def test_not_too_many_wait(drive: Driver) -> None:
    for number in range(WATCHED_LIMIT):
        drive.machine.see(b"%d" % number, Seen())
    with pytest.raises(Busy):
        drive.machine.see(MARK, Seen())


def test_results_are_those_of_an_uncut_batch(drive: Driver) -> None:
    drive.machine.see(MARK, Seen())
    submit = SubmitTask(TaskSpec("t", "", "plan", (subtask("a"),)), "")
    entries = [drive.log.command(submit), marked(drive.log), drive.log.command(worker("n1"))]
    assert drive.machine.apply(entries) == ["t", 0, True]


def test_a_batch_that_failed_behind_the_mark_is_given_again(drive: Driver) -> None:
    """Whoever gave it learns all results, also of the part that was applied the first time."""
    seen = Seen()
    drive.register("n1")
    drive.machine.see(MARK, seen)
    large = TaskSpec("large", "", "plan", (subtask("l", instructions="x" * 1_000_000),))
    small = SubmitTask(TaskSpec("t", "", "plan", (subtask("a"),)), "")
    entries = [
        drive.log.command(small),
        marked(drive.log),
        drive.log.command(SubmitTask(large, "")),
    ]
    pages = drive.column("PRAGMA page_count") + 4
    drive.machine.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFull):
        drive.machine.apply(entries)
    assert drive.machine.applied_index == 3
    drive.machine.connection.execute("PRAGMA max_page_count = 100000")
    assert drive.machine.apply(entries) == ["t", 0, "large"]
    assert drive.machine.apply(entries) == [None, None, None]
    assert [index for index, _ in seen.found] == [3]


# --- digests --------------------------------------------------------------------------------------


def test_a_table_that_differs_is_named(drive: Driver) -> None:
    drive.register("n1")
    before = table_digests(drive.machine.connection)
    drive.machine.connection.execute("UPDATE workers SET slots = slots + 1")
    after = table_digests(drive.machine.connection)
    assert [table for table in before if before[table] != after[table]] == ["workers"]
    assert combined(before) != combined(after)


@pytest.mark.parametrize("value", ["CAST(x'ff' AS TEXT)", "CAST(x'41ff42' AS TEXT)"])
def test_a_text_that_is_none_is_a_difference_and_no_failure(drive: Driver, value: str) -> None:
    drive.register("n1")
    drive.machine.connection.execute(f"UPDATE workers SET machine_name = {value}")
    assert table_digests(drive.machine.connection)["workers"] == UNREADABLE


@pytest.mark.parametrize(
    ("one", "other"), [("1", "'1'"), ("1", "1.5"), ("''", "NULL"), ("'a'", "x'61'")]
)
def test_types_count(drive: Driver, one: Any, other: Any) -> None:
    drive.machine.connection.execute("CREATE TABLE odd (id PRIMARY KEY, value)")
    found = []
    for value in (one, other):
        drive.machine.connection.execute(f"INSERT OR REPLACE INTO odd VALUES (1, {value})")
        found.append(drive.machine.digest())
    assert found[0] != found[1]


def test_every_table_has_a_key(drive: Driver) -> None:
    assert UNREADABLE not in table_digests(drive.machine.connection).values()


def test_a_table_that_lost_its_key_is_a_difference_and_no_failure(drive: Driver) -> None:
    """As a bit that flips in the description of a table takes it away."""
    drive.machine.connection.execute("CREATE TABLE odd (value)")
    assert table_digests(drive.machine.connection)["odd"] == UNREADABLE
