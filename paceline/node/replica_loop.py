"""Runs one `Replica` on the event loop: ticks, pumping, and futures instead of callbacks.

The replica itself knows neither asyncio nor clocks, so that the simulation can run it; this is the
thin skin that gives it both.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from paceline.clock import Clock
from paceline.consensus.messages import Membership
from paceline.consensus.replica import Decision, Replica, ReplicaObserver, ReplicaStatus
from paceline.errors import PacelineError, StorageError
from paceline.ids import NodeId

TICK_MS = 50
"""One tick of the core, in the `wifi` profile; `wired` halves it."""

NEWS_S = 0.002
"""So long a follower's knowledge of a commit may wait for an append that takes it along: under a
load of single commands that saves half of all messages."""

REFRESH_TICKS = 4
"""Between looks at the membership; what this node itself changes is seen at once."""

Listener = Callable[[ReplicaStatus], None]

log = structlog.get_logger(__name__)


class ReplicaLoop(ReplicaObserver):
    """Owns the replica's time. All methods are called on the event loop's thread."""

    def __init__(self, *, clock: Clock, tick_ms: int = TICK_MS) -> None:
        self._clock = clock
        self._tick_ms = tick_ms
        self._loop = asyncio.get_running_loop()
        self._pump_scheduled: asyncio.Handle | None = None
        self._ticks = 0
        self._leader_changed = asyncio.Event()
        self._on_role: list[Listener] = []
        self._on_membership: list[Listener] = []
        self._told: Membership
        """The members that the listeners were last told of."""
        self.replica: Replica  # set by `attach`: the replica needs our `wake` to be built
        self.status: ReplicaStatus
        """As of 200 ms ago at most; of the last change of role or members if that is newer."""

    def attach(self, replica: Replica) -> None:
        """Take the replica that was built with this loop's `wake`."""
        self.replica = replica
        self.status = replica.status()
        self._told = self.status.membership

    def wake(self) -> None:
        """Ask for one `pump` in the next turn; many calls in a turn make one pump."""
        if self._pump_scheduled is None:
            self._pump_scheduled = self._loop.call_soon(self._pump_soon)

    def turn_over(self) -> None:
        """Make the pump that was asked for now: all that this turn brought is there."""
        if self._pump_scheduled is not None:
            self._pump_soon()

    def tell_news_later(self) -> None:
        """Have the replica tell its followers of commits in a moment."""
        self._loop.call_later(NEWS_S, self._tell_news)

    def _tell_news(self) -> None:
        self.replica.tell_news()
        self._pump_soon()

    def on_role(self, listener: Listener) -> None:
        """Call back whenever role, term or known leader change."""
        self._on_role.append(listener)

    def on_membership(self, listener: Listener) -> None:
        """Call back whenever the members or their roles change."""
        self._on_membership.append(listener)

    @property
    def leads(self) -> bool:
        """Answer whether this node leads, as far as it knows."""
        return self.status.role == "leader"

    def stall_changed(self, stalled: bool) -> None:
        """Say that the disk is full, or that there is room again."""
        self.refresh()
        if stalled:
            log.warning("the disk is full: nothing is acknowledged until there is room")
        else:
            log.info("there is room on the disk again")

    def role_changed(self, status: ReplicaStatus) -> None:
        """Pass on what the replica noticed (it calls this inside `pump`)."""
        self.status = status
        self._leader_changed.set()
        for listener in self._on_role:
            listener(status)

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
            self._ticks += 1
            if self._ticks % REFRESH_TICKS == 0:
                self.refresh()

    def refresh(self) -> None:
        """Read the status again, and tell if the members have changed."""
        self.status = self.replica.status()
        # Not compared with the last status: that of a change of role may bring new members too.
        if self.status.membership != self._told:
            self._told = self.status.membership
            for listener in self._on_membership:
                listener(self.status)

    async def propose(self, data: bytes) -> Decision:
        """Answer what applying `data` gave; raise NotLeader, Busy, Unavailable (unknown)."""
        return await self._decided(lambda done: self.replica.propose(data, done))

    async def change_membership(
        self, voters: tuple[NodeId, ...], learners: tuple[NodeId, ...]
    ) -> Decision:
        """Ask for these sets of members; answer when the change is committed."""
        decision = await self._decided(
            lambda done: self.replica.change_membership(voters, learners, done)
        )
        self.refresh()
        return decision

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
        while not (leader := self.status.leader_id):
            self._leader_changed.clear()
            await self._leader_changed.wait()
        return leader

    async def leader_change(self) -> None:
        """Wait for the next change of role, term or leader."""
        self._leader_changed.clear()
        await self._leader_changed.wait()

    async def _decided(self, ask: Callable[[Callable[[Decision], None]], None]) -> Decision:
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

    def _pump_soon(self) -> None:
        """Pump between two ticks. A failure is final, so the next tick, in `run`, raises it too."""
        with suppress(StorageError):
            self._pump()

    def _pump(self) -> None:
        if self._pump_scheduled is not None:
            self._pump_scheduled.cancel()
            self._pump_scheduled = None
        self.replica.pump()
