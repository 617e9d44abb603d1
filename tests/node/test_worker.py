"""The worker: what the state gives it, it does once; what the state takes away, it stops."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import NoQuorum, StorageError
from paceline.node.outbox import Outbox
from paceline.node.vitals import Lease
from paceline.node.worker import Assignment, Worker
from paceline.tasks.commands import (
    AttemptRef,
    Command,
    FinishAttempt,
    LoseAttempts,
    StartAttempts,
)
from paceline.tasks.model import AttemptStatus, Outcome, ResultStatus
from tests.clocks import ManualClock
from tests.rigs.disks import Ballast, small_disk

A = AttemptRef("a", 1, 7)
B = AttemptRef("b", 1, 7)  # one allocation places many: they share the token


@dataclass
class State:
    """The replicated state, as far as a worker sees it: commands change it as the machine would."""

    given: dict[AttemptRef, Assignment] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    outcomes: dict[AttemptRef, Outcome] = field(default_factory=dict)
    reachable: bool = True
    applied: Callable[[], None] = lambda: None

    def allocate(self, *refs: AttemptRef) -> None:
        for ref in refs:
            self.given[ref] = Assignment(ref, "t", "command", AttemptStatus.ALLOCATED)
        self.applied()

    def cancel(self, ref: AttemptRef) -> None:
        self.given[ref] = replace(self.given[ref], cancel_requested=True)
        self.applied()

    async def propose(self, command: Command, *, timeout_s: float = 10.0) -> Any:
        await asyncio.sleep(0)
        if not self.reachable:
            raise NoQuorum("nobody answers")
        self.commands.append(command)
        result = self._apply(command)
        self.applied()
        return result

    def _apply(self, command: Command) -> Any:
        match command:
            case StartAttempts(attempts=refs):
                for ref in refs:
                    if ref in self.given:
                        self.given[ref] = replace(self.given[ref], status=AttemptStatus.RUNNING)
            case FinishAttempt(ref=ref, outcome=outcome):
                if self.given.pop(ref, None) is None:
                    return False
                self.outcomes[ref] = outcome
                return True
            case LoseAttempts(attempts=refs):
                for ref in refs:
                    self.given.pop(ref, None)
        return None


@dataclass
class Bench:
    """A worker over a plain state and a real outbox; `release` lets the agents finish."""

    state: State
    worker: Worker
    outbox: Outbox
    clock: ManualClock
    lease: Lease
    begun: list[AttemptRef]
    stopped: list[AttemptRef]
    release: asyncio.Event
    running: "asyncio.Task[None]"


async def with_worker(path: Path, test: Callable[[Bench], Awaitable[None]]) -> None:
    state, clock = State(), ManualClock()
    lease = Lease(clock=clock, lease_ms=10_000)
    begun: list[AttemptRef] = []
    stopped: list[AttemptRef] = []
    release = asyncio.Event()

    async def run(given: Assignment, stop: asyncio.Event) -> Outcome:
        begun.append(given.ref)
        stopping = asyncio.ensure_future(stop.wait())
        releasing = asyncio.ensure_future(release.wait())
        await asyncio.wait((stopping, releasing), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        releasing.cancel()
        if stop.is_set():
            stopped.append(given.ref)
            return Outcome(ResultStatus.CANCELLED, "cancelled")
        return Outcome(ResultStatus.OK, given.ref.subtask_id)

    outbox = await Outbox.open(path)
    worker = Worker(
        node_id="me",
        assignments=lambda: list(state.given.values()),
        run=run,
        proposals=state,
        outbox=outbox,
        lease=lease,
        on_change=lambda: None,
    )
    state.applied = worker.wake
    task = asyncio.create_task(worker.run())
    bench = Bench(state, worker, outbox, clock, lease, begun, stopped, release, task)
    try:
        async with asyncio.timeout(30):
            await test(bench)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await outbox.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def run(path: Path, test: Callable[[Bench], Awaitable[None]]) -> None:
    asyncio.run(with_worker(path / "outbox.db", test))


def test_attempts_of_one_allocation_all_run_and_are_brought_back(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.state.allocate(A, B)
        await until(lambda: len(bench.begun) == 2)
        assert [type(c) for c in bench.state.commands] == [StartAttempts], "claimed together"
        assert {each.subtask_id for each in bench.worker.running} == {"a", "b"}
        bench.release.set()
        await until(lambda: len(bench.state.outcomes) == 2)
        assert {o.text for o in bench.state.outcomes.values()} == {"a", "b"}
        await until(lambda: not bench.worker.running)
        assert await bench.outbox.pending() == []

    run(tmp_path, test)


def test_nothing_begins_before_its_claim_is_committed(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.state.reachable = False
        bench.state.allocate(A)
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert bench.begun == []
        bench.state.reachable = True
        await until(lambda: bench.begun == [A])

    run(tmp_path, test)


def test_what_ran_in_a_former_process_is_given_back_not_run(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.state.given[A] = Assignment(A, "t", "command", AttemptStatus.RUNNING)
        bench.worker.wake()
        await until(lambda: not bench.state.given)
        assert [type(c) for c in bench.state.commands] == [LoseAttempts]
        assert bench.begun == []

    run(tmp_path, test)


def test_what_a_former_process_began_is_not_run_again_though_the_state_is_behind(
    tmp_path: Path,
) -> None:
    async def former() -> None:
        outbox = await Outbox.open(tmp_path / "outbox.db")
        assert await outbox.begin(A)
        await outbox.close()

    async def test(bench: Bench) -> None:
        bench.state.allocate(A, B)
        await until(lambda: A not in bench.state.given)
        await until(lambda: bench.begun == [B])
        assert isinstance(bench.state.commands[-1], LoseAttempts)

    asyncio.run(former())
    run(tmp_path, test)


def test_an_outcome_waits_in_the_outbox_until_somebody_takes_it(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.state.allocate(A)
        await until(lambda: bench.begun == [A])
        bench.state.reachable = False
        bench.release.set()
        while not await bench.outbox.pending():
            await asyncio.sleep(0.002)
        assert bench.worker.running, "it is still ours"
        bench.state.reachable = True
        await until(lambda: A in bench.state.outcomes)

    run(tmp_path, test)


def test_an_outcome_of_a_former_process_is_delivered(tmp_path: Path) -> None:
    async def former() -> None:
        outbox = await Outbox.open(tmp_path / "outbox.db")
        await outbox.put(A, Outcome(ResultStatus.OK, "from before"))
        await outbox.close()

    async def test(bench: Bench) -> None:
        bench.state.given[A] = Assignment(A, "t", "command", AttemptStatus.RUNNING)
        await until(lambda: A in bench.state.outcomes)
        assert bench.state.outcomes[A].text == "from before"

    asyncio.run(former())
    run(tmp_path, test)


def test_nothing_begins_without_room_to_note_it(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "disk" / "ballast")

    async def test(bench: Bench) -> None:
        ballast.fill()
        bench.state.allocate(A)
        await until(lambda: A not in bench.state.given)
        (lost,) = [each for each in bench.state.commands if isinstance(each, LoseAttempts)]
        assert lost.attempts == (A,)
        assert "no space is left" in lost.reason
        assert bench.begun == []
        ballast.drop()
        again = replace(A, attempt=2)
        bench.state.allocate(again)
        await until(lambda: bench.begun == [again])

    with small_disk(tmp_path / "disk", 1024 * 1024) as disk:
        run(disk, test)


def test_an_outcome_that_finds_no_room_is_brought_to_the_log_all_the_same(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "disk" / "ballast")

    async def test(bench: Bench) -> None:
        bench.state.allocate(A)
        await until(lambda: bench.begun == [A])
        ballast.fill()
        bench.release.set()
        await until(lambda: A in bench.state.outcomes)
        await until(lambda: bench.worker.running == ())
        ballast.drop()
        bench.state.allocate(B)
        await until(lambda: B in bench.state.outcomes)

    with small_disk(tmp_path / "disk", 1024 * 1024) as disk:
        run(disk, test)


def test_a_broken_disk_under_the_outbox_ends_the_worker(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.state.allocate(A)
        await until(lambda: bench.begun == [A])
        bench.outbox._connection.execute("PRAGMA query_only = ON")  # as a read-only disk
        bench.release.set()
        with pytest.raises(StorageError, match="the outbox cannot be used"):
            await bench.running

    run(tmp_path, test)


def test_cancelling_stops_the_agent_and_says_so(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.state.allocate(A)
        await until(lambda: bench.begun == [A])
        bench.state.cancel(A)
        await until(lambda: A in bench.state.outcomes)
        assert bench.stopped == [A]
        assert bench.state.outcomes[A].status is ResultStatus.CANCELLED

    run(tmp_path, test)


def test_what_is_recalled_is_given_back_once_it_has_stopped(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.state.allocate(A)
        await until(lambda: bench.begun == [A])
        bench.state.given[A] = replace(bench.state.given[A], recalled="it drains")
        bench.state.applied()
        await until(lambda: LoseAttempts((A,), "it drains") in bench.state.commands)
        assert bench.stopped == [A]
        assert A not in bench.state.outcomes

    run(tmp_path, test)


def test_what_the_state_has_given_to_another_is_stopped_and_not_reported(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.state.allocate(A)
        await until(lambda: bench.begun == [A])
        del bench.state.given[A]
        bench.worker.wake()
        await until(lambda: bench.stopped == [A] and not bench.worker.running)
        assert not any(isinstance(c, FinishAttempt) for c in bench.state.commands)

    run(tmp_path, test)


def test_a_lease_that_ends_stops_everything(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.state.allocate(A, B)
        await until(lambda: len(bench.begun) == 2)
        bench.state.reachable = False
        bench.clock.advance(10_001)
        await until(lambda: len(bench.stopped) == 2)
        bench.lease.renew(bench.clock.monotonic_ms())
        bench.state.reachable = True
        bench.worker.wake()
        await until(lambda: not bench.state.given)
        assert isinstance(bench.state.commands[-1], LoseAttempts), "given back, not reported"

    run(tmp_path, test)


def test_a_node_that_stops_gives_its_work_back(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.state.allocate(A, B)
        await until(lambda: len(bench.begun) == 2)
        await bench.worker.give_up(timeout_s=1)
        assert not bench.state.given
        await until(lambda: len(bench.stopped) == 2)
        bench.state.allocate(replace(A, attempt=2, token=9))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert len(bench.begun) == 2, "it takes nothing new"

    run(tmp_path, test)
