"""Leads: looks at the whole picture and proposes what the planner says.

Runs on every node and acts only on the one that leads. Event-driven: it wakes when the state has
changed, when a heartbeat has come, or when time alone calls for it. One round is: picture, plan,
propose all of it, wait until that is applied; so no round plans what an earlier one has begun.
What happens meanwhile collects, and the next round takes it all at once.
"""

import asyncio
from collections.abc import Sequence

import structlog

from paceline.clock import Clock
from paceline.errors import PacelineError, Unavailable
from paceline.ids import NodeId
from paceline.node.planning import Planning
from paceline.node.proposals import Proposals
from paceline.node.replica_loop import ReplicaLoop
from paceline.tasks.commands import Command, ResolveCheckpoint
from paceline.tasks.effects import Change
from paceline.tasks.schedule import next_wakeup_ms, plan
from paceline.tasks.view import PlanningView

PROPOSE_TIMEOUT_S = 10.0
PAUSE_S = 0.05
"""Between rounds in which something could not be proposed."""
BEATS_PAUSE_S = 0.5
"""Heartbeats alone do not cause more rounds than one in this time."""
IDLE_S = 5.0
ROUND_PAUSE_S = 0.02

_FORESEEN = frozenset(
    {
        ("attempt", "allocated"),
        ("attempt", "running"),
        ("subtask", "allocated"),
        ("subtask", "in_progress"),
        ("task", "in_progress"),
    }
)
"""Kinds and statuses of changes that call for no new plan."""

log = structlog.get_logger(__name__)


class Coordinator:
    """One node's readiness to lead the work."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        replicas: ReplicaLoop,
        proposals: Proposals,
        planning: Planning,
        clock: Clock,
    ) -> None:
        self._node_id = node_id
        self._replicas = replicas
        self._proposals = proposals
        self._planning = planning
        self._clock = clock
        self._wake = asyncio.Event()
        self._leading_term = 0
        self._leading_since_ms = 0
        self._last_beat_round_ms = 0
        self._planned_s = 0.0
        """How long the last plan took to make."""
        self._alarm: asyncio.TimerHandle | None = None
        replicas.on_role(lambda status: self._wake.set())

    def wake(self) -> None:
        """Look again now: a node is known to be dead, or something else that no change says."""
        self._wake.set()

    def changed(self, changes: Sequence[Change]) -> None:
        """Look again if anything has changed that may call for something.

        What a plan has given out, and what workers have begun of it, calls for nothing more.
        """
        if any((change.kind, change.status) not in _FORESEEN for change in changes):
            self._wake.set()

    def beat(self) -> None:
        """Take note of a heartbeat: look again, but not for each of fifty nodes at once."""
        now_ms = self._clock.monotonic_ms()
        if now_ms - self._last_beat_round_ms >= BEATS_PAUSE_S * 1000:
            self._last_beat_round_ms = now_ms
            self._wake.set()

    async def run(self) -> None:
        """Lead whenever this node is the leader, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._replicas.leads:
                await self._lead()
                # What happens meanwhile collects: planning takes half of the loop's time at most.
                await asyncio.sleep(min(self._planned_s, ROUND_PAUSE_S))
            else:
                self._leading_term = 0

    async def _lead(self) -> None:
        """Go round until there is nothing to do; then sleep until the next moment that matters."""
        try:
            if self._leading_term != self._replicas.status.term:
                await self._take_over()
            begun_s = asyncio.get_running_loop().time()
            view = self._planning.view(
                leading_since_ms=self._leading_since_ms,
                applied_index=self._replicas.status.applied_index,
            )
            commands = [*plan(view), *self._overdue()]
            self._planned_s = asyncio.get_running_loop().time() - begun_s
            if commands:
                await self._propose(commands)
                self._wake.set()
            else:
                self._sleep_until_due(view)
        except Unavailable as error:
            log.debug("a plan was not proposed", reason=str(error))
            await asyncio.sleep(PAUSE_S)
            self._wake.set()

    def _overdue(self) -> list[Command]:
        """Decide, as their plans say, the checkpoints that nobody has decided in time."""
        words = "its time was over"
        return [
            ResolveCheckpoint(checkpoint_id, decision, words, by=self._node_id)
            for checkpoint_id, decision in self._planning.expired()
        ]

    async def _take_over(self) -> None:
        """Begin to lead: everything committed by earlier leaders must be in the state first."""
        term = self._replicas.status.term
        await self._replicas.read_barrier()
        self._leading_term = term
        self._leading_since_ms = self._clock.monotonic_ms()
        log.info("leads", term=term)

    async def _propose(self, commands: Sequence[Command]) -> None:
        """Propose all at once; a refusal of one (the state was ahead) does not stop the others."""
        results = await asyncio.gather(
            *(self._proposals.propose(each, timeout_s=PROPOSE_TIMEOUT_S) for each in commands),
            return_exceptions=True,
        )
        for command, result in zip(commands, results, strict=True):
            if isinstance(result, Unavailable):
                raise result
            if isinstance(result, PacelineError):
                log.warning("refused", command=type(command).__name__, reason=str(result))
            elif isinstance(result, BaseException):
                raise result

    def _sleep_until_due(self, view: PlanningView) -> None:
        """Have the loop woken when a lease, a silence or a back-off ends."""
        moments = (next_wakeup_ms(view), self._planning.next_ready_ms())
        due_ms = min((moment for moment in moments if moment is not None), default=None)
        delay_s = IDLE_S if due_ms is None else max(0.0, (due_ms - view.now_ms) / 1000)
        if self._alarm is not None:
            self._alarm.cancel()
        loop = asyncio.get_running_loop()
        self._alarm = loop.call_later(min(delay_s, IDLE_S), self._wake.set)
