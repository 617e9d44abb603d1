"""How a member goes: it leaves, or is revoked. The leader's side, and the asking for it.

In this order, whatever fails in between:

1. it is made a learner, while its voice still counts (`Autopilot.without_vote`),
2. the state says that it is gone (RemoveMember, or RevokeMember with the new token),
3. the membership is rid of it (the autopilot of whoever leads then).

After each step the cluster is whole: a departure that was cut short has cost one vote at most,
which the autopilot gives back. A leader that is asked to see itself off hands over first, and
whoever asks turns to its successor; the asking is repeated until there is an answer or time is up,
which does no harm, since each step is done only once.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from paceline.codec import from_plain, to_plain
from paceline.errors import Conflict, NoQuorum, PacelineError, TimedOut, Unavailable
from paceline.ids import NodeId
from paceline.node.autopilot import Autopilot
from paceline.node.calls import Calls
from paceline.node.progress import AppliedProgress
from paceline.node.proposals import Proposals
from paceline.node.replica_loop import ReplicaLoop
from paceline.tasks.commands import Command, RemoveMember, RevokeMember

METHOD: Final = "depart"
ATTEMPT_S: Final = 8.0
"""What one leader is given."""
PAUSE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Departure:
    """What is asked of the leader. `new_token` is set for a revocation, and only then.

    `check`: only say whether it could be done now.
    """

    node_id: NodeId
    new_token: str = field(default="", repr=False)
    reason: str = ""
    check: bool = False

    def command(self, by: NodeId) -> Command:
        """Answer what the log is to say."""
        if self.new_token:
            return RevokeMember(self.node_id, self.new_token, by, self.reason)
        return RemoveMember(self.node_id, by)


@dataclass(frozen=True, slots=True)
class Seen:
    """The answer: what the machine answered, and how far the leader's state was then."""

    index: int
    result: Any = None


class Departures:
    """Asks the leader to see a member off, and does so when this node leads."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        replicas: ReplicaLoop,
        autopilot: Autopilot,
        proposals: Proposals,
        progress: AppliedProgress[Any],
        calls: Calls,
    ) -> None:
        self._node_id = node_id
        self._replicas = replicas
        self._autopilot = autopilot
        self._proposals = proposals
        self._progress = progress
        self._calls = calls
        calls.serve(METHOD, self._serve)

    async def ask(self, departure: Departure, *, timeout_s: float) -> Any:
        """Answer what the state machine answered, once this node's own state has it too.

        Who leaves does not wait for that: it may be cut off already.

        Raise Conflict where it cannot be, NoQuorum if nobody leads, TimedOut if it is not known
        whether it was done.
        """
        try:
            async with asyncio.timeout(timeout_s):
                seen = await self._until_answered(departure)
                if departure.node_id != self._node_id:
                    await self._progress.reached(seen.index)
                return seen.result
        except TimeoutError:
            raise self._why_not(timeout_s) from None

    def _why_not(self, timeout_s: float) -> PacelineError:
        if not self._replicas.status.quorum_active:
            return NoQuorum("too few voters are connected to change who belongs to the cluster")
        return TimedOut(f"not confirmed within {timeout_s:g} s; `paceline nodes` shows what is so")

    async def _until_answered(self, departure: Departure) -> Seen:
        while True:
            try:
                leader = await self._replicas.leader()
                if leader == self._node_id:
                    return await self._see_off(departure, self._node_id)
                plain = to_plain(departure)
                answer = await self._calls.call(leader, METHOD, plain, timeout_s=ATTEMPT_S)
                return from_plain(Seen, answer)
            except Unavailable:
                await asyncio.sleep(PAUSE_S)

    # --- on the leader ----------------------------------------------------------------------------

    async def _serve(self, sender: NodeId, body: Any) -> Any:
        departure = from_plain(Departure, body)
        if not departure.new_token and departure.node_id != sender:
            raise Conflict("a node leaves by itself; who is to be thrown out, is revoked")
        return to_plain(await self._see_off(departure, sender))

    async def _see_off(self, departure: Departure, by: NodeId) -> Seen:
        """Raise NotLeader where another leads, also because this node is the one to go."""
        reason = self._autopilot.obstacle(departure.node_id, forced=bool(departure.new_token))
        if reason:
            raise Conflict(f"{departure.node_id} cannot go now: {reason}")
        if departure.check:
            return Seen(0)
        try:
            async with asyncio.timeout(ATTEMPT_S), self._autopilot.without_vote(departure.node_id):
                result = await self._proposals.propose(departure.command(by), timeout_s=ATTEMPT_S)
        except TimeoutError:
            raise Unavailable("the voters could not be changed in time") from None
        self._autopilot.wake()
        return Seen(self._progress.index, result)
