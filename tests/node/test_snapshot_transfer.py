"""A whole state over real sockets into a real state machine, cut in the middle and gone on with.

Both ends are what a node has, `Consensus` on a `Transport`, in one process; the log is cut early,
so that whoever joins, or was away, needs the state.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from paceline.clock import SystemClock
from paceline.consensus.compaction import CompactionLimits
from paceline.consensus.spool import PREFIX
from paceline.consensus.transfer import SNAPSHOT_MESSAGES, SnapshotChunk, SnapshotOffer
from paceline.node.consensus import Consensus, ConsensusSettings
from paceline.node.inbound import Handler
from paceline.node.keys import NodeKeys, new_keys
from paceline.node.wire import Kind
from paceline.tasks.commands import Envelope, SubmitTask, encode_envelope
from paceline.tasks.model import TaskSpec
from tests.node.transports import Station, run, until
from tests.tasks.entries import START_MS, subtask

EARLY = CompactionLimits(every_entries=20, keep_trailing_entries=5, keep_trailing_bytes=100_000)
TASKS = 40
TASK_BYTES = 150_000
"""The state comes to some 6 MB, two dozen chunks."""


class Member:
    """One node's consensus and transport; it can go away and come back with what it has."""

    def __init__(self, directory: Path, keys: NodeKeys, *, founder: bool = False) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.failures: list[BaseException] = []
        self.chunks: list[SnapshotChunk] = []
        self.offers: list[SnapshotOffer] = []
        self.on_chunk: Callable[[int], bool] = lambda count: True
        """Called with the number of each chunk; False loses it."""
        self.on_bulk: Handler = self._pass
        """Called with each message on the bulk lane."""
        self._keys = keys
        self._founder = founder
        self._running: asyncio.Task[None] | None = None
        self.station = Station(keys)
        self.consensus: Consensus

    @property
    def node_id(self) -> str:
        return self._keys.node_id

    async def start(self) -> None:
        """Begin on what is on the disk; the address stays what it was."""
        host, members = self.station.host, self.station.members
        self.station = Station(self._keys, host=host, members=members)
        await self.station.transport.open()
        self.chunks, self.offers = [], []
        self._tap()
        self.consensus = Consensus(
            settings=ConsensusSettings(
                node_id=self.node_id,
                directory=self.directory,
                profile="wired",
                founder=self._founder,
                compaction=EARLY,
            ),
            transport=self.station.transport,
            clock=SystemClock(),
            failed=self.failures.append,
        )
        self._running = asyncio.ensure_future(self.consensus.loop.run())

    def _tap(self) -> None:
        """See to it that what comes on the bulk lane passes by here."""
        on = self.station.transport.on

        def tapped(kind: Kind, handler: Handler) -> None:
            if kind is not Kind.SNAPSHOT:
                on(kind, handler)
                return
            self._receive_bulk = handler
            on(kind, self._on_bulk)

        self.station.transport.on = tapped  # type: ignore[method-assign]

    def _on_bulk(self, sender: str, body: bytes) -> None:
        self.on_bulk(sender, body)

    def _pass(self, sender: str, body: bytes) -> None:
        message = SNAPSHOT_MESSAGES.decode(body)
        if isinstance(message, SnapshotOffer):
            self.offers.append(message)
        if isinstance(message, SnapshotChunk):
            self.chunks.append(message)
            if not self.on_chunk(len(self.chunks)):
                return
        self._receive_bulk(sender, body)

    async def stop(self) -> None:
        """Go away in the middle of whatever it does."""
        if self._running is None:
            return
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running
        self._running = None
        self.consensus.close()
        self.station.transport.close()

    @property
    def received_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.directory.glob(f"{PREFIX}*"))

    async def submit(self, number: int, size: int = TASK_BYTES) -> None:
        spec = TaskSpec(f"t{number}", "", "p", (subtask(f"s{number}", instructions="x" * size),))
        envelope = Envelope(b"%016d" % number, 0, START_MS, self.node_id, SubmitTask(spec, ""))
        assert (await self.consensus.loop.propose(encode_envelope(envelope))).error is None


@asynccontextmanager
async def members(directory: Path, *names: str) -> AsyncIterator[list[Member]]:
    """Make members that know of each other; the first has founded a cluster and has a state."""
    found = [
        Member(directory / name, new_keys(), founder=index == 0) for index, name in enumerate(names)
    ]
    async with AsyncExitStack() as stack:
        for member in found:
            stack.push_async_callback(member.stop)
            await member.start()
        meet(found)
        first = found[0]
        await first.consensus.loop.leader()
        for number in range(TASKS):
            await first.submit(number)
        await until(lambda: first.consensus.loop.replica._core.status().first_index > 20)
        yield found
        assert all(member.failures == [] for member in found)


def meet(found: list[Member]) -> None:
    for one in found:
        for other in found:
            if one is not other:
                one.station.add(other.station)


