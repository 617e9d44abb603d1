"""What the loop makes of a replica whose disk fails: the end of the node, never a living corpse."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any

import pytest

from paceline.clock import SystemClock
from paceline.consensus.core import Core, CoreConfig
from paceline.consensus.messages import Entry, Membership, SnapshotMeta
from paceline.consensus.recovery import found, recover
from paceline.consensus.replica import Replica
from paceline.consensus.storage.memory import MemoryLogStorage
from paceline.consensus.storage.protocol import LogWrite, SnapshotSource
from paceline.consensus.transfer import SNAPSHOT_MESSAGES, SnapshotChunk, SnapshotOffer
from paceline.errors import ProtocolError, StorageError
from paceline.node.replica_loop import ReplicaLoop
from tests.consensus.replica_cluster import ListMachine

STATE = b"the whole state"
PATIENCE_S = 20.0


class BrokenMachine(ListMachine):
    """A state machine on a disk that breaks."""

    broken = False

    def apply(self, entries: Sequence[Entry]) -> list[Any]:
        if self.broken:
            raise StorageError("the disk gave up")
        return super().apply(entries)

    def restore(self, source: SnapshotSource, meta: SnapshotMeta) -> None:
        raise StorageError("the disk gave up")


class Rig:
    """One node `a`; alone, or with a `b` that leads and is played by the test."""

    def __init__(self, *voters: str) -> None:
        self.storage = MemoryLogStorage()
        self.machine = BrokenMachine()
        self.loop = ReplicaLoop(clock=SystemClock(), tick_ms=1)
        if voters == ("a",):
            found(self.storage, "a")
        else:
            mark = SnapshotMeta(0, 0, Membership(voters=voters))
            self.storage.write(LogWrite(None, mark, ()), lambda: None)
        start = recover(self.storage, self.machine)
        self.loop.attach(
            Replica(
                core=Core(CoreConfig("a"), start, 0, Random(1)),
                storage=self.storage,
                machine=self.machine,
                send=lambda to, message: None,
                wake=self.loop.wake,
                observer=self.loop,
            )
        )

    async def serve(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the loop and, beside it, `work`; end as the loop ends."""
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            group.create_task(self.loop.run())
            await work()
            await asyncio.Event().wait()


def ended(rig_work: Callable[[], Coroutine[Any, Any, None]]) -> BaseException:
    """Answer the one error by which the loop ended."""
    with pytest.raises(BaseExceptionGroup) as caught:
        asyncio.run(rig_work())
    (error,) = caught.value.exceptions
    return error


def test_a_state_machine_that_fails_ends_the_loop_and_nothing_is_acknowledged() -> None:
    acknowledged = []

    async def main() -> None:
        rig = Rig("a")

        async def work() -> None:
            await rig.loop.leader()
            await rig.loop.propose(b"is written")
            rig.machine.broken = True
            acknowledged.append(await rig.loop.propose(b"is not written"))

        await rig.serve(work)

    assert isinstance(ended(main), StorageError)
    assert acknowledged == []


def test_after_a_failure_nothing_more_is_applied() -> None:
    rigs = []

    async def main() -> None:
        rigs.append(rig := Rig("a"))

        async def work() -> None:
            await rig.loop.leader()
            rig.machine.broken = True
            rig.loop.replica.propose(b"is not written", lambda decision: None)
            await asyncio.sleep(0)  # the woken pump has its turn before this one
            rig.machine.broken = False
            rig.loop.replica.propose(b"too late", lambda decision: None)

        await rig.serve(work)

    assert isinstance(ended(main), StorageError)
    assert b"too late" not in rigs[0].machine.commands


def test_a_snapshot_that_cannot_be_installed_ends_the_loop() -> None:
    async def main() -> None:
        rig = Rig("a", "b")
        digest = hashlib.sha256(STATE).digest()
        meta = SnapshotMeta(5, 1, Membership(voters=("a", "b")))
        offer = SnapshotOffer(1, meta, len(STATE), digest)

        async def work() -> None:
            receive = rig.loop.replica.receive_bulk
            receive("b", SNAPSHOT_MESSAGES.encode(offer))
            with pytest.raises(StorageError):  # which the transport would survive
                receive("b", SNAPSHOT_MESSAGES.encode(SnapshotChunk(digest, 0, STATE)))

        await rig.serve(work)

    assert isinstance(ended(main), StorageError)


def test_malformed_bytes_are_their_senders_fault_alone() -> None:
    async def main() -> None:
        rig = Rig("a")
        with pytest.raises(ProtocolError):
            rig.loop.replica.receive_bulk("b", b"nonsense")
        running = asyncio.ensure_future(rig.loop.run())
        await rig.loop.leader()
        assert (await rig.loop.propose(b"x")).error is None
        running.cancel()

    asyncio.run(main())


def test_news_of_a_leader_does_not_hide_that_there_are_new_members() -> None:
    async def main() -> list[tuple[str, ...]]:
        rig, told = Rig("a"), []
        rig.loop.on_membership(lambda status: told.append(status.membership.learners))
        running = asyncio.create_task(rig.loop.run())
        async with asyncio.timeout(PATIENCE_S):
            await rig.loop.leader()
            rig.loop.replica.change_membership(("a",), ("b",), lambda decision: None)
            while not rig.loop.replica.status().membership.learners:
                rig.loop.replica.pump()
            # As when the leader that a follower learns of brings the members with it.
            rig.loop.role_changed(rig.loop.replica.status())
            while not told:
                await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return told

    assert asyncio.run(main()) == [("b",)]
