"""What a task may cost: kept with it, and changed by a person while it runs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from paceline.errors import Conflict, InputError, NotFound
from paceline.tasks.commands import CancelTask, SetBudget, SubmitTask
from paceline.tasks.levels import level_of
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import TaskSpec
from tests.tasks.entries import Driver, subtask

SPEC = TaskSpec("task", "words", "plan", (subtask("a"),), budget_usd=5.0)


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db")
    yield Driver(machine)
    machine.close()


def budgets(drive: Driver) -> dict[str, float]:
    return dict(drive.machine.connection.execute("SELECT task_id, budget_usd FROM task_budgets"))


def test_a_budget_comes_with_the_task_and_is_changed_later(drive: Driver) -> None:
    drive(SubmitTask(SPEC, ""))
    assert budgets(drive) == {"task": 5.0}
    assert drive(SetBudget("task", 7.5, "ann")) is True
    assert drive(SetBudget("task", 7.5, "ann")) is False
    assert budgets(drive) == {"task": 7.5}
    assert drive(SetBudget("task")) is True
    assert budgets(drive) == {}


def test_only_open_tasks_and_real_amounts(drive: Driver) -> None:
    drive(SubmitTask(SPEC, ""))
    assert isinstance(drive(SetBudget("other", 1.0)), NotFound)
    assert isinstance(drive(SetBudget("task", float("nan"))), InputError)
    assert isinstance(
        drive(SubmitTask(replace(SPEC, task_id="t2", budget_usd=0.0), "")), InputError
    )
    drive(CancelTask("task"))
    assert isinstance(drive(SetBudget("task", 1.0)), Conflict)


def test_a_cluster_of_older_members_takes_no_budget() -> None:
    assert level_of(SubmitTask(SPEC, "")) == 2
    assert level_of(SubmitTask(replace(SPEC, budget_usd=None), "")) == 1
