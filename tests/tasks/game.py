"""A game of random commands that three machines and their dumb twin play together.

The first machine gets each command alone; `late` gets the same entries afterwards, in batches of
any size; `restored` is restored from copies of the first. Each move compares the result with the
twin's, `check` compares the states, and `end` the digests of all three.
"""

import itertools
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from paceline.consensus.messages import Membership, SnapshotMeta
from paceline.errors import PacelineError
from paceline.ids import fingerprint
from paceline.tasks.commands import (
    AdmitMember,
    Allocate,
    AttemptRef,
    CancelSubtask,
    CancelTask,
    ChangeTask,
    Command,
    EndOverdue,
    FinishAttempt,
    ForgetWorker,
    FoundCluster,
    LoseAttempts,
    Placement,
    RecoverCluster,
    RemoveMember,
    RetryTask,
    RevokeMember,
    RotateToken,
    SetBudget,
    SetWorkerStatus,
    StartAttempts,
    SubmitTask,
    TrustMember,
)
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import Outcome, TaskSpec
from tests.tasks.entries import Log, subtask, worker
from tests.tasks.twin import Twin

MEMORY_DISK = "/dev/shm"
"""Where there is one: many small files are made, and none needs to outlive anything."""

KEYS = {fingerprint(key): key for key in (b"key 1", b"key 2", b"key 3")}
"""The public key of each node, by its id."""

NODES = tuple(KEYS)


