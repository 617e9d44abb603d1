"""How a subtask moves while its work is judged: the state around `gates`.

A subtask whose attempt succeeded and that is not through all gates yet is `review`. Then either an
attempt of another agent looks at the work, or one is to be given out (`not_before` says from when),
or a person is to decide: `not_before` is NEVER_MS meanwhile, so that neither has to be looked for.
A pending subtask about which a person is to decide is held back by the same mark.
"""

import hashlib
import uuid
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final

from paceline import codec
from paceline.tasks import gates, phases
from paceline.tasks.effects import MAX_TIME_MS, Change, Effects, brief, finite, json_text
from paceline.tasks.effects_subtasks import (
    DEPENDENCY_FAILED,
    cancel_waiting,
    release_dependents,
    waiting_dependents,
)
from paceline.tasks.effects_tasks import find_task, settle_checkpoints, subtasks_ended
from paceline.tasks.gates import Ruling, Step
from paceline.tasks.model import (
    CheckpointType,
    Evaluation,
    SubtaskSpec,
    SubtaskStatus,
)

NEVER_MS: Final = MAX_TIME_MS
"""The `not_before` of what waits for somebody's word."""


@dataclass(slots=True)
class Judged:
    """A subtask whose work is judged: its row, its plan's rules, and how it has gone so far."""

    subtask_no: int
    subtask_id: str
    task_id: str
    status: str
    spec: SubtaskSpec
    frequency: str
    last: bool
    """Nothing else of its task is open, and nothing of it has failed."""
    author_attempt: int
    cycles: int
    unusable: int
    retried: int

    @property
    def rules(self) -> gates.Rules:
        """Answer what its plan asks for."""
        return gates.rules(self.spec.settings, self.frequency, last=self.last)


def load(effects: Effects, subtask_no: int) -> Judged:
    """Read the subtask of that number."""
    row = effects.db.execute(
        "SELECT s.subtask_no, s.subtask_id, s.task_id, s.status, p.spec, t.checkpoint_frequency,"
        " t.open_count = 1 AND t.completed_count = t.subtask_count - 1,"
        " coalesce(q.author_attempt, 0), coalesce(q.cycles, 0), coalesce(q.unusable, 0),"
        " coalesce(q.retried, 0)"
        " FROM subtasks s JOIN tasks t ON t.task_id = s.task_id"
        " JOIN subtask_specs p ON p.subtask_no = s.subtask_no"
        " LEFT JOIN quality q ON q.subtask_no = s.subtask_no WHERE s.subtask_no = ?",
        (subtask_no,),
    ).fetchone()
    number, subtask_id, task_id, status, encoded, frequency, last, *past = row
    author_attempt, cycles, unusable, retried = past
    return Judged(
        subtask_no=number,
        subtask_id=subtask_id,
        task_id=task_id,
        status=status,
        spec=_spec(encoded),
        frequency=frequency,
        last=bool(last),
        author_attempt=author_attempt,
        cycles=cycles,
        unusable=unusable,
        retried=retried,
    )


def store(effects: Effects, judged: Judged) -> None:
    """Write how it has gone so far."""
    effects.db.execute(
        "INSERT INTO quality (subtask_no, author_attempt, cycles, unusable, retried)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (subtask_no) DO UPDATE SET"
        " author_attempt = excluded.author_attempt, cycles = excluded.cycles,"
        " unusable = excluded.unusable, retried = excluded.retried",
        (
            judged.subtask_no,
            judged.author_attempt,
            judged.cycles,
            judged.unusable,
            judged.retried,
        ),
    )


def keep_work(effects: Effects, judged: Judged, attempt: int, start: str) -> None:
    """Note whose work counts now, and at which commit that attempt began.

    Work that went on from another's began where that did. What this attempt was to know is done
    with.
    """
    judged.author_attempt, judged.unusable = attempt, 0
    store(effects, judged)
    effects.db.execute(
        "UPDATE quality SET start = CASE WHEN continues AND start <> '' THEN start ELSE ? END,"
        " feedback = '', continues = 0, avoid_tool = '' WHERE subtask_no = ?",
        (start, judged.subtask_no),
    )


def keep_evaluation(
    effects: Effects, subtask_id: str, attempt: int, found: Evaluation, *, asks: bool
) -> None:
    """Write an evaluation; `asks`: it does not let the work pass."""
    details = {
        "attempt": attempt,
        "score": found.score,
        "findings": [asdict(each) for each in found.findings],
        "doubts": list(found.doubts),
        "tests_failed": found.tests_failed,
        "files": found.files,
        "diff": found.diff,
    }
    effects.db.execute(
        "INSERT INTO evaluations (evaluation_id, subtask_id, overall_score, dimension_scores,"
        " details, needs_checkpoint, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            f"{subtask_id}.{attempt}",
            subtask_id,
            finite(found.score or 0.0),
            json_text(found.scores),
            json_text(details),
            asks,
            effects.now_ms,
        ),
    )


