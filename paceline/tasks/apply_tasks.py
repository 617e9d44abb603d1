"""The commands about whole tasks that a person gives: CancelTask and RetryTask."""

from dataclasses import dataclass
from typing import Final

from paceline.errors import Conflict, NotFound
from paceline.tasks import phases
from paceline.tasks.commands import CancelTask, RetryTask
from paceline.tasks.effects import Change, Effects, brief
from paceline.tasks.effects_subtasks import cancel_waiting
from paceline.tasks.effects_tasks import (
    TaskRow,
    find_task,
    set_task_status,
    settle_checkpoints,
    subtasks_ended,
)
from paceline.tasks.model import SubtaskStatus, TaskStatus

CANCELLING: Final = "cancelling"
"""What CancelTask answers, and queries show in the details, while workers still stop."""

DEAD_SUBTASK: Final = frozenset({SubtaskStatus.FAILED, SubtaskStatus.CANCELLED})


def cancel_task(effects: Effects, command: CancelTask) -> str:
    """End a task. Result: `cancelled`, or `cancelling` while workers have to stop first.

    Repeating it is harmless. Raise NotFound, or Conflict where the task has ended otherwise.
    """
    task = require_task(effects, command.task_id)
    if task.status == TaskStatus.CANCELLED:
        return TaskStatus.CANCELLED.value
    if task.open_count == 0:
        raise Conflict(f"task {task.task_id} is {task.status} already")
    if task.cancel_requested:
        return CANCELLING
    held = stop_task(effects, task, command.reason or "cancelled on request")
    return CANCELLING if held else TaskStatus.CANCELLED.value


def stop_task(effects: Effects, task: TaskRow, reason: str) -> int:
    """End what waits of a task and ask workers to end the rest; answer how many they hold."""
    effects.db.execute(
        "UPDATE tasks SET cancel_requested = 1, reason = ?, updated_at = ? WHERE task_no = ?",
        (reason, effects.now_ms, task.task_no),
    )
    effects.log("task_cancelling", task_id=task.task_id, details={"reason": brief(reason)})
    ask_workers_to_stop(effects, task.task_id)
    waiting = nobody_holds(effects, task.task_id)
    cancel_waiting(effects, task.task_id, waiting, reason)
    subtasks_ended(effects, task.task_id, others=len(waiting))
    return task.open_count - len(waiting)


def retry_task(effects: Effects, command: RetryTask) -> str:
    """Try again what failed or was cancelled. Result: the task's status, `in_progress`.

    With `subtask_id`, only that one: with it whatever it needs, and whatever was cancelled because
    of it and can run now. Raise NotFound, or Conflict where there is nothing to try again or the
    task is still being cancelled.
    """
    task = require_task(effects, command.task_id)
    if task.cancel_requested and task.open_count:
        raise Conflict(f"task {task.task_id} is still being cancelled; retry when it has ended")
    nodes = _load_graph(effects, task.task_id)
    if command.subtask_id:
        wanted = _around(nodes, _number_of(nodes, command.subtask_id))
    else:
        wanted = {number for number, node in nodes.items() if node.dead}
    if not wanted:
        raise Conflict(f"task {task.task_id} has no failed or cancelled subtask")
    effects.db.execute(
        "UPDATE tasks SET cancel_requested = 0, reason = '', open_count = open_count + ?,"
        " deadline = CASE WHEN overdue THEN NULL ELSE deadline END, overdue = 0"
        " WHERE task_no = ?",
        (len(wanted), task.task_no),
    )
    for number in sorted(wanted):
        _revive(effects, task.task_id, number, nodes[number])
    if task.status != TaskStatus.IN_PROGRESS:
        set_task_status(effects, task, TaskStatus.IN_PROGRESS)
    task.cancel_requested = 0
    settle_checkpoints(effects, task)
    return TaskStatus.IN_PROGRESS.value


def require_task(effects: Effects, task_id: str) -> TaskRow:
    """Read a task's row. Raise NotFound."""
    task = find_task(effects, task_id)
    if task is None:
        raise NotFound(f"no task {task_id}")
    return task


# --- cancelling -----------------------------------------------------------------------------------


_REVIEWED_NOW: Final = (
    "(status = 'review' AND EXISTS (SELECT 1 FROM attempts a"
    " WHERE a.subtask_no = subtasks.subtask_no AND a.finished_at IS NULL))"
)


