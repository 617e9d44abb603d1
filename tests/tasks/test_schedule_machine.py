"""Plans, planner and machine together, as the log would join them: to the end of a task."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from paceline.tasks import queries_work
from paceline.tasks.commands import AttemptRef, LoseAttempts, RegisterWorker, SubmitTask
from paceline.tasks.graph import layers
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import Running, ToolState, Vitals
from paceline.tasks.plan import from_description, parse, to_spec
from paceline.tasks.queries_workers import registered_workers
from paceline.tasks.schedule import plan
from paceline.tasks.view import ActiveAttempt, PlanningView, ReadySubtask, WorkerView
from tests.tasks.entries import Driver

TOOLS = (ToolState("command"), ToolState("claude_code", slots=1))


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db")
    driver = Driver(machine)
    for name in ("n1", "n2"):
        driver(RegisterWorker(name, name, "127.0.0.1:1", 2, TOOLS))
    yield driver
    machine.close()


def look(drive: Driver, dead: str = "") -> PlanningView:
    """Answer the state as the planner sees it, with workers that run what they were given."""
    db, now_ms = drive.machine.connection, drive.log.now_ms
    active = tuple(
        ActiveAttempt(
            row.subtask_id, row.task_id, row.ref.attempt, row.ref.token, row.node_id, row.tool
        )
        for row in queries_work.active_attempts(db)
    )
    ready = tuple(
        ReadySubtask(row.subtask_id, row.task_id, row.spec.name, row.spec.tools, row.next_attempt)
        for row in queries_work.ready_subtasks(db, now_ms)
    )
    workers = []
    for row in registered_workers(db):
        held = tuple(
            Running(attempt.subtask_id, attempt.attempt, attempt.token)
            for attempt in active
            if attempt.node_id == row.node_id
        )
        vitals = Vitals(row.node_id, 1, 1, WorkerView("").resources, row.tools, row.slots, held)
        gone = row.node_id == dead
        workers.append(
            WorkerView(row.node_id, row.name, row.status, row.slots, vitals=vitals, dead=gone)
        )
    return PlanningView(now_ms, tuple(workers), ready, active, drive.machine.applied_index)


def lead(drive: Driver, dead: str = "") -> list[ActiveAttempt]:
    """Do what the planner says until it says nothing more; answer what is active then."""
    for _ in range(5):
        commands = plan(look(drive, dead))
        if not commands:
            return list(look(drive, dead).active)
        for command in commands:
            result = drive(command)
            assert not (isinstance(result, dict) and result["void"]), result
    raise AssertionError("the planner is never content")


def submit(drive: Driver, text: str) -> dict[str, str]:
    """Submit a plan; answer its names by id."""
    draft = from_description("words", text) if " " not in text else parse(text)
    numbers = count(1)
    spec = to_spec(draft, task_id="task", new_subtask_id=lambda: f"s{next(numbers)}")
    assert drive(SubmitTask(spec, "key")) == "task"
    return {subtask.subtask_id: subtask.name for subtask in spec.subtasks}


def finish(drive: Driver, attempt: ActiveAttempt) -> None:
    ref = AttemptRef(attempt.subtask_id, attempt.attempt, attempt.token)
    assert drive.start(ref, node_id=attempt.node_id) == 1
    assert drive.finish(ref, node_id=attempt.node_id) is True


@pytest.mark.parametrize("name", ["develop_feature", "code_review", "testing"])
def test_a_template_runs_wave_by_wave_to_its_end(drive: Driver, name: str) -> None:
    draft = from_description("words", name)
    waves = layers({subtask.name: subtask.needs for subtask in draft.subtasks})
    names = submit(drive, name)
    for wave in waves:
        active = lead(drive)
        assert {names[attempt.subtask_id] for attempt in active} == set(wave)
        # The tool has one slot on each node.
        assert len({attempt.node_id for attempt in active}) == len(active)
        for attempt in active:
            finish(drive, attempt)
    assert lead(drive) == []
    assert drive.task_status() == "completed"


def test_more_work_than_slots_is_done_as_slots_free(drive: Driver) -> None:
    subtasks = ", ".join(f"{{name: c{n}, tool: command, run: x}}" for n in range(30))
    submit(drive, f"subtasks: [{subtasks}]")
    for left in range(30, 0, -1):
        active = lead(drive)
        assert len(active) == min(4, left)
        finish(drive, active[0])
    assert drive.task_status() == "completed"


def test_what_a_dead_node_held_runs_elsewhere(drive: Driver) -> None:
    submit(drive, "subtasks: [{name: a, tool: command, run: x}]")
    (before,) = lead(drive)
    (after,) = lead(drive, dead=before.node_id)
    assert after.node_id != before.node_id
    assert (before.attempt, after.attempt) == (1, 2)
    late = AttemptRef(before.subtask_id, before.attempt, before.token)
    assert drive.finish(late, node_id=before.node_id) is False
    assert drive(LoseAttempts((late,), "again")) == 0
    finish(drive, after)
    assert drive.task_status() == "completed"
