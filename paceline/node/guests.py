"""The external workers that this node speaks for: the seed's protocol into the log and back.

An external worker is a worker of its own in the replicated state, with its own lease: this node
beats for it as long as it hears of it. It has an id made from its machine's, so that it is the same
worker at whichever node it attaches. What it is given this node claims, with the fencing token, in
its name; what it gives back counts once the log has it, and only then is it told so. So the worker
may repeat whatever was not answered, here or at another node.

Level-triggered as `worker`: whenever the state changes, or time passes, what the state gives each
worker is compared with what it has in hand.

- A worker that is silent, or comes without a connection for too long, is given up: its attempts are
  lost and go elsewhere at once.
- When this node dies nobody beats for the worker any more. Until its lease ends it may attach to
  another node, and goes on with what it had in hand. What it then shows no sign of is given back.
- When this node cannot renew its own lease, it cancels what its workers do and hangs up.
"""

import asyncio
import sqlite3
import uuid
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import structlog

from paceline.clock import Clock
from paceline.errors import Conflict, NotFound
from paceline.ids import NodeId
from paceline.node.guest import Guest, Line, Piece
from paceline.node.guest_words import status_of, stream_of
from paceline.node.guest_work import GuestWork
from paceline.node.redaction import Redactor
from paceline.node.vitals import Lease
from paceline.node.web.ports import (
    Document,
    ExternalBeat,
    ExternalLine,
    ExternalResult,
    Registration,
)
from paceline.tasks import queries, queries_external
from paceline.tasks.commands import (
    NEWEST_LEVEL,
    AttachWorker,
    ForgetWorker,
)
from paceline.tasks.model import (
    AttemptStatus,
    Outcome,
    Resources,
    ResultStatus,
    ToolState,
    Vitals,
)
from paceline.tasks.queries_work import ActiveAttempt

GUESTS_LIMIT = 64
SLOTS_LIMIT = 32
TICK_S = 0.5
PING_MS = 2_000
SILENT_MS = 10_000
"""A connected worker answers each ping; one that has said nothing for so long is gone."""
PARTED_MS = 10_000
"""So long it may be without a connection."""
SIGN_MS = 10_000
"""So long a worker that came back may take to show that it still works on what it has in hand."""
CANCEL_MS = 10_000
REST_MS = 5_000
"""After a rejection a worker is given nothing new for so long."""

_UNLOCKED = asyncio.Lock()

log = structlog.get_logger(__name__)


