"""Looks after the set of voters, on whichever node leads: promotes learners that have caught up.

A new member starts as a learner: it receives the log but has no say, so that a machine that is
still loading, or was started by mistake, cannot hold up commits. When it has been caught up and
alive for a moment it becomes a voter, while there are fewer than `max_voters`.
"""

import asyncio
from collections.abc import Callable

import structlog

from paceline.clock import Clock
from paceline.consensus.replica import ReplicaStatus
from paceline.errors import Conflict, Unavailable
from paceline.ids import NodeId
from paceline.node.replica_loop import ReplicaLoop

log = structlog.get_logger(__name__)

INTERVAL_S = 0.25
STABLE_MS = 500
"""For so long a learner must have been caught up and alive."""
LAG_ENTRIES = 100
"""A learner this close to the commit index counts as caught up."""


def caught_up(status: ReplicaStatus) -> frozenset[NodeId]:
    """Answer the learners whose logs are near the leader's commit index."""
    enough = status.commit_index - LAG_ENTRIES
    near = {peer.node_id for peer in status.peers if peer.match >= enough}
    return frozenset(near & set(status.membership.learners))


class Autopilot:
    """One decision every quarter second, made only by the leader."""

    def __init__(
        self,
        *,
        replicas: ReplicaLoop,
        alive: Callable[[NodeId], bool],
        clock: Clock,
        max_voters: int,
    ) -> None:
        self._replicas = replicas
        self._alive = alive
        self._clock = clock
        self._max_voters = max_voters
        self._ready_since: dict[NodeId, int] = {}

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            promoted = self.candidate(self._replicas.status)
            if promoted is not None:
                await self._promote(promoted)

    def candidate(self, status: ReplicaStatus) -> NodeId | None:
        """Answer the learner to be promoted now, if any; the one that has waited longest."""
        if status.role != "leader" or status.membership.joint:
            self._ready_since.clear()
            return None
        now_ms = self._clock.monotonic_ms()
        ready = {node_id for node_id in caught_up(status) if self._alive(node_id)}
        self._ready_since = {
            node_id: self._ready_since.get(node_id, now_ms) for node_id in sorted(ready)
        }
        if len(status.membership.voters) >= self._max_voters or not self._ready_since:
            return None
        node_id, since_ms = min(self._ready_since.items(), key=lambda item: (item[1], item[0]))
        return node_id if now_ms - since_ms >= STABLE_MS else None

    async def _promote(self, node_id: NodeId) -> None:
        membership = self._replicas.status.membership
        voters = tuple(sorted({*membership.voters, node_id}))
        learners = tuple(each for each in membership.learners if each != node_id)
        try:
            await self._replicas.change_membership(voters, learners)
            log.info("promoted to voter", node_id=node_id, voters=len(voters))
        except (Conflict, Unavailable) as error:
            log.debug("promotion waits", node_id=node_id, reason=str(error))
