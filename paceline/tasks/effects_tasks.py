"""What a subtask's end does to its task: counters, progress, and the task's own status."""

from dataclasses import dataclass
from typing import Final

from paceline.tasks import phases
from paceline.tasks.effects import Change, Effects, brief
from paceline.tasks.model import TaskStatus

ENDED_TASK: Final = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})


@dataclass(slots=True)
class TaskRow:
    """The part of a task's row that changes as its subtasks end."""

    task_no: int
    task_id: str
    status: str
    subtask_count: int
    completed_count: int
    open_count: int
    """Subtasks that have not ended."""
    cancel_requested: int


def find_task(effects: Effects, task_id: str) -> TaskRow | None:
    """Read a task's row, if there is one."""
    row = effects.db.execute(
        "SELECT task_no, task_id, status, subtask_count, completed_count, open_count,"
        " cancel_requested FROM tasks WHERE task_id = ?",
        (task_id,),
    ).fetchone()
    return TaskRow(*row) if row else None


def subtasks_ended(
    effects: Effects, task_id: str, *, completed: int = 0, others: int = 0, failure: str = ""
) -> None:
    """Count subtasks that have ended just now, and give the task the status that follows.

    `failure` is why one of them failed for good. The task is failed from that moment, while
    branches that do not hang on the failure go on.
    """
    task = find_task(effects, task_id)
    assert task is not None
    task.completed_count += completed
    task.open_count -= completed + others
    effects.db.execute(
        "UPDATE tasks SET completed_count = ?, open_count = ?, progress = ?, updated_at = ?"
        " WHERE task_no = ?",
        (
            task.completed_count,
            task.open_count,
            100 * task.completed_count // task.subtask_count,
            effects.now_ms,
            task.task_no,
        ),
    )
    status = _status_now(effects, task, failed=bool(failure))
    if status != task.status:
        set_task_status(effects, task, status, reason=failure)
    settle_checkpoints(effects, task)


def settle_checkpoints(effects: Effects, task: TaskRow) -> None:
    """Skip the checkpoints that nobody need decide any more; say whether the task waits for one."""
    pending = effects.db.execute(
        "SELECT c.checkpoint_id, c.subtask_id, s.status FROM checkpoints c"
        " LEFT JOIN subtasks s ON s.subtask_id = c.subtask_id"
        " WHERE c.task_id = ? AND c.status = 'pending' ORDER BY c.created_at, c.checkpoint_id",
        (task.task_id,),
    ).fetchall()
    over = task.status in ENDED_TASK and task.open_count == 0
    waits = False
    for checkpoint_id, subtask_id, status in pending:
        moot = subtask_id is not None and status not in phases.OPEN_SUBTASK
        if over or task.cancel_requested or moot:
            _skip(effects, task.task_id, checkpoint_id, subtask_id)
        else:
            waits = True
    wanted = TaskStatus.CHECKPOINT if waits else TaskStatus.IN_PROGRESS
    if task.status in (TaskStatus.IN_PROGRESS, TaskStatus.CHECKPOINT) and task.status != wanted:
        set_task_status(effects, task, wanted)


def _skip(effects: Effects, task_id: str, checkpoint_id: str, subtask_id: str | None) -> None:
    effects.db.execute(
        "UPDATE checkpoints SET status = 'skipped', resolved_at = ? WHERE checkpoint_id = ?",
        (effects.now_ms, checkpoint_id),
    )
    effects.log(
        "checkpoint_skipped",
        task_id=task_id,
        subtask_id=subtask_id,
        details={"checkpoint_id": checkpoint_id},
    )
    effects.changes.append(Change("checkpoint", "skipped", task_id, subtask_id or ""))


def set_task_status(effects: Effects, task: TaskRow, status: str, *, reason: str = "") -> None:
    """Change a task's status, in the row, the activity log and for those who listen."""
    phases.check("task", task.status, status)
    now_ms = effects.now_ms
    effects.db.execute(
        "UPDATE tasks SET status = ?, updated_at = ?, completed_at = ?,"
        " started_at = CASE WHEN ? THEN coalesce(started_at, ?) ELSE started_at END,"
        " reason = CASE WHEN ? THEN ? ELSE reason END WHERE task_no = ?",
        (
            status,
            now_ms,
            now_ms if status in ENDED_TASK else None,
            status == TaskStatus.IN_PROGRESS,
            now_ms,
            bool(reason),
            reason,
            task.task_no,
        ),
    )
    details = {"from": task.status}
    if reason:
        details["reason"] = brief(reason)
    effects.log(f"task_{status}", task_id=task.task_id, details=details)
    effects.changes.append(Change("task", status, task.task_id))
    task.status = status


def _status_now(effects: Effects, task: TaskRow, *, failed: bool) -> str:
    if task.completed_count == task.subtask_count:
        return task.status if _is_held(effects, task) else TaskStatus.COMPLETED
    if task.open_count == 0 and task.cancel_requested:
        return TaskStatus.FAILED if _is_overdue(effects, task) else TaskStatus.CANCELLED
    if task.status in ENDED_TASK or (task.open_count and not failed):
        return task.status
    return TaskStatus.FAILED if failed or _has_failed(effects, task) else TaskStatus.CANCELLED


def _is_held(effects: Effects, task: TaskRow) -> bool:
    """Answer whether a person is to look at the whole task before it may end."""
    if task.status != TaskStatus.CHECKPOINT:
        return False
    row = effects.db.execute(
        "SELECT 1 FROM checkpoints WHERE task_id = ? AND status = 'pending'"
        " AND subtask_id IS NULL LIMIT 1",
        (task.task_id,),
    ).fetchone()
    return row is not None


def _is_overdue(effects: Effects, task: TaskRow) -> bool:
    """Answer whether its end was asked for because its deadline had passed."""
    row = effects.db.execute(
        "SELECT overdue FROM tasks WHERE task_no = ?", (task.task_no,)
    ).fetchone()
    return bool(row[0])


def _has_failed(effects: Effects, task: TaskRow) -> bool:
    """Answer for a task of which all has ended: after a partial retry, old failures count again."""
    row = effects.db.execute(
        "SELECT 1 FROM subtasks WHERE task_id = ? AND status = 'failed' LIMIT 1", (task.task_id,)
    ).fetchone()
    return row is not None
