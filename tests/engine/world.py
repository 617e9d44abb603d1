"""The whole engine in one seeded world: the state machine, the planner and model workers.

No sockets, processes or real time. What the people and the machines of this world do is random; the
engine is the real one: `TaskMachine`, `Planning`, `schedule.plan`, `Explaining`. After a time of
trouble comes calm, in which everything has to come to the end that a plain model predicts.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from paceline.errors import PacelineError
from paceline.node.explaining import Explaining
from paceline.node.planning import Planning
from paceline.node.vitals import VitalsTable
from paceline.tasks import queries
from paceline.tasks.commands import (
    CancelSubtask,
    CancelTask,
    ChangeTask,
    Command,
    RetryTask,
    SetWorkerStatus,
    SubmitTask,
)
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import SubtaskSpec, TaskSpec, WorkerStatus
from paceline.tasks.phases import OPEN_SUBTASK
from paceline.tasks.schedule import plan
from paceline.tasks.view import PlanningSettings
from tests.clocks import ManualClock
from tests.engine.hands import LEASE_MS, Hand
from tests.tasks.entries import START_MS, Log, worker

ENDED = ("completed", "failed", "cancelled")
TROUBLE_ROUNDS = 120
CALM_ROUNDS = 600
MEMORY_DISK = "/dev/shm"


class World:
    """One seed's world."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.closing = ExitStack()
        memory = MEMORY_DISK if Path(MEMORY_DISK).is_dir() else None
        directory = self.closing.enter_context(tempfile.TemporaryDirectory(dir=memory))
        self.clock = ManualClock(START_MS)
        self.machine = TaskMachine(Path(directory) / "state.db")
        self.closing.callback(self.machine.close)
        self.log = Log(level=2)
        self.table = VitalsTable(clock=self.clock, applied_index=lambda: self.machine.applied_index)
        self.planning = Planning(
            connection=self.machine.connection,
            vitals=self.table,
            clock=self.clock,
            settings=PlanningSettings(lease_ms=LEASE_MS),
            trusted=frozenset,
        )
        status = SimpleNamespace(applied_index=0, quorum_active=True)
        self.explaining = Explaining(
            connection=self.machine.connection,
            planning=self.planning,
            replicas=cast(Any, SimpleNamespace(status=status)),
            clock=self.clock,
        )
        self.hands = [
            Hand(name, self.machine, self.propose, self.random) for name in ("a", "b", "c")
        ]
        self.late: list[Command] = []
        """Planned from a picture that is old by the time they are applied."""
        self.expected: dict[str, str] = {}
        """How each task is to end; what people or time have ended may have ended in any way."""
        for hand in self.hands:
            hand.heard_ms = self.clock.now_ms()
            self.propose(worker(hand.node_id))

    def propose(self, command: Command) -> Any:
        self.log.now_ms = max(self.log.now_ms, self.clock.now_ms())
        return self.machine.apply([self.log.command(command)])[0]

    # --- a round ----------------------------------------------------------------------------------

    def round(self, *, calm: bool) -> None:
        self.clock.advance(500 if calm else self.random.choice([1, 50, 300, 500, 1_500]))
        for hand in self.random.sample(self.hands, len(self.hands)):
            if hand.up and not hand.cut:
                self.table.note(hand.vitals())
                hand.heard_ms = self.clock.now_ms()
            hand.work(self.clock.now_ms())
            self.check_exclusive()
        self.lead(calm=calm)

    def lead(self, *, calm: bool) -> None:
        view = self.planning.view(
            leading_since_ms=START_MS - 10_000, applied_index=self.machine.applied_index
        )
        planned = plan(view)
        stale, self.late = self.late, []
        for command in [*planned, *stale]:
            if not calm and self.random.random() < 0.15:
                self.late.append(command)
            else:
                self.propose(command)

    # --- trouble ----------------------------------------------------------------------------------

    def trouble(self) -> None:
        move = self.random.choices(list(MOVES), list(MOVES.values()))[0]
        move(self)

    def submit(self) -> None:
        number = len(self.expected)
        size = self.random.randint(1, 6)
        natures = self.random.choices(["ok", "flaky", "bad"], [8, 2, 1], k=size)
        names = [f"{number}.{at}" for at in range(size)]
        specs = [
            _spec(name, nature, [n for n in names[:at] if self.random.random() < 0.4])
            for at, (name, nature) in enumerate(zip(names, natures, strict=True))
        ]
        if self.random.random() < 0.3:
            listed = f"{number}.list"
            specs.append(_spec(listed, "list", names[:1]))
            specs.append(_spec(f"{number}.each", "ok", [listed], foreach=listed))
            specs.append(_spec(f"{number}.join", "ok", [f"{number}.each"]))
        expected = "failed" if "bad" in natures else "completed"
        deadline_ms = None
        if self.random.random() < 0.15:
            deadline_ms, expected = self.clock.now_ms() + self.random.randint(1, 9_000), ""
        if self.random.random() < 0.1:
            specs.append(
                _spec(f"{number}.never", "ok", [], labels={"moon": "far"}, start_timeout_s=3.0)
            )
            expected = expected and "failed"
        task_id = f"task {number}"
        self.expected[task_id] = expected
        spec = TaskSpec(task_id, "", "plan", tuple(specs), deadline_ms=deadline_ms)
        assert self.propose(SubmitTask(spec, task_id)) == task_id

    def any_task(self) -> str:
        return self.random.choice([*self.expected, "none"])

    def cancel(self) -> None:
        task_id = self.any_task()
        if not isinstance(self.propose(CancelTask(task_id)), PacelineError):
            self.expected[task_id] = ""

    def cancel_subtask(self) -> None:
        rows = self.rows("SELECT task_id, subtask_id FROM subtasks")
        if rows:
            task_id, subtask_id = self.random.choice(rows)
            if not isinstance(self.propose(CancelSubtask(task_id, subtask_id)), PacelineError):
                self.expected[task_id] = ""

    def pause(self) -> None:
        self.propose(ChangeTask(self.any_task(), paused=self.random.random() < 0.5))

    def hurry(self) -> None:
        self.propose(ChangeTask(self.any_task(), priority=self.random.randint(0, 100)))

    def retry(self) -> None:
        self.propose(RetryTask(self.any_task()))

    def drain(self) -> None:
        hand = self.random.choice(self.hands)
        limit_ms = self.random.choice([None, 0, 1_000])
        self.propose(SetWorkerStatus(hand.node_id, WorkerStatus.DRAINING, "", limit_ms))

    def undrain(self) -> None:
        for hand in self.hands:
            command = SetWorkerStatus(hand.node_id, WorkerStatus.ONLINE, "")
            if self.propose(command) == WorkerStatus.DRAINING:
                self.propose(command)  # it was away, and would drain on when it is back

    def crash(self) -> None:
        hand = self.random.choice(self.hands)
        if hand.up:
            hand.crash()
            if self.random.random() < 0.5:
                self.table.mark_dead(hand.node_id)

    def restart(self) -> None:
        for hand in self.hands:
            if not hand.up:
                hand.restart()

    def cut(self) -> None:
        self.random.choice(self.hands).cut = True

    def heal(self) -> None:
        for hand in self.hands:
            hand.cut = False

    # --- calm -------------------------------------------------------------------------------------

    def calm(self) -> None:
        self.restart()
        self.heal()
        self.undrain()
        for task_id in self.expected:
            self.propose(ChangeTask(task_id, paused=False))
        for _ in range(CALM_ROUNDS):
            self.round(calm=True)
            if not self.open_tasks():
                return
        raise AssertionError(f"these never end: {self.open_tasks()}")

    def open_tasks(self) -> list[Any]:
        return [
            (task_id, self.explaining.explain(task_id))
            for (task_id,) in self.rows("SELECT task_id FROM tasks WHERE open_count > 0")
        ]

    # --- what must hold ---------------------------------------------------------------------------

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.machine.connection.execute(sql).fetchall()

    def check_exclusive(self) -> None:
        """No two run one subtask, but for one that has not yet seen that it was taken away."""
        owners: dict[str, str] = {}
        for hand in self.hands:
            given = {
                each.ref for each in queries.attempts_of_node(self.machine.connection, hand.node_id)
            }
            for ref in hand.running:
                if hand.cut or ref in given:
                    assert owners.setdefault(ref.subtask_id, hand.node_id) == hand.node_id, (
                        f"{ref} runs twice"
                    )

    def check(self) -> None:
        """Whatever is open is explained; each subtask is held exactly while it has an attempt."""
        for (task_id,) in self.rows("SELECT task_id FROM tasks WHERE open_count > 0"):
            for told in self.explaining.explain(task_id)["subtasks"]:
                if told["status"] in OPEN_SUBTASK:
                    assert told["reason"], told
                    assert told["waits_for"] not in ("ended", "person"), told
        assert not self.rows(
            "SELECT s.name FROM subtasks s LEFT JOIN attempts a"
            " ON a.subtask_no = s.subtask_no AND a.finished_at IS NULL GROUP BY s.subtask_no"
            " HAVING count(a.attempt_no) <> (s.status IN ('allocated', 'in_progress'))"
        )
        assert not self.rows(
            "SELECT t.task_id FROM tasks t JOIN subtasks s ON s.task_id = t.task_id"
            " GROUP BY t.task_id HAVING t.subtask_count <> count(*)"
            " OR t.completed_count <> sum(s.status = 'completed')"
            " OR t.open_count <> sum(s.status NOT IN ('completed', 'failed', 'cancelled'))"
        )

    def check_end(self) -> None:
        """Every task has ended as predicted, every completed subtask by exactly one outcome."""
        lost_too_often = {
            row[0] for row in self.rows("SELECT task_id FROM subtasks WHERE losses >= 9")
        }
        for task_id, status in self.rows("SELECT task_id, status FROM tasks"):
            assert status in ENDED
            if self.expected[task_id] and task_id not in lost_too_often:
                assert status == self.expected[task_id], (task_id, status)
        accepted = sorted(ref.subtask_id for hand in self.hands for ref in hand.accepted)
        completed = self.rows("SELECT subtask_id FROM subtasks WHERE status = 'completed'")
        assert accepted == sorted(row[0] for row in completed)
        assert not any(hand.running or hand.outbox for hand in self.hands)


MOVES: dict[Callable[[World], None], int] = {
    World.submit: 12,
    World.cancel: 2,
    World.cancel_subtask: 2,
    World.pause: 4,
    World.hurry: 2,
    World.retry: 3,
    World.drain: 2,
    World.undrain: 3,
    World.crash: 3,
    World.restart: 4,
    World.cut: 2,
    World.heal: 3,
}


def _spec(name: str, nature: str, needs: list[str], **fields: Any) -> SubtaskSpec:
    settings = {"nature": nature}
    return SubtaskSpec(name, name, ("command",), tuple(needs), settings=settings, **fields)


def run(seed: int) -> World:
    """Play one seed to its end. Raise AssertionError where something does not hold."""
    world = World(seed)
    with world.closing:
        for at in range(TROUBLE_ROUNDS):
            if world.random.random() < 0.35:
                world.trouble()
            world.round(calm=False)
            if at % 6 == 0:
                world.check()
        world.calm()
        for _ in range(10):
            world.round(calm=True)
        world.check()
        world.check_end()
    return world
