"""External workers at their node: what they are told when, and what becomes of what they hold."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import Conflict, NotFound, PacelineError, TimedOut
from paceline.node.blobs import BlobStore
from paceline.node.guest import Line
from paceline.node.guest_watch import CANCEL_MS, PARTED_MS, SIGN_MS, SILENT_MS, GuestWatch
from paceline.node.guest_work import GuestWork
from paceline.node.guests import Guests, worker_id_of
from paceline.node.logs import LogStore
from paceline.node.redaction import Redactor
from paceline.node.vitals import Lease
from paceline.node.web.ports import ExternalBeat, ExternalLine, ExternalResult, Registration
from paceline.node.workshop import read_work
from paceline.tasks.commands import Allocate, AttachWorker, CancelTask, Command, Placement
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import SubtaskSpec, ToolState, Vitals
from tests.clocks import ManualClock
from tests.tasks.entries import Driver, subtask

W = worker_id_of("m")
HERE = Registration("m", "machine m", ("command",), {"os": "Linux"})
HERE_TOOLS = (ToolState("command"),)


class Desk:
    """A node's means around a real state, without other nodes; `cut_off` = nobody leads."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.machine = TaskMachine(directory / "state.db")
        self.drive = Driver(self.machine, level=2)
        self.cut_off = False
        self.lease = Lease(clock=self.clock, lease_ms=10_000)
        redactor = Redactor(["the-secret-value"])
        self.logs = LogStore(directory=directory / "logs", clock=self.clock, redactor=redactor)
        connection = self.machine.connection
        work = GuestWork(
            connection=connection,
            proposals=self,  # type: ignore[arg-type]
            read_work=partial(read_work, connection),
            logs=self.logs,
            blobs=BlobStore(
                directory=directory / "blobs",
                node_id="here",
                budget_bytes=10**8,
                read_chunk=_none,
                replicate=_same,
            ),
            redactor=redactor,
            clock=self.clock,
            on_change=lambda: None,
        )
        self.beats: list[list[Vitals]] = []
        """What was said at once, besides the regular heartbeats."""
        self.watch = GuestWatch(
            node_id="here",
            connection=connection,
            work=work,
            lease=self.lease,
            clock=self.clock,
            applied_index=lambda: self.machine.applied_index,
            beat=lambda: self.beats.append(self.watch.vitals()),
        )
        self.guests = Guests(
            node_id="here",
            connection=connection,
            work=work,
            watch=self.watch,
            redactor=redactor,
            clock=self.clock,
            on_change=lambda: None,
        )

    async def propose(self, command: Command, *, timeout_s: float) -> Any:
        if self.cut_off:
            raise TimedOut("nobody answers")
        result = self.drive(command)
        if isinstance(result, PacelineError):
            raise result
        self.watch.wake()
        return result

    async def settle(self) -> None:
        """Let everything happen that can happen now."""
        self.watch.wake()
        for _ in range(40):
            await asyncio.sleep(0)

    async def pass_time(self, ms: int, *, heard: bool = True, renewed: bool = True) -> None:
        """Let time pass in steps in which the worker answers and the leader acknowledges."""
        for _ in range(0, ms, 1_000):
            self.clock.advance(1_000)
            if renewed:
                self.lease.renew(self.clock.monotonic_ms())
            if heard:
                await self.guests.hear(W, {"type": "pong"})
            await self.settle()

    async def give(self, *subtasks: SubtaskSpec, attempt: int = 1) -> None:
        if attempt == 1:
            self.drive.submit(*subtasks)
        placed = tuple(Placement(each.subtask_id, attempt, W, "command") for each in subtasks[:1])
        self.drive(Allocate(placed))
        await self.settle()

    def attempts(self, subtask_id: str = "a") -> list[str]:
        rows = self.machine.connection.execute(
            "SELECT a.status FROM attempts a JOIN subtasks s ON s.subtask_no = a.subtask_no"
            " WHERE s.subtask_id = ? ORDER BY a.attempt",
            (subtask_id,),
        )
        return [status for (status,) in rows]

    def running(self) -> list[str]:
        return [each.subtask_id for each in self.watch.vitals()[0].running]


async def _none(*arguments: Any) -> bytes:
    raise NotFound("nowhere")


async def _same(ref: Any) -> Any:
    return ref


