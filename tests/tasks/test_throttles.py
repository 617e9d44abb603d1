"""Limits of providers, read off the outcomes: which tool rests where, and until when."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import Outcome, ResultStatus
from paceline.tasks.throttles import PAUSE_LIMIT_MS, WINDOW_MS, Throttle, throttles
from tests.tasks.entries import OK, Driver, subtask

MINUTE_MS = 60_000
QUOTA = ResultStatus.QUOTA


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db")
    driver = Driver(machine)
    driver.register("n1", "n2")
    driver.submit(*(subtask(f"s{number}") for number in range(9)))
    yield driver
    machine.close()


def refused(pause_ms: int | None, **limit: Any) -> Outcome:
    return Outcome(QUOTA, "no more", retryable_after_ms=pause_ms, details={"limit": limit})


def resting(drive: Driver, after_ms: int = 0) -> list[Throttle]:
    return throttles(drive.machine.connection, drive.log.now_ms + after_ms)


def test_a_limit_with_an_end_holds_until_then_for_everybody(drive: Driver) -> None:
    drive.run("s0", refused(5_000, kind="usage", assumed=False))
    ended_ms = drive.log.now_ms
    assert resting(drive) == [Throttle("n1", "command", ended_ms + 5_000, "usage")]
    assert resting(drive, 4_999)
    assert resting(drive, 5_000) == []


def test_nodes_are_told_apart_and_other_outcomes_say_nothing(drive: Driver) -> None:
    drive.run("s0", OK)
    drive.run("s1", Outcome(ResultStatus.ERROR, "overloaded", retryable_after_ms=5_000))
    assert resting(drive) == []
    ref = drive.allocate("s2", node_id="n2")
    drive.start(ref, node_id="n2")
    drive.finish(ref, refused(9_000), node_id="n2")
    assert [(each.node_id, each.tool) for each in resting(drive)] == [("n2", "command")]


def test_of_several_the_latest_end_holds(drive: Driver) -> None:
    drive.run("s0", refused(50_000))
    drive.run("s1", refused(1_000))
    assert [each.until_ms - drive.log.now_ms for each in resting(drive)] == [50_000 - 3]


def test_a_guess_doubles_each_time_up_to_an_hour(drive: Driver) -> None:
    pauses = []
    for number in range(9):
        drive.run(f"s{number}", refused(MINUTE_MS, kind="rate", assumed=True))
        (throttle,) = resting(drive)
        assert throttle.assumed
        pauses.append(throttle.until_ms - drive.log.now_ms)
        drive.log.now_ms = throttle.until_ms
    assert pauses == [min(MINUTE_MS << each, PAUSE_LIMIT_MS) for each in range(9)]


def test_what_was_long_ago_does_not_count_as_repeated(drive: Driver) -> None:
    drive.run("s0", refused(MINUTE_MS, assumed=True))
    drive.log.now_ms += 3 * 3600 * 1000
    drive.run("s1", refused(MINUTE_MS, assumed=True))
    assert [each.until_ms - drive.log.now_ms for each in resting(drive)] == [MINUTE_MS]


def test_outcomes_of_the_first_release_and_of_odd_tools(drive: Driver) -> None:
    drive.run("s0", Outcome(QUOTA, "no more"))
    assert [each.until_ms - drive.log.now_ms for each in resting(drive)] == [MINUTE_MS]
    drive.run("s1", Outcome(QUOTA, "", retryable_after_ms=10**15, details={"limit": "what?"}))
    assert [each.until_ms - drive.log.now_ms for each in resting(drive)] == [WINDOW_MS]


def test_it_is_asked_of_an_index(drive: Driver) -> None:
    plan = drive.machine.connection.execute(
        "EXPLAIN QUERY PLAN SELECT node_id FROM attempts INDEXED BY attempts_limited"
        " WHERE result_status = 'quota' AND finished_at > 5"
    ).fetchall()
    assert "attempts_limited (finished_at>?)" in str(plan)
