"""Sums of what the work used and cost, and what budgets hold back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import InputError
from paceline.tasks import queries_usage
from paceline.tasks.commands import SetBudget, SubmitTask
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import Outcome, ResultStatus, TaskSpec
from paceline.tasks.queries_usage import DAY_MS, overspent, remaining, spent_today, usage
from tests.tasks.entries import FAILED, OK, START_MS, Driver, subtask


def outcome(tokens: int, cost_usd: float | None, basis: str = "reported") -> Outcome:
    details = {"cost_basis": basis} if cost_usd is not None else {}
    used = {"tokens_in": tokens, "tokens_out": 1, "cached": 0}
    return Outcome(ResultStatus.OK, usage=used, cost_usd=cost_usd, details=details)


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db")
    driver = Driver(machine)
    driver.register("n1", "n2")
    for name in ("t1", "t2"):
        subtasks = tuple(subtask(f"{name}.{number}") for number in range(4))
        driver(SubmitTask(TaskSpec(name, "", "plan", subtasks, budget_usd=1.0), ""))
    yield driver
    machine.close()


def run(drive: Driver, subtask_id: str, node_id: str, done: Outcome) -> None:
    ref = drive.allocate(subtask_id, node_id=node_id)
    drive.start(ref, node_id=node_id)
    drive.finish(ref, done, node_id=node_id)


def test_sums_by_everything(drive: Driver) -> None:
    run(drive, "t1.0", "n1", outcome(100, 0.25))
    run(drive, "t1.1", "n2", outcome(10, 0.1, "computed"))
    run(drive, "t2.0", "n2", outcome(7, None))
    run(drive, "t2.1", "n1", OK)
    drive.log.now_ms += DAY_MS
    run(drive, "t2.2", "n1", outcome(1, 0.2))
    connection = drive.machine.connection
    by_node = usage(connection, by="node")
    assert by_node["total"] == {
        "attempts": 4,
        "tokens_in": 118,
        "tokens_out": 4,
        "cached": 0,
        "cost_usd": 0.55,
        "reported_usd": 0.45,
        "computed_usd": 0.1,
        "unpriced": 1,
    }
    assert [(row["node_id"], row["cost_usd"]) for row in by_node["rows"]] == [
        ("n1", 0.45),
        ("n2", 0.1),
    ]
    costs = [(row["task_id"], row["cost_usd"]) for row in usage(connection, by="task")["rows"]]
    assert costs == [("t1", 0.35), ("t2", 0.2)]
    assert [row["tool"] for row in usage(connection, by="tool")["rows"]] == ["command"]
    days = usage(connection, by="day")["rows"]
    assert [(row["day"], row["attempts"]) for row in days] == [("2023-11-15", 1), ("2023-11-14", 3)]
    later = usage(connection, by="day", since_ms=START_MS + DAY_MS)
    assert (later["total"]["attempts"], later["since"]) == (1, "2023-11-15T22:13:20.000Z")
    with pytest.raises(InputError, match="not by 'user'"):
        usage(connection, by="user")


def test_a_task_is_over_when_its_attempts_cost_its_budget(drive: Driver) -> None:
    connection = drive.machine.connection
    run(drive, "t1.0", "n1", outcome(1, 0.75))
    assert (overspent(connection), remaining(connection, "t1")) == ({}, 0.25)
    run(drive, "t1.1", "n1", outcome(1, 0.25))
    assert list(overspent(connection)) == ["t1"]
    assert overspent(connection)["t1"].reason.startswith(
        "its task has cost 1 USD of its budget of 1 USD; `paceline budget t1 USD`"
    )
    assert remaining(connection, "t1") == 0
    drive(SetBudget("t1", 2.0))
    assert (overspent(connection), remaining(connection, "t1")) == ({}, 1.0)
    drive(SetBudget("t1"))
    assert remaining(connection, "t1") is None


def test_failed_attempts_cost_too(drive: Driver) -> None:
    done = Outcome(ResultStatus.FAILED, "it broke", cost_usd=0.5)
    run(drive, "t1.0", "n1", done)
    assert remaining(drive.machine.connection, "t1") == 0.5
    assert FAILED.cost_usd is None


def test_a_nodes_day_ends_at_midnight_in_utc(drive: Driver) -> None:
    run(drive, "t1.0", "n1", outcome(1, 0.5))
    run(drive, "t1.1", "n1", outcome(1, 0.25))
    now_ms = drive.log.now_ms
    assert spent_today(drive.machine.connection, now_ms) == {"n1": 0.75}
    assert spent_today(drive.machine.connection, now_ms + DAY_MS) == {}


def test_what_documents_say_is_summed_alike() -> None:
    attempts: list[dict[str, Any]] = [
        {"usage": {"tokens_in": 5}, "cost_usd": 0.5, "details": {"cost_basis": "reported"}},
        {"usage": {}, "cost_usd": None, "details": {}},
    ]
    total = queries_usage.task_usage(attempts)
    assert (total["attempts"], total["tokens_in"], total["reported_usd"]) == (1, 5, 0.5)