def until_chunk(last: int, event: asyncio.Event, but: int = 1_000_000) -> Callable[[int], bool]:
    """Lose the chunks after `last`, except those from number `but` on; tell of the first loss."""

    def passes(count: int) -> bool:
        if last < count < but:
            event.set()
            return False
        return True

    return passes


async def admit(leader: Member, *joining: Member) -> None:
    ids = tuple(member.node_id for member in joining)
    await leader.consensus.loop.change_membership((leader.node_id,), ids)


def caught_up(leader: Member, member: Member) -> bool:
    return member.consensus.machine.applied_index == leader.consensus.machine.applied_index


async def same_state(leader: Member, member: Member) -> None:
    await until(lambda: caught_up(leader, member))
    assert member.consensus.machine.digest() == leader.consensus.machine.digest()
    assert member.consensus.machine.snapshot_meta is not None


def test_a_new_node_gets_the_whole_state(tmp_path: Path) -> None:
    async def body() -> None:
        async with members(tmp_path, "a", "b") as (a, b):
            await admit(a, b)
            await same_state(a, b)
            size = b.offers[0].size
            assert size > TASKS * TASK_BYTES
            assert sum(len(chunk.data) for chunk in b.chunks) >= size
            assert b.received_bytes == 0
            await until(lambda: not list(a.directory.glob("*.snapshot-*")))
            await a.submit(TASKS)  # and from here on it follows by the log
            await until(lambda: caught_up(a, b))

    run(body())


def test_a_receiver_that_dies_goes_on_where_it_was(tmp_path: Path) -> None:
    async def body() -> None:
        async with members(tmp_path, "a", "b") as (a, b):
            half = asyncio.Event()
            b.on_chunk = until_chunk(10, half)
            await admit(a, b)
            await half.wait()
            await b.stop()
            there = b.received_bytes
            assert there > 0
            b.on_chunk = lambda count: True
            await b.start()
            meet([a, b])
            await same_state(a, b)
            assert min(chunk.offset for chunk in b.chunks) >= there

    run(body())


def test_a_sender_that_dies_is_gone_on_with_when_it_is_back(tmp_path: Path) -> None:
    async def body() -> None:
        async with members(tmp_path, "a", "b") as (a, b):
            half = asyncio.Event()
            b.on_chunk = until_chunk(10, half)
            await admit(a, b)
            await half.wait()
            await a.stop()
            assert not list(a.directory.glob("*.snapshot-*"))
            b.on_chunk = lambda count: True
            await a.start()
            meet([a, b])
            await same_state(a, b)

    run(body())


def test_a_cut_link_delays_it_and_the_rest_follows(tmp_path: Path) -> None:
    """The bulk lane is dead for a while; the control lane is not, and the log goes on."""

    async def body() -> None:
        async with members(tmp_path, "a", "b") as (a, b):
            cut = asyncio.Event()
            b.on_chunk = until_chunk(8, cut, but=20)
            await admit(a, b)
            await cut.wait()
            for number in range(TASKS, TASKS + 5):
                await a.submit(number)
            await same_state(a, b)

    run(body())


def test_heartbeats_do_not_wait_behind_the_state(tmp_path: Path) -> None:
    """While chunks fill the bulk lane, a follower that is up to date hears of no other leader."""

    async def body() -> None:
        async with members(tmp_path, "a", "b", "c") as (a, b, c):
            await admit(a, b)
            await same_state(a, b)
            term = a.consensus.loop.status.term
            await a.consensus.loop.change_membership((a.node_id, b.node_id), (c.node_id,))
            commits = 0
            while c.consensus.machine.snapshot_meta is None:
                await a.submit(1000 + commits, size=10)  # needs b's vote each time
                commits += 1
            assert commits > 0
            await same_state(a, c)
            await until(lambda: caught_up(a, b))
            assert a.consensus.loop.status.term == term
            assert b.consensus.machine.digest() == a.consensus.machine.digest()

    run(body())


def test_what_is_damaged_on_the_way_is_not_taken(tmp_path: Path) -> None:
    async def body() -> None:
        async with members(tmp_path, "a", "b") as (a, b):
            receive = b.on_bulk
            damaged: list[int] = []

            def flipping(sender: str, body: bytes) -> None:
                message: Any = SNAPSHOT_MESSAGES.decode(body)
                if isinstance(message, SnapshotChunk) and len(damaged) < 1:
                    damaged.append(message.offset)
                    data = bytes([message.data[0] ^ 1]) + message.data[1:]
                    body = SNAPSHOT_MESSAGES.encode(
                        SnapshotChunk(message.sha256, message.offset, data)
                    )
                receive(sender, body)

            b.on_bulk = flipping
            await admit(a, b)
            await same_state(a, b)
            assert damaged == [0]
            assert len(b.offers) >= 2

    run(body())
