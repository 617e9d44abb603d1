"""Gets a command into the log, whoever leads, exactly once.

A command is wrapped with a random request id and offered to the leader, again and again, until its
result is known or time is up. Offering it twice is harmless: the state machine remembers request
ids and answers what the first one did. So an answer lost on the way, a leader that dies between
commit and answer, or one that forwards to its successor all come to the same.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from paceline.clock import Clock
from paceline.codec import from_plain, to_plain
from paceline.errors import (
    Busy,
    NoQuorum,
    NotLeader,
    PacelineError,
    TimedOut,
    Unavailable,
)
from paceline.ids import NodeId
from paceline.node.authority import nobody, require_own_name
from paceline.node.calls import Calls
from paceline.node.meters import ProposalMeter, unmetered
from paceline.node.progress import AppliedProgress
from paceline.node.replica_loop import ReplicaLoop
from paceline.tasks.commands import COMMANDS, Command, Envelope, encode_envelope

METHOD = "propose"
FORWARD_TIMEOUT_S = 3.0
RETRY_FIRST_S = 0.01
RETRY_LAST_S = 0.25
MAX_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class Request:
    """A command that this node wants decided, under the name that makes repeating it harmless."""

    request_id: bytes
    basis: int
    command: Command


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A request on its way to the leader; the leader adds the time."""

    request_id: bytes
    basis: int
    command: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Answered:
    """What applying it gave, and where: the asker waits until its own state has that index."""

    index: int
    result: Any = None


class Proposals:
    """The one door through which this node changes replicated state."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        replica_loop: ReplicaLoop,
        calls: Calls,
        progress: AppliedProgress[Any],
        clock: Clock,
        level_for: Callable[[Command], int],
        meter: ProposalMeter = unmetered,
        via: Callable[[str], str] = nobody,
    ) -> None:
        """Wire it: `level_for` answers a command's format level; raises Conflict for a new one.

        `via` answers the member that speaks for an external worker.
        """
        self._via = via
        self._node_id = node_id
        self._replicas = replica_loop
        self._calls = calls
        self._progress = progress
        self._clock = clock
        self._level_for = level_for
        self._meter = meter
        self._waiting = 0
        calls.serve(METHOD, self._serve)

    async def propose(self, command: Command, *, timeout_s: float = 10.0) -> Any:
        """Answer what the state machine answered, once this node's own state has it too.

        Raise Conflict for what a member of an older version would not understand; the machine's
        refusal (Conflict, NotFound, InputError), NoQuorum if nobody leads,
        TimedOut if the outcome is unknown when time is up, Busy when too many wait here.
        """
        begun_ms, failure = self._clock.monotonic_ms(), "Cancelled"
        try:
            result = await self._propose(command, timeout_s=timeout_s)
            failure = ""
        except PacelineError as error:
            failure = type(error).__name__
            raise
        finally:
            seconds = (self._clock.monotonic_ms() - begun_ms) / 1000
            self._meter(type(command).__name__, seconds, failure)
        return result

    async def _propose(self, command: Command, *, timeout_s: float) -> Any:
        if self._waiting >= MAX_WAITING:
            raise Busy(f"{MAX_WAITING} commands wait already on this node; try again in a moment")
        self._level_for(command)
        request = Request(os.urandom(16), self._progress.index, command)
        refusals: deque[Unavailable] = deque(maxlen=1)
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                answered = await self._until_answered(request, refusals)
                await self._progress.reached(answered.index)
        except TimeoutError as error:
            raise self._why_not(timeout_s, refusals) from error
        finally:
            self._waiting -= 1
        return answered.result

    def _why_not(self, timeout_s: float, refusals: deque[Unavailable]) -> PacelineError:
        if not self._replicas.status.quorum_active:
            return NoQuorum(
                "too few voters are connected to commit anything; the command was not confirmed "
                f"within {timeout_s:g} s"
            )
        reason = f"no answer within {timeout_s:g} s; whether it took effect is unknown"
        if self._replicas.status.stalled:
            reason += "; the disk of this node is full: make room, or ask another node"
        elif refusals and isinstance(refusals[0], Busy):
            reason += f"; the last refusal was: {refusals[0]}"
        return TimedOut(reason)

    async def _until_answered(self, request: Request, refusals: deque[Unavailable]) -> Answered:
        """Offer it until the outcome is known; `refusals` keeps why the last offer had none."""
        pause_s = RETRY_FIRST_S
        while True:
            try:
                return await self._offer(request)
            except Unavailable as error:
                refusals.append(error)
                await self._pause(pause_s)
                pause_s = min(pause_s * 2, RETRY_LAST_S)

    async def _pause(self, seconds: float) -> None:
        """Wait a moment, or less if leadership changes meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self._replicas.leader_change()
        except TimeoutError:
            return

    async def _offer(self, request: Request) -> Answered:
        leader = await self._replicas.leader()
        if leader == self._node_id:
            return await self._decide(self._node_id, request)
        plain = COMMANDS.to_plain(request.command)
        body = to_plain(Forwarded(request.request_id, request.basis, plain))
        answer = await self._calls.call(leader, METHOD, body, timeout_s=FORWARD_TIMEOUT_S)
        return from_plain(Answered, answer)

    async def _serve(self, sender: NodeId, body: Any) -> Any:
        """Answer a follower. Only the leader may; NotLeader makes the follower look again."""
        if not self._replicas.leads:
            raise NotLeader(self._replicas.status.leader_id or None)
        forwarded = from_plain(Forwarded, body)
        command = COMMANDS.from_plain(forwarded.command)
        require_own_name(command, sender, self._via)
        request = Request(forwarded.request_id, forwarded.basis, command)
        return to_plain(await self._decide(sender, request))

    async def _decide(self, origin: NodeId, request: Request) -> Answered:
        envelope = Envelope(
            request.request_id,
            request.basis,
            self._clock.now_ms(),
            origin,
            request.command,
            self._level_for(request.command),
        )
        decision = await self._replicas.propose(encode_envelope(envelope))
        if isinstance(decision.result, PacelineError):
            raise decision.result
        return Answered(decision.index, decision.result)
