"""A worker as a model: it beats, claims, runs for a while, delivers, and stops when it must."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from paceline.tasks import queries
from paceline.tasks.commands import (
    AttemptRef,
    Command,
    FinishAttempt,
    LoseAttempts,
    StartAttempts,
)
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import (
    AttemptStatus,
    Outcome,
    Output,
    Resources,
    ResultStatus,
    Running,
    SubtaskSpec,
    ToolState,
    Vitals,
)
from paceline.tasks.queries_work import ActiveAttempt

SLOTS = 3
LEASE_MS = 10_000
CANCELLED = Outcome(ResultStatus.CANCELLED, "cancelled")

Propose = Callable[[Command], Any]


@dataclass
class Hand:
    """One worker. `cut`: nothing goes in or out; `up`: its process is there."""

    node_id: str
    machine: TaskMachine
    propose: Propose
    random: Random
    up: bool = True
    cut: bool = False
    incarnation: int = 1
    sequence: int = 0
    heard_ms: int = 0
    """When its lease was last renewed."""
    running: dict[AttemptRef, int] = field(default_factory=dict)
    """What it runs, and when that ends."""
    outbox: dict[AttemptRef, Outcome] = field(default_factory=dict)
    accepted: list[AttemptRef] = field(default_factory=list)

    def vitals(self) -> Vitals:
        self.sequence += 1
        held = [*self.running, *self.outbox]
        return Vitals(
            node_id=self.node_id,
            incarnation=self.incarnation,
            sequence=self.sequence,
            resources=Resources(),
            tools=(ToolState("command"),),
            slots=SLOTS,
            running=tuple(Running(ref.subtask_id, ref.attempt, ref.token) for ref in held),
            labels={"node": self.node_id},
            applied_index=self.machine.applied_index,
        )

    def crash(self) -> None:
        """What it ran is gone; its outbox is on the disk."""
        self.up = False
        self.running.clear()

    def restart(self) -> None:
        self.up, self.cut = True, False
        self.incarnation += 1
        self.sequence = 0

    def work(self, now_ms: int) -> None:
        """Do what a worker does in one round."""
        if not self.up:
            return
        if self.cut:
            if now_ms - self.heard_ms >= LEASE_MS:
                self.running.clear()
            return
        given = queries.attempts_of_node(self.machine.connection, self.node_id)
        assigned = {each.ref for each in given}
        for ref in [ref for ref in self.running if ref not in assigned]:
            del self.running[ref]
        for each in given:
            if each.ref not in self.outbox:
                self._take_up(each, now_ms)
        for ref in [ref for ref, ends_ms in self.running.items() if ends_ms <= now_ms]:
            del self.running[ref]
            self.outbox[ref] = self._outcome(ref)
        self._deliver()

    def _take_up(self, given: ActiveAttempt, now_ms: int) -> None:
        """Begin what is new, stop what is to be stopped, give back what was cut off."""
        if given.ref not in self.running:
            if given.status is AttemptStatus.RUNNING:
                self.propose(LoseAttempts((given.ref,), "its program was restarted"))
            else:
                self._claim(given.ref, now_ms)
        elif given.cancel_requested:
            del self.running[given.ref]
            self.outbox[given.ref] = CANCELLED
        elif given.recalled:
            del self.running[given.ref]
            self.propose(LoseAttempts((given.ref,), given.recalled))

    def _claim(self, ref: AttemptRef, now_ms: int) -> None:
        if self.propose(StartAttempts((ref,), self.node_id)) == 1:
            self.running[ref] = now_ms + self.random.choice([0, 200, 900, 4_000])

    def _outcome(self, ref: AttemptRef) -> Outcome:
        spec = queries.subtask_spec(self.machine.connection, ref.subtask_id)
        if spec.settings["nature"] == "bad":
            return Outcome(ResultStatus.FAILED, "it is bad")
        if spec.settings["nature"] == "flaky" and ref.attempt == 1:
            return Outcome(ResultStatus.FAILED, "not this time")
        return Outcome(ResultStatus.OK, "done", Output(_listed(spec)))

    def _deliver(self) -> None:
        """Bring outcomes to the log; now and then one comes twice, or only later."""
        for ref, outcome in list(self.outbox.items()):
            if self.random.random() < 0.1:
                continue
            for _ in range(self.random.choice([1, 1, 1, 2])):
                counted = self.propose(FinishAttempt(ref, self.node_id, outcome))
            if counted and outcome.status is ResultStatus.OK:
                self.accepted.append(ref)
            del self.outbox[ref]


def _listed(spec: SubtaskSpec) -> bytes:
    return b"one\ntwo\nthree\n" if spec.settings["nature"] == "list" else b""
