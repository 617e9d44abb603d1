"""The commands about checkpoints: OpenCheckpoint and ResolveCheckpoint.

The first decision counts; whoever comes second is told who decided, and how.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from paceline.errors import Conflict, InputError, NotFound
from paceline.tasks import effects_quality as quality
from paceline.tasks import phases
from paceline.tasks.apply_tasks import cancel_task
from paceline.tasks.commands import CancelTask, Comment, OpenCheckpoint, ResolveCheckpoint
from paceline.tasks.effects import Change, Effects, brief, json_text
from paceline.tasks.effects_quality import Judged
from paceline.tasks.effects_tasks import TaskRow, find_task, set_task_status, subtasks_ended
from paceline.tasks.gates import FEEDBACK_LIMIT
from paceline.tasks.model import CheckpointType, Decision, SubtaskStatus, TaskStatus

OPEN_LIMIT: Final = 1_000
"""Checkpoints of one task that wait for a decision."""

REASON_LENGTH: Final = 2_000

DATA_LIMIT: Final = 32 * 1024
"""Characters of `data`, as JSON."""

COMMENTS_LIMIT: Final = 200


def open_checkpoint(effects: Effects, command: OpenCheckpoint) -> str:
    """Ask a person about a task, or about one subtask that waits. Result: the checkpoint's id.

    Raise NotFound; Conflict where there is nothing to wait with; InputError.
    """
    task = _require_task(effects, command.task_id)
    _check_opening(effects, command, task)
    quality.insert_checkpoint(
        effects,
        checkpoint_id=command.checkpoint_id,
        task_id=command.task_id,
        subtask_id=command.subtask_id,
        kind=command.kind,
        triggered_by=command.triggered_by,
        data={**command.data, "reason": command.reason or "a person asked for it"},
    )
    return command.checkpoint_id


def resolve_checkpoint(effects: Effects, command: ResolveCheckpoint) -> str:
    """Decide. Result: the status of the subtask that it was about, else of the task.

    Raise NotFound, InputError, and Conflict where it has been decided before.
    """
    row = _find(effects, command.checkpoint_id)
    decision = _checked(command)
    task = _require_task(effects, row.task_id)
    if row.subtask_id:
        judged = quality.load(effects, _number(effects, row.subtask_id))
        _keep(effects, row, command)
        _decide_subtask(effects, judged, decision, row.kind, command)
        return _status(effects, "subtasks", "subtask_id", row.subtask_id)
    _require_sense(effects, task, decision)
    _keep(effects, row, command)
    _decide_task(effects, task, decision, command)
    return _status(effects, "tasks", "task_id", row.task_id)


def feedback_of(command: ResolveCheckpoint) -> str:
    """Answer a person's words with the comments on lines, as the next attempt is told them."""
    lines = [f"- {_place(comment)}: {comment.text}" for comment in command.comments]
    return "\n".join(part for part in (command.feedback.strip(), *lines) if part)[:FEEDBACK_LIMIT]


# --- checking -------------------------------------------------------------------------------------


def _check_opening(effects: Effects, command: OpenCheckpoint, task: TaskRow) -> None:
    if command.kind not in list(CheckpointType):
        raise InputError(f"no checkpoint is of the type {command.kind!r}")
    if not command.checkpoint_id:
        raise InputError("a checkpoint needs an id")
    if len(command.reason) > REASON_LENGTH or len(json_text(command.data)) > DATA_LIMIT:
        raise InputError("the reason or the data of the checkpoint are too long")
    if _exists(effects, command.checkpoint_id):
        raise Conflict(f"there is already a checkpoint {command.checkpoint_id}")
    if task.open_count == 0 or task.cancel_requested:
        raise Conflict(f"task {task.task_id} has ended, or is being cancelled")
    if command.subtask_id:
        _require_waiting(effects, command)
    elif quality.task_is_held(effects, task.task_id):
        raise Conflict(f"task {task.task_id} waits for a decision already")
    (count,) = effects.db.execute(
        "SELECT count(*) FROM checkpoints WHERE task_id = ? AND status = 'pending'",
        (task.task_id,),
    ).fetchone()
    if count >= OPEN_LIMIT:
        raise Conflict(f"{count} checkpoints of task {task.task_id} wait already")


