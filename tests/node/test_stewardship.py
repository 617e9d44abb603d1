"""What a person may ask about members: a real state, and a leader that does what a test wants."""

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import Conflict, InputError, NotFound, PacelineError, TimedOut
from paceline.ids import fingerprint
from paceline.node.departures import Departure
from paceline.node.progress import AppliedProgress
from paceline.node.stewardship import Stewardship
from paceline.tasks import queries, queries_members
from paceline.tasks.commands import (
    AdmitMember,
    Command,
    FinishAttempt,
    FoundCluster,
    RemoveMember,
    SetWorkerStatus,
    StartAttempts,
    TrustMember,
)
from paceline.tasks.machine import TaskMachine
from tests.tasks.entries import OK, Driver, subtask

KEYS = {fingerprint(key): key for key in (b"a", b"b", b"c")}
A, B, C = KEYS
NAMES = {A: "ann", B: "bob", C: "bob"}


class Desk:
    """One node's stewardship; proposals go straight into its own machine."""

    def __init__(self, path: Path, node_id: str = A) -> None:
        self.machine = TaskMachine(path)
        self.drive = Driver(self.machine)
        self.progress: AppliedProgress[Any] = AppliedProgress(0)
        self.machine.on_applied(
            lambda changes: self.progress.advanced(self.machine.applied_index, changes)
        )
        self.asked: list[Departure] = []
        self.refusal: PacelineError | None = None
        self.has_left = False
        self.steward = Stewardship(
            node_id=node_id,
            connection=self.machine.connection,
            proposals=self,  # type: ignore[arg-type]  # only `propose` is used
            departures=self,  # type: ignore[arg-type]  # only `ask` is used
            progress=self.progress,
            members=lambda: [],
            has_left=self._leave,
        )
        self.drive(FoundCluster("c", "token", A, KEYS[A], NAMES[A]))
        for other in (B, C):
            self.drive(AdmitMember(other, KEYS[other], NAMES[other], A))
        self.drive.register(A, B)

    def _leave(self) -> None:
        self.has_left = True

    async def propose(self, command: Command, *, timeout_s: float = 10.0) -> Any:
        result = self.drive(command)
        if isinstance(result, PacelineError):
            raise result
        return result

    async def ask(self, departure: Departure, *, timeout_s: float) -> Any:
        self.asked.append(departure)
        if departure.check:
            return None
        if self.refusal is not None:
            raise self.refusal
        return await self.propose(departure.command(A))

    def worker_status(self, node_id: str) -> str:
        found = {each["node_id"]: each for each in queries.workers(self.machine.connection)}
        return str(found[node_id]["status"])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "state.db")
    yield made
    made.machine.close()


