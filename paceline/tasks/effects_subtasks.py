"""How a subtask moves: the few ways in which an attempt ends, and what each does around it.

Two things hold after every command. `unmet` is the number of a subtask's needs that are not
completed, whatever its own status. And a subtask is allocated or in_progress exactly while one
attempt of it is active, so that there is never one that nobody owns.
"""

from dataclasses import dataclass
from typing import Any

from paceline import codec
from paceline.tasks import phases, retry
from paceline.tasks.commands import AttemptRef
from paceline.tasks.effects import Change, Effects, brief, finite, json_text
from paceline.tasks.effects_tasks import subtasks_ended
from paceline.tasks.model import AttemptStatus, Outcome, ResultStatus, SubtaskStatus

DEPENDENCY_FAILED = "a dependency failed"
DEPENDENCY_CANCELLED = "a dependency was cancelled"


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A subtask together with one of its attempts."""

    subtask_no: int
    subtask_id: str
    task_id: str
    status: str
    max_attempts: int
    cancel_requested: int
    tally: retry.Tally
    attempt_no: int
    attempt: int
    node_id: str
    tool: str
    attempt_status: str
    token: int
    result_status: str | None

    @property
    def active(self) -> bool:
        """Answer whether the attempt has not ended."""
        return self.attempt_status in phases.ACTIVE_ATTEMPT

    @property
    def reviews(self) -> bool:
        """Answer whether it looks at another's work: while one is active nobody does the work."""
        return self.status == SubtaskStatus.REVIEW


_HELD = """
SELECT s.subtask_no, s.subtask_id, s.task_id, s.status, s.max_attempts, s.cancel_requested,
       s.failures, s.losses, s.deferrals,
       a.attempt_no, a.attempt, a.node_id, a.tool, a.status, a.token, a.result_status
FROM subtasks s JOIN attempts a ON a.subtask_no = s.subtask_no
"""


def find_attempt(effects: Effects, ref: AttemptRef) -> HeldRow | None:
    """Read the attempt that a reference names, whether or not its token is right."""
    row = effects.db.execute(
        _HELD + "WHERE s.subtask_id = ? AND a.attempt = ?", (ref.subtask_id, ref.attempt)
    ).fetchone()
    return _held_row(row) if row else None


def active_attempts_of(effects: Effects, node_id: str) -> list[HeldRow]:
    """Read what a node has in its hands, in the order in which it was given."""
    sql = _HELD.replace("attempts a", "attempts a INDEXED BY attempts_active")
    rows = effects.db.execute(
        sql + "WHERE a.node_id = ? AND a.finished_at IS NULL ORDER BY a.attempt_no", (node_id,)
    ).fetchall()
    return [_held_row(row) for row in rows]


def start(effects: Effects, held: HeldRow) -> None:
    """Note that the worker has begun: attempt running, subtask in_progress (or in review still)."""
    phases.check("attempt", held.attempt_status, AttemptStatus.RUNNING)
    effects.db.execute(
        "UPDATE attempts SET status = 'running', started_at = ? WHERE attempt_no = ?",
        (effects.now_ms, held.attempt_no),
    )
    if held.reviews:
        tell(effects, held, SubtaskStatus.REVIEW, AttemptStatus.RUNNING, {})
        return
    phases.check("subtask", held.status, SubtaskStatus.IN_PROGRESS)
    effects.db.execute(
        "UPDATE subtasks SET status = 'in_progress', updated_at = ? WHERE subtask_no = ?",
        (effects.now_ms, held.subtask_no),
    )
    tell(effects, held, SubtaskStatus.IN_PROGRESS, AttemptStatus.RUNNING, {})


def complete(effects: Effects, held: HeldRow, outcome: Outcome) -> None:
    """Take the work as done: subtask completed, dependents one need closer, task counted."""
    end_attempt(effects, held, AttemptStatus.SUCCEEDED, outcome)
    end_subtask(effects, held, SubtaskStatus.COMPLETED, result_text(held, outcome), "")
    release_dependents(effects, held.subtask_no)
    tell(effects, held, SubtaskStatus.COMPLETED, AttemptStatus.SUCCEEDED, {})
    subtasks_ended(effects, held.task_id, completed=1)


def release_dependents(effects: Effects, subtask_no: int) -> None:
    """Count one need less for all that need a subtask, which is completed now."""
    effects.db.execute(
        "UPDATE subtasks SET unmet = unmet - 1, updated_at = ? WHERE subtask_no IN"
        " (SELECT subtask_no FROM dependencies WHERE needs_no = ?)",
        (effects.now_ms, subtask_no),
    )


