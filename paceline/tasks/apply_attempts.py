"""The commands about attempts: Allocate, StartAttempts, FinishAttempt, LoseAttempts.

An attempt's fencing token is the index of the entry that allocated it. Several placements of one
entry share it: an attempt is named by subtask, number and token together. Whoever speaks about an
attempt shows the token, and one that is not the attempt's own changes nothing. (Kleppmann, "How to
do distributed locking", 2016.)
"""

from typing import Any

from paceline.tasks import phases
from paceline.tasks.commands import (
    Allocate,
    AttemptRef,
    FinishAttempt,
    LoseAttempts,
    Placement,
    RecallAttempts,
    StartAttempts,
)
from paceline.tasks.effects import Change, Effects, finite
from paceline.tasks.effects_quality import NEVER_MS, task_is_held
from paceline.tasks.effects_subtasks import (
    HeldRow,
    fail_or_retry,
    find_attempt,
    start,
)
from paceline.tasks.model import AttemptStatus, ResultStatus, SubtaskStatus, TaskStatus
from paceline.tasks.reviewing import (
    begin_review,
    finish_conflict,
    finish_review,
    finish_work,
    give_up,
)


def allocate(effects: Effects, command: Allocate) -> dict[str, Any]:
    """Place what can be placed. Result: `allocated` (how many), `void` ([subtask_id, why], ...)."""
    worker_status: dict[str, str] = {}
    void = []
    for placement in command.placements:
        row = _find_subtask(effects, placement.subtask_id)
        why = _void_reason(effects, placement, row, worker_status)
        if row is None or why:
            void.append([placement.subtask_id, why])
        else:
            _place(effects, placement, row)
    return {"allocated": len(command.placements) - len(void), "void": void}


def start_attempts(effects: Effects, command: StartAttempts) -> int:
    """Mark as running what is still this worker's. Result: how many, those already so included."""
    good = 0
    for ref in command.attempts:
        held = find_attempt(effects, ref)
        if held is None or not _holds(held, ref, command.node_id):
            continue
        good += 1
        if held.attempt_status == AttemptStatus.ALLOCATED:
            start(effects, held)
    return good


def finish_attempt(effects: Effects, command: FinishAttempt) -> bool:
    """Take the outcome if the token is good. Result: whether it counted, now or when first said."""
    held = find_attempt(effects, command.ref)
    if held is None:
        return False
    if not _holds(held, command.ref, command.node_id):
        if _said_before(held, command):
            return True
        _note_stale(effects, held, command)
        return False
    if held.reviews:
        finish_review(effects, held, command.outcome)
    elif command.outcome.status is ResultStatus.OK:
        finish_work(effects, held, command.outcome)
    elif command.outcome.status is ResultStatus.CONFLICT and finish_conflict(
        effects, held, command.outcome
    ):
        return True
    else:
        fail_or_retry(effects, held, command.outcome)
    return True


def lose_attempts(effects: Effects, command: LoseAttempts) -> int:
    """Give attempts up. Result: how many were still active under that token."""
    lost = 0
    for ref in command.attempts:
        held = find_attempt(effects, ref)
        if held is not None and held.active and held.token == ref.token:
            give_up(effects, held, command.reason)
            lost += 1
    return lost


def recall_attempts(effects: Effects, command: RecallAttempts) -> int:
    """Ask workers to stop attempts and give them back. Result: how many they still have."""
    asked = 0
    for ref in command.attempts:
        held = find_attempt(effects, ref)
        if held is None or not held.active or held.token != ref.token:
            continue
        asked += 1
        effects.db.execute(
            "UPDATE attempts SET recalled = ? WHERE attempt_no = ?",
            (command.reason, held.attempt_no),
        )
        ids = (held.task_id, held.subtask_id, held.node_id, held.attempt, held.token)
        effects.changes.append(Change("attempt", held.attempt_status, *ids))
    return asked


# --- placing --------------------------------------------------------------------------------------

_SubtaskRow = tuple[int, str, str, int, int, str, int, int]
"""subtask_no, task_id, status, unmet, attempts, the task's status, not_before, paused"""


def _find_subtask(effects: Effects, subtask_id: str) -> _SubtaskRow | None:
    row: _SubtaskRow | None = effects.db.execute(
        "SELECT s.subtask_no, s.task_id, s.status, s.unmet, s.attempts, t.status, s.not_before,"
        " t.paused FROM subtasks s JOIN tasks t ON t.task_id = s.task_id WHERE s.subtask_id = ?",
        (subtask_id,),
    ).fetchone()
    return row


