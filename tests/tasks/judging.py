"""The game of random commands with gates in it, and the twin's own idea of what they do.

Everything of `game` and `twin` goes on at the newest level; on top of it come evaluations, reviews,
and people who decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from paceline.errors import PacelineError
from paceline.tasks import gates, retry
from paceline.tasks.commands import (
    NEWEST_LEVEL,
    AttemptRef,
    OpenCheckpoint,
    ResolveCheckpoint,
    SubmitTask,
)
from paceline.tasks.effects import MAX_TIME_MS
from paceline.tasks.gates import Ruling, Step
from paceline.tasks.model import (
    CheckpointFrequency,
    Outcome,
    ResultStatus,
    TaskSpec,
)
from tests.tasks.entries import Log, subtask
from tests.tasks.game import Game
from tests.tasks.twin import ENDED, FRESH, HELD, Twin

WAITS = MAX_TIME_MS


@dataclass
class Past:
    """What the twin remembers of the judging of one subtask."""

    author: int = 0
    cycles: int = 0
    unusable: int = 0
    retried: bool = False
    reviews: set[int] = field(default_factory=set)
    """Which attempts are reviews."""


class JudgingTwin(Twin):
    def __init__(self) -> None:
        super().__init__()
        self.specs: dict[str, tuple[TaskSpec, int]] = {}
        self.past: dict[str, Past] = {}
        self.checkpoints: list[list[str]] = []
        """Task, subtask, type and status of each, in no order."""

    def submit(self, spec: TaskSpec, key: str) -> str:
        new = spec.task_id not in self.tasks and key not in self.keys
        told = super().submit(spec, key)
        if new:
            for place, each in enumerate(spec.subtasks):
                self.specs[each.name] = (spec, place)
                self.past[each.name] = Past()
        return told

    # --- attempts ---------------------------------------------------------------------------------

    def allocate(self, name: str, attempt: int, node_id: str, token: int) -> bool:
        sub = self.subtasks.get(name)
        if sub is None or sub.not_before == WAITS or self.pending(sub.task_id, ""):
            return False
        if self.tasks[sub.task_id].status == "checkpoint":
            self.tasks[sub.task_id].status = "in_progress"  # the older rules know no checkpoint
            placed = self._allocate(name, attempt, node_id, token)
            self.tasks[sub.task_id].status = "checkpoint"
            return placed
        return self._allocate(name, attempt, node_id, token)

    def _allocate(self, name: str, attempt: int, node_id: str, token: int) -> bool:
        sub = self.subtasks[name]
        if sub.status != "review":
            return super().allocate(name, attempt, node_id, token)
        sub.status = "pending"
        placed = super().allocate(name, attempt, node_id, token)
        sub.status = "review"
        if placed:
            sub.not_before = WAITS
            self.past[name].reviews.add(attempt)
        return placed

    def start(self, ref: AttemptRef, node_id: str) -> int:
        before = self.subtasks[ref.subtask_id].status if ref.subtask_id in self.subtasks else ""
        good = super().start(ref, node_id)
        if good and before == "review":
            self.subtasks[ref.subtask_id].status = "review"
        return good

    def finish(self, ref: AttemptRef, node_id: str, outcome: Outcome, now_ms: int) -> bool:
        attempt = self.find(ref)
        if attempt is None or attempt.node_id != node_id or not attempt.active:
            return super().finish(ref, node_id, outcome, now_ms)
        if ref.attempt in self.past[ref.subtask_id].reviews:
            attempt.result = outcome.status
            self._review_ends(ref, outcome, now_ms)
            return True
        if outcome.status is ResultStatus.CONFLICT and not self.subtasks[ref.subtask_id].cancel:
            attempt.result, attempt.status = outcome.status, "failed"
            self.subtasks[ref.subtask_id].status = "pending"
            self._insert(self.subtasks[ref.subtask_id].task_id, ref.subtask_id, "conflict")
            self._settle(self.subtasks[ref.subtask_id].task_id)
            return True
        if outcome.status is not ResultStatus.OK:
            return super().finish(ref, node_id, outcome, now_ms)
        attempt.result = outcome.status
        attempt.status = "succeeded"
        self._work_ends(ref, outcome)
        return True

    def _work_ends(self, ref: AttemptRef, outcome: Outcome) -> None:
        name = ref.subtask_id
        sub, past = self.subtasks[name], self.past[name]
        ruling = gates.after_work(
            outcome.evaluation,
            self.rules(name),
            changed=outcome.change is not None,
            retried=past.retried,
        )
        past.author, past.unusable = ref.attempt, 0
        if ruling.step is Step.PASS or sub.cancel:
            sub.status, sub.cancel = "completed", False
            self._settle(sub.task_id)
            return
        past.retried = past.retried or ruling.step is Step.AGAIN
        sub.status, sub.not_before = "review", 0
        self.follow(name, ruling)

    def _review_ends(self, ref: AttemptRef, outcome: Outcome, now_ms: int) -> None:
        name = ref.subtask_id
        sub, past, attempt = self.subtasks[name], self.past[name], self.find(ref)
        assert attempt is not None
        review = outcome.review if outcome.status is ResultStatus.OK else None
        attempt.status = "failed" if review is None else "succeeded"
        if outcome.status is ResultStatus.CANCELLED:
            attempt.status = "cancelled"
        if sub.cancel:
            sub.status, sub.cancel = "cancelled", False
            self._settle(sub.task_id)
        elif review is not None:
            past.unusable = 0
            past.cycles += not review.approved
            self.follow(name, gates.after_review(review, self.rules(name), cycle=past.cycles))
        elif retry.is_deferral(outcome) and sub.tally.deferrals < retry.DEFERRAL_LIMIT:
            sub.tally = replace(sub.tally, deferrals=sub.tally.deferrals + 1)
            sub.not_before = 0
        else:
            past.unusable += 1
            wait_ms = retry.backoff_ms(past.unusable, name, ref.attempt)
            self.follow(name, gates.after_no_review(past.unusable, "why"), now_ms + wait_ms)

    def lose(self, ref: AttemptRef, now_ms: int) -> int:
        attempt = self.find(ref)
        reviews = self.past[ref.subtask_id].reviews if ref.subtask_id in self.past else set()
        if attempt is None or not attempt.active or ref.attempt not in reviews:
            return super().lose(ref, now_ms)
        sub = self.subtasks[ref.subtask_id]
        attempt.status = "lost"
        again = retry.after_loss(sub.tally)
        if sub.cancel:
            sub.status, sub.cancel = "cancelled", False
            self._settle(sub.task_id)
        elif again is None:
            self.follow(ref.subtask_id, gates.after_no_review(gates.REVIEW_TRIES, "lost"))
        else:
            sub.tally, sub.not_before = again.tally, 0
        return 1

    # --- people -----------------------------------------------------------------------------------

    def cancel(self, task_id: str) -> str:
        mine = self.of(task_id)
        reviewed = {n for n, sub in mine.items() if sub.status == "review" and self.looked_at(n)}
        for name, sub in mine.items():  # the older rules know no review: say it in their words
            if sub.status == "review":
                sub.status = "in_progress" if name in reviewed else "pending"
        told = super().cancel(task_id)
        for name in reviewed:
            mine[name].status = "review"
        if task_id in self.tasks:
            if told == "refused" or self.tasks[task_id].status == "cancelled":
                assert not reviewed
            self._settle(task_id)
        return told

    def looked_at(self, name: str) -> bool:
        return any(attempt.active for attempt in self.subtasks[name].attempts)

    def retry(self, task_id: str) -> str:
        dead = {n for n, sub in self.of(task_id).items() if sub.status in ("failed", "cancelled")}
        told = super().retry(task_id)
        if told != "refused":
            for name in dead:
                self.past[name] = Past(reviews=self.past[name].reviews)
            self._settle(task_id)
        return told

    def open(self, task_id: str, name: str, checkpoint_id: str) -> str:
        task = self.tasks.get(task_id)
        if task is None or task.cancel or all(s.status in ENDED for s in self.of(task_id).values()):
            return "refused"
        if name:
            sub = self.of(task_id).get(name)
            if sub is None or sub.status != "pending" or sub.not_before == WAITS:
                return "refused"
        elif self.pending(task_id, ""):
            return "refused"
        self._insert(task_id, name, "manual")
        self._settle(task_id)
        return checkpoint_id

    def resolve(self, task_id: str, name: str, decision: str) -> str:
        """Decide the one that waits there. The game sees to it that there is one."""
        mine = self.of(task_id)
        if not name:
            waits = any(sub.status == "pending" for sub in mine.values())
            if decision == "correct" and not waits:
                return "refused"
            self._close(task_id, name, "resolved")
            if decision in ("accept", "correct"):
                self._settle(task_id)
            elif any(sub.status not in ENDED for sub in mine.values()):
                self.cancel(task_id)
            elif self.tasks[task_id].status == "checkpoint":
                self.tasks[task_id].status = "failed"
            return self.tasks[task_id].status
        conflict = [task_id, name, "conflict", "pending"] in self.checkpoints
        self._close(task_id, name, "resolved")
        sub, past = self.subtasks[name], self.past[name]
        sub.not_before = 0
        if decision == "fail" or (conflict and decision == "reject"):
            self._unsuccessful(name, None, 0)
        elif sub.status == "review" and decision == "accept":
            sub.status = "completed"
        elif sub.status == "review":
            sub.status, sub.tally = "pending", FRESH
            self.past[name] = Past(past.author, reviews=past.reviews)
        self._settle(task_id)
        return sub.status

    # --- consequences -----------------------------------------------------------------------------

    def rules(self, name: str) -> gates.Rules:
        spec, place = self.specs[name]
        others = [sub for other, sub in self.of(spec.task_id).items() if other != name]
        last = all(sub.status == "completed" for sub in others)
        settings = spec.subtasks[place].settings
        return gates.rules(settings, spec.checkpoint_frequency, last=last)

    def follow(self, name: str, ruling: Ruling, not_before: int = 0) -> None:
        sub = self.subtasks[name]
        if ruling.step is Step.PASS:
            sub.status, sub.not_before = "completed", 0
        elif ruling.step is Step.AGAIN:
            sub.status, sub.not_before = "pending", 0
        elif ruling.step is Step.REVIEW:
            sub.not_before = not_before
        else:
            self._insert(sub.task_id, name, ruling.kind)
        self._settle(sub.task_id)

    def pending(self, task_id: str, name: str) -> bool:
        return any(
            each[:2] == [task_id, name] and each[3] == "pending" for each in self.checkpoints
        )

    def _insert(self, task_id: str, name: str, kind: str) -> None:
        self.checkpoints.append([task_id, name, kind, "pending"])
        if name:
            self.subtasks[name].not_before = WAITS

    def _close(self, task_id: str, name: str, status: str) -> None:
        for each in self.checkpoints:
            if each[:2] == [task_id, name] and each[3] == "pending":
                each[3] = status

    def _unsuccessful(self, name: str, again: Any, now_ms: int) -> None:
        task = self.tasks[self.subtasks[name].task_id]
        if task.status == "checkpoint":
            task.status = "in_progress"
        super()._unsuccessful(name, again, now_ms)

    def _settle(self, task_id: str) -> None:
        task, mine = self.tasks[task_id], self.of(task_id)
        complete = all(sub.status == "completed" for sub in mine.values())
        if not (complete and self.pending(task_id, "") and task.status == "checkpoint"):
            super()._settle(task_id)
        over = task.status in ENDED and all(sub.status in ENDED for sub in mine.values())
        for each in [each for each in self.checkpoints if each[0] == task_id]:
            ended = each[1] and mine[each[1]].status in ENDED
            if each[3] == "pending" and (over or task.cancel or ended):
                each[3] = "skipped"
        if task.status in ("in_progress", "checkpoint"):
            waits = any(each[0] == task_id and each[3] == "pending" for each in self.checkpoints)
            task.status = "checkpoint" if waits else "in_progress"


class JudgingGame(Game):
    twin: JudgingTwin

    def begin(self) -> None:
        self.twin = JudgingTwin()
        self.log = Log(level=NEWEST_LEVEL)

    def submit_marked(
        self,
        shape: Sequence[Sequence[int]],
        marks: Sequence[str],
        frequency: CheckpointFrequency,
    ) -> None:
        """Like `submit`; the marks go round."""
        number = next(self._numbers)
        subtasks = tuple(
            subtask(
                f"{number}.{at}",
                *(f"{number}.{need % at}" for need in needs if at),
                settings={marks[at % len(marks)]: True},
            )
            for at, needs in enumerate(shape)
        )
        spec = TaskSpec(f"task {number}", "", "plan", subtasks, checkpoint_frequency=frequency)
        expected = self.twin.submit(spec, "")
        assert self._give(SubmitTask(spec, "")) == expected

    def review_what_waits(self, pick: int, node_id: str) -> None:
        waiting = [name for name, sub in self.twin.subtasks.items() if sub.status == "review"]
        if waiting:
            self._place([waiting[pick % len(waiting)]], node_id, 0)

    def open(self, pick: int, of_subtask: bool) -> None:
        task_id = self._task_id(pick)
        names = [name for name, sub in self.twin.of(task_id).items() if sub.status == "pending"]
        name = names[pick % len(names)] if names and of_subtask else ""
        checkpoint_id = f"by hand {len(self._sent)}"
        expected = self.twin.open(task_id, name, checkpoint_id)
        assert _told(self._give(OpenCheckpoint(checkpoint_id, task_id, name))) == expected

    def resolve(self, pick: int, decision: str) -> None:
        found = self._rows(
            "SELECT checkpoint_id, task_id, coalesce(subtask_id, '') FROM checkpoints"
            " WHERE status = 'pending' ORDER BY checkpoint_id"
        )
        if found:
            checkpoint_id, task_id, name = found[pick % len(found)]
            expected = self.twin.resolve(task_id, name, decision)
            command = ResolveCheckpoint(checkpoint_id, decision, "words")
            assert _told(self._give(command)) == expected
            again = self._give(command)
            assert expected == "refused" or isinstance(again, PacelineError)

    # --- invariants -------------------------------------------------------------------------------

    def check(self) -> None:
        super().check()
        self._checkpoints_agree()
        self._whatever_waits_can_be_woken()

    def _checkpoints_agree(self) -> None:
        found = self._rows(
            "SELECT task_id, coalesce(subtask_id, ''), checkpoint_type, status FROM checkpoints"
        )
        assert sorted(map(list, found)) == sorted(self.twin.checkpoints)

    def _whatever_waits_can_be_woken(self) -> None:
        """What waits without a moment is held by a checkpoint, or looked at by somebody."""
        held = self._rows(
            "SELECT s.name FROM subtasks s WHERE s.status IN ('pending', 'review')"
            f" AND s.not_before = {WAITS} AND NOT EXISTS (SELECT 1 FROM checkpoints c"
            " WHERE c.subtask_id = s.subtask_id AND c.status = 'pending')"
            " AND NOT EXISTS (SELECT 1 FROM attempts a"
            " WHERE a.subtask_no = s.subtask_no AND a.finished_at IS NULL)"
        )
        assert not held

    def _nothing_is_without_an_owner(self) -> None:
        """One in review may be looked at; any other is held exactly while an attempt is active."""
        assert not self._rows(
            "SELECT s.name FROM subtasks s LEFT JOIN attempts a"
            " ON a.subtask_no = s.subtask_no AND a.finished_at IS NULL GROUP BY s.subtask_no"
            " HAVING count(a.attempt_no) > 1 OR (s.status <> 'review' AND"
            " count(a.attempt_no) <> (s.status IN ('allocated', 'in_progress')))"
        )

    def _at_most_one_outcome_is_accepted(self) -> None:
        """What is completed came of an attempt that succeeded, and that was no review."""
        assert not self._rows(
            "SELECT s.name FROM subtasks s WHERE s.status = 'completed' AND NOT EXISTS"
            " (SELECT 1 FROM attempts a WHERE a.subtask_no = s.subtask_no"
            " AND a.status = 'succeeded' AND NOT EXISTS (SELECT 1 FROM reviews r"
            " WHERE r.subtask_no = a.subtask_no AND r.attempt = a.attempt))"
        )


def _told(result: Any) -> str:
    return "refused" if isinstance(result, PacelineError) else str(result)


__all__ = ["HELD", "JudgingGame", "JudgingTwin"]
