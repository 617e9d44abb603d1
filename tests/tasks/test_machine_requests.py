"""How long a request is remembered, and what happens to one that comes too late."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.errors import Conflict
from paceline.tasks import batch, effects, requests
from paceline.tasks.commands import ForgetWorker
from paceline.tasks.machine import TaskMachine
from tests.tasks.entries import Driver, Entry, Log, worker

KEPT = 8
EVERY = 4


@pytest.fixture(autouse=True)
def short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "REQUESTS_KEPT", KEPT)
    monkeypatch.setattr(effects, "LOG_ROWS_KEPT", KEPT)
    monkeypatch.setattr(batch, "PRUNE_EVERY", EVERY)


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db")
    yield Driver(machine)
    machine.close()


def pass_the_time(drive: Driver, entries: int) -> None:
    for _ in range(entries):
        drive.machine.apply([drive.log.raw(0)])


def test_old_requests_are_forgotten(drive: Driver) -> None:
    for number in range(100):
        drive(worker(f"n{number}"))
    assert drive.column("SELECT count(*) FROM requests") <= KEPT + EVERY
    assert drive.column("SELECT min(entry_index) FROM requests") == 100 - KEPT + 1


def test_the_activity_log_is_bounded_and_stays_gapless(drive: Driver) -> None:
    for number in range(100):
        drive(worker(f"n{number}"))
    low, high, count = drive.machine.connection.execute(
        "SELECT min(log_id), max(log_id), count(*) FROM activity_logs"
    ).fetchone()
    assert (low, high, count) == (100 - KEPT + 1, 100, KEPT)


def test_a_repetition_that_comes_too_late_is_refused_and_not_done_twice(drive: Driver) -> None:
    assert drive(worker("n1"), request_id=b"once", basis=0) is True
    drive(ForgetWorker("n1"))
    pass_the_time(drive, KEPT + EVERY)
    late = drive(worker("n1"), request_id=b"once", basis=0)
    assert isinstance(late, Conflict)
    assert "too old" in str(late)
    assert drive.column("SELECT count(*) FROM workers") == 0


def test_a_new_request_of_one_who_is_up_to_date_is_done(drive: Driver) -> None:
    pass_the_time(drive, 3 * KEPT)
    assert drive(worker("n1"), basis=drive.log.index - 1) is True
    assert isinstance(drive(worker("n2"), basis=1), Conflict)


@pytest.mark.parametrize("size", range(1, 20))
def test_what_is_remembered_does_not_depend_on_batches(tmp_path: Path, size: int) -> None:
    log = Log()
    for number in range(40):
        log.command(worker(f"n{number % 3}"), request_id=b"%d" % (number % 13), basis=number)
        log.command(ForgetWorker(f"n{number % 3}"), basis=number)
    assert applied(tmp_path / "cut.db", log.entries, size) == applied(
        tmp_path / "alone.db", log.entries, 1
    )


def applied(path: Path, entries: list[Entry], size: int) -> tuple[bytes, list[str]]:
    machine = TaskMachine(path)
    results = []
    for start in range(0, len(entries), size):
        results += [repr(each) for each in machine.apply(entries[start : start + size])]
    digest = machine.digest()
    machine.close()
    return digest, results
