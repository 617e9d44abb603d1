"""Where an attempt's end meets the gates: work that was done, and reviews of it.

A review is an attempt like any other, with a fencing token and a lease; the row in `reviews` is
what tells it from one that does the work. Before level 2 there was none of this: work that
succeeded was completed, and is when an entry of that level is applied.
"""

from dataclasses import asdict
from typing import Final

from paceline.tasks import gates, phases, retry
from paceline.tasks.effects import Effects, brief, json_text
from paceline.tasks.effects_quality import (
    NEVER_MS,
    Judged,
    follow,
    keep_evaluation,
    keep_work,
    load,
    store,
)
from paceline.tasks.effects_subtasks import (
    HeldRow,
    complete,
    end_attempt,
    end_cancelled,
    lose,
    result_text,
    tell,
)
from paceline.tasks.gates import Ruling, Step
from paceline.tasks.model import (
    AttemptStatus,
    CheckpointType,
    Outcome,
    ResultStatus,
    Review,
    SubtaskStatus,
)

LEVEL: Final = 2
"""Of the log: from here on there are gates."""


def finish_work(effects: Effects, held: HeldRow, outcome: Outcome) -> None:
    """Take work that succeeded: completed, or whatever the gates say."""
    if effects.level < LEVEL:
        complete(effects, held, outcome)
        return
    judged = load(effects, held.subtask_no)
    found, change = outcome.evaluation, outcome.change
    ruling = gates.after_work(
        found, judged.rules, changed=change is not None, retried=bool(judged.retried)
    )
    if found is not None:
        asks = ruling.step in (Step.AGAIN, Step.ASK)
        keep_evaluation(effects, held.subtask_id, held.attempt, found, asks=asks)
    if found is not None or ruling.step is not Step.PASS or judged.author_attempt:
        keep_work(effects, judged, held.attempt, change.start if change else "")
    if ruling.step is Step.PASS or held.cancel_requested:
        complete(effects, held, outcome)
        return
    end_attempt(effects, held, AttemptStatus.SUCCEEDED, outcome)
    if ruling.step is Step.AGAIN:
        judged.retried = 1
    _to_review(effects, held, outcome)
    judged.status = SubtaskStatus.REVIEW
    follow(effects, judged, ruling)


def finish_conflict(effects: Effects, held: HeldRow, outcome: Outcome) -> bool:
    """Ask a person where what a subtask needs cannot be merged; answer whether that was done."""
    if effects.level < LEVEL or held.cancel_requested:
        return False
    end_attempt(effects, held, AttemptStatus.FAILED, outcome)
    phases.check("subtask", held.status, SubtaskStatus.PENDING)
    effects.db.execute(
        "UPDATE subtasks SET status = 'pending', assigned_worker = NULL, assigned_at = NULL,"
        " updated_at = ? WHERE subtask_no = ?",
        (effects.now_ms, held.subtask_no),
    )
    tell(effects, held, SubtaskStatus.PENDING, AttemptStatus.FAILED, {"result": outcome.status})
    judged = load(effects, held.subtask_no)
    judged.author_attempt = held.attempt
    follow(effects, judged, Ruling(Step.ASK, kind=CheckpointType.CONFLICT, reason=outcome.text))
    return True


def _to_review(effects: Effects, held: HeldRow, outcome: Outcome) -> None:
    phases.check("subtask", held.status, SubtaskStatus.REVIEW)
    effects.db.execute(
        "UPDATE subtasks SET status = 'review', result = ?, not_before = 0, updated_at = ?"
        " WHERE subtask_no = ?",
        (result_text(held, outcome), effects.now_ms, held.subtask_no),
    )
    tell(effects, held, SubtaskStatus.REVIEW, AttemptStatus.SUCCEEDED, {})


# --- reviews --------------------------------------------------------------------------------------


def begin_review(effects: Effects, subtask_no: int, attempt: int) -> None:
    """Note that an attempt that was placed just now is a review."""
    judged = load(effects, subtask_no)
    effects.db.execute(
        "INSERT INTO reviews (subtask_no, attempt, author_attempt, cycle, created_at)"
        " VALUES (?, ?, ?, ?, ?)",
        (subtask_no, attempt, judged.author_attempt, judged.cycles + 1, effects.now_ms),
    )
    effects.db.execute(
        "UPDATE subtasks SET attempts = ?, not_before = ?, updated_at = ? WHERE subtask_no = ?",
        (attempt, NEVER_MS, effects.now_ms, subtask_no),
    )