# --- what a ruling does ---------------------------------------------------------------------------


def follow(effects: Effects, judged: Judged, ruling: Ruling, *, not_before_ms: int = 0) -> None:
    """Do what a gate says with a subtask in review; `not_before_ms` holds the next review back."""
    match ruling.step:
        case Step.PASS:
            pass_on(effects, judged)
        case Step.AGAIN:
            again(effects, judged, ruling.feedback, continues=judged.author_attempt)
        case Step.REVIEW:
            _hold(effects, judged, not_before_ms)
        case Step.ASK:
            _ask(effects, judged, ruling)


def pass_on(effects: Effects, judged: Judged) -> None:
    """Take the work as done: completed, dependents one need closer, task counted."""
    now_ms = effects.now_ms
    phases.check("subtask", judged.status, SubtaskStatus.COMPLETED)
    effects.db.execute(
        "UPDATE subtasks SET status = 'completed', not_before = 0, reason = '',"
        " completed_at = ?, updated_at = ? WHERE subtask_no = ?",
        (now_ms, now_ms, judged.subtask_no),
    )
    release_dependents(effects, judged.subtask_no)
    _tell(effects, judged, SubtaskStatus.COMPLETED, {"attempt": judged.author_attempt})
    subtasks_ended(effects, judged.task_id, completed=1)


def again(
    effects: Effects,
    judged: Judged,
    feedback: str,
    *,
    continues: int,
    avoid_tool: str = "",
    afresh: bool = False,
) -> None:
    """Have another attempt made: going on from the work of one, or from the beginning (0).

    `afresh`: a person asks for it, so that all tallies begin again.
    """
    phases.check("subtask", judged.status, SubtaskStatus.PENDING)
    tallies = ", failures = 0, losses = 0, deferrals = 0" if afresh else ""
    effects.db.execute(
        "UPDATE subtasks SET status = 'pending', assigned_worker = NULL, assigned_at = NULL,"
        f" not_before = 0, result = NULL, updated_at = ?{tallies} WHERE subtask_no = ?",
        (effects.now_ms, judged.subtask_no),
    )
    if afresh:
        judged.cycles = judged.unusable = judged.retried = 0
    store(effects, judged)
    give_feedback(effects, judged.subtask_no, feedback, continues=continues, avoid_tool=avoid_tool)
    details = {"reason": "to be corrected" if continues else "to be done anew"}
    _tell(effects, judged, SubtaskStatus.PENDING, details)


def give_feedback(
    effects: Effects, subtask_no: int, feedback: str, *, continues: int = 0, avoid_tool: str = ""
) -> None:
    """Keep what the next attempt of a subtask is to know."""
    effects.db.execute(
        "INSERT INTO quality (subtask_no, feedback, continues, avoid_tool) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (subtask_no) DO UPDATE SET feedback = excluded.feedback,"
        " continues = excluded.continues, avoid_tool = excluded.avoid_tool",
        (subtask_no, feedback[: gates.FEEDBACK_LIMIT], continues, avoid_tool),
    )


def add_feedback(effects: Effects, subtask_no: int, words: str) -> None:
    """Tell the next attempt something more, whatever it is to know already."""
    effects.db.execute(
        "INSERT INTO quality (subtask_no, feedback) VALUES (?, ?)"
        " ON CONFLICT (subtask_no) DO UPDATE SET feedback ="
        " substr(ltrim(feedback || char(10) || excluded.feedback, char(10)), 1, ?)",
        (subtask_no, words[: gates.FEEDBACK_LIMIT], gates.FEEDBACK_LIMIT),
    )


def fail(effects: Effects, judged: Judged, reason: str) -> None:
    """Fail for good, and cancel what hangs on it."""
    now_ms = effects.now_ms
    phases.check("subtask", judged.status, SubtaskStatus.FAILED)
    effects.db.execute(
        "UPDATE subtasks SET status = 'failed', not_before = 0, reason = ?, completed_at = ?,"
        " updated_at = ? WHERE subtask_no = ?",
        (reason, now_ms, now_ms, judged.subtask_no),
    )
    _tell(effects, judged, SubtaskStatus.FAILED, {"reason": brief(reason)})
    stranded = waiting_dependents(effects, judged.subtask_no)
    cancel_waiting(effects, judged.task_id, stranded, DEPENDENCY_FAILED)
    subtasks_ended(effects, judged.task_id, others=1 + len(stranded), failure=reason)