def _require_waiting(effects: Effects, command: OpenCheckpoint) -> None:
    row = effects.db.execute(
        "SELECT status, not_before FROM subtasks WHERE subtask_id = ? AND task_id = ?",
        (command.subtask_id, command.task_id),
    ).fetchone()
    if row is None:
        raise NotFound(f"the task has no subtask {command.subtask_id}")
    if row[0] != SubtaskStatus.PENDING:
        raise Conflict(f"subtask {command.subtask_id} is {row[0]}: only what waits can be held")
    if row[1] >= quality.NEVER_MS:
        raise Conflict(f"subtask {command.subtask_id} waits for a decision already")


def _checked(command: ResolveCheckpoint) -> Decision:
    if command.decision not in list(Decision):
        raise InputError(f"a decision is accept, correct or reject, not {command.decision!r}")
    if len(command.comments) > COMMENTS_LIMIT or len(command.feedback) > FEEDBACK_LIMIT:
        raise InputError(
            f"at most {COMMENTS_LIMIT} comments and {FEEDBACK_LIMIT} characters of feedback"
        )
    decision = Decision(command.decision)
    if decision is Decision.CORRECT and not feedback_of(command):
        raise InputError("a correction needs feedback: say what is to be different")
    return decision


def _require_sense(effects: Effects, task: TaskRow, decision: Decision) -> None:
    if decision is Decision.CORRECT and not _waiting(effects, task.task_id):
        raise Conflict("nothing of the task waits that could be told so: accept, or reject")


# --- deciding -------------------------------------------------------------------------------------


def _decide_subtask(
    effects: Effects, judged: Judged, decision: Decision, kind: str, command: ResolveCheckpoint
) -> None:
    """Do what was decided about a subtask in review, or about one that was held before it began.

    Of the latter, each decision lets it begin; but what cannot be merged is given up if rejected.
    """
    feedback = feedback_of(command)
    if decision is Decision.FAIL:
        quality.fail(effects, judged, "its checkpoint was not decided in time")
    elif decision is Decision.REJECT and kind == CheckpointType.CONFLICT:
        quality.fail(effects, judged, f"rejected: {feedback}" if feedback else "rejected")
    elif judged.status == SubtaskStatus.PENDING:
        if feedback:
            quality.add_feedback(effects, judged.subtask_no, feedback)
        quality.release(effects, judged)
        subtasks_ended(effects, judged.task_id)
    elif decision is Decision.ACCEPT:
        quality.pass_on(effects, judged)
    else:
        _again(effects, judged, decision, feedback)
        subtasks_ended(effects, judged.task_id)


def _again(effects: Effects, judged: Judged, decision: Decision, feedback: str) -> None:
    if decision is Decision.CORRECT:
        words = f"A person has looked at your work and asks for corrections.\n{feedback}"
        quality.again(effects, judged, words, continues=judged.author_attempt, afresh=True)
        return
    words = f"A person has rejected an earlier attempt.\n{feedback}" if feedback else ""
    tool = effects.db.execute(
        "SELECT tool FROM attempts WHERE subtask_no = ? AND attempt = ?",
        (judged.subtask_no, judged.author_attempt),
    ).fetchone()
    quality.again(
        effects, judged, words, continues=0, avoid_tool=tool[0] if tool else "", afresh=True
    )


def _decide_task(
    effects: Effects, task: TaskRow, decision: Decision, command: ResolveCheckpoint
) -> None:
    feedback = feedback_of(command)
    if decision is Decision.CORRECT:
        words = f"A person has looked at the task and says:\n{feedback}"
        for subtask_no in _waiting(effects, task.task_id):
            quality.add_feedback(effects, subtask_no, words)
    if decision in (Decision.ACCEPT, Decision.CORRECT):
        subtasks_ended(effects, task.task_id)
        return
    reason = f"rejected at a checkpoint: {feedback}" if feedback else "rejected at a checkpoint"
    if task.open_count:
        cancel_task(effects, CancelTask(task.task_id, brief(reason)))
    elif task.status == TaskStatus.CHECKPOINT:
        set_task_status(effects, task, TaskStatus.FAILED, reason=reason)


