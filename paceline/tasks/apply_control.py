"""The commands that steer work under way: CancelSubtask, ChangeTask, EndOverdue.

A paused task keeps what runs and is given nothing new. A deadline ends a task as a cancellation
would, and the task is then failed. Who proposes that time is up only makes the question be asked:
the answer is the state's own time, which is the same everywhere.
"""

from typing import Final

from paceline.errors import Conflict, InputError, NotFound
from paceline.tasks import effects_quality as quality
from paceline.tasks import phases
from paceline.tasks.apply_tasks import (
    CANCELLING,
    ask_workers_to_stop,
    nobody_holds,
    require_task,
    stop_task,
)
from paceline.tasks.commands import CancelSubtask, ChangeTask, EndOverdue
from paceline.tasks.effects import MAX_TIME_MS, Change, Effects
from paceline.tasks.effects_subtasks import (
    DEPENDENCY_CANCELLED,
    cancel_waiting,
    waiting_dependents,
)
from paceline.tasks.effects_tasks import find_task, subtasks_ended
from paceline.tasks.model import SubtaskStatus

PRIORITIES: Final = range(101)
DEADLINE_PASSED: Final = "its deadline has passed"


def cancel_subtask(effects: Effects, command: CancelSubtask) -> str:
    """End one subtask and what hangs on it. Raise NotFound, or Conflict where it has ended."""
    task = require_task(effects, command.task_id)
    row = effects.db.execute(
        "SELECT subtask_no, status, cancel_requested FROM subtasks"
        " WHERE task_id = ? AND subtask_id = ?",
        (task.task_id, command.subtask_id),
    ).fetchone()
    if row is None:
        raise NotFound(f"task {task.task_id} has no subtask {command.subtask_id}")
    number, status, asked = row
    if status == SubtaskStatus.CANCELLED:
        return SubtaskStatus.CANCELLED.value
    if status not in phases.OPEN_SUBTASK:
        raise Conflict(f"the subtask is {status} already")
    if asked:
        return CANCELLING
    waiting = nobody_holds(effects, task.task_id, command.subtask_id)
    if not waiting:
        ask_workers_to_stop(effects, task.task_id, command.subtask_id)
        return CANCELLING
    stranded = waiting_dependents(effects, number)
    cancel_waiting(effects, task.task_id, waiting, command.reason or "cancelled on request")
    cancel_waiting(effects, task.task_id, stranded, DEPENDENCY_CANCELLED)
    subtasks_ended(effects, task.task_id, others=1 + len(stranded))
    return SubtaskStatus.CANCELLED.value


def change_task(effects: Effects, command: ChangeTask) -> list[str]:
    """Pause, resume, hurry. Raise NotFound, InputError, or Conflict where the task has ended."""
    task = require_task(effects, command.task_id)
    _check(command)
    if task.open_count == 0:
        raise Conflict(f"task {task.task_id} is {task.status} already")
    paused, deadline = _controls(effects, task.task_id)
    changed = []
    if command.priority is not None and _set_priority(effects, task.task_id, command.priority):
        changed.append("priority")
    if command.paused is not None and command.paused != paused:
        _set_paused(effects, task.task_id, paused=command.paused)
        changed.append("paused")
    wanted = command.deadline_ms or None
    if command.deadline_ms is not None and wanted != deadline:
        set_deadline(effects, task.task_id, wanted)
        changed.append("deadline")
    if changed:
        details = {
            "changed": changed,
            "paused": command.paused,
            "priority": command.priority,
            "deadline": command.deadline_ms,
            "by": command.by,
        }
        effects.log("task_changed", task_id=task.task_id, details=details)
        effects.changes.append(Change("task", task.status, task.task_id))
    return changed


def end_overdue(effects: Effects, command: EndOverdue) -> dict[str, int]:
    """End what has had its time."""
    return {
        "tasks": sum(_end_task(effects, each) for each in command.tasks),
        "subtasks": sum(_end_subtask(effects, each) for each in command.subtasks),
    }


def set_deadline(effects: Effects, task_id: str, deadline_ms: int | None) -> None:
    """Write when a task is to have ended; None = whenever it likes."""
    effects.db.execute("UPDATE tasks SET deadline = ? WHERE task_id = ?", (deadline_ms, task_id))


def _check(command: ChangeTask) -> None:
    if command.priority is not None and command.priority not in PRIORITIES:
        raise InputError("a priority is a whole number from 0 to 100")
    if command.deadline_ms is not None and not 0 <= command.deadline_ms <= MAX_TIME_MS:
        raise InputError("the deadline is no moment before the year 10000")


def _controls(effects: Effects, task_id: str) -> tuple[bool, int | None]:
    paused, deadline = effects.db.execute(
        "SELECT paused, deadline FROM tasks WHERE task_id = ?", (task_id,)
    ).fetchone()
    return bool(paused), deadline


def _set_priority(effects: Effects, task_id: str, priority: int) -> bool:
    changed = effects.db.execute(
        "UPDATE tasks SET priority = ?, updated_at = ? WHERE task_id = ? AND priority <> ?",
        (priority, effects.now_ms, task_id, priority),
    )
    if changed.rowcount == 0:
        return False
    effects.db.execute(
        "UPDATE subtasks SET task_priority = ? WHERE task_id = ?", (priority, task_id)
    )
    return True


def _set_paused(effects: Effects, task_id: str, *, paused: bool) -> None:
    """Note it; what was ready while paused begins to wait anew when the task goes on."""
    effects.db.execute(
        "UPDATE tasks SET paused = ?, updated_at = ? WHERE task_id = ?",
        (paused, effects.now_ms, task_id),
    )
    if not paused:
        effects.db.execute(
            "UPDATE subtasks SET updated_at = ? WHERE task_id = ? AND status = 'pending'",
            (effects.now_ms, task_id),
        )


def _end_task(effects: Effects, task_id: str) -> bool:
    task = find_task(effects, task_id)
    if task is None or task.open_count == 0 or task.cancel_requested:
        return False
    _, deadline = _controls(effects, task_id)
    if deadline is None or deadline > effects.now_ms:
        return False
    effects.db.execute("UPDATE tasks SET overdue = 1 WHERE task_id = ?", (task_id,))
    stop_task(effects, task, DEADLINE_PASSED)
    return True


def _end_subtask(effects: Effects, subtask_id: str) -> bool:
    """Fail a subtask that was ready for too long, and cancel what hangs on it."""
    row = effects.db.execute(
        "SELECT s.subtask_no, s.start_limit FROM subtasks s JOIN tasks t ON t.task_id = s.task_id"
        " WHERE s.subtask_id = ? AND s.status = 'pending' AND s.unmet = 0"
        " AND s.not_before < ? AND t.paused = 0"
        " AND max(s.updated_at, s.not_before) + s.start_limit <= ?",
        (subtask_id, quality.NEVER_MS, effects.now_ms),
    ).fetchone()
    if row is None:
        return False
    reason = f"timeout: no node could begin it within {row[1] / 1000:g} s"
    quality.fail(effects, quality.load(effects, row[0]), reason)
    return True