def finish_review(effects: Effects, held: HeldRow, outcome: Outcome) -> None:
    """Take what a reviewer says, or have another asked."""
    review = outcome.review if outcome.status is ResultStatus.OK else None
    status = AttemptStatus.FAILED if review is None else AttemptStatus.SUCCEEDED
    if outcome.status is ResultStatus.CANCELLED:
        status = AttemptStatus.CANCELLED
    end_attempt(effects, held, status, outcome)
    _keep_review(effects, held, review)
    if held.cancel_requested:
        end_cancelled(effects, held, status, {"result": outcome.status})
        return
    verdict = "unusable" if review is None else _verdict(review)
    tell(effects, held, SubtaskStatus.REVIEW, status, {"verdict": verdict})
    judged = load(effects, held.subtask_no)
    if review is None:
        _no_review(effects, judged, held, outcome)
    else:
        _reviewed(effects, judged, review)


def give_up(effects: Effects, held: HeldRow, reason: str) -> None:
    """Give an attempt's node up, whatever the attempt was for."""
    (_lose_review if held.reviews else lose)(effects, held, reason)


def _lose_review(effects: Effects, held: HeldRow, reason: str) -> None:
    """Give a reviewer's node up: another is asked, unless too many have been lost."""
    end_attempt(effects, held, AttemptStatus.LOST, None, reason)
    _keep_review(effects, held, None)
    if held.cancel_requested:
        end_cancelled(effects, held, AttemptStatus.LOST, {"reason": brief(reason)})
        return
    tell(effects, held, SubtaskStatus.REVIEW, AttemptStatus.LOST, {"reason": brief(reason)})
    judged = load(effects, held.subtask_no)
    again = retry.after_loss(held.tally)
    if again is None:
        why = f"its node was lost: {reason}"
        follow(effects, judged, gates.after_no_review(gates.REVIEW_TRIES, why))
        return
    effects.db.execute(
        "UPDATE subtasks SET losses = ? WHERE subtask_no = ?",
        (again.tally.losses, held.subtask_no),
    )
    follow(effects, judged, Ruling(Step.REVIEW))


def _reviewed(effects: Effects, judged: Judged, review: Review) -> None:
    judged.unusable = 0
    judged.cycles += 0 if review.approved else 1
    store(effects, judged)
    follow(effects, judged, gates.after_review(review, judged.rules, cycle=judged.cycles))


def _no_review(effects: Effects, judged: Judged, held: HeldRow, outcome: Outcome) -> None:
    """Have another asked: at once where it was a provider's limit, which is no reviewer's fault."""
    if retry.is_deferral(outcome) and held.tally.deferrals < retry.DEFERRAL_LIMIT:
        effects.db.execute(
            "UPDATE subtasks SET deferrals = deferrals + 1 WHERE subtask_no = ?",
            (held.subtask_no,),
        )
        follow(effects, judged, Ruling(Step.REVIEW))
        return
    judged.unusable += 1
    store(effects, judged)
    why = outcome.text.partition("\n")[0] or f"its tool said {outcome.status}"
    not_before_ms = effects.now_ms + retry.backoff_ms(
        judged.unusable, held.subtask_id, held.attempt
    )
    ruling = gates.after_no_review(judged.unusable, why)
    follow(effects, judged, ruling, not_before_ms=not_before_ms)


def _keep_review(effects: Effects, held: HeldRow, review: Review | None) -> None:
    found = [asdict(each) for each in review.findings] if review else []
    effects.db.execute(
        "UPDATE reviews SET verdict = ?, summary = ?, findings = ?, finished_at = ?"
        " WHERE subtask_no = ? AND attempt = ?",
        (
            _verdict(review) if review else "none",
            review.summary if review else "",
            json_text(found),
            effects.now_ms,
            held.subtask_no,
            held.attempt,
        ),
    )


def _verdict(review: Review) -> str:
    return "approve" if review.approved else "revise"