def worker_id_of(machine_id: str) -> str:
    """Answer the id of the worker on that machine: a UUID, the same at every node."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"paceline external worker {machine_id}"))


class Guests:
    """All external workers that are attached to this node."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        connection: sqlite3.Connection,
        work: GuestWork,
        redactor: Redactor,
        lease: Lease,
        clock: Clock,
        applied_index: Callable[[], int],
        on_change: Callable[[], None],
    ) -> None:
        """`on_change` is told when the next heartbeat should not wait."""
        self._node_id = node_id
        self._connection = connection
        self._work = work
        self._redactor = redactor
        self._lease = lease
        self._clock = clock
        self._applied_index = applied_index
        self._on_change = on_change
        self._guests: dict[str, Guest] = {}
        self._attaching: dict[str, asyncio.Lock] = {}
        self._wake = asyncio.Event()
        self._pinged_ms = 0
        self._group: asyncio.TaskGroup | None = None

    def wake(self) -> None:
        """Look at the state again soon."""
        if self._guests:
            self._wake.set()

    async def run(self) -> None:
        """Look after the workers for ever; hang up at the end."""
        try:
            async with asyncio.TaskGroup() as self._group:
                while True:
                    self._look()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(TICK_S if self._guests else None):
                            await self._wake.wait()
                    self._wake.clear()
        finally:
            for worker_id in list(self._guests):
                self._dismiss(worker_id, "the node is stopping; attach to another one")

    def vitals(self) -> list[Vitals]:
        """Answer a heartbeat for each worker that is heard of."""
        now_ms = self._clock.monotonic_ms()
        return [self._vitals_of(guest, now_ms) for guest in self._guests.values()]

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

    # --- coming and going -------------------------------------------------------------------------

    async def register(self, registration: Registration) -> Document:
        """Attach a worker, and answer it as a document with its `worker_id`.

        Raise Busy, Conflict, NoQuorum, TimedOut.
        """
        worker_id = worker_id_of(registration.machine_id)
        command = AttachWorker(
            worker_id=worker_id,
            via=self._node_id,
            machine_id=registration.machine_id,
            name=registration.machine_name or registration.machine_id,
            slots=max(1, min(registration.slots, SLOTS_LIMIT)),
            tools=tuple(ToolState(name) for name in dict.fromkeys(registration.tools)),
            system_info=dict(registration.system_info),
            version=registration.version,
        )
        async with self._lock(worker_id):
            guest = await self._attach(command)
        if registration.running is not None:
            guest.assure_only(registration.running, self._clock.monotonic_ms())
        return self._document(worker_id)

    async def heartbeat(self, worker_id: str, beat: ExternalBeat) -> Document:
        """Note that the worker lives. Raise NotFound for one that must register (again)."""
        guest = await self._guest(worker_id)
        guest.status = beat.status or guest.status
        guest.resources = _resources(beat)
        if beat.current_task:
            guest.assure(beat.current_task)
        elif beat.status == "busy":
            guest.assure()
        return {"worker_id": worker_id, "status": guest.status, "node_id": self._node_id}

    async def unregister(self, worker_id: str) -> None:
        """Forget a worker; what it has in hand goes elsewhere. Raise NotFound, Conflict."""
        if queries_external.external_worker(self._connection, worker_id) is None:
            if queries_external.registered(self._connection, worker_id):
                raise Conflict(f"{worker_id} is a node: take it out with `paceline node leave`")
            raise NotFound(f"no worker has the id {worker_id}")
        await self._work.propose(ForgetWorker(worker_id))
        self._dismiss(worker_id, "unregistered")

    async def connect(self, worker_id: str) -> Line:
        """Open a worker's line; an older one is closed. Raise NotFound, Unavailable."""
        guest = await self._guest(worker_id)
        if guest.line is not None:
            guest.line.close("the worker has connected anew")
        guest.line = line = Line()
        if guest.met:
            guest.doubt(self._clock.monotonic_ms() + SIGN_MS)
        guest.met = True
        for piece in guest.untold:
            self._spawn(self._work.tell(guest, piece))
        self._on_change()
        self.wake()
        return line

    def parted(self, worker_id: str, line: Line) -> None:
        """Note that a line has ended."""
        line.close("the worker has hung up")
        guest = self._guests.get(worker_id)
        if guest is not None and guest.line is line:
            guest.line = None
            guest.parted_ms = self._clock.monotonic_ms()
            self._on_change()

    async def hear(self, worker_id: str, message: Document) -> None:
        """Take what a worker says over its line: `pong`, `task_rejected`. Others say nothing."""
        guest = self._guests.get(worker_id)
        if guest is None:
            return
        guest.heard_ms = self._clock.monotonic_ms()
        if message.get("type") == "task_rejected":
            data = message.get("data")
            told = {**message, **data} if isinstance(data, dict) else message
            await self._rejected(
                guest, str(told.get("subtask_id", "")), str(told.get("reason", ""))
            )

    async def _rejected(self, guest: Guest, subtask_id: str, reason: str) -> None:
        guest.leaving = guest.leaving or "shutdown" in reason
        guest.resting_until_ms = self._clock.monotonic_ms() + REST_MS
        self._on_change()
        piece = guest.working_on(subtask_id)
        if piece is not None:
            words = self._redactor.line(reason)[:200]
            await self._work.give_back(guest, piece, f"its worker rejected it: {words}")

    def _lock(self, worker_id: str) -> asyncio.Lock:
        """One attachment of a worker at a time; locks nobody holds are dropped."""
        for known in [k for k, lock in self._attaching.items() if not lock.locked()]:
            del self._attaching[known]
        return self._attaching.setdefault(worker_id, asyncio.Lock())

    async def _guest(self, worker_id: str) -> Guest:
        """Answer a worker that speaks; one that another node spoke for is attached here."""
        async with self._lock(worker_id):
            guest = self._guests.get(worker_id)
            if guest is None or not self._is_ours(guest):
                guest = await self._attach(self._known(worker_id))
        guest.heard_ms = self._clock.monotonic_ms()
        return guest

    def _known(self, worker_id: str) -> AttachWorker:
        """Answer what the state knows of a worker, for attaching it here. Raise NotFound."""
        external = queries_external.external_worker(self._connection, worker_id)
        told = queries_external.registered(self._connection, worker_id)
        if external is None or told is None:
            raise NotFound(f"no external worker has the id {worker_id}: register it first")
        return AttachWorker(
            worker_id=worker_id,
            via=self._node_id,
            machine_id=external.machine_id,
            name=told.name,
            slots=told.slots,
            tools=told.tools,
            system_info=told.system_info,
        )

    async def _attach(self, command: AttachWorker) -> Guest:
        worker_id = command.worker_id
        if worker_id not in self._guests and len(self._guests) >= GUESTS_LIMIT:
            raise Conflict(f"this node speaks for {GUESTS_LIMIT} workers; attach to another one")
        attached_index = await self._work.propose(command)
        old = self._guests.get(worker_id)
        now_ms = self._clock.monotonic_ms()
        guest = Guest(
            worker_id=worker_id,
            name=command.name,
            slots=command.slots,
            tools=command.tools,
            attached_index=int(attached_index),
            heard_ms=now_ms,
            parted_ms=now_ms,
        )
        if old is not None:
            guest.line, guest.resources = old.line, old.resources
            guest.pieces, guest.claiming = old.pieces, old.claiming
            guest.doubt(now_ms + SIGN_MS)
        self._guests[worker_id] = guest
        self._adopt(guest, self._work.given(guest))
        self._on_change()
        self._wake.set()
        return guest

    def _dismiss(self, worker_id: str, reason: str) -> None:
        guest = self._guests.pop(worker_id, None)
        if guest is not None:
            self._part(guest, reason)
            guest.drop_all()

    def _part(self, guest: Guest, reason: str) -> None:
        for piece in guest.pieces.values():
            guest.say("task_cancel", subtask_id=piece.ref.subtask_id, reason=reason)
        if guest.line is not None:
            guest.line.close(reason)

    # --- comparing --------------------------------------------------------------------------------

    def _is_ours(self, guest: Guest) -> bool:
        external = queries_external.external_worker(self._connection, guest.worker_id)
        return external is not None and (external.via, external.attached_index) == (
            self._node_id,
            guest.attached_index,
        )

    def _look(self) -> None:
        now_ms = self._clock.monotonic_ms()
        pings = now_ms - self._pinged_ms >= PING_MS
        self._pinged_ms = now_ms if pings else self._pinged_ms
        for guest in list(self._guests.values()):
            if self._attaching.get(guest.worker_id, _UNLOCKED).locked():
                continue
            if not self._is_ours(guest):
                self._dismiss(guest.worker_id, "another node speaks for this worker now")
            elif self._lease.remaining_ms <= 0:
                self._dismiss(guest.worker_id, "this node is cut off from its cluster")
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
        self._dismiss(guest.worker_id, "nothing was heard of the worker")
        if refs:
            self._spawn(self._work.lose(refs, "its external worker is gone"))

    def _compare(self, guest: Guest, now_ms: int) -> None:
        given = {each.ref: each for each in self._work.given(guest)}
        for ref in [ref for ref in guest.pieces if ref not in given]:
            if not guest.pieces[ref].finishing:
                guest.say("task_cancel", subtask_id=ref.subtask_id, reason="reassigned")
            guest.drop(ref)
        self._adopt(guest, list(given.values()))
        for ref, piece in list(guest.pieces.items()):
            self._judge(guest, piece, given[ref], now_ms)
        fresh = [
            each
            for ref, each in given.items()
            if each.status is AttemptStatus.ALLOCATED and ref not in guest.claiming
        ]
        if fresh and guest.connected:
            guest.claiming.update(each.ref for each in fresh)
            self._spawn(self._claim(guest, fresh))

    def _adopt(self, guest: Guest, given: Sequence[ActiveAttempt]) -> None:
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
            self._spawn(self._work.give_back(guest, piece, reason))

    async def _claim(self, guest: Guest, fresh: Sequence[ActiveAttempt]) -> None:
        await self._work.claim(guest, fresh)
        self.wake()

    def _cancel(self, guest: Guest, piece: Piece, reason: str) -> None:
        guest.say("task_cancel", subtask_id=piece.ref.subtask_id, reason=reason)

    def _end(self, guest: Guest, piece: Piece, outcome: Outcome) -> None:
        piece.finishing = True
        self._spawn(self._work.finish(guest, piece, outcome))

    # --- words about the work ---------------------------------------------------------------------

    async def write_log(self, subtask_id: str, line: ExternalLine) -> None:
        """Append a line to the log of what a worker does. Raise NotFound where none does it."""
        guest, piece = await self._holder(subtask_id)
        guest.heard_ms = self._clock.monotonic_ms()
        piece.sure = True
        piece.log.write(stream_of(line.level), line.text)

    async def take_result(self, subtask_id: str, result: ExternalResult) -> Document:
        """Bring a worker's result into the log; answer once it counts.

        Raise Conflict for one that came too late: the work is somebody else's by now. The same
        result again is answered as the first time. Raise NoQuorum, TimedOut: it must be repeated.
        """
        try:
            guest, piece = await self._holder(subtask_id)
        except NotFound:
            return self._said_before(subtask_id, result)
        if result.worker_id not in ("", guest.worker_id):
            raise Conflict(f"{subtask_id} was given to another worker")
        await self._work.take(guest, piece, result)
        return self._accepted(subtask_id, piece.ref.attempt)

    async def _holder(self, subtask_id: str) -> tuple[Guest, Piece]:
        """Answer who has the subtask in hand; its worker is attached here. Raise NotFound."""
        worker_id = queries_external.holder_of(self._connection, subtask_id)
        guest = await self._guest(worker_id) if worker_id else None
        piece = guest.working_on(subtask_id) if guest else None
        if guest is None or piece is None:
            raise NotFound(f"no external worker works on the subtask {subtask_id}")
        return guest, piece

    def _said_before(self, subtask_id: str, result: ExternalResult) -> Document:
        queries.subtask_spec(self._connection, subtask_id)  # raises NotFound
        last = queries_external.last_result(self._connection, subtask_id)
        wanted = status_of(result)
        same = last is not None and result.worker_id in ("", last[0]) and last[2] == wanted
        if last is None or not same:
            raise Conflict(f"{subtask_id} is not in the hands of an external worker any more")
        return self._accepted(subtask_id, last[1])

    def _accepted(self, subtask_id: str, attempt: int) -> Document:
        (status,) = self._connection.execute(
            "SELECT status FROM subtasks WHERE subtask_id = ?", (subtask_id,)
        ).fetchone()
        return {"subtask_id": subtask_id, "status": status, "attempt": attempt, "accepted": True}

    # --- small things -----------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        if self._group is None:
            work.close()
            return
        self._group.create_task(work)

    def _document(self, worker_id: str) -> Document:
        found = (w for w in queries.workers(self._connection) if w["node_id"] == worker_id)
        document = next(found, None)
        if document is None:
            raise Conflict(f"the worker {worker_id} was unregistered meanwhile")
        return {"worker_id": worker_id, **document}


def _resources(beat: ExternalBeat) -> Resources:
    """Answer the seed's resource monitor's words; what it leaves out counts as free."""
    return Resources(
        cpu_percent=beat.cpu_percent,
        memory_percent=beat.memory_percent,
        disk_percent=beat.disk_percent,
    )
