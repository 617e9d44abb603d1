"""What a subtask starts from and a task comes to, from rows alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.errors import NotFound
from paceline.tasks import queries
from paceline.tasks.commands import FinishAttempt
from paceline.tasks.levels import level_of
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import BlobRef, Outcome, Output, RepositoryChange, ResultStatus
from paceline.tasks.queries_results import output_of, result_points, starting_points
from paceline.tasks.queries_storage import live_storage
from tests.tasks.entries import FAILED, OK, Driver, subtask


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db")
    driver = Driver(machine)
    driver.register("n1")
    yield driver
    machine.close()


def change(commit: str) -> RepositoryChange:
    return RepositoryChange("base", "start", commit, BlobRef(commit * 64, 9, ("n1",)), 3, 2, 1)


def changed(commit: str) -> Outcome:
    return Outcome(ResultStatus.OK, change=change(commit))


def names(points: object) -> str:
    return "".join(point.name for point in points)  # type: ignore[attr-defined]


def test_the_nearest_changes_in_the_order_of_the_plan(drive: Driver) -> None:
    drive.submit(
        subtask("a"),
        subtask("b", "a"),
        subtask("c"),
        subtask("d", "c", "b"),
        subtask("e", "d"),
        subtask("f", "e", "a"),
    )
    db = drive.machine.connection
    assert starting_points(db, "f") == ()
    drive.run("a", changed("a"))
    drive.run("b")
    drive.run("c", changed("c"))
    assert names(starting_points(db, "b")) == "a"
    assert names(starting_points(db, "d")) == "ac", "b changed nothing and passes a on"
    assert names(result_points(db, "task")) == "ac", "so far"
    drive.run("d", changed("d"))
    drive.run("e")
    assert names(starting_points(db, "f")) == "ad"
    drive.run("f")
    assert names(result_points(db, "task")) == "ad"
    assert names(result_points(db, "task", "b")) == "a"
    assert result_points(db, "other") == ()
    with pytest.raises(NotFound):
        starting_points(db, "none")


def test_only_what_succeeded_counts(drive: Driver) -> None:
    drive.submit(subtask("a"))
    drive.run("a", FAILED)
    drive.log.now_ms += 10**6
    drive.run("a", changed("2"), attempt=2)
    (point,) = result_points(drive.machine.connection, "task")
    assert point.change == change("2")
    document = queries.task(drive.machine.connection, "task")["subtasks"][0]
    assert document["attempts"][0]["change"] is None
    assert document["result"]["change"] == {
        "base": "base",
        "start": "start",
        "commit": "2",
        "files": 3,
        "insertions": 2,
        "deletions": 1,
        "bundle": {"sha256": "2" * 64, "size": 9, "holders": ["n1"]},
    }
    assert live_storage(drive.machine.connection).blobs == {"2" * 64}


def test_outputs(drive: Driver) -> None:
    drive.submit(subtask("a"))
    with pytest.raises(NotFound, match="not completed"):
        output_of(drive.machine.connection, "a")
    drive.run("a", Outcome(ResultStatus.OK, output=Output(b"x")))
    assert output_of(drive.machine.connection, "a") == ("a", Output(b"x"))


def test_a_change_is_of_level_2(drive: Driver) -> None:
    drive.submit(subtask("a"))
    ref = drive.allocate("a")
    assert level_of(FinishAttempt(ref, "n1", OK)) == 1
    assert level_of(FinishAttempt(ref, "n1", changed("a"))) == 2
    assert level_of(FinishAttempt(ref, "n1", Outcome(ResultStatus.CONFLICT))) == 2


def test_a_conflict_is_not_tried_again(drive: Driver) -> None:
    drive.submit(subtask("a"))
    drive.run("a", Outcome(ResultStatus.CONFLICT, "words"))
    assert drive.status("a") == "failed"