def run(call: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(call)


# --- names ----------------------------------------------------------------------------------------


def test_nodes_are_named_by_id_prefix_or_name(desk: Desk) -> None:
    resolve = desk.steward.resolve
    assert resolve("") == A
    assert resolve(B) == resolve(B[:6]) == B
    assert resolve("ann") == A
    with pytest.raises(NotFound, match="paceline nodes"):
        resolve("nobody")
    with pytest.raises(InputError, match="ambiguous"):
        resolve("bob")


def test_who_has_left_is_no_node_any_more(desk: Desk) -> None:
    desk.drive(RemoveMember(B, B))
    assert desk.steward.resolve("bob") == C


# --- drain and revoke -----------------------------------------------------------------------------


def test_draining_moves_what_is_not_begun_and_keeps_what_is(desk: Desk) -> None:
    desk.drive.submit(subtask("begun"), subtask("not begun"))
    ref = desk.drive.allocate("begun", node_id=B)
    desk.drive(StartAttempts((ref,), B))
    late = desk.drive.allocate("not begun", node_id=B)
    assert run(desk.steward.drain(B, on=True))["status"] == "draining"
    assert desk.drive.status("begun") == "in_progress"
    assert desk.drive.status("not begun") == "pending"
    assert desk.drive(StartAttempts((late,), B)) == 0, "a start that comes too late is void"
    assert desk.drive(FinishAttempt(ref, B, OK)) is True


def test_a_drain_ends_also_for_a_node_that_is_not_there(desk: Desk) -> None:
    run(desk.steward.drain(B, on=True))
    desk.drive(SetWorkerStatus(B, "offline"))
    assert run(desk.steward.drain(B, on=False))["status"] == "online"
    desk.drive(SetWorkerStatus(B, "offline"))
    assert desk.drive(SetWorkerStatus(B, "online")) == "online", "and is not remembered"


def test_a_node_does_not_revoke_itself(desk: Desk) -> None:
    with pytest.raises(Conflict, match="node leave"):
        run(desk.steward.revoke("ann", ""))
    assert desk.asked == []


def test_a_revocation_makes_a_token_that_no_repr_shows(desk: Desk) -> None:
    answer = run(desk.steward.revoke(B, "stolen"))
    assert answer == {"node_id": B, "name": "bob", "token_version": 2}
    (departure,) = desk.asked
    record = queries_members.cluster(desk.machine.connection)
    assert record is not None
    assert record.token == departure.new_token != "token"
    assert departure.new_token not in repr(departure)


# --- leaving --------------------------------------------------------------------------------------


def test_leaving_waits_for_what_runs(desk: Desk) -> None:
    desk.drive(TrustMember(B, True, A))
    desk.drive.submit(subtask("s"))
    ref = desk.drive.allocate("s", node_id=A)
    desk.drive(StartAttempts((ref,), A))

    async def scenario() -> None:
        leaving = asyncio.create_task(desk.steward.leave(60))
        while desk.worker_status(A) != "draining":
            await asyncio.sleep(0)
        assert not desk.has_left
        desk.drive(FinishAttempt(ref, A, OK))
        assert (await leaving)["finished"] is True

    asyncio.run(scenario())
    assert desk.has_left
    assert queries_members.has_left(desk.machine.connection, A)


def test_what_does_not_end_in_time_goes_to_others(desk: Desk) -> None:
    desk.drive(TrustMember(B, True, A))
    desk.drive.submit(subtask("s"))
    desk.drive(StartAttempts((desk.drive.allocate("s", node_id=A),), A))
    assert run(desk.steward.leave(0))["finished"] is False
    assert desk.drive.status("s") == "pending"


def test_a_node_that_may_not_leave_is_as_before(desk: Desk) -> None:
    desk.drive(TrustMember(B, True, A))
    desk.refusal = TimedOut("not confirmed")
    with pytest.raises(TimedOut):
        run(desk.steward.leave(1))
    assert desk.worker_status(A) == "online"
    assert not desk.has_left


def test_one_that_drained_before_goes_on_draining(desk: Desk) -> None:
    desk.drive(TrustMember(B, True, A))
    run(desk.steward.drain("", on=True))
    desk.refusal = Conflict("no")
    with pytest.raises(Conflict):
        run(desk.steward.leave(1))
    assert desk.worker_status(A) == "draining"


def test_a_client_that_goes_away_ends_the_leaving(desk: Desk) -> None:
    desk.drive(TrustMember(B, True, A))
    desk.drive.submit(subtask("s"))
    desk.drive(StartAttempts((desk.drive.allocate("s", node_id=A),), A))

    async def scenario() -> None:
        leaving = asyncio.create_task(desk.steward.leave(60))
        while desk.worker_status(A) != "draining":
            await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving

    asyncio.run(scenario())
    assert desk.worker_status(A) == "online"
    assert desk.drive.status("s") == "in_progress"


def test_an_answer_that_was_lost_is_read_in_the_own_state(desk: Desk) -> None:
    desk.drive(TrustMember(B, True, A))

    async def lost(departure: Departure, *, timeout_s: float) -> None:
        if not departure.check:
            desk.drive(RemoveMember(A, A))
            raise TimedOut("the link is cut")

    desk.ask = lost  # type: ignore[method-assign]
    run(desk.steward.leave(1))
    assert desk.has_left


def test_the_only_trusted_node_names_a_successor_first(desk: Desk) -> None:
    with pytest.raises(Conflict, match="paceline trust"):
        run(desk.steward.leave(1))
    assert desk.worker_status(A) == "online"
    assert desk.asked == []
