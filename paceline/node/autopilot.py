"""Looks after the set of voters, on whichever node leads.

What to do is decided in `electorate`, purely; here is what it is decided from, and the doing. The
leader looks every quarter of a second, and at once when somebody is to go. Times count from when
this node began to lead: a new leader knows nobody's past.

A member that starts, or comes back, is a learner: it receives the log but has no say, so that a
machine that is still loading, or was started by mistake, cannot hold up commits. When it has been
caught up and alive for a moment it may become a voter.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import structlog

from paceline.clock import Clock
from paceline.consensus.replica import ReplicaStatus
from paceline.errors import Conflict, NotLeader, Unavailable
from paceline.ids import NodeId
from paceline.node.electorate import Change, HandOver, Situation, Step, decide, obstacle
from paceline.node.replica_loop import ReplicaLoop

log = structlog.get_logger(__name__)

INTERVAL_S = 0.25
DEPARTING_INTERVAL_S = 0.05
"""Between looks while somebody waits to go."""
HAND_OVER_MS = 2_000
"""So long a transfer of the lead may take before another heir is tried."""
SETTLED_MS = 3_000
"""So long a new leader does not say that others are missing: it may just not have heard yet."""
STABLE_MS = 500
"""For so long a learner must have been caught up and alive."""
LAG_ENTRIES = 100
"""A learner this close to the commit index counts as caught up."""
LINGER_MS = 1_000
"""So long one that has left stays a learner, so that it hears itself that it has left."""


def caught_up(status: ReplicaStatus) -> frozenset[NodeId]:
    """Answer the learners whose logs are near the leader's commit index."""
    enough = status.commit_index - LAG_ENTRIES
    near = {peer.node_id for peer in status.peers if peer.match >= enough}
    return frozenset(near & set(status.membership.learners))


class Stopwatch:
    """Since when each of some nodes has been in a state without a break."""

    def __init__(self) -> None:
        self._since: dict[NodeId, int] = {}

    def note(self, nodes: Iterable[NodeId], now_ms: int) -> None:
        """Take note of who is in the state now; for all others the time is forgotten."""
        self._since = {node_id: self._since.get(node_id, now_ms) for node_id in sorted(nodes)}

    def longer_than(self, limit_ms: int, now_ms: int) -> tuple[NodeId, ...]:
        """Answer those that have been in it for so long, the longest first."""
        enough = [
            (since, node) for node, since in self._since.items() if now_ms - since >= limit_ms
        ]
        return tuple(node_id for _, node_id in sorted(enough))


