"""What the planner is shown of the replicated state: trust, age, turns."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.ids import fingerprint
from paceline.node.planning import DAILY_BUDGET_KEY, Planning
from paceline.node.vitals import VitalsTable
from paceline.tasks import queries_members
from paceline.tasks.commands import (
    AdmitMember,
    Allocate,
    AttemptRef,
    FinishAttempt,
    FoundCluster,
    Placement,
    RevokeMember,
    SetBudget,
    SubmitTask,
    TrustMember,
)
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import (
    Outcome,
    Privacy,
    Resources,
    ResultStatus,
    TaskSpec,
    ToolState,
    Vitals,
)
from paceline.tasks.schedule import plan
from paceline.tasks.view import PlanningSettings, PlanningView, ReadySubtask
from tests.clocks import ManualClock
from tests.tasks.entries import FAILED, OK, START_MS, Driver, subtask
from tests.tasks.entries import worker as worker_entry

A, B = fingerprint(b"a"), fingerprint(b"b")


class Leader:
    """A machine, two workers that beat, and the picture that a leader has of them."""

    def __init__(self, path: Path) -> None:
        self.clock = ManualClock(START_MS + 1_000)
        self.machine = TaskMachine(path)
        self.drive = Driver(self.machine)
        vitals = VitalsTable(clock=self.clock, applied_index=lambda: self.machine.applied_index)
        self.planning = Planning(
            connection=self.machine.connection,
            vitals=vitals,
            clock=self.clock,
            settings=PlanningSettings(),
            trusted=lambda: queries_members.trusted(self.machine.connection),
        )
        self.drive(FoundCluster("c", "token", A, b"a", "a"))
        self.drive(AdmitMember(B, b"b", "b", A))
        self.drive.register(A, B)
        for node_id in (A, B):
            vitals.note(
                Vitals(
                    node_id=node_id,
                    incarnation=1,
                    sequence=1,
                    resources=Resources(),
                    tools=(ToolState("command"),),
                    slots=4,
                    running=(),
                    labels={},
                    applied_index=0,
                    caches=(),
                )
            )

    def submit(self, number: int, privacy: Privacy = Privacy.SENSITIVE) -> None:
        subtasks = tuple(subtask(f"{number}.{each}") for each in range(4))
        self.drive(SubmitTask(TaskSpec(str(number), "", "plan", subtasks, privacy=privacy), ""))

    def chosen(self) -> set[str]:
        """Answer where the next plan puts what is ready, and do it."""
        view = self.planning.view(leading_since_ms=self.clock.monotonic_ms(), applied_index=99)
        found: set[str] = set()
        for command in plan(view):
            if isinstance(command, Allocate):
                found |= {placement.node_id for placement in command.placements}
                self.drive(command)
        return found


@pytest.fixture
def leader(tmp_path: Path) -> Iterator[Leader]:
    made = Leader(tmp_path / "state.db")
    yield made
    made.machine.close()


def test_sensitive_work_goes_to_the_founder_only(leader: Leader) -> None:
    leader.submit(1)
    assert leader.chosen() == {A}


def test_other_work_goes_to_all(leader: Leader) -> None:
    leader.submit(1, Privacy.NORMAL)
    assert leader.chosen() == {A, B}


def test_trust_counts_from_the_next_plan_on(leader: Leader) -> None:
    leader.drive(TrustMember(B, True, A))
    leader.drive(TrustMember(A, False, B))
    leader.submit(1)
    assert leader.chosen() == {B}


def test_where_nobody_is_trusted_it_waits(leader: Leader) -> None:
    leader.submit(1)
    leader.drive(RevokeMember(A, "other", B))
    assert leader.chosen() == set()


def ready(leader: Leader) -> dict[str, ReadySubtask]:
    view = leader.planning.view(leading_since_ms=leader.clock.monotonic_ms(), applied_index=99)
    return {each.subtask_id: each for each in view.ready}


def test_waiting_counts_from_when_the_last_need_was_met(leader: Leader) -> None:
    spec = TaskSpec("t", "", "plan", (subtask("first"), subtask("then", "first")))
    leader.drive(SubmitTask(spec, ""))
    submitted_ms = leader.drive.log.now_ms
    assert ready(leader)["first"].waiting_since_ms == submitted_ms
    leader.drive.log.now_ms += 60_000
    leader.drive(Allocate((Placement("first", 1, A, "command"),)))
    ref = AttemptRef("first", 1, leader.drive.log.index)
    leader.drive(FinishAttempt(ref, A, OK))
    assert ready(leader)["then"].waiting_since_ms == leader.drive.log.now_ms


def test_waiting_counts_from_the_end_of_a_back_off(leader: Leader) -> None:
    leader.submit(1, Privacy.NORMAL)
    leader.drive(Allocate((Placement("1.0", 1, A, "command"),)))
    ref = AttemptRef("1.0", 1, leader.drive.log.index)
    leader.drive(FinishAttempt(ref, A, FAILED))
    not_before_ms = leader.drive.column("SELECT not_before FROM subtasks WHERE subtask_id = '1.0'")
    assert "1.0" not in ready(leader)
    leader.clock.advance(1_000_000)
    assert ready(leader)["1.0"].waiting_since_ms == not_before_ms


def turns(leader: Leader) -> dict[str, int]:
    view = leader.planning.view(leading_since_ms=leader.clock.monotonic_ms(), applied_index=99)
    return dict(view.served)


def test_a_task_that_was_just_served_is_last(leader: Leader) -> None:
    leader.submit(1, Privacy.NORMAL)
    leader.submit(2, Privacy.NORMAL)
    leader.drive(Allocate((Placement("1.0", 1, A, "command"),)))
    token = leader.drive.log.index
    assert turns(leader) == {"1": token, "2": 0}
    leader.drive(FinishAttempt(AttemptRef("1.0", 1, token), A, OK))
    assert turns(leader) == {"1": token, "2": 0}, "though nothing of it runs now"


# --- limits and money -----------------------------------------------------------------------------


def picture(leader: Leader) -> PlanningView:
    return leader.planning.view(leading_since_ms=leader.clock.monotonic_ms(), applied_index=99)


def finish(leader: Leader, subtask_id: str, node_id: str, outcome: Outcome) -> None:
    leader.drive(Allocate((Placement(subtask_id, 1, node_id, "command"),)))
    ref = AttemptRef(subtask_id, 1, leader.drive.log.index)
    leader.drive(FinishAttempt(ref, node_id, outcome))


def test_a_limit_that_one_subtask_met_keeps_all_from_there(leader: Leader) -> None:
    leader.submit(1, Privacy.NORMAL)
    finish(leader, "1.0", A, Outcome(ResultStatus.QUOTA, "", retryable_after_ms=60_000))
    assert leader.chosen() == {B}, "the refused one and those that have not tried, at once"
    for worker in picture(leader).workers:
        assert set(worker.throttled) == ({"command"} if worker.node_id == A else set())
    leader.submit(2, Privacy.NORMAL)
    leader.clock.advance(61_000)
    assert A in leader.chosen()


def test_a_task_without_money_is_held_and_the_others_go_on(leader: Leader) -> None:
    subtasks = (subtask("dear"), subtask("waits"))
    leader.drive(SubmitTask(TaskSpec("t", "", "plan", subtasks, budget_usd=0.5), ""))
    finish(leader, "dear", A, Outcome(ResultStatus.OK, cost_usd=0.5))
    leader.submit(1, Privacy.NORMAL)
    held = {each.subtask_id: each.held for each in picture(leader).ready}
    assert held["waits"].startswith("its task has cost 0.5 USD of its budget of 0.5 USD")
    assert held["1.0"] == ""
    leader.chosen()
    assert leader.drive.status("waits") == "pending"
    leader.drive(SetBudget("t", 1.0))
    leader.chosen()
    assert leader.drive.status("waits") == "allocated"


def test_a_node_that_has_spent_its_day_takes_nothing_that_costs(leader: Leader) -> None:
    leader.drive(worker_entry(A, system_info={DAILY_BUDGET_KEY: "2"}))
    leader.submit(1, Privacy.NORMAL)
    finish(leader, "1.0", A, Outcome(ResultStatus.OK, cost_usd=2.5))
    money = {each.node_id: each.money for each in picture(leader).workers}
    assert money == {A: "its budget of 2 USD for today (UTC) is spent: 2.5 USD", B: ""}
    leader.clock.advance(24 * 3600 * 1000)
    assert picture(leader).workers[0].money == picture(leader).workers[1].money == ""