def release(effects: Effects, judged: Judged) -> None:
    """Let a pending subtask that was held go on."""
    effects.db.execute(
        "UPDATE subtasks SET not_before = 0, updated_at = ? WHERE subtask_no = ?",
        (effects.now_ms, judged.subtask_no),
    )
    effects.changes.append(
        Change("subtask", SubtaskStatus.PENDING, judged.task_id, judged.subtask_id)
    )


# --- checkpoints ----------------------------------------------------------------------------------


def insert_checkpoint(
    effects: Effects,
    *,
    checkpoint_id: str,
    task_id: str,
    subtask_id: str,
    kind: str,
    triggered_by: str,
    data: dict[str, Any],
) -> None:
    """Write a checkpoint; `data` has at least `reason`. What it holds back waits from now on."""
    effects.db.execute(
        "INSERT INTO checkpoints (checkpoint_id, task_id, subtask_id, checkpoint_type, status,"
        " triggered_by, checkpoint_data, created_at) VALUES (?, ?, ?, ?, 'pending', ?, ?, ?)",
        (
            checkpoint_id,
            task_id,
            subtask_id or None,
            kind,
            triggered_by,
            json_text(data),
            effects.now_ms,
        ),
    )
    effects.db.execute(
        "UPDATE subtasks SET not_before = ?, updated_at = ? WHERE subtask_id = ?",
        (NEVER_MS, effects.now_ms, subtask_id),
    )
    effects.log(
        "checkpoint_pending",
        task_id=task_id,
        subtask_id=subtask_id or None,
        details={"checkpoint_id": checkpoint_id, "type": kind, "reason": brief(data["reason"])},
    )
    effects.changes.append(Change("checkpoint", "pending", task_id, subtask_id))
    task = find_task(effects, task_id)
    assert task is not None
    settle_checkpoints(effects, task)


def task_is_held(effects: Effects, task_id: str) -> bool:
    """Answer whether a person is to decide about the whole task."""
    row = effects.db.execute(
        "SELECT 1 FROM checkpoints WHERE task_id = ? AND status = 'pending'"
        " AND subtask_id IS NULL LIMIT 1",
        (task_id,),
    ).fetchone()
    return row is not None


def _ask(effects: Effects, judged: Judged, ruling: Ruling) -> None:
    limits = judged.rules.gates
    data: dict[str, Any] = {"reason": ruling.reason, "attempt": judged.author_attempt}
    if limits.expire_s > 0:
        expires_ms = effects.now_ms + int(limits.expire_s * 1000)
        data |= {"expires_ms": min(expires_ms, MAX_TIME_MS), "on_expiry": limits.on_expiry.value}
    insert_checkpoint(
        effects,
        checkpoint_id=_checkpoint_id(effects, judged.subtask_id, ruling.kind),
        task_id=judged.task_id,
        subtask_id=judged.subtask_id,
        kind=ruling.kind,
        triggered_by="gates",
        data=data,
    )


def _checkpoint_id(effects: Effects, subtask_id: str, kind: CheckpointType) -> str:
    """Answer an id in the form of all others, the same on every node."""
    seed = hashlib.sha256(f"checkpoint {effects.index} {subtask_id} {kind}".encode()).digest()
    return str(uuid.UUID(bytes=seed[:16], version=4))


@lru_cache(maxsize=1024)
def _spec(encoded: bytes) -> SubtaskSpec:
    """Read a spec, which never changes; whoever gets it must not change its dicts either."""
    return codec.decode(SubtaskSpec, encoded)


def _hold(effects: Effects, judged: Judged, not_before_ms: int) -> None:
    effects.db.execute(
        "UPDATE subtasks SET not_before = ?, updated_at = ? WHERE subtask_no = ?",
        (not_before_ms, effects.now_ms, judged.subtask_no),
    )
    effects.changes.append(
        Change("subtask", SubtaskStatus.REVIEW, judged.task_id, judged.subtask_id)
    )


def _tell(effects: Effects, judged: Judged, status: SubtaskStatus, details: dict[str, Any]) -> None:
    effects.log(
        f"subtask_{status}",
        task_id=judged.task_id,
        subtask_id=judged.subtask_id,
        details={"from": judged.status, **details},
    )
    effects.changes.append(Change("subtask", status, judged.task_id, judged.subtask_id))
