"""The command SubmitTask: check what was asked for, and write its rows.

The node that takes a submission has checked it already, with words for a person. This check is the
state's own: short, bounded, and never to become stricter, because every node must judge an old
entry as it was judged when it was first applied.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from paceline import codec
from paceline.errors import Conflict, InputError
from paceline.tasks.apply_budget import check_budget, set_budget
from paceline.tasks.apply_control import set_deadline
from paceline.tasks.commands import SubmitTask
from paceline.tasks.effects import MAX_TIME_MS, Effects, json_text
from paceline.tasks.effects_tasks import TaskRow, set_task_status
from paceline.tasks.model import SubtaskSpec, TaskSpec, TaskStatus

SUBTASK_LIMIT: Final = 10_000
DEPENDENCY_LIMIT: Final = 200_000
START_LIMIT_S: Final = 366 * 24 * 3600
NAME_LENGTH: Final = 255
"""Characters of a subtask's name (the seed's VARCHAR(255))."""


def submit_task(effects: Effects, command: SubmitTask) -> str:
    """Take a task in. Result: its id, or that of the task first submitted under the same key."""
    first = _submitted_before(effects, command.idempotency_key)
    if first:
        return first
    spec = command.spec
    positions = _check(spec)
    _require_new_ids(effects, spec)
    _insert_user(effects, command.submitted_by)
    _insert_task(effects, command)
    _insert_subtasks(effects, spec, positions)
    if spec.budget_usd is not None:
        set_budget(effects, spec.task_id, spec.budget_usd)
    if spec.deadline_ms is not None:
        set_deadline(effects, spec.task_id, spec.deadline_ms)
    effects.log(
        "task_pending",
        task_id=spec.task_id,
        details={
            "type": spec.type,
            "subtasks": len(spec.subtasks),
            "submitted_by": command.submitted_by,
        },
    )
    task = TaskRow(effects.index, spec.task_id, TaskStatus.PENDING, len(spec.subtasks), 0, 0, 0)
    set_task_status(effects, task, TaskStatus.INITIALIZING)
    set_task_status(effects, task, TaskStatus.IN_PROGRESS)
    return spec.task_id


# --- checking -------------------------------------------------------------------------------------


def _submitted_before(effects: Effects, key: str) -> str:
    if not key:
        return ""
    row = effects.db.execute(
        "SELECT task_id FROM tasks WHERE idempotency_key = ?", (key,)
    ).fetchone()
    return row[0] if row else ""


def _check(spec: TaskSpec) -> dict[str, int]:
    """Answer each subtask's position by its name. Raise InputError for what cannot be run."""
    if not 1 <= len(spec.subtasks) <= SUBTASK_LIMIT:
        raise InputError(f"a task has 1 to {SUBTASK_LIMIT} subtasks, not {len(spec.subtasks)}")
    if not spec.task_id:
        raise InputError("a task needs an id")
    for subtask in spec.subtasks:
        _check_subtask(subtask)
    positions = {subtask.name: at for at, subtask in enumerate(spec.subtasks)}
    if len(positions) != len(spec.subtasks):
        raise InputError("two subtasks have the same name")
    if len({subtask.subtask_id for subtask in spec.subtasks}) != len(spec.subtasks):
        raise InputError("two subtasks have the same id")
    _check_needs(spec.subtasks, positions)
    if spec.budget_usd is not None:
        check_budget(spec.budget_usd)
    if spec.deadline_ms is not None and not 0 < spec.deadline_ms <= MAX_TIME_MS:
        raise InputError("the deadline is no moment before the year 10000")
    return positions


def _check_subtask(subtask: SubtaskSpec) -> None:
    if not subtask.subtask_id or not 1 <= len(subtask.name) <= NAME_LENGTH:
        raise InputError(f"a subtask needs an id and a name of 1 to {NAME_LENGTH} characters")
    if subtask.max_attempts < 1:
        raise InputError(f"{subtask.name}: max_attempts must be at least 1")
    if not (math.isfinite(subtask.timeout_s) and subtask.timeout_s > 0):
        raise InputError(f"{subtask.name}: timeout_s must be more than 0")
    if subtask.foreach and subtask.foreach not in subtask.needs:
        raise InputError(f"{subtask.name}: foreach must be one of its needs")
    limit_s = subtask.start_timeout_s
    if limit_s is not None and not 0 < limit_s <= START_LIMIT_S:
        raise InputError(f"{subtask.name}: start_timeout_s must be more than 0")


def _check_needs(subtasks: Sequence[SubtaskSpec], positions: dict[str, int]) -> None:
    if sum(len(subtask.needs) for subtask in subtasks) > DEPENDENCY_LIMIT:
        raise InputError(f"a task has at most {DEPENDENCY_LIMIT} dependencies")
    for subtask in subtasks:
        unknown = next((need for need in subtask.needs if need not in positions), None)
        if unknown is not None:
            raise InputError(f"{subtask.name} needs {unknown}, but no subtask has that name")
    on_cycle = _left_over(subtasks)
    if on_cycle:
        raise InputError(f"{on_cycle} depends on itself, directly or through others")