def _void_reason(
    effects: Effects, placement: Placement, row: _SubtaskRow | None, known: dict[str, str]
) -> str:
    """Answer why a placement cannot be made, or nothing where it can."""
    if row is None:
        return "no such subtask"
    _, _, status, unmet, attempts, task_status, not_before, paused = row
    if status not in (SubtaskStatus.PENDING, SubtaskStatus.REVIEW):
        return f"it is {status}"
    if unmet:
        return f"{unmet} of its dependencies are not completed"
    if task_status not in phases.WORKED_TASK:
        return f"its task is {task_status}"
    if paused:
        return "its task is paused"
    if not_before >= NEVER_MS:
        return "a person is to decide, or it is reviewed already"
    if task_status != TaskStatus.IN_PROGRESS and task_is_held(effects, row[1]):
        return "a person is to decide about its task"
    if placement.attempt != attempts + 1:
        return f"its next attempt is {attempts + 1}, not {placement.attempt}"
    worker = _worker_status(effects, placement.node_id, known)
    if worker not in phases.FIT_WORKER:
        return f"the worker is {worker or 'not known'}"
    return ""


def _worker_status(effects: Effects, node_id: str, known: dict[str, str]) -> str:
    """Answer a worker's status, empty if there is none; asked once per command."""
    if node_id not in known:
        row = effects.db.execute(
            "SELECT status FROM workers WHERE worker_id = ?", (node_id,)
        ).fetchone()
        known[node_id] = row[0] if row else ""
    return known[node_id]


def _place(effects: Effects, placement: Placement, row: _SubtaskRow) -> None:
    subtask_no, task_id, status, *_ = row
    now_ms, token = effects.now_ms, effects.index
    effects.db.execute(
        "INSERT INTO attempts"
        " (subtask_no, attempt, node_id, tool, status, token, score, allocated_at)"
        " VALUES (?, ?, ?, ?, 'allocated', ?, ?, ?)",
        (
            subtask_no,
            placement.attempt,
            placement.node_id,
            placement.tool,
            token,
            finite(placement.score),
            now_ms,
        ),
    )
    if status == SubtaskStatus.REVIEW:
        begin_review(effects, subtask_no, placement.attempt)
        _tell_placed(effects, placement, task_id, SubtaskStatus.REVIEW)
        return
    phases.check("subtask", SubtaskStatus.PENDING, SubtaskStatus.ALLOCATED)
    effects.db.execute(
        "UPDATE subtasks SET status = 'allocated', assigned_worker = ?, assigned_at = ?,"
        " attempts = ?, updated_at = ? WHERE subtask_no = ?",
        (placement.node_id, now_ms, placement.attempt, now_ms, subtask_no),
    )
    _tell_placed(effects, placement, task_id, SubtaskStatus.ALLOCATED)


def _tell_placed(
    effects: Effects, placement: Placement, task_id: str, status: SubtaskStatus
) -> None:
    effects.log(
        f"subtask_{status}",
        task_id=task_id,
        subtask_id=placement.subtask_id,
        worker_id=placement.node_id,
        details={
            "from": "review" if status is SubtaskStatus.REVIEW else "pending",
            "attempt": placement.attempt,
            "attempt_status": "allocated",
            "token": effects.index,
            "tool": placement.tool,
            "score": finite(placement.score),
        },
    )
    ids = (
        task_id,
        placement.subtask_id,
        placement.node_id,
        placement.attempt,
        effects.index,
    )
    effects.changes.append(Change("attempt", AttemptStatus.ALLOCATED, *ids))
    effects.changes.append(Change("subtask", status, *ids))


# --- fencing --------------------------------------------------------------------------------------


def _holds(held: HeldRow, ref: AttemptRef, node_id: str) -> bool:
    return held.active and held.token == ref.token and held.node_id == node_id


def _said_before(held: HeldRow, command: FinishAttempt) -> bool:
    """Answer whether this very outcome was accepted before, and is repeated under a new request."""
    return (
        held.token == command.ref.token
        and held.node_id == command.node_id
        and held.result_status == command.outcome.status
    )


def _note_stale(effects: Effects, held: HeldRow, command: FinishAttempt) -> None:
    effects.log(
        "attempt_stale",
        task_id=held.task_id,
        subtask_id=held.subtask_id,
        worker_id=command.node_id,
        details={
            "attempt": held.attempt,
            "attempt_status": held.attempt_status,
            "token": command.ref.token,
            "result": command.outcome.status,
        },
    )