class Game:
    """Moves take numbers where they choose from what is there, so that any number will do."""

    def __init__(self) -> None:
        self._closing = ExitStack()
        in_memory = MEMORY_DISK if Path(MEMORY_DISK).is_dir() else None
        directory = Path(self._closing.enter_context(tempfile.TemporaryDirectory(dir=in_memory)))
        self.machine, self.late, self.restored = (
            TaskMachine(directory / f"{name}.db", meta_type=SnapshotMeta)
            for name in ("first", "late", "restored")
        )
        for machine in (self.machine, self.late, self.restored):
            self._closing.callback(machine.close)
        self.begin()
        self.refs: list[AttemptRef] = []
        self._numbers = itertools.count()
        self._sent: list[tuple[bytes, Command, Any]] = []
        for node_id in NODES[:2]:
            self.register(node_id)
        self.submit([[], [0], [0], [1, 2]], 2, "")

    def begin(self) -> None:
        """Make the twin and the log."""
        self.twin = Twin()
        self.log = Log()

    def end(self) -> None:
        """Bring all machines to the same index and compare what they hold."""
        for machine in (self.late, self.restored):
            machine.apply(self.log.entries)
            assert machine.digest() == self.machine.digest()

    def close(self) -> None:
        self._closing.close()

    def _give(self, command: Command) -> Any:
        request_id = b"request %d" % len(self._sent)
        result = self.machine.apply([self.log.command(command, request_id=request_id)])[0]
        self._sent.append((request_id, command, result))
        return result

    @property
    def _next_ms(self) -> int:
        return self.log.now_ms + 1

    # --- moves ------------------------------------------------------------------------------------

    def submit(self, shape: Sequence[Sequence[int]], max_attempts: int, key: str) -> None:
        """`shape` says for each subtask which of those before it are needed."""
        number = next(self._numbers)
        subtasks = tuple(
            subtask(
                f"{number}.{at}",
                *(f"{number}.{need % at}" for need in needs if at),
                max_attempts=max_attempts,
            )
            for at, needs in enumerate(shape)
        )
        spec = TaskSpec(f"task {number}", "", "plan", subtasks)
        expected = self.twin.submit(spec, key)
        assert self._give(SubmitTask(spec, key)) == expected

    def allocate(self, picks: Sequence[int], node_id: str, attempt_skew: int = 0) -> None:
        names = list(self.twin.subtasks)
        self._place([names[pick % len(names)] for pick in picks], node_id, attempt_skew)

    def place_what_is_ready(self, pick: int, node_id: str) -> None:
        ready = [
            name
            for name, sub in self.twin.subtasks.items()
            if sub.status == "pending" and not self.twin.unmet(name)
        ]
        if ready:
            self._place([ready[pick % len(ready)]], node_id, 0)

    def _place(self, names: Sequence[str], node_id: str, attempt_skew: int) -> None:
        placements = tuple(
            Placement(name, self.twin.next_attempt(name) + attempt_skew, node_id, "command")
            for name in names
        )
        token = self.log.index + 1
        good = [self.twin.allocate(p.subtask_id, p.attempt, node_id, token) for p in placements]
        result = self._give(Allocate(placements))
        assert result["allocated"] == sum(good)
        void = [name for name, placed in zip(names, good, strict=True) if not placed]
        assert [subtask_id for subtask_id, _ in result["void"]] == void
        self.refs += [AttemptRef(p.subtask_id, p.attempt, token) for p in placements]

    def start(self, pick: int, node_id: str, token_skew: int = 0) -> None:
        if ref := self._ref(pick, token_skew):
            expected = self.twin.start(ref, node_id)
            assert self._give(StartAttempts((ref,), node_id)) == expected

    def finish(self, pick: int, node_id: str, outcome: Outcome, token_skew: int = 0) -> None:
        if ref := self._ref(pick, token_skew):
            self._finish(ref, node_id, outcome)

    def finish_what_is_active(self, pick: int, outcome: Outcome) -> None:
        active = self.twin.active()
        if active:
            ref, node_id = active[pick % len(active)]
            self._finish(ref, node_id, outcome)

    def _finish(self, ref: AttemptRef, node_id: str, outcome: Outcome) -> None:
        expected = self.twin.finish(ref, node_id, outcome, self._next_ms)
        assert self._give(FinishAttempt(ref, node_id, outcome)) is expected

    def lose(self, picks: Sequence[int], token_skew: int = 0) -> None:
        self._lose([ref for pick in picks if (ref := self._ref(pick, token_skew))])

    def lose_what_is_active(self, pick: int, token_skew: int = 0) -> None:
        active = self.twin.active()
        if active:
            self._lose([_skewed(active[pick % len(active)][0], token_skew)])

    def _lose(self, refs: Sequence[AttemptRef]) -> None:
        expected = sum(self.twin.lose(ref, self._next_ms) for ref in refs)
        assert self._give(LoseAttempts(tuple(refs), "no heartbeat")) == expected

    def cancel(self, pick: int) -> None:
        task_id = self._task_id(pick)
        expected = self.twin.cancel(task_id)
        assert _told(self._give(CancelTask(task_id))) == expected

    def cancel_subtask(self, pick: int) -> None:
        name = list(self.twin.subtasks)[pick % len(self.twin.subtasks)]
        task_id = self.twin.subtasks[name].task_id
        expected = self.twin.cancel_subtask(task_id, name)
        assert _told(self._give(CancelSubtask(task_id, name))) == expected

    def change(
        self, pick: int, paused: bool | None, priority: int | None, deadline_in_ms: int | None
    ) -> None:
        """`deadline_in_ms` counts from now; None = as it is, 0 = none any more."""
        task_id = self._task_id(pick)
        deadline_ms = self._next_ms + deadline_in_ms if deadline_in_ms else deadline_in_ms
        expected = self.twin.change(task_id, paused, priority, deadline_ms)
        command = ChangeTask(task_id, paused, priority, deadline_ms)
        assert _told(self._give(command)) == expected

    def end_overdue(self) -> None:
        """Whoever leads asks about all tasks; the state's own time decides."""
        task_ids = list(self.twin.tasks)
        expected = sum(self.twin.end_overdue(each, self._next_ms) for each in task_ids)
        assert self._give(EndOverdue(tuple(task_ids)))["tasks"] == expected

    def retry(self, pick: int) -> None:
        task_id = self._task_id(pick)
        expected = self.twin.retry(task_id)
        assert _told(self._give(RetryTask(task_id))) == expected

    def set_budget(self, pick: int, budget_usd: float | None) -> None:
        task_id = self._task_id(pick)
        expected = self.twin.set_budget(task_id, budget_usd)
        assert _told(self._give(SetBudget(task_id, budget_usd))) == expected

    def judge(self, node_id: str, status: str) -> None:
        result = self._give(SetWorkerStatus(node_id, status))
        if node_id in self.twin.workers:
            self.twin.workers[node_id] = status
            assert result == status
        else:
            assert _told(result) == "refused"

    def register(self, node_id: str) -> None:
        if self.twin.gone(node_id):
            assert _told(self._give(worker(node_id))) == "refused"
            return
        new = node_id not in self.twin.workers
        self.twin.workers.setdefault(node_id, "online")
        assert self._give(worker(node_id)) is new

    def forget(self, node_id: str) -> None:
        expected = self.twin.forget(node_id, self._next_ms)
        assert self._give(ForgetWorker(node_id)) is expected

    def found(self, number: int, node_id: str) -> None:
        cluster_id, token = f"cluster {number}", f"token {number}"
        expected = self.twin.found(cluster_id, token, node_id)
        command = FoundCluster(cluster_id, token, node_id, KEYS[node_id], "")
        assert _told(self._give(command)) == expected

    def admit(self, node_id: str, by: str) -> None:
        expected = self.twin.admit(node_id, by)
        assert _told(self._give(AdmitMember(node_id, KEYS[node_id], "name", by))) == expected

    def revoke(self, node_id: str, by: str) -> None:
        """The first node is spared, so that the game goes on."""
        if node_id != NODES[0]:
            token = f"token after {len(self._sent)}"
            expected = self.twin.revoke(node_id, token, by, self._next_ms)
            assert _told(self._give(RevokeMember(node_id, token, by))) == expected

    def rotate(self, by: str) -> None:
        token = f"token after {len(self._sent)}"
        expected = self.twin.rotate(token, by)
        assert _told(self._give(RotateToken(token, by))) == expected

    def trust(self, node_id: str, wanted: bool, by: str) -> None:
        expected = self.twin.trust(node_id, wanted, by)
        assert _told(self._give(TrustMember(node_id, wanted, by))) == expected

    def remove(self, node_id: str, by: str) -> None:
        expected = self.twin.remove(node_id, by, self._next_ms)
        assert _told(self._give(RemoveMember(node_id, by))) == expected

    def recover(self, node_id: str) -> None:
        cluster_id = f"recovered {len(self._sent)}"
        expected = self.twin.recover(cluster_id, "new", node_id, self._next_ms)
        command = RecoverCluster(cluster_id, "new", node_id, KEYS[node_id], "")
        assert _told(self._give(command)) == expected

    def repeat(self, pick: int) -> None:
        """A request that was made before comes once more, whatever happened since."""
        request_id, command, first = self._sent[pick % len(self._sent)]
        again = self.machine.apply([self.log.command(command, request_id=request_id)])[0]
        assert (type(again), str(again)) == (type(first), str(first))

    def no_command(self, kind: int) -> None:
        assert self.machine.apply([self.log.raw(kind, b"members")]) == [None]

    def catch_up(self, batch: int) -> None:
        behind = self.late.applied_index
        self.late.apply(self.log.entries[behind : behind + batch])

    def restore(self) -> None:
        index = self.machine.applied_index
        meta = SnapshotMeta(index, self.machine.applied_term, Membership())

        def done(source: Any) -> None:
            self.restored.restore(source, meta)
            source.close()

        self.machine.save(done)
        assert self.restored.digest() == self.machine.digest()

    def _ref(self, pick: int, token_skew: int) -> AttemptRef | None:
        return _skewed(self.refs[-1 - pick % len(self.refs)], token_skew) if self.refs else None

    def _task_id(self, pick: int) -> str:
        return f"task {pick % (len(self.twin.tasks) + 1)}"

    # --- invariants -------------------------------------------------------------------------------

    def check(self) -> None:
        self._tasks_agree()
        self._subtasks_agree()
        self._attempts_agree()
        self._nothing_is_without_an_owner()
        self._at_most_one_outcome_is_accepted()
        self._whatever_is_open_has_someone_to_act()
        self._counters_equal_what_they_count()
        self._the_activity_log_is_gapless()
        self._members_agree()

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.machine.connection.execute(sql).fetchall()

    def _tasks_agree(self) -> None:
        found = self._rows(
            "SELECT task_id, status, progress, paused, priority, deadline, overdue FROM tasks"
        )
        assert {row[0]: row[1:] for row in found} == {
            task_id: (
                task.status,
                self.twin.progress(task_id),
                task.paused,
                task.priority,
                task.deadline,
                task.overdue,
            )
            for task_id, task in self.twin.tasks.items()
        }
        assert dict(self._rows("SELECT task_id, budget_usd FROM task_budgets")) == {
            task_id: task.budget_usd
            for task_id, task in self.twin.tasks.items()
            if task.budget_usd is not None
        }

    def _subtasks_agree(self) -> None:
        found = self._rows(
            "SELECT name, status, unmet, not_before, attempts, cancel_requested FROM subtasks"
        )
        assert {row[0]: row[1:] for row in found} == {
            name: (
                sub.status,
                self.twin.unmet(name),
                sub.not_before,
                len(sub.attempts),
                sub.cancel,
            )
            for name, sub in self.twin.subtasks.items()
        }

    def _attempts_agree(self) -> None:
        found = self._rows(
            "SELECT s.name, a.attempt, a.node_id, a.token, a.status FROM attempts a"
            " JOIN subtasks s ON s.subtask_no = a.subtask_no"
        )
        assert sorted(found) == sorted(
            (name, number, attempt.node_id, attempt.token, attempt.status)
            for name, sub in self.twin.subtasks.items()
            for number, attempt in enumerate(sub.attempts, start=1)
        )

    def _members_agree(self) -> None:
        found = self._rows("SELECT node_id, status, trusted FROM members")
        assert {row[0]: row[1:] for row in found} == {
            node_id: (member.status, member.trusted)
            for node_id, member in self.twin.members.items()
        }
        found = self._rows("SELECT cluster_id, token, token_version FROM cluster")
        assert found == ([self.twin.cluster] if self.twin.cluster else [])
        assert not self._rows(
            "SELECT worker_id FROM workers JOIN members ON node_id = worker_id"
            " WHERE members.status <> 'member'"
        )

    def _nothing_is_without_an_owner(self) -> None:
        """A subtask is held exactly while one attempt of it is active."""
        assert not self._rows(
            "SELECT s.name FROM subtasks s LEFT JOIN attempts a"
            " ON a.subtask_no = s.subtask_no AND a.finished_at IS NULL GROUP BY s.subtask_no"
            " HAVING count(a.attempt_no) <> (s.status IN ('allocated', 'in_progress'))"
        )

    def _whatever_is_open_has_someone_to_act(self) -> None:
        """Nothing is in a state that nobody owns.

        An open subtask is with a worker, or the planner may give it out (now or when its back-off
        ends), or it needs one that is open itself, or a person has paused its task. An ended task
        has nothing open, and nobody is asked to stop what nobody runs.
        """
        assert not self._rows(
            "SELECT s.name FROM subtasks s JOIN tasks t ON t.task_id = s.task_id"
            " WHERE s.status = 'pending' AND s.unmet = 0 AND t.paused = 0"
            " AND t.status NOT IN ('in_progress', 'checkpoint', 'failed')"
        )
        assert not self._rows(
            "SELECT s.name FROM subtasks s WHERE s.status = 'pending' AND s.unmet > 0"
            " AND NOT EXISTS (SELECT 1 FROM dependencies d JOIN subtasks n"
            " ON n.subtask_no = d.needs_no WHERE d.subtask_no = s.subtask_no"
            " AND n.status IN ('pending', 'allocated', 'in_progress', 'review'))"
        )
        assert not self._rows(
            "SELECT task_id FROM tasks WHERE status IN ('in_progress', 'checkpoint')"
            " AND open_count = 0 OR status IN ('completed', 'cancelled') AND open_count > 0"
        )
        assert not self._rows(
            "SELECT name FROM subtasks WHERE cancel_requested"
            " AND status NOT IN ('allocated', 'in_progress', 'review')"
        )

    def _at_most_one_outcome_is_accepted(self) -> None:
        assert not self._rows(
            "SELECT s.name FROM subtasks s LEFT JOIN attempts a"
            " ON a.subtask_no = s.subtask_no AND a.status = 'succeeded' GROUP BY s.subtask_no"
            " HAVING count(a.attempt_no) <> (s.status = 'completed')"
        )

    def _counters_equal_what_they_count(self) -> None:
        assert not self._rows(
            "SELECT t.task_id FROM tasks t JOIN subtasks s ON s.task_id = t.task_id"
            " GROUP BY t.task_id HAVING t.subtask_count <> count(*)"
            " OR t.completed_count <> sum(s.status = 'completed')"
            " OR t.open_count <> sum(s.status NOT IN ('completed', 'failed', 'cancelled'))"
        )

    def _the_activity_log_is_gapless(self) -> None:
        ((low, high, count),) = self._rows(
            "SELECT coalesce(min(log_id), 1), coalesce(max(log_id), 0), count(*) FROM activity_logs"
        )
        assert (low, high) == (1, count)


def _skewed(ref: AttemptRef, by: int) -> AttemptRef:
    """Answer the reference with another's token."""
    return AttemptRef(ref.subtask_id, ref.attempt, ref.token + by)


def _told(result: Any) -> str:
    return "refused" if isinstance(result, PacelineError) else str(result)