def _left_over(subtasks: Sequence[SubtaskSpec]) -> str:
    """Take away what needs nothing until nothing goes (Kahn 1962); answer a name that is left."""
    unmet = {subtask.name: len(set(subtask.needs)) for subtask in subtasks}
    dependents: dict[str, list[str]] = {subtask.name: [] for subtask in subtasks}
    for subtask in subtasks:
        for need in set(subtask.needs):
            dependents[need].append(subtask.name)
    free = [name for name, count in unmet.items() if count == 0]
    while free:
        for dependent in dependents[free.pop()]:
            unmet[dependent] -= 1
            if unmet[dependent] == 0:
                free.append(dependent)
    return next((name for name, count in unmet.items() if count), "")


def _require_new_ids(effects: Effects, spec: TaskSpec) -> None:
    if effects.db.execute("SELECT 1 FROM tasks WHERE task_id = ?", (spec.task_id,)).fetchone():
        raise Conflict(f"there is already a task {spec.task_id}")
    for subtask in spec.subtasks:
        taken = effects.db.execute(
            "SELECT 1 FROM subtasks WHERE subtask_id = ?", (subtask.subtask_id,)
        ).fetchone()
        if taken:
            raise Conflict(f"there is already a subtask {subtask.subtask_id}")


# --- writing --------------------------------------------------------------------------------------


def _insert_user(effects: Effects, user_id: str) -> None:
    if user_id:
        effects.db.execute(
            "INSERT OR IGNORE INTO users (user_id, username, created_at) VALUES (?, ?, ?)",
            (user_id, user_id, effects.now_ms),
        )


def _insert_task(effects: Effects, command: SubmitTask) -> None:
    """Write the task's row. Its number is the entry's index: by age, the same everywhere."""
    spec, now_ms = command.spec, effects.now_ms
    effects.db.execute(
        "INSERT INTO tasks (task_no, task_id, user_id, idempotency_key, type, status, progress,"
        " subtask_count, completed_count, open_count, checkpoint_frequency, privacy_level,"
        " priority, created_at, updated_at, tool_preferences, task_metadata, repository,"
        " description) VALUES (?, ?, ?, ?, ?, 'pending', 0, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            effects.index,
            spec.task_id,
            command.submitted_by or None,
            command.idempotency_key or None,
            spec.type,
            len(spec.subtasks),
            len(spec.subtasks),
            spec.checkpoint_frequency,
            spec.privacy,
            spec.priority,
            now_ms,
            now_ms,
            json_text(list(spec.tool_preferences)),
            json_text(spec.metadata),
            codec.encode(spec.repository) if spec.repository else None,
            spec.description,
        ),
    )


def _insert_subtasks(effects: Effects, spec: TaskSpec, positions: dict[str, int]) -> None:
    """Write the subtasks' rows, numbered in their order, and what needs what."""
    (last,) = effects.db.execute("SELECT coalesce(max(subtask_no), 0) FROM subtasks").fetchone()
    numbers = {name: last + 1 + at for name, at in positions.items()}
    effects.db.executemany(
        "INSERT INTO subtasks (subtask_no, subtask_id, task_id, name, status, unmet,"
        " task_priority, priority, max_attempts, recommended_tool, complexity, created_at,"
        " updated_at, description, start_limit, foreach_no)"
        " VALUES (?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [_subtask_row(effects, spec, subtask, numbers) for subtask in spec.subtasks],
    )
    effects.db.executemany(
        "INSERT INTO subtask_specs (subtask_no, spec) VALUES (?, ?)",
        [(numbers[subtask.name], codec.encode(subtask)) for subtask in spec.subtasks],
    )
    effects.db.executemany(
        "INSERT INTO dependencies (needs_no, subtask_no) VALUES (?, ?)",
        sorted(_dependency_rows(spec.subtasks, numbers)),
    )


def _subtask_row(
    effects: Effects, spec: TaskSpec, subtask: SubtaskSpec, numbers: dict[str, int]
) -> tuple[Any, ...]:
    return (
        numbers[subtask.name],
        subtask.subtask_id,
        spec.task_id,
        subtask.name,
        len(set(subtask.needs)),
        spec.priority,
        subtask.priority,
        subtask.max_attempts,
        subtask.tools[0] if subtask.tools else "",
        subtask.complexity,
        effects.now_ms,
        effects.now_ms,
        subtask.description,
        None if subtask.start_timeout_s is None else int(subtask.start_timeout_s * 1000),
        numbers[subtask.foreach] if subtask.foreach else None,
    )


def _dependency_rows(
    subtasks: Sequence[SubtaskSpec], numbers: dict[str, int]
) -> Iterator[tuple[int, int]]:
    for subtask in subtasks:
        for need in set(subtask.needs):
            yield numbers[need], numbers[subtask.name]
