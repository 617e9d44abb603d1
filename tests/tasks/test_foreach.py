"""A subtask is done for each item of a list, and what needs it waits for all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.errors import InputError, InvalidPlan
from paceline.tasks import plan, queries
from paceline.tasks.commands import (
    CancelSubtask,
    OpenCheckpoint,
    ResolveCheckpoint,
    RetryTask,
    SubmitTask,
)
from paceline.tasks.levels import level_of
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import BlobRef, Outcome, Output, ResultStatus, SubtaskSpec, TaskSpec
from paceline.tasks.queries_work import ready_subtasks, subtask_spec
from tests.tasks.entries import FAILED, Driver, subtask

AFTER = ("b", "other")


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db")
    driver = Driver(machine, level=2)
    driver.register("n1")
    yield driver
    machine.close()


def gives(text: str | bytes) -> Outcome:
    data = text if isinstance(text, bytes) else text.encode()
    return Outcome(ResultStatus.OK, "done", Output(data))


def submit(drive: Driver, **fields: object) -> None:
    fanned = subtask("b", "list", "other", foreach="list", instructions="do {item}", **fields)
    drive.submit(subtask("list"), subtask("other"), fanned, subtask("end", "b", "other"))


def ready(drive: Driver) -> dict[str, SubtaskSpec]:
    connection = drive.machine.connection
    found = ready_subtasks(connection, drive.machine.now_ms)
    return {each.spec.name: each.spec for each in found}


def test_it_fans_out_once_all_it_needs_is_there_and_joins(drive: Driver) -> None:
    submit(drive, max_attempts=1)
    drive.run("list", gives('one\n\n "two\\nlines" \n{"three": 3}\n'))
    assert set(ready(drive)) == {"other"}
    drive.run("other")
    found = ready(drive)
    assert list(found) == ["b 1", "b 2", "b 3"]
    items = [each.settings["item"] for each in found.values()]
    assert items == ["one", "two\nlines", '{"three": 3}']
    assert found["b 2"].instructions == "do two\nlines"
    assert {each.needs for each in found.values()} == {("list", "other")}
    document = queries.task(drive.machine.connection, "task")
    assert (document["subtask_count"], document["progress"]) == (6, 33)
    needs = {each["name"]: each["dependencies"] for each in document["subtasks"]}
    assert needs["b 3"] == ["list", "other"]
    assert set(needs["end"]) == {"b 1", "b 2", "b 3", "other"}
    for spec in found.values():
        assert drive.status("end") == "pending"
        assert "end" not in ready(drive)
        drive.run(spec.subtask_id, gives(spec.settings["item"]))
    assert set(ready(drive)) == {"end"}
    assert list(queries.inputs_of(drive.machine.connection, "end")) == ["other", *found]
    drive.run("end")
    assert drive.task_status() == "completed"


def test_the_rows_are_the_same_on_every_node_and_in_any_batch(
    drive: Driver, tmp_path: Path
) -> None:
    submit(drive)
    drive.run("other")
    drive.run("list", gives("\n".join(map(str, range(20)))))
    other = TaskMachine(tmp_path / "other.db")
    other.apply(drive.log.entries)
    assert other.digest() == drive.machine.digest()
    assert len(ready(drive)) == 20
    other.close()


def test_one_item_that_fails_ends_what_waits_for_all(drive: Driver) -> None:
    submit(drive, max_attempts=1)
    drive.run("other")
    drive.run("list", gives("x\ny"))
    first, second = ready(drive).values()
    drive.run(first.subtask_id, FAILED)
    assert (drive.status("end"), drive.task_status()) == ("cancelled", "failed")
    drive.run(second.subtask_id)
    drive(RetryTask("task"))
    drive.run(first.subtask_id, attempt=2)
    drive.run("end")
    assert drive.task_status() == "completed"


@pytest.mark.parametrize(
    ("output", "word"),
    [
        (Output(b" \n\n"), "empty"),
        (Output(b"\xff"), "UTF-8"),
        (Output(b"x\n" * 501), "501 items"),
        (Output(b"x" * 4_097), "4096"),
        (Output(b'"a\\u0000b"'), "zero byte"),
        (Output(b'"\\ud800"'), "no text"),
        (Output(blob=BlobRef("ab" * 32, 40_000, ("n1",))), "40000 bytes"),
    ],
    ids=["empty", "binary", "many", "long", "zero", "surrogate", "blob"],
)
def test_a_list_out_of_bounds_fails_with_the_reason(
    drive: Driver, output: Output, word: str
) -> None:
    submit(drive)
    drive.run("other")
    drive.run("list", Outcome(ResultStatus.OK, "done", output))
    assert (drive.status("b"), drive.status("end")) == ("failed", "cancelled")
    assert word in drive.column("SELECT reason FROM subtasks WHERE subtask_id = 'b'")
    assert drive.task_status() == "failed"
    drive(RetryTask("task"))
    assert drive.status("b") == "failed", "the list is as it was"


def test_one_cancelled_before_its_list_was_there_is_expanded_when_it_is_retried(
    drive: Driver,
) -> None:
    submit(drive)
    drive(CancelSubtask("task", "b"))
    drive.run("list", gives("x\ny"))
    drive.run("other")
    assert ready(drive) == {}
    drive(RetryTask("task"))
    assert set(ready(drive)) == {"b 1", "b 2"}
    assert subtask_spec(drive.machine.connection, "b").settings["item"] == "x"


def test_a_name_that_stands_already_is_refused(drive: Driver) -> None:
    fanned = subtask("b", "list", foreach="list")
    drive.submit(subtask("list"), fanned, subtask("B 2"))
    drive.run("list", gives("x\ny"))
    assert "named b 2 already" in drive.column("SELECT reason FROM subtasks WHERE name = 'b'")


def test_it_must_need_its_list_and_not_a_fanned_out_one(drive: Driver) -> None:
    refused = drive.submit(subtask("list"), subtask("b", foreach="list"))
    assert isinstance(refused, InputError)
    text = """
subtasks:
  - {name: list, tool: command, run: ls}
  - {name: b, tool: command, run: cat, foreach: list}
  - {name: c, tool: command, run: cat, foreach: list, needs: list}
  - {name: d, tool: command, run: cat, foreach: c, needs: c}
"""
    with pytest.raises(InvalidPlan) as wrong:
        plan.parse(text)
    assert 'must also need "list"' in str(wrong.value)
    assert 'line 6: foreach: "c" is itself done for each' in str(wrong.value)
    spec = TaskSpec("t", "", "plan", (subtask("a"), subtask("b", "a", foreach="a")))
    assert level_of(SubmitTask(spec, "")) == 2


def test_one_that_a_person_holds_fans_out_when_it_may_go_on(drive: Driver) -> None:
    submit(drive)
    drive(OpenCheckpoint("c", "task", "b"))
    drive.run("list", gives("one\ntwo\n"))
    drive.run("other")
    assert ready(drive) == {}
    drive(ResolveCheckpoint("c", "accept"))
    assert list(ready(drive)) == ["b 1", "b 2"]