def ask_workers_to_stop(effects: Effects, task_id: str, subtask_id: str = "") -> None:
    """Mark what workers hold of a task, or of one subtask; each ends it when it sees the mark."""
    which, ids = _which(task_id, subtask_id)
    held = effects.db.execute(
        "SELECT a.status, subtasks.task_id, subtasks.subtask_id, a.node_id, a.attempt, a.token"
        " FROM subtasks JOIN attempts a ON a.subtask_no = subtasks.subtask_no"
        f" WHERE {which} AND a.finished_at IS NULL ORDER BY subtasks.subtask_no",
        ids,
    ).fetchall()
    effects.db.execute(
        f"UPDATE subtasks SET cancel_requested = 1, updated_at = ? WHERE {which}"
        f" AND (status IN ('allocated', 'in_progress') OR {_REVIEWED_NOW})",
        (effects.now_ms, *ids),
    )
    effects.changes.extend(Change("attempt", *row) for row in held)


def nobody_holds(
    effects: Effects, task_id: str, subtask_id: str = ""
) -> list[tuple[int, str, str]]:
    """Answer what waits of a task, or the one subtask if it does: number, id and status."""
    which, ids = _which(task_id, subtask_id)
    return effects.db.execute(
        f"SELECT subtask_no, subtask_id, status FROM subtasks WHERE {which}"
        f" AND (status = 'pending' OR status = 'review' AND NOT {_REVIEWED_NOW})"
        " ORDER BY subtask_no",
        ids,
    ).fetchall()


def _which(task_id: str, subtask_id: str) -> tuple[str, tuple[str, ...]]:
    if subtask_id:
        return "subtasks.task_id = ? AND subtasks.subtask_id = ?", (task_id, subtask_id)
    return "subtasks.task_id = ?", (task_id,)


# --- trying again ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Node:
    """A subtask in its task's graph, by row numbers."""

    subtask_id: str
    status: str
    needs: tuple[int, ...]

    @property
    def dead(self) -> bool:
        return self.status in DEAD_SUBTASK


def _load_graph(effects: Effects, task_id: str) -> dict[int, _Node]:
    needs: dict[int, list[int]] = {}
    for number, need in effects.db.execute(
        "SELECT d.subtask_no, d.needs_no FROM subtasks s"
        " JOIN dependencies d ON d.subtask_no = s.subtask_no"
        " WHERE s.task_id = ? ORDER BY d.subtask_no, d.needs_no",
        (task_id,),
    ):
        needs.setdefault(number, []).append(need)
    rows = effects.db.execute(
        "SELECT subtask_no, subtask_id, status FROM subtasks WHERE task_id = ? ORDER BY subtask_no",
        (task_id,),
    )
    return {
        number: _Node(subtask_id, status, tuple(needs.get(number, ())))
        for number, subtask_id, status in rows
    }


def _number_of(nodes: dict[int, _Node], subtask_id: str) -> int:
    for number, node in nodes.items():
        if node.subtask_id == subtask_id:
            if not node.dead:
                raise Conflict(f"subtask {subtask_id} is {node.status}: nothing to try again")
            return number
    raise NotFound(f"the task has no subtask {subtask_id}")


def _around(nodes: dict[int, _Node], number: int) -> set[int]:
    """Answer the subtask, the dead ones it needs, and the cancelled ones that can then run.

    A dependent that also needs something which stays dead is left out: it would wait for ever.
    """
    wanted = _dead_needs(nodes, number)
    grown = True
    while grown:
        grown = False
        for other, node in nodes.items():
            if other in wanted or node.status != SubtaskStatus.CANCELLED:
                continue
            if wanted.intersection(node.needs) and not any(
                nodes[need].dead and need not in wanted for need in node.needs
            ):
                wanted.add(other)
                grown = True
    return wanted


def _dead_needs(nodes: dict[int, _Node], number: int) -> set[int]:
    found, left = {number}, [number]
    while left:
        for need in nodes[left.pop()].needs:
            if nodes[need].dead and need not in found:
                found.add(need)
                left.append(need)
    return found


def _revive(effects: Effects, task_id: str, number: int, node: _Node) -> None:
    """Make a subtask pending with a clean tally; its attempts stay, and are numbered on."""
    phases.check("subtask", node.status, SubtaskStatus.PENDING)
    effects.db.execute(
        "UPDATE subtasks SET status = 'pending', not_before = 0, failures = 0, losses = 0,"
        " deferrals = 0, assigned_worker = NULL, assigned_at = NULL, completed_at = NULL,"
        " result = NULL, reason = '', updated_at = ? WHERE subtask_no = ?",
        (effects.now_ms, number),
    )
    effects.db.execute("DELETE FROM quality WHERE subtask_no = ?", (number,))
    effects.log(
        "subtask_pending",
        task_id=task_id,
        subtask_id=node.subtask_id,
        details={"from": node.status, "reason": "retried on request"},
    )
    effects.changes.append(Change("subtask", SubtaskStatus.PENDING, task_id, node.subtask_id))