def fail_or_retry(effects: Effects, held: HeldRow, outcome: Outcome) -> None:
    """Take it as not done: try again later, or give up, or end the cancelling."""
    status = (
        AttemptStatus.CANCELLED
        if outcome.status is ResultStatus.CANCELLED
        else AttemptStatus.FAILED
    )
    end_attempt(effects, held, status, outcome)
    details = {"result": outcome.status, "reason": brief(outcome.text)}
    ending = _Ending(status, _failure(outcome), details, result_text(held, outcome))
    again = retry.after(
        outcome,
        held.tally,
        subtask_id=held.subtask_id,
        attempt=held.attempt,
        max_attempts=held.max_attempts,
    )
    _go_on(effects, held, ending, again)


def lose(effects: Effects, held: HeldRow, reason: str) -> None:
    """Give the node up: pending again at once, unless cancelled or lost too often."""
    end_attempt(effects, held, AttemptStatus.LOST, None, reason)
    failure = f"its node was lost {retry.LOSS_LIMIT} times; the last time: {reason}"
    ending = _Ending(AttemptStatus.LOST, failure, {"reason": brief(reason)})
    _go_on(effects, held, ending, retry.after_loss(held.tally))


def cancel_waiting(
    effects: Effects, task_id: str, waiting: list[tuple[int, str, str]], reason: str
) -> None:
    """End subtasks that nobody holds: rows of number, id and status. The task is not counted."""
    for _, _, status in waiting:
        phases.check("subtask", status, SubtaskStatus.CANCELLED)
    now_ms = effects.now_ms
    effects.db.executemany(
        "UPDATE subtasks SET status = 'cancelled', reason = ?, completed_at = ?, updated_at = ?"
        " WHERE subtask_no = ?",
        [(reason, now_ms, now_ms, subtask_no) for subtask_no, _, _ in waiting],
    )
    for _, subtask_id, status in waiting:
        effects.log(
            "subtask_cancelled",
            task_id=task_id,
            subtask_id=subtask_id,
            details={"from": status, "reason": brief(reason)},
        )
        effects.changes.append(Change("subtask", SubtaskStatus.CANCELLED, task_id, subtask_id))


# --- how an attempt ends --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Ending:
    """An attempt that ended without success, and what it means if that was the last one."""

    attempt_status: AttemptStatus
    failure: str
    details: dict[str, Any]
    """For the activity log."""
    result: str | None = None


def _go_on(effects: Effects, held: HeldRow, ending: _Ending, again: retry.Retry | None) -> None:
    if held.cancel_requested:
        _end_cancelled(effects, held, ending)
    elif again is None:
        _give_up(effects, held, ending)
    else:
        _wait_again(effects, held, ending, again)


def _end_cancelled(effects: Effects, held: HeldRow, ending: _Ending) -> None:
    end_cancelled(effects, held, ending.attempt_status, ending.details, ending.result)


def end_cancelled(
    effects: Effects,
    held: HeldRow,
    attempt_status: AttemptStatus,
    details: dict[str, Any],
    result: str | None = None,
) -> None:
    """End a subtask that was to be cancelled, its attempt having ended in whatever way."""
    end_subtask(effects, held, SubtaskStatus.CANCELLED, result, "cancelled on request")
    tell(effects, held, SubtaskStatus.CANCELLED, attempt_status, details)
    stranded = waiting_dependents(effects, held.subtask_no)
    cancel_waiting(effects, held.task_id, stranded, DEPENDENCY_CANCELLED)
    subtasks_ended(effects, held.task_id, others=1 + len(stranded))


def _give_up(effects: Effects, held: HeldRow, ending: _Ending) -> None:
    """Fail for good, and cancel what can never run now: all that hangs on it, at any distance."""
    end_subtask(effects, held, SubtaskStatus.FAILED, ending.result, ending.failure)
    tell(effects, held, SubtaskStatus.FAILED, ending.attempt_status, ending.details)
    stranded = waiting_dependents(effects, held.subtask_no)
    cancel_waiting(effects, held.task_id, stranded, DEPENDENCY_FAILED)
    subtasks_ended(effects, held.task_id, others=1 + len(stranded), failure=ending.failure)


def _wait_again(effects: Effects, held: HeldRow, ending: _Ending, again: retry.Retry) -> None:
    phases.check("subtask", held.status, SubtaskStatus.PENDING)
    not_before = effects.now_ms + again.delay_ms if again.delay_ms else 0
    tally = again.tally
    effects.db.execute(
        "UPDATE subtasks SET status = 'pending', assigned_worker = NULL, assigned_at = NULL,"
        " not_before = ?, failures = ?, losses = ?, deferrals = ?, updated_at = ?"
        " WHERE subtask_no = ?",
        (
            not_before,
            tally.failures,
            tally.losses,
            tally.deferrals,
            effects.now_ms,
            held.subtask_no,
        ),
    )
    details = {**ending.details, "delay_ms": again.delay_ms}
    tell(effects, held, SubtaskStatus.PENDING, ending.attempt_status, details)


