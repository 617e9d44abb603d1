"""Looking after the external workers of a node.

Level-triggered as `worker`: whenever the state changes, or time passes, what the state gives each
worker is compared with what it has in hand.

- A worker that is silent, or comes without a connection for too long, is given up: its attempts are
  lost and go elsewhere at once.
- What a worker that came back shows no sign of is given back.
- When this node cannot renew its own lease, it cancels what its workers do and hangs up.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import structlog

from paceline.clock import Clock
from paceline.ids import NodeId
from paceline.node.guest import Guest, Piece
from paceline.node.guest_work import GuestWork
from paceline.node.vitals import Lease
from paceline.tasks import queries_external
from paceline.tasks.commands import NEWEST_LEVEL
from paceline.tasks.model import AttemptStatus, Outcome, ResultStatus, Vitals
from paceline.tasks.queries_work import ActiveAttempt

TICK_S = 0.5
PING_MS = 2_000
SILENT_MS = 10_000
"""A connected worker answers each ping; one that has said nothing for so long is gone."""
PARTED_MS = 10_000
"""So long it may be without a connection."""
SIGN_MS = 10_000
"""So long a worker that came back may take to show that it still works on what it has in hand."""
CANCEL_MS = 10_000

_UNLOCKED = asyncio.Lock()

log = structlog.get_logger(__name__)


class GuestWatch:
    """All external workers that are attached to this node, by their ids."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        connection: sqlite3.Connection,
        work: GuestWork,
        lease: Lease,
        clock: Clock,
        applied_index: Callable[[], int],
        beat: Callable[[], None],
    ) -> None:
        """Wire it: `beat` sends the heartbeats of this node and its workers at once."""
        self._beat = beat
        self._node_id = node_id
        self._connection = connection
        self._work = work
        self._lease = lease
        self._clock = clock
        self._applied_index = applied_index
        self.guests: dict[str, Guest] = {}
        self._attaching: dict[str, asyncio.Lock] = {}
        self._wake = asyncio.Event()
        self._pinged_ms = 0
        self._group: asyncio.TaskGroup | None = None

    def wake(self) -> None:
        """Look at the state again soon."""
        if self.guests:
            self._wake.set()

    async def run(self) -> None:
        """Look after the workers for ever; hang up at the end."""
        try:
            async with asyncio.TaskGroup() as self._group:
                while True:
                    self._look()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(TICK_S if self.guests else None):
                            await self._wake.wait()
                    self._wake.clear()
        finally:
            for worker_id in list(self.guests):
                self.dismiss(worker_id, "the node is stopping; attach to another one")

    def vitals(self) -> list[Vitals]:
        """Answer a heartbeat for each worker that is heard of."""
        now_ms = self._clock.monotonic_ms()
        return [self._vitals_of(guest, now_ms) for guest in self.guests.values()]

    def _vitals_of(self, guest: Guest, now_ms: int) -> Vitals:
        guest.sequence += 1
        return Vitals(
            node_id=guest.worker_id,
            incarnation=guest.attached_index,
            sequence=guest.sequence,
            resources=guest.resources,
            tools=guest.tools,
            slots=guest.slots_now(now_ms),
            running=tuple(piece.running for piece in guest.pieces.values()),
            applied_index=self._applied_index(),
            level=NEWEST_LEVEL,
        )

    def lock(self, worker_id: str) -> asyncio.Lock:
        """One attachment of a worker at a time; locks nobody holds are dropped."""
        for known in [k for k, lock in self._attaching.items() if not lock.locked()]:
            del self._attaching[known]
        return self._attaching.setdefault(worker_id, asyncio.Lock())

    def dismiss(self, worker_id: str, reason: str) -> None:
        """Speak for a worker no more; what it has in hand is for others to judge."""
        guest = self.guests.pop(worker_id, None)
        if guest is not None:
            self._part(guest, reason)
            guest.drop_all()

    def _part(self, guest: Guest, reason: str) -> None:
        for piece in guest.pieces.values():
            guest.say("task_cancel", subtask_id=piece.ref.subtask_id, reason=reason)
        if guest.line is not None:
            guest.line.close(reason)

    # --- comparing --------------------------------------------------------------------------------

    def is_ours(self, guest: Guest) -> bool:
        """Answer whether the state says that this node speaks for the worker."""
        external = queries_external.external_worker(self._connection, guest.worker_id)
        return external is not None and (external.via, external.attached_index) == (
            self._node_id,
            guest.attached_index,
        )

    def _look(self) -> None:
        now_ms = self._clock.monotonic_ms()
        pings = now_ms - self._pinged_ms >= PING_MS
        self._pinged_ms = now_ms if pings else self._pinged_ms
        for guest in list(self.guests.values()):
            if self._attaching.get(guest.worker_id, _UNLOCKED).locked():
                continue
            if not self.is_ours(guest):
                self.dismiss(guest.worker_id, "another node speaks for this worker now")
            elif self._lease.remaining_ms <= 0:
                self.dismiss(guest.worker_id, "this node is cut off from its cluster")
            elif self._is_gone(guest, now_ms):
                self._give_up(guest)
            else:
                if pings:
                    guest.say("ping")
                self._compare(guest, now_ms)

    def _is_gone(self, guest: Guest, now_ms: int) -> bool:
        if not guest.connected and now_ms - max(guest.parted_ms, guest.heard_ms) > PARTED_MS:
            return True
        return now_ms - guest.heard_ms > SILENT_MS

    def _give_up(self, guest: Guest) -> None:
        """Beat for it no more, and let others have its work."""
        log.info("an external worker is gone", worker_id=guest.worker_id, name=guest.name)
        refs = tuple(given.ref for given in self._work.given(guest))
        guest.leaving = True
        self._beat()  # said before its work is given back, or it would be given to it once more
        self.dismiss(guest.worker_id, "nothing was heard of the worker")
        if refs:
            self.spawn(self._work.lose(refs, "its external worker is gone"))

    def _compare(self, guest: Guest, now_ms: int) -> None:
        given = {each.ref: each for each in self._work.given(guest)}
        for ref in [ref for ref in guest.pieces if ref not in given]:
            if not guest.pieces[ref].finishing:
                guest.say("task_cancel", subtask_id=ref.subtask_id, reason="reassigned")
            guest.drop(ref)
        self.adopt(guest, list(given.values()))
        for ref, piece in list(guest.pieces.items()):
            self._judge(guest, piece, given[ref], now_ms)
        fresh = [
            each
            for ref, each in given.items()
            if each.status is AttemptStatus.ALLOCATED and ref not in guest.claiming
        ]
        if fresh and guest.connected:
            guest.claiming.update(each.ref for each in fresh)
            self.spawn(self._claim(guest, fresh))

    def adopt(self, guest: Guest, given: Sequence[ActiveAttempt]) -> None:
        """Take up what the state says that the worker runs, and this node does not know of."""
        until_ms = self._clock.monotonic_ms() + SIGN_MS
        for each in given:
            running = each.status is AttemptStatus.RUNNING
            if running and each.ref not in guest.pieces and each.ref not in guest.claiming:
                piece = self._work.piece(each)
                piece.told, piece.sure, piece.unsure_ms = True, False, until_ms
                piece.log.write("node", "goes on with its worker attached to this node")
                guest.pieces[each.ref] = piece

    def _judge(self, guest: Guest, piece: Piece, given: ActiveAttempt, now_ms: int) -> None:
        if piece.finishing:
            return
        if given.cancel_requested and piece.cancelled_ms is None:
            piece.cancelled_ms = now_ms
            self._cancel(guest, piece, "user_cancelled")
        if piece.cancelled_ms is not None and now_ms - piece.cancelled_ms > CANCEL_MS:
            self._end(guest, piece, Outcome(ResultStatus.CANCELLED, "cancelled"))
        elif piece.timeout_ms and now_ms - piece.begun_ms > piece.timeout_ms:
            self._cancel(guest, piece, "timeout")
            reason = f"it did not end within {piece.timeout_ms / 1000:g} s"
            self._end(guest, piece, Outcome(ResultStatus.TIMEOUT, reason))
        elif not piece.sure and now_ms > piece.unsure_ms:
            self._cancel(guest, piece, "given_back")
            reason = "its external worker came back and did not go on with it"
            self.spawn(self._work.give_back(guest, piece, reason))

    async def _claim(self, guest: Guest, fresh: Sequence[ActiveAttempt]) -> None:
        await self._work.claim(guest, fresh)
        self.wake()

    def _cancel(self, guest: Guest, piece: Piece, reason: str) -> None:
        guest.say("task_cancel", subtask_id=piece.ref.subtask_id, reason=reason)

    def _end(self, guest: Guest, piece: Piece, outcome: Outcome) -> None:
        piece.finishing = True
        self.spawn(self._work.finish(guest, piece, outcome))

    def spawn(self, work: Coroutine[Any, Any, object]) -> None:
        """Run it beside the others, as long as this node looks after its workers."""
        if self._group is None:
            work.close()
            return
        self._group.create_task(work)