# --- rows -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    checkpoint_id: str
    task_id: str
    subtask_id: str
    kind: str
    data: dict[str, Any]


def _find(effects: Effects, checkpoint_id: str) -> _Row:
    """Answer a checkpoint that waits. Raise NotFound; Conflict, which says who decided."""
    row = effects.db.execute(
        "SELECT checkpoint_id, task_id, subtask_id, checkpoint_data, status, checkpoint_type"
        " FROM checkpoints WHERE checkpoint_id = ?",
        (checkpoint_id,),
    ).fetchone()
    if row is None:
        raise NotFound(f"no checkpoint has the id {checkpoint_id}")
    data = json.loads(row[3])
    if row[4] != "pending":
        raise Conflict(f"checkpoint {checkpoint_id} is not open any more: {_ended(row[4], data)}")
    return _Row(row[0], row[1], row[2] or "", row[5], data)


def _ended(status: str, data: dict[str, Any]) -> str:
    if status == "skipped":
        return "its work ended in another way"
    return f"{data.get('by') or 'somebody'} has decided {data.get('decision')}"


def _keep(effects: Effects, row: _Row, command: ResolveCheckpoint) -> None:
    phases.check("checkpoint", "pending", "resolved")
    said = {
        "decision": command.decision,
        "by": command.by,
        "feedback": command.feedback,
        "comments": [asdict(comment) for comment in command.comments],
    }
    effects.db.execute(
        "UPDATE checkpoints SET status = 'resolved', resolved_at = ?, checkpoint_data = ?"
        " WHERE checkpoint_id = ?",
        (effects.now_ms, json_text({**row.data, **said}), row.checkpoint_id),
    )
    effects.db.execute(
        "INSERT INTO corrections (correction_id, checkpoint_id, feedback, corrective_action,"
        " created_at) VALUES (?, ?, ?, ?, ?)",
        (
            f"{row.checkpoint_id}.1",
            row.checkpoint_id,
            feedback_of(command),
            command.decision,
            effects.now_ms,
        ),
    )
    effects.log(
        "checkpoint_resolved",
        task_id=row.task_id,
        subtask_id=row.subtask_id or None,
        worker_id=command.by or None,
        details={"checkpoint_id": row.checkpoint_id, "decision": command.decision},
    )
    effects.changes.append(Change("checkpoint", "resolved", row.task_id, row.subtask_id))


def _require_task(effects: Effects, task_id: str) -> TaskRow:
    task = find_task(effects, task_id)
    if task is None:
        raise NotFound(f"no task {task_id}")
    return task


def _exists(effects: Effects, checkpoint_id: str) -> bool:
    return bool(
        effects.db.execute(
            "SELECT 1 FROM checkpoints WHERE checkpoint_id = ?", (checkpoint_id,)
        ).fetchone()
    )


def _number(effects: Effects, subtask_id: str) -> int:
    (number,) = effects.db.execute(
        "SELECT subtask_no FROM subtasks WHERE subtask_id = ?", (subtask_id,)
    ).fetchone()
    return int(number)


def _waiting(effects: Effects, task_id: str) -> list[int]:
    rows = effects.db.execute(
        "SELECT subtask_no FROM subtasks WHERE task_id = ? AND status = 'pending'"
        " ORDER BY subtask_no",
        (task_id,),
    )
    return [row[0] for row in rows]


def _status(effects: Effects, table: str, key: str, value: str) -> str:
    (status,) = effects.db.execute(
        f"SELECT status FROM {table} WHERE {key} = ?",
        (value,),
    ).fetchone()
    return str(status)


def _place(comment: Comment) -> str:
    return f"{comment.file}:{comment.line}" if comment.line else comment.file