def said(line: Line) -> list[dict[str, Any]]:
    """Answer what was said over a line since the last time, without pings."""
    found = []
    while not line._messages.empty():
        message = line._messages.get_nowait()
        if message["type"] != "ping":
            found.append({"type": message["type"], **message["data"]})
    return found


Play = Callable[[Desk], Awaitable[None]]


def played(directory: Path, play: Play) -> None:
    """Run a scene with the guests looked after."""

    async def scene() -> None:
        desk = Desk(directory)
        looking = asyncio.create_task(desk.watch.run())
        try:
            await asyncio.sleep(0)
            await play(desk)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            desk.machine.close()

    asyncio.run(scene())


def test_an_assignment_a_log_and_a_result(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        worker = await desk.guests.register(HERE)
        assert (worker["worker_id"], worker["via"], worker["slots"]) == (W, "here", 1)
        assert desk.watch.vitals()[0].slots == 0, "nothing can be told it yet"
        line = await desk.guests.connect(W)
        assert desk.watch.vitals()[0].slots == 1
        await desk.give(subtask("a", instructions="do it"), subtask("b", "a"))
        (told,) = said(line)
        assert told["type"] == "task_assignment"
        assert (told["subtask_id"], told["description"]) == ("a", "do it")
        assert (told["assigned_tool"], desk.running()) == ("command", ["a"])
        await desk.guests.write_log("a", ExternalLine("it says the-secret-value"))
        result = ExternalResult(result={"output": "made"}, usage={"tokens_in": 3})
        answer = await desk.guests.take_result("a", result)
        assert answer == {"subtask_id": "a", "status": "completed", "attempt": 1, "accepted": True}
        assert await desk.guests.take_result("a", result) == answer, "repeated"
        with pytest.raises(Conflict, match="any more"):
            await desk.guests.take_result("a", replace(result, error="no"))
        (key,) = desk.logs.attempts("a")
        page = await desk.logs.read(key)
        assert page.ended
        assert not any("the-secret-value" in each.line for each in page.lines)
        desk.drive(Allocate((Placement("b", 1, W, "command"),)))
        await desk.settle()
        assert said(line)[0]["context"]["inputs"] == {"a": "made"}

    played(tmp_path, play)


@pytest.mark.parametrize(
    "result",
    [ExternalResult(success=False), ExternalResult(status="failed"), ExternalResult(error="broke")],
    ids=str,
)
def test_a_failure_is_one_however_it_is_said(tmp_path: Path, result: ExternalResult) -> None:
    async def play(desk: Desk) -> None:
        await desk.guests.register(HERE)
        await desk.guests.connect(W)
        await desk.give(subtask("a"))
        await desk.guests.take_result("a", result)
        assert desk.attempts() == ["failed"]

    played(tmp_path, play)


def test_a_cancelled_worker_is_told_and_waited_for_in_bounds(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await desk.guests.register(HERE)
        line = await desk.guests.connect(W)
        await desk.give(subtask("a"))
        said(line)
        desk.drive(CancelTask("task"))
        await desk.settle()
        assert said(line) == [
            {"type": "task_cancel", "subtask_id": "a", "reason": "user_cancelled"}
        ]
        assert desk.attempts() == ["running"]
        await desk.pass_time(CANCEL_MS + 2_000)
        assert desk.attempts() == ["cancelled"]
        assert desk.running() == []

    played(tmp_path, play)


def test_a_rejection_gives_it_back_and_lets_the_worker_rest(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await desk.guests.register(HERE)
        await desk.guests.connect(W)
        await desk.give(subtask("a"))
        await desk.guests.hear(W, {"type": "task_rejected", "subtask_id": "a", "reason": "busy"})
        assert (desk.attempts(), desk.watch.vitals()[0].slots) == (["lost"], 0)
        await desk.pass_time(6_000)
        assert desk.watch.vitals()[0].slots == 1
        reason = {"type": "task_rejected", "subtask_id": "", "reason": "shutdown_in_progress"}
        await desk.guests.hear(W, reason)
        await desk.pass_time(60_000)
        assert desk.watch.vitals()[0].slots == 0, "until it registers again"
        await desk.guests.register(HERE)
        assert desk.watch.vitals()[0].slots == 1

    played(tmp_path, play)


def test_what_takes_too_long_is_timed_out(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await desk.guests.register(HERE)
        line = await desk.guests.connect(W)
        await desk.give(subtask("a", timeout_s=30.0))
        await desk.pass_time(32_000)
        assert said(line)[-1]["reason"] == "timeout"
        assert desk.attempts() == ["failed"]

    played(tmp_path, play)


def test_a_silent_worker_loses_what_it_has_in_hand(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await desk.guests.register(HERE)
        line = await desk.guests.connect(W)
        await desk.give(subtask("a"))
        await desk.pass_time(SILENT_MS + 2_000, heard=False)
        assert desk.attempts() == ["lost"]
        assert (line.is_open, desk.watch.vitals()) == (False, [])
        ((last,),) = desk.beats
        assert last.slots == 0, "its line was open to the end: else the work would come back to it"

    played(tmp_path, play)


def test_a_worker_without_a_line_is_waited_for(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await desk.guests.register(HERE)
        line = await desk.guests.connect(W)
        await desk.give(subtask("a"))
        desk.guests.parted(W, line)
        await desk.pass_time(PARTED_MS - 2_000, heard=False)
        assert desk.running() == ["a"]
        await desk.guests.connect(W)
        await desk.guests.heartbeat(W, ExternalBeat("busy"))
        await desk.pass_time(SIGN_MS + 2_000)
        assert desk.attempts() == ["running"]

    played(tmp_path, play)


@pytest.mark.parametrize(
    ("beat", "after"),
    [
        (ExternalBeat("busy"), "running"),
        (ExternalBeat("online", current_task="a"), "running"),
        (ExternalBeat("online"), "lost"),
    ],
    ids=["busy", "named", "idle"],
)
def test_a_worker_of_a_dead_node_goes_on_if_it_shows_that(
    tmp_path: Path, beat: ExternalBeat, after: str
) -> None:
    async def play(desk: Desk) -> None:
        desk.drive(AttachWorker(W, "there", "m", "machine m", 1, HERE_TOOLS))
        desk.drive.submit(subtask("a"))
        desk.drive.start(desk.drive.allocate("a", node_id=W), node_id=W)
        line = await desk.guests.connect(W)
        await desk.guests.heartbeat(W, beat)
        assert desk.running() == ["a"]
        await desk.pass_time(SIGN_MS + 2_000)
        assert desk.attempts() == [after]
        assert all(each["type"] == "task_cancel" for each in said(line)), "it is not told twice"

    played(tmp_path, play)


def test_a_worker_may_say_at_once_what_it_still_does(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        desk.drive(AttachWorker(W, "there", "m", "machine m", 2, HERE_TOOLS))
        desk.drive.submit(subtask("a"), subtask("b"))
        for each in ("a", "b"):
            desk.drive.start(desk.drive.allocate(each, node_id=W), node_id=W)
        await desk.guests.register(replace(HERE, slots=2, running=("b",)))
        await desk.guests.connect(W)
        await desk.pass_time(1_000)
        assert (desk.attempts("a"), desk.attempts("b")) == (["lost"], ["running"])

    played(tmp_path, play)


def test_a_node_that_is_cut_off_lets_its_workers_go(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await desk.guests.register(HERE)
        line = await desk.guests.connect(W)
        await desk.give(subtask("a"))
        said(line)
        desk.cut_off = True
        with pytest.raises(TimedOut):
            await desk.guests.take_result("a", ExternalResult(output="done"))
        await desk.pass_time(12_000, renewed=False)
        assert said(line)[0]["type"] == "task_cancel"
        assert (line.is_open, desk.attempts()) == (False, ["running"])

    played(tmp_path, play)


def test_a_worker_that_went_elsewhere_is_dismissed(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await desk.guests.register(HERE)
        line = await desk.guests.connect(W)
        await desk.give(subtask("a"))
        desk.drive(AttachWorker(W, "there", "m", "machine m", 1, HERE_TOOLS))
        await desk.settle()
        assert (line.is_open, desk.watch.vitals(), desk.attempts()) == (False, [], ["running"])

    played(tmp_path, play)


def test_an_unregistered_worker_must_register(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        desk.drive.register("n1")
        await desk.guests.register(HERE)
        await desk.guests.unregister(W)
        with pytest.raises(NotFound, match="register it first"):
            await desk.guests.heartbeat(W, ExternalBeat())
        with pytest.raises(NotFound):
            await desk.guests.unregister(W)
        with pytest.raises(Conflict, match="is a node"):
            await desk.guests.unregister("n1")

    played(tmp_path, play)