# --- rows -----------------------------------------------------------------------------------------


def end_attempt(
    effects: Effects,
    held: HeldRow,
    status: AttemptStatus,
    outcome: Outcome | None,
    reason: str = "",
) -> None:
    """Write what an attempt came to; without an outcome, only the reason."""
    phases.check("attempt", held.attempt_status, status)
    if outcome is None:
        effects.db.execute(
            "UPDATE attempts SET status = ?, finished_at = ?, reason = ? WHERE attempt_no = ?",
            (status, effects.now_ms, reason, held.attempt_no),
        )
        return
    effects.db.execute(
        "UPDATE attempts SET status = ?, finished_at = ?, result_status = ?, text = ?, output = ?,"
        " exit_code = ?, usage = ?, cost_usd = ?, duration_ms = ?, log_tail = ?, session = ?,"
        " retryable_after_ms = ?, details = ? WHERE attempt_no = ?",
        (
            status,
            effects.now_ms,
            outcome.status,
            outcome.text,
            codec.encode(outcome.output),
            outcome.exit_code,
            json_text(outcome.usage),
            None if outcome.cost_usd is None else finite(outcome.cost_usd),
            outcome.duration_ms,
            outcome.log_tail,
            outcome.session,
            outcome.retryable_after_ms,
            json_text(outcome.details),
            held.attempt_no,
        ),
    )
    if outcome.change is not None:
        effects.db.execute(
            "INSERT INTO changes (attempt_no, change) VALUES (?, ?)",
            (held.attempt_no, codec.encode(outcome.change)),
        )


def end_subtask(
    effects: Effects, held: HeldRow, status: SubtaskStatus, result: str | None, reason: str
) -> None:
    """Write how a subtask ended; the task is not counted."""
    phases.check("subtask", held.status, status)
    effects.db.execute(
        "UPDATE subtasks SET status = ?, result = ?, reason = ?, cancel_requested = 0,"
        " completed_at = ?, updated_at = ? WHERE subtask_no = ?",
        (status, result, reason, effects.now_ms, effects.now_ms, held.subtask_no),
    )


def tell(
    effects: Effects,
    held: HeldRow,
    status: SubtaskStatus,
    attempt_status: AttemptStatus,
    details: dict[str, Any],
) -> None:
    """Note one step of a subtask and its attempt, for the activity log and those who listen."""
    effects.log(
        f"subtask_{status}",
        task_id=held.task_id,
        subtask_id=held.subtask_id,
        worker_id=held.node_id,
        details={
            "from": held.status,
            "attempt": held.attempt,
            "attempt_status": attempt_status,
            "token": held.token,
            **details,
        },
    )
    ids = (held.task_id, held.subtask_id, held.node_id, held.attempt, held.token)
    effects.changes.append(Change("attempt", attempt_status, *ids))
    effects.changes.append(Change("subtask", status, *ids))


def waiting_dependents(effects: Effects, subtask_no: int) -> list[tuple[int, str, str]]:
    """Answer all that needs it, directly or through others, and still waits; in row order."""
    return effects.db.execute(
        "WITH RECURSIVE stranded (subtask_no) AS ("
        " SELECT subtask_no FROM dependencies WHERE needs_no = ?"
        " UNION SELECT d.subtask_no FROM dependencies d"
        " JOIN stranded ON d.needs_no = stranded.subtask_no)"
        " SELECT s.subtask_no, s.subtask_id, s.status FROM stranded"
        " JOIN subtasks s ON s.subtask_no = stranded.subtask_no"
        " WHERE s.status = 'pending' ORDER BY s.subtask_no",
        (subtask_no,),
    ).fetchall()


def result_text(held: HeldRow, outcome: Outcome) -> str:
    """Answer the seed's `result`, in short: the words and the output stand with the attempt."""
    return json_text(
        {
            "status": outcome.status,
            "attempt": held.attempt,
            "exit_code": outcome.exit_code,
            "cost_usd": outcome.cost_usd,
            "duration_ms": outcome.duration_ms,
            "output_bytes": outcome.output.size,
        }
    )


def _failure(outcome: Outcome) -> str:
    return (
        f"{outcome.status}: {outcome.text}" if outcome.text else f"its tool said {outcome.status}"
    )


def _held_row(row: tuple[Any, ...]) -> HeldRow:
    subtask, tally, attempt = row[:6], retry.Tally(*row[6:9]), row[9:]
    return HeldRow(*(*subtask, tally, *attempt))
