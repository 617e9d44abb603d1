"""A small dumb twin of the machine: the same rules over dicts, written without looking at SQL.

It keeps no counters that could be wrong: whatever can be derived is derived anew each time.
"""

from dataclasses import dataclass, field

from paceline.tasks import retry as retries
from paceline.tasks.commands import AttemptRef
from paceline.tasks.model import Outcome, ResultStatus, TaskSpec

FRESH = retries.Tally(0, 0, 0)
HELD = ("allocated", "in_progress")
ENDED = ("completed", "failed", "cancelled")


@dataclass
class TwinAttempt:
    node_id: str
    token: int
    status: str = "allocated"
    result: str = ""

    @property
    def active(self) -> bool:
        return self.status in ("allocated", "running")


@dataclass
class TwinSubtask:
    task_id: str
    needs: tuple[str, ...]
    max_attempts: int
    status: str = "pending"
    not_before: int = 0
    cancel: bool = False
    tally: retries.Tally = FRESH
    attempts: list[TwinAttempt] = field(default_factory=list)


@dataclass
class TwinTask:
    status: str = "in_progress"
    cancel: bool = False
    budget_usd: float | None = None
    paused: bool = False
    priority: int = 50
    deadline: int | None = None
    overdue: bool = False


@dataclass
class TwinMember:
    status: str = "member"
    trusted: bool = False


