"""Runs one `Replica` on the event loop: ticks, pumping, and futures instead of callbacks.

The replica itself knows neither asyncio nor clocks, so that the simulation can run it; this is the
thin skin that gives it both.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from paceline.clock import Clock
from paceline.consensus.replica import Decision, Replica, ReplicaStatus
from paceline.errors import NotLeader, PacelineError
from paceline.ids import NodeId

TICK_MS = 50
"""One tick of the core, in the `wifi` profile; `wired` halves it."""


class ReplicaLoop:
    """Owns the replica's time. All methods are called on the event loop's thread."""

    def __init__(self, *, clock: Clock, tick_ms: int = TICK_MS) -> None:
        self._clock = clock
        self._tick_ms = tick_ms
        self._loop = asyncio.get_running_loop()
        self._pump_scheduled = False
        self._leader_changed = asyncio.Event()
        self._seen: tuple[str, int, str] = ("", 0, "")
        self._on_role: list[Callable[[ReplicaStatus], None]] = []
        self.replica: Replica  # set by `attach`: the replica needs our `wake` to be built

    def attach(self, replica: Replica) -> None:
        """Take the replica that was built with this loop's `wake`."""
        self.replica = replica

    def wake(self) -> None:
        """Ask for one `pump` in the next turn; many calls in a turn make one pump."""
        if not self._pump_scheduled:
            self._pump_scheduled = True
            self._loop.call_soon(self._pump)

    def on_role(self, callback: Callable[[ReplicaStatus], None]) -> None:
        """Call back whenever role, term or known leader change."""
        self._on_role.append(callback)

    async def run(self) -> None:
        """Tick for ever. A late tick passes on how late it is, so that a stall is seen as one."""
        last_ms = self._clock.monotonic_ms()
        while True:
            await asyncio.sleep(self._tick_ms / 1000)
            now_ms = self._clock.monotonic_ms()
            ticks = max(1, (now_ms - last_ms) // self._tick_ms)
            last_ms = now_ms
            self.replica.tick(ticks)
            self._pump()

    async def propose(self, data: bytes) -> Decision:
        """Answer what applying `data` gave; raise NotLeader, Busy, Unavailable (unknown)."""
        return await self._decided(lambda done: self.replica.propose(data, done))

    async def change_membership(
        self, voters: tuple[NodeId, ...], learners: tuple[NodeId, ...]
    ) -> Decision:
        """Ask for these sets of members; answer when the change is committed."""
        return await self._decided(
            lambda done: self.replica.change_membership(voters, learners, done)
        )

    async def read_barrier(self) -> None:
        """Wait until everything committed before now is in this node's state."""
        future: asyncio.Future[None] = self._loop.create_future()

        def done(error: PacelineError | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self.replica.read(done)
        self.wake()
        await future

    async def leader(self) -> NodeId:
        """Answer who leads, waiting until somebody does."""
        while not (leader := self.replica.status().leader_id):
            self._leader_changed.clear()
            await self._leader_changed.wait()
        return leader

    async def leader_change(self) -> None:
        """Wait for the next change of role, term or leader."""
        self._leader_changed.clear()
        await self._leader_changed.wait()

    async def _decided(self, ask: Callable[[Callable[[Decision], None]], Any]) -> Decision:
        future: asyncio.Future[Decision] = self._loop.create_future()

        def done(decision: Decision) -> None:
            if not future.done():
                future.set_result(decision)

        ask(done)
        self.wake()
        decision = await future
        if decision.error is not None:
            raise decision.error
        return decision

    def _pump(self) -> None:
        self._pump_scheduled = False
        self.replica.pump()
        status = self.replica.status()
        seen = (status.role, status.term, status.leader_id)
        if seen != self._seen:
            self._seen = seen
            self._leader_changed.set()
            for callback in self._on_role:
                callback(status)


__all__ = ["TICK_MS", "NotLeader", "ReplicaLoop"]
