"""Runs what the replicated state gives to this node, and brings the outcomes back.

Level-triggered: whenever the state changes, the worker compares the attempts that the state gives
it with those it holds, and starts or stops accordingly. An attempt goes through

    allocated (seen in the state) -> claimed (StartAttempts committed, so the token was still good)
    -> begun (noted on disk) -> run -> outcome in the outbox (on disk) and FinishAttempt committed

A tool is started only after its claim is committed, so a node that is cut off from the others
cannot start anything. When this process dies and comes back, whatever the state calls running, or
the disk calls begun, and nobody holds, was cut off: it is given back at once and never run twice.
A worker whose lease ends stops its agents.

Without room on the disk nothing begins: the attempt is given back. What ends all the same is
brought to the log from memory; should this process die before, it counts as cut off.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from paceline.errors import Busy, PacelineError, StorageError, StorageFull, Unavailable
from paceline.ids import NodeId
from paceline.node.outbox import Outbox
from paceline.node.vitals import Lease
from paceline.tasks.commands import (
    AttemptRef,
    Command,
    FinishAttempt,
    LoseAttempts,
    StartAttempts,
)
from paceline.tasks.model import AttemptStatus, Outcome, ResultStatus, Running

log = structlog.get_logger(__name__)

LEASE_CHECK_S = 0.25
DELIVER_TIMEOUT_S = 10.0
DELIVER_PAUSE_S = 0.5
RESTARTED = "the node's program was restarted"


@dataclass(frozen=True, slots=True)
class Assignment:
    """An attempt that the state gives to this node."""

    ref: AttemptRef
    task_id: str
    tool: str
    status: AttemptStatus
    cancel_requested: bool = False
    recalled: str = ""
    """Why it is to be given back; empty = it is not."""


@dataclass(slots=True)
class Held:
    """An attempt that this worker has in its hands."""

    assignment: Assignment
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    abandoned: bool = False
    """The state has given it to somebody else: its outcome is of no use."""
    finished: bool = False
    """Its outcome is in the outbox."""
    recalled: str = ""
    """Why it is given back, once it has been stopped for that."""


Run = Callable[[Assignment, asyncio.Event], Awaitable[Outcome]]
"""Runs one attempt to its end, or until the event is set; never leaves a process behind."""


class Proposer(Protocol):
    """Gets commands into the log; see `proposals`."""

    async def propose(self, command: Command, *, timeout_s: float) -> Any:
        """Answer what the state machine answered."""
        ...


class Worker:
    """One node's hands."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        assignments: Callable[[], Sequence[Assignment]],
        run: Run,
        proposals: Proposer,
        outbox: Outbox,
        lease: Lease,
        on_change: Callable[[], None],
    ) -> None:
        """`on_change` is told when what this worker runs has changed."""
        self._node_id = node_id
        self._assignments = assignments
        self._run_attempt = run
        self._proposals = proposals
        self._outbox = outbox
        self._lease = lease
        self._on_change = on_change
        self._held: dict[AttemptRef, Held] = {}
        self._wake = asyncio.Event()
        self._closing = False
        self._group: asyncio.TaskGroup

    @property
    def running(self) -> tuple[Running, ...]:
        """Answer what this worker holds, delivered or not."""
        refs = (held.assignment.ref for held in self._held.values() if not held.abandoned)
        return tuple(Running(ref.subtask_id, ref.attempt, ref.token) for ref in refs)

    def wake(self) -> None:
        """Look at the state again soon."""
        self._wake.set()

    async def run(self) -> None:
        """Work for ever; on cancellation every agent is stopped before this returns.

        Raise StorageError if the disk fails under the outbox; a full one is no failure.
        """
        try:
            await self._work()
        except ExceptionGroup as failures:
            broken, others = failures.split(StorageError)
            if broken is None or others is not None:
                raise
            raise broken.exceptions[0] from failures

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as self._group:
            for ref, outcome in await self._outbox.pending():
                self._hold_finished(ref, outcome)
            self._group.create_task(self._watch_lease())
            while True:
                self._wake.clear()
                self._reconcile()
                await self._wake.wait()

    async def give_up(self, *, timeout_s: float) -> None:
        """Stop every agent and give the work back, because this node is being stopped."""
        self._closing = True
        refs = [held.assignment.ref for held in self._held.values() if not held.finished]
        for held in self._held.values():
            held.abandoned = not held.finished
            held.stop.set()
        if refs:
            command = LoseAttempts(tuple(refs), "its node was stopped")
            with suppress(PacelineError):
                await self._proposals.propose(command, timeout_s=timeout_s)

    # --- comparing --------------------------------------------------------------------------------

    def _reconcile(self) -> None:
        wanted = {given.ref: given for given in self._assignments()}
        self._stop_unwanted(wanted)
        fresh: list[Assignment] = []
        cut_off: list[Assignment] = []
        for ref, given in wanted.items():
            if ref not in self._held:
                (cut_off if given.status is AttemptStatus.RUNNING else fresh).append(given)
        if cut_off:
            refs = [given.ref for given in cut_off]
            self._group.create_task(self._give_back(refs, RESTARTED))
        if fresh and self._lease.remaining_ms > 0 and not self._closing:
            held = [Held(given) for given in fresh]
            self._held.update({each.assignment.ref: each for each in held})
            self._group.create_task(self._claim_and_run(held))
            self._on_change()

    def _stop_unwanted(self, wanted: dict[AttemptRef, Assignment]) -> None:
        for ref, held in self._held.items():
            given = wanted.get(ref)
            if given is None:
                held.abandoned = True
                held.stop.set()
            elif given.cancel_requested:
                held.stop.set()
            elif given.recalled and not held.stop.is_set():
                held.recalled = given.recalled
                held.stop.set()

    async def _give_back(self, refs: list[AttemptRef], reason: str) -> None:
        """Say that these were cut off, or cannot begin."""
        log.info("gives back attempts", count=len(refs), reason=reason)
        command = LoseAttempts(tuple(refs), reason)
        try:
            await self._proposals.propose(command, timeout_s=DELIVER_TIMEOUT_S)
        except Unavailable:
            await asyncio.sleep(DELIVER_PAUSE_S)
            self.wake()
        except PacelineError as error:
            log.warning("giving back was refused", error=str(error))

    # --- one attempt ------------------------------------------------------------------------------

    async def _claim_and_run(self, claims: list[Held]) -> None:
        """Claim many at once, then run each on its own."""
        refs = tuple(held.assignment.ref for held in claims)
        try:
            await self._proposals.propose(
                StartAttempts(refs, self._node_id), timeout_s=DELIVER_TIMEOUT_S
            )
        except PacelineError as error:
            log.warning("could not claim attempts", count=len(refs), error=str(error))
            self._drop(claims)
            return
        still_ours = {given.ref for given in self._assignments()}
        self._drop([held for held in claims if held.assignment.ref not in still_ours])
        for held in claims:
            if held.assignment.ref in still_ours:
                self._group.create_task(self._run_to_outcome(held))

    def _drop(self, claims: Sequence[Held]) -> None:
        for held in claims:
            self._held.pop(held.assignment.ref, None)
        if claims:
            self.wake()

    async def _run_to_outcome(self, held: Held) -> None:
        ref = held.assignment.ref
        obstacle = await self._begin(ref)
        if obstacle:
            await self._give_back([ref], obstacle)
            self._drop([held])
            return
        outcome = await self._outcome(held)
        if held.recalled and outcome.status is ResultStatus.CANCELLED:
            await self._give_back([ref], held.recalled)
        elif not held.abandoned:
            await self._keep_and_deliver(held, outcome)
        self._held.pop(ref, None)
        self._on_change()
        self.wake()

    async def _keep_and_deliver(self, held: Held, outcome: Outcome) -> None:
        """Put the outcome on the disk and offer it to the log at once: neither needs the other.

        Should this process die before either is done, the attempt counts as cut off.
        """
        ref = held.assignment.ref

        async def keep() -> None:
            await self._keep(ref, outcome)
            held.finished = True

        keeping = self._group.create_task(keep())
        await self._offer(ref, outcome)
        await keeping
        await self._confirm(ref)

    async def _begin(self, ref: AttemptRef) -> str:
        """Note on the disk that it begins; answer why it must not, or nothing."""
        try:
            is_first = await self._outbox.begin(ref)
        except StorageFull as error:
            return str(error)
        # Else a former process began it, and this node's state was too old to know when it came up.
        return "" if is_first else RESTARTED

    async def _keep(self, ref: AttemptRef, outcome: Outcome) -> None:
        """Put the outcome on the disk, if that has room."""
        try:
            await self._outbox.put(ref, outcome)
        except (StorageFull, Busy) as error:
            log.warning(
                "an outcome is in memory only", subtask_id=ref.subtask_id, reason=str(error)
            )

    async def _outcome(self, held: Held) -> Outcome:
        if held.stop.is_set():
            return Outcome(ResultStatus.CANCELLED, "cancelled before it began")
        try:
            return await self._run_attempt(held.assignment, held.stop)
        except PacelineError as error:
            return Outcome(ResultStatus.ERROR, str(error))
        except OSError as error:
            return Outcome(ResultStatus.ERROR, f"the node could not run it: {error}")

    def _hold_finished(self, ref: AttemptRef, outcome: Outcome) -> None:
        """Take up an outcome that a former process left in the outbox."""
        given = Assignment(ref, "", "", AttemptStatus.RUNNING)
        self._held[ref] = Held(given, finished=True)
        self._group.create_task(self._deliver_and_release(ref, outcome))

    async def _deliver_and_release(self, ref: AttemptRef, outcome: Outcome) -> None:
        await self._deliver(ref, outcome)
        self._held.pop(ref, None)
        self._on_change()

    async def _deliver(self, ref: AttemptRef, outcome: Outcome) -> None:
        await self._offer(ref, outcome)
        await self._confirm(ref)

    async def _offer(self, ref: AttemptRef, outcome: Outcome) -> None:
        """Offer the outcome until the log has it; a refusal is final too."""
        command = FinishAttempt(ref, self._node_id, outcome)
        while True:
            try:
                counted = await self._proposals.propose(command, timeout_s=DELIVER_TIMEOUT_S)
                if counted is False:
                    log.info("a stale outcome was refused", subtask_id=ref.subtask_id)
                break
            except Unavailable:
                await asyncio.sleep(DELIVER_PAUSE_S)
            except PacelineError as error:
                log.warning("an outcome was refused", subtask_id=ref.subtask_id, error=str(error))
                break

    async def _confirm(self, ref: AttemptRef) -> None:
        with suppress(StorageFull):  # it is delivered once more by the next process, and refused
            await self._outbox.confirm(ref)

    # --- the lease --------------------------------------------------------------------------------

    async def _watch_lease(self) -> None:
        """Stop every agent when nobody has confirmed for too long that the work is still ours."""
        while True:
            await asyncio.sleep(LEASE_CHECK_S)
            if self._lease.remaining_ms > 0:
                continue
            for held in self._held.values():
                if not held.stop.is_set():
                    log.warning("lease ended, stopping", subtask_id=held.assignment.ref.subtask_id)
                    held.abandoned = True
                    held.stop.set()
