"""Steering work under way: cancelling one subtask, pausing, hurrying, deadlines, drains."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.errors import Conflict, InputError, NotFound
from paceline.tasks import queries
from paceline.tasks.commands import (
    Allocate,
    AttemptRef,
    CancelSubtask,
    ChangeTask,
    EndOverdue,
    Placement,
    RecallAttempts,
    RetryTask,
    SetWorkerStatus,
    SubmitTask,
)
from paceline.tasks.levels import level_of
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import Outcome, ResultStatus, TaskSpec
from paceline.tasks.queries_time import drain_limits, times_up
from paceline.tasks.queries_work import ready_subtasks
from tests.tasks.entries import START_MS, Driver, subtask

CANCELLED = Outcome(ResultStatus.CANCELLED, "cancelled")


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db")
    driver = Driver(machine, level=2)
    driver.register("n1", "n2")
    yield driver
    machine.close()


def ready(drive: Driver) -> list[str]:
    found = ready_subtasks(drive.machine.connection, drive.machine.now_ms)
    return [each.subtask_id for each in found]


def reason(drive: Driver, subtask_id: str) -> str:
    sql = "SELECT reason FROM subtasks WHERE subtask_id = ?"
    return str(drive.column(sql, subtask_id))


# --- one subtask ----------------------------------------------------------------------------------


def test_cancelling_a_waiting_subtask_ends_what_hangs_on_it_and_nothing_else(
    drive: Driver,
) -> None:
    drive.submit(subtask("a"), subtask("b"), subtask("c", "b"), subtask("d", "c", "a"))
    assert drive(CancelSubtask("task", "b", "not needed")) == "cancelled"
    assert [drive.status(each) for each in "abcd"] == ["pending", *["cancelled"] * 3]
    assert (reason(drive, "b"), reason(drive, "c")) == ("not needed", "a dependency was cancelled")
    drive.run("a")
    assert drive.task_status() == "cancelled"
    assert drive(CancelSubtask("task", "b")) == "cancelled", "said again, it changes nothing"


def test_cancelling_a_running_subtask_asks_its_worker_first(drive: Driver) -> None:
    drive.submit(subtask("a"), subtask("b", "a"))
    ref = drive.allocate("a")
    drive.start(ref)
    assert drive(CancelSubtask("task", "a")) == "cancelling"
    (held,) = queries.attempts_of_node(drive.machine.connection, "n1")
    assert held.cancel_requested
    assert drive.task_status() == "in_progress"
    assert drive.finish(ref, CANCELLED) is True
    assert [drive.status(each) for each in "ab"] == ["cancelled", "cancelled"]
    assert drive.task_status() == "cancelled"


def test_work_that_was_done_before_the_worker_heard_of_it_counts(drive: Driver) -> None:
    drive.submit(subtask("a"), subtask("b", "a"))
    ref = drive.allocate("a")
    drive(CancelSubtask("task", "a"))
    assert drive.finish(ref) is True
    assert (drive.status("a"), ready(drive)) == ("completed", ["b"])


def test_what_was_cancelled_can_be_tried_again(drive: Driver) -> None:
    drive.submit(subtask("a"), subtask("b", "a"))
    drive(CancelSubtask("task", "a"))
    assert drive(RetryTask("task", "a")) == "in_progress"
    drive.run("a")
    drive.run("b")
    assert drive.task_status() == "completed"


def test_an_ended_or_unknown_subtask_is_refused(drive: Driver) -> None:
    drive.submit(subtask("a"), subtask("b"))
    drive.run("a")
    assert isinstance(drive(CancelSubtask("task", "a")), Conflict)
    assert isinstance(drive(CancelSubtask("task", "z")), NotFound)
    assert isinstance(drive(CancelSubtask("other", "a")), NotFound)


# --- pause, priority ------------------------------------------------------------------------------


def test_a_paused_task_is_given_nothing_new_and_what_runs_goes_on(drive: Driver) -> None:
    drive.submit(subtask("a"), subtask("b"), subtask("c", "a"))
    ref = drive.allocate("a")
    assert drive(ChangeTask("task", paused=True)) == ["paused"]
    assert ready(drive) == []
    placed = drive(Allocate((Placement("b", 1, "n2", "command"),)))
    assert placed == {"allocated": 0, "void": [["b", "its task is paused"]]}
    drive.finish(ref)
    assert (drive.status("a"), ready(drive)) == ("completed", [])
    assert queries.task(drive.machine.connection, "task")["paused"] is True
    assert drive(ChangeTask("task", paused=True)) == []
    assert drive(ChangeTask("task", paused=False)) == ["paused"]
    assert ready(drive) == ["b", "c"]


def test_a_paused_task_can_be_cancelled(drive: Driver) -> None:
    drive.submit(subtask("a"))
    drive(ChangeTask("task", paused=True))
    assert drive(CancelSubtask("task", "a")) == "cancelled"
    assert drive.task_status() == "cancelled"
    assert isinstance(drive(ChangeTask("task", paused=False)), Conflict)


def test_a_higher_priority_goes_first_from_then_on(drive: Driver) -> None:
    drive.submit(subtask("a"), task_id="first")
    drive.submit(subtask("b"), task_id="second")
    assert ready(drive) == ["a", "b"]
    assert drive(ChangeTask("second", priority=90)) == ["priority"]
    assert ready(drive) == ["b", "a"]
    assert isinstance(drive(ChangeTask("second", priority=101)), InputError)
    assert isinstance(drive(ChangeTask("nothing", priority=1)), NotFound)


# --- time -----------------------------------------------------------------------------------------


def test_a_task_past_its_deadline_fails_once_its_workers_have_stopped(drive: Driver) -> None:
    due_ms = drive.log.now_ms + 5
    spec = TaskSpec("task", "", "plan", (subtask("a"), subtask("b", "a")), deadline_ms=due_ms)
    drive(SubmitTask(spec, ""))
    ref = drive.allocate("a")
    assert drive(EndOverdue(("task",))) == {"tasks": 0, "subtasks": 0}, "not yet"
    assert times_up(drive.machine.connection, due_ms - 1).next_ms == due_ms
    drive.log.now_ms = due_ms
    assert times_up(drive.machine.connection, due_ms).tasks == ("task",)
    assert drive(EndOverdue(("task",))) == {"tasks": 1, "subtasks": 0}
    assert drive.status("b") == "cancelled"
    assert times_up(drive.machine.connection, due_ms).tasks == (), "nothing is left to ask for"
    drive.finish(ref, CANCELLED)
    assert drive.task_status() == "failed"
    document = queries.task(drive.machine.connection, "task")
    assert document["details"]["reason"] == "its deadline has passed"


def test_a_retry_lifts_the_deadline_that_ended_the_task(drive: Driver) -> None:
    drive.submit(subtask("a"))
    drive(ChangeTask("task", deadline_ms=drive.log.now_ms))
    drive(EndOverdue(("task",)))
    assert drive.task_status() == "failed"
    drive(RetryTask("task"))
    assert drive(EndOverdue(("task",))) == {"tasks": 0, "subtasks": 0}
    drive.run("a")
    assert drive.task_status() == "completed"


def test_a_deadline_can_be_moved_and_lifted(drive: Driver) -> None:
    drive.submit(subtask("a"))
    assert drive(ChangeTask("task", deadline_ms=START_MS + 99)) == ["deadline"]
    assert times_up(drive.machine.connection, START_MS).next_ms == START_MS + 99
    assert drive(ChangeTask("task", deadline_ms=0)) == ["deadline"]
    assert (
        times_up(drive.machine.connection, START_MS + 100)
        == type(times_up(drive.machine.connection, START_MS))()
    )


def test_a_subtask_that_nobody_begins_in_time_fails_with_what_hangs_on_it(drive: Driver) -> None:
    drive.submit(subtask("a", start_timeout_s=0.05), subtask("b", "a"), subtask("c"))
    first_ms = drive.log.now_ms
    assert times_up(drive.machine.connection, first_ms).next_ms == first_ms + 50
    assert drive(EndOverdue((), ("a", "c", "z")))["subtasks"] == 0
    drive.log.now_ms = first_ms + 50
    assert times_up(drive.machine.connection, first_ms + 50).subtasks == ("a",)
    assert drive(EndOverdue((), ("a",)))["subtasks"] == 1
    assert [drive.status(each) for each in "abc"] == ["failed", "cancelled", "pending"]
    assert reason(drive, "a") == "timeout: no node could begin it within 0.05 s"
    assert drive.task_status() == "failed"


def test_the_time_to_begin_does_not_run_while_paused_or_held(drive: Driver) -> None:
    drive.submit(subtask("a", start_timeout_s=0.05))
    drive(ChangeTask("task", paused=True))
    drive.log.now_ms += 1_000
    assert drive(EndOverdue((), ("a",)))["subtasks"] == 0
    drive(ChangeTask("task", paused=False))
    assert drive(EndOverdue((), ("a",)))["subtasks"] == 0, "it begins to wait anew"
    drive.allocate("a")
    drive.log.now_ms += 1_000
    assert drive(EndOverdue((), ("a",)))["subtasks"] == 0, "it was given out in time"


def test_a_drain_within_a_limit_is_forgotten_with_the_drain(drive: Driver) -> None:
    assert drive(SetWorkerStatus("n1", "draining", "", 5_000)) == "draining"
    until_ms = drive.machine.now_ms + 5_000
    assert drain_limits(drive.machine.connection) == {"n1": until_ms}
    assert drive(SetWorkerStatus("n1", "draining", "", 1_000)) == "draining"
    assert drain_limits(drive.machine.connection)["n1"] < until_ms, "it may be said again, shorter"
    assert drive(SetWorkerStatus("n1", "online")) == "online"
    assert drain_limits(drive.machine.connection) == {}


def test_what_is_recalled_stays_with_its_worker_until_that_gives_it_back(drive: Driver) -> None:
    drive.submit(subtask("a"))
    ref = drive.allocate("a")
    drive.start(ref)
    stale = AttemptRef("a", 1, ref.token + 1)
    assert drive(RecallAttempts((ref, stale), "it drains")) == 1
    (held,) = queries.attempts_of_node(drive.machine.connection, "n1")
    assert (held.recalled, drive.status("a")) == ("it drains", "in_progress")
    assert drive.finish(ref) is True, "it may still be done in time"
    assert drive(RecallAttempts((ref,), "it drains")) == 0


@pytest.mark.parametrize(
    "command",
    [
        CancelSubtask("task", "a"),
        ChangeTask("task", paused=True),
        EndOverdue(("task",)),
        SetWorkerStatus("n1", "draining", "", 1),
        SubmitTask(TaskSpec("t", "", "plan", (), deadline_ms=1), ""),
        SubmitTask(TaskSpec("t", "", "plan", (subtask("a", start_timeout_s=1.0),)), ""),
    ],
    ids=repr,
)
def test_older_programs_are_not_asked(command: object) -> None:
    assert level_of(command) == 2  # type: ignore[arg-type]