class Twin:
    """The state of all tasks. Subtasks' names are their ids, as in `entries.subtask`."""

    def __init__(self) -> None:
        self.tasks: dict[str, TwinTask] = {}
        self.keys: dict[str, str] = {}
        self.subtasks: dict[str, TwinSubtask] = {}
        self.workers: dict[str, str] = {}
        self.members: dict[str, TwinMember] = {}
        self.cluster: tuple[str, str, int] | None = None
        """Its id, its token and the token's version."""

    # --- what is derived --------------------------------------------------------------------------

    def of(self, task_id: str) -> dict[str, TwinSubtask]:
        return {name: each for name, each in self.subtasks.items() if each.task_id == task_id}

    def unmet(self, name: str) -> int:
        return sum(self.subtasks[need].status != "completed" for need in self.subtasks[name].needs)

    def progress(self, task_id: str) -> int:
        mine = self.of(task_id).values()
        return 100 * sum(each.status == "completed" for each in mine) // len(mine)

    def hanging_on(self, name: str) -> set[str]:
        found = {each for each, sub in self.subtasks.items() if name in sub.needs}
        return found.union(*map(self.hanging_on, found))

    def next_attempt(self, name: str) -> int:
        return len(self.subtasks[name].attempts) + 1

    def active(self) -> list[tuple[AttemptRef, str]]:
        """Answer the attempts that have not ended, each with its node."""
        return [
            (AttemptRef(name, number, attempt.token), attempt.node_id)
            for name, sub in self.subtasks.items()
            for number, attempt in enumerate(sub.attempts, start=1)
            if attempt.active
        ]

    # --- commands ---------------------------------------------------------------------------------

    def submit(self, spec: TaskSpec, key: str) -> str:
        if key in self.keys:
            return self.keys[key]
        if spec.task_id in self.tasks:
            return "refused"
        self.tasks[spec.task_id] = TwinTask()
        if key:
            self.keys[key] = spec.task_id
        for sub in spec.subtasks:
            needs = tuple(dict.fromkeys(sub.needs))
            self.subtasks[sub.name] = TwinSubtask(spec.task_id, needs, sub.max_attempts)
        return spec.task_id

    def allocate(self, name: str, attempt: int, node_id: str, token: int) -> bool:
        sub = self.subtasks.get(name)
        if sub is None or sub.status != "pending" or self.unmet(name):
            return False
        task = self.tasks[sub.task_id]
        if task.status not in ("in_progress", "failed") or task.paused:
            return False
        if attempt != len(sub.attempts) + 1:
            return False
        if self.workers.get(node_id) not in ("online", "busy"):
            return False
        sub.attempts.append(TwinAttempt(node_id, token))
        sub.status = "allocated"
        return True

    def find(self, ref: AttemptRef) -> TwinAttempt | None:
        sub = self.subtasks.get(ref.subtask_id)
        if sub is None or not 1 <= ref.attempt <= len(sub.attempts):
            return None
        attempt = sub.attempts[ref.attempt - 1]
        return attempt if attempt.token == ref.token else None

    def start(self, ref: AttemptRef, node_id: str) -> int:
        attempt = self.find(ref)
        if attempt is None or not attempt.active or attempt.node_id != node_id:
            return 0
        attempt.status = "running"
        self.subtasks[ref.subtask_id].status = "in_progress"
        return 1

    def finish(self, ref: AttemptRef, node_id: str, outcome: Outcome, now_ms: int) -> bool:
        attempt = self.find(ref)
        if attempt is None or attempt.node_id != node_id:
            return False
        if not attempt.active:
            return attempt.result == outcome.status
        attempt.result = outcome.status
        sub = self.subtasks[ref.subtask_id]
        if outcome.status is ResultStatus.OK:
            attempt.status = sub.status = "succeeded"
            sub.status = "completed"
            sub.cancel = False
            self._settle(sub.task_id)
            return True
        cancelled = outcome.status is ResultStatus.CANCELLED
        attempt.status = "cancelled" if cancelled else "failed"
        again = retries.after(
            outcome,
            sub.tally,
            subtask_id=ref.subtask_id,
            attempt=ref.attempt,
            max_attempts=sub.max_attempts,
        )
        self._unsuccessful(ref.subtask_id, again, now_ms)
        return True

    def lose(self, ref: AttemptRef, now_ms: int) -> int:
        attempt = self.find(ref)
        if attempt is None or not attempt.active:
            return 0
        attempt.status = "lost"
        again = retries.after_loss(self.subtasks[ref.subtask_id].tally)
        self._unsuccessful(ref.subtask_id, again, now_ms)
        return 1

    def cancel(self, task_id: str) -> str:
        task = self.tasks.get(task_id)
        if task is None:
            return "refused"
        if task.status == "cancelled":
            return "cancelled"
        mine = self.of(task_id).values()
        if all(sub.status in ENDED for sub in mine):
            return "refused"
        if task.cancel:
            return "cancelling"
        task.cancel = True
        for sub in mine:
            if sub.status == "pending":
                sub.status = "cancelled"
            if sub.status in HELD:
                sub.cancel = True
        self._settle(task_id)
        return "cancelling" if any(sub.status in HELD for sub in mine) else "cancelled"

    def retry(self, task_id: str) -> str:
        task = self.tasks.get(task_id)
        if task is None:
            return "refused"
        mine = self.of(task_id).values()
        if task.cancel and any(sub.status not in ENDED for sub in mine):
            return "refused"
        dead = [sub for sub in mine if sub.status in ("failed", "cancelled")]
        if not dead:
            return "refused"
        for sub in dead:
            sub.status, sub.not_before, sub.tally = "pending", 0, FRESH
        task.cancel, task.status = False, "in_progress"
        task.deadline = None if task.overdue else task.deadline
        task.overdue = False
        return "in_progress"

    def cancel_subtask(self, task_id: str, name: str) -> str:
        sub = self.subtasks.get(name)
        if sub is None or sub.task_id != task_id or sub.status in ("completed", "failed"):
            return "refused"
        if sub.status in HELD:
            sub.cancel = True
            return "cancelling"
        if sub.status == "pending":
            self._end_with_what_hangs_on_it(name, "cancelled")
        return "cancelled"

    def change(
        self, task_id: str, paused: bool | None, priority: int | None, deadline_ms: int | None
    ) -> str:
        task = self.tasks.get(task_id)
        if task is None or all(sub.status in ENDED for sub in self.of(task_id).values()):
            return "refused"
        before = (task.priority, task.paused, task.deadline)
        task.priority = task.priority if priority is None else priority
        task.paused = task.paused if paused is None else paused
        task.deadline = task.deadline if deadline_ms is None else deadline_ms or None
        after = (task.priority, task.paused, task.deadline)
        names = ("priority", "paused", "deadline")
        return str([n for n, old, new in zip(names, before, after, strict=True) if old != new])

    def end_overdue(self, task_id: str, now_ms: int) -> int:
        task = self.tasks.get(task_id)
        if task is None or task.cancel or task.deadline is None or task.deadline > now_ms:
            return 0
        if all(sub.status in ENDED for sub in self.of(task_id).values()):
            return 0
        task.overdue = True
        self.cancel(task_id)
        return 1

    def set_budget(self, task_id: str, budget_usd: float | None) -> str:
        task = self.tasks.get(task_id)
        if task is None or task.status in ("completed", "cancelled"):
            return "refused"
        if budget_usd is not None and budget_usd <= 0:
            return "refused"
        new, task.budget_usd = task.budget_usd != budget_usd, budget_usd
        return str(new)

    def forget(self, node_id: str, now_ms: int) -> bool:
        held = [ref for ref, holder in self.active() if holder == node_id]
        for ref in sorted(held, key=lambda ref: ref.token):
            self.lose(ref, now_ms)
        return self.workers.pop(node_id, None) is not None

    # --- the cluster ------------------------------------------------------------------------------

    def belongs(self, node_id: str) -> bool:
        return node_id in self.members and self.members[node_id].status == "member"

    def gone(self, node_id: str) -> bool:
        return node_id in self.members and not self.belongs(node_id)

    def revoked(self, node_id: str) -> bool:
        return node_id in self.members and self.members[node_id].status == "revoked"

    def trusted(self) -> set[str]:
        return {node_id for node_id, each in self.members.items() if each.trusted}

    def alone(self, node_id: str) -> bool:
        return [each for each in self.members if self.belongs(each)] == [node_id]

    def found(self, cluster_id: str, token: str, node_id: str) -> str:
        if self.cluster is None:
            self.cluster = (cluster_id, token, 1)
            self.members[node_id] = TwinMember(trusted=True)
            return "True"
        return "False" if self.cluster[0] == cluster_id else "refused"

    def admit(self, node_id: str, by: str) -> str:
        if self.cluster is None or self.revoked(by) or self.revoked(node_id):
            return "refused"
        if self.belongs(node_id):
            return "False"
        self.members[node_id] = TwinMember()
        return "True"

    def revoke(self, node_id: str, token: str, by: str, now_ms: int) -> str:
        if self.cluster is None or self.revoked(by) or by == node_id:
            return "refused"
        if self.revoked(node_id):
            return str(self.cluster[2])
        if self.alone(node_id):
            return "refused"
        self.members[node_id] = TwinMember("revoked")
        self.forget(node_id, now_ms)
        return self.rotate(token, by)

    def rotate(self, token: str, by: str) -> str:
        if self.cluster is None or self.revoked(by):
            return "refused"
        self.cluster = (self.cluster[0], token, self.cluster[2] + 1)
        return str(self.cluster[2])

    def trust(self, node_id: str, wanted: bool, by: str) -> str:
        if by not in self.trusted() or not self.belongs(node_id):
            return "refused"
        if self.members[node_id].trusted == wanted:
            return "False"
        if not wanted and self.trusted() == {node_id}:
            return "refused"
        self.members[node_id].trusted = wanted
        return "True"

    def remove(self, node_id: str, by: str, now_ms: int) -> str:
        if self.revoked(by):
            return "refused"
        if self.gone(node_id):
            return "False"
        if self.alone(node_id):
            return "refused"
        was = self.belongs(node_id)
        self.members[node_id] = TwinMember("left")
        self.forget(node_id, now_ms)
        return str(was)

    def recover(self, cluster_id: str, token: str, node_id: str, now_ms: int) -> str:
        self.cluster = (cluster_id, token, self.cluster[2] + 1 if self.cluster else 1)
        for other, each in self.members.items():
            if each.status == "member" and other != node_id:
                self.members[other] = TwinMember("left")
        for other in sorted(set(self.workers) - {node_id}):
            self.forget(other, now_ms)
        self.members[node_id] = TwinMember(trusted=True)
        return str(self.cluster[2])

    # --- consequences -----------------------------------------------------------------------------

    def _unsuccessful(self, name: str, again: retries.Retry | None, now_ms: int) -> None:
        sub = self.subtasks[name]
        if sub.cancel:
            sub.cancel = False
            self._end_with_what_hangs_on_it(name, "cancelled")
        elif again is not None:
            sub.status, sub.tally = "pending", again.tally
            sub.not_before = now_ms + again.delay_ms if again.delay_ms else 0
        else:
            self._end_with_what_hangs_on_it(name, "failed")
        self._settle(sub.task_id)

    def _end_with_what_hangs_on_it(self, name: str, status: str) -> None:
        task_id = self.subtasks[name].task_id
        self.subtasks[name].status = status
        for each in self.hanging_on(name):
            if self.subtasks[each].status == "pending":
                self.subtasks[each].status = "cancelled"
        if status == "failed" and self.tasks[task_id].status == "in_progress":
            self.tasks[task_id].status = "failed"
        self._settle(task_id)

    def _settle(self, task_id: str) -> None:
        task, mine = self.tasks[task_id], self.of(task_id).values()
        if all(sub.status == "completed" for sub in mine):
            task.status = "completed"
        elif all(sub.status in ENDED for sub in mine) and task.cancel:
            task.status = "failed" if task.overdue else "cancelled"
        elif all(sub.status in ENDED for sub in mine) and task.status == "in_progress":
            failed = any(sub.status == "failed" for sub in mine)
            task.status = "failed" if failed else "cancelled"