class Autopilot:
    """One decision at a time, made only by the leader."""

    def __init__(
        self,
        *,
        replicas: ReplicaLoop,
        alive: Callable[[NodeId], bool],
        clock: Clock,
        max_voters: int,
        replace_after_ms: int,
        revoked: Callable[[], frozenset[NodeId]],
        left: Callable[[], frozenset[NodeId]],
    ) -> None:
        """`revoked` and `left` answer who was thrown out and who has left, by this node's state."""
        self._replicas = replicas
        self._alive = alive
        self._clock = clock
        self._max_voters = max_voters
        self._replace_after_ms = replace_after_ms
        self._revoked = revoked
        self._left = left
        self._steady = Stopwatch()
        self._silent = Stopwatch()
        self._leaving = Stopwatch()
        self._departing: Counter[NodeId] = Counter()
        self._wake = asyncio.Event()
        self._looked = asyncio.Event()
        self._term = 0
        self._leads_since_ms = 0
        self._handed_over_ms: int | None = None

    def wake(self) -> None:
        """Look now: somebody is to go, or has been revoked."""
        self._wake.set()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            self._replicas.refresh()  # a change made from an old status would take back a newer one
            step = self.next_step(self._replicas.status)
            if step is not None:
                await self._make(step)
            self._looked.set()
            self._looked.clear()
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    @property
    def _interval_s(self) -> float:
        return DEPARTING_INTERVAL_S if self._departing else INTERVAL_S

    # --- departures -------------------------------------------------------------------------------

    def obstacle(self, node_id: NodeId, *, forced: bool = False) -> str:
        """Answer why a member cannot go now, empty if it can. Raise NotLeader, Unavailable.

        `forced`: whether it is thrown out, for which more is risked than for one that leaves.
        """
        status = self._replicas.status
        if status.role != "leader":
            raise NotLeader(status.leader_id or None)
        if status.membership.joint:
            raise Unavailable("another change of the members is under way; try again in a moment")
        reason = obstacle(self.situation(status), node_id, forced=forced)
        if reason and len(status.membership.members) > 1 and not self._has_settled(status):
            raise Unavailable(f"{reason}, as far as a leader of a moment knows")
        return reason

    def _has_settled(self, status: ReplicaStatus) -> bool:
        led_ms = self._clock.monotonic_ms() - self._leads_since_ms
        return status.term == self._term and led_ms >= SETTLED_MS

    @asynccontextmanager
    async def without_vote(self, node_id: NodeId) -> AsyncIterator[None]:
        """Keep a member from voting inside the block; enter it once it votes no more.

        Raise NotLeader where this node stops leading first: its successor is to be asked. The
        caller limits the time.
        """
        self._departing[node_id] += 1
        self.wake()
        try:
            while not self._votes_not(node_id):
                await self._looked.wait()
            yield
        finally:
            self._departing[node_id] -= 1
            self._departing += Counter()  # drops what has come down to nothing

    def _votes_not(self, node_id: NodeId) -> bool:
        self._replicas.refresh()
        status = self._replicas.status
        if status.role != "leader":
            raise NotLeader(status.leader_id or None)
        return not status.membership.joint and node_id not in status.membership.voters

    # --- deciding ---------------------------------------------------------------------------------

    def next_step(self, status: ReplicaStatus) -> Step | None:
        """Answer what to do now, from this look and those before it."""
        if status.role != "leader" or status.term != self._term:
            self._steady, self._silent = Stopwatch(), Stopwatch()
            self._term, self._leads_since_ms = status.term, self._clock.monotonic_ms()
            self._handed_over_ms = None
        if status.role != "leader" or status.membership.joint:
            return None
        return decide(self.situation(status))

    def situation(self, status: ReplicaStatus) -> Situation:
        """Answer the cluster as this leader sees it now."""
        now_ms = self._clock.monotonic_ms()
        members = status.membership
        alive = {node_id for node_id in members.members if self._alive(node_id)}
        self._steady.note(caught_up(status) & alive, now_ms)
        self._silent.note(set(members.members) - alive - {status.node_id}, now_ms)
        left = self._left() & set(members.members)
        self._leaving.note(left, now_ms)
        lingered = frozenset(self._leaving.longer_than(LINGER_MS, now_ms))
        active = {peer.node_id for peer in status.peers if peer.recently_active}
        return Situation(
            leader=status.node_id,
            voters=frozenset(members.voters),
            learners=frozenset(members.learners),
            answering=frozenset((active & alive) | {status.node_id}),
            steady=self._steady.longer_than(STABLE_MS, now_ms),
            missing=frozenset(self._silent.longer_than(self._replace_after_ms, now_ms)),
            departing=frozenset(self._departing) | (left - lingered),
            gone=self._revoked() | lingered,
            max_voters=self._max_voters,
        )

    # --- doing ------------------------------------------------------------------------------------

    async def _make(self, step: Step) -> None:
        try:
            if isinstance(step, HandOver):
                self._hand_over(step)
            else:
                await self._change(step)
        except (Conflict, Unavailable) as error:
            log.debug("a change of the members waits", why=step.reason, reason=str(error))

    def _hand_over(self, step: HandOver) -> None:
        """Start a transfer to the heir that is furthest; if it fails, the next look tries again."""
        now_ms = self._clock.monotonic_ms()
        if self._handed_over_ms is not None and now_ms - self._handed_over_ms < HAND_OVER_MS:
            return
        peers = [peer for peer in self._replicas.status.peers if peer.node_id in step.heirs]
        if peers:
            self._handed_over_ms = now_ms
            heir = max(peers, key=lambda peer: (peer.match, peer.node_id)).node_id
            log.info("hands over", to=heir, why=step.reason)
            self._replicas.replica.transfer(heir)
            self._replicas.wake()

    async def _change(self, step: Change) -> None:
        voters, learners = tuple(sorted(step.voters)), tuple(sorted(step.learners))
        await self._replicas.change_membership(voters, learners)
        log.info("members changed", voters=voters, learners=learners, why=step.reason)
