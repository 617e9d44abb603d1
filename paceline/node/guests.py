"""The external workers that this node speaks for: the seed's protocol into the log and back.

An external worker is a worker of its own in the replicated state, with its own lease: this node
beats for it as long as it hears of it. It has an id made from its machine's, so that it is the same
worker at whichever node it attaches. What it is given this node claims, with the fencing token, in
its name; what it gives back counts once the log has it, and only then is it told so. So the worker
may repeat whatever was not answered, here or at another node.

When this node dies nobody beats for the worker any more. Until its lease ends it may attach to
another node, and goes on there with what it had in hand. `guest_watch` looks after those that came.
"""

import sqlite3
import uuid
from collections.abc import Callable

import structlog

from paceline.clock import Clock
from paceline.errors import Conflict, NotFound
from paceline.ids import NodeId
from paceline.node.guest import Guest, Line, Piece
from paceline.node.guest_watch import SIGN_MS, GuestWatch
from paceline.node.guest_words import status_of, stream_of
from paceline.node.guest_work import GuestWork
from paceline.node.redaction import Redactor
from paceline.node.web.ports import (
    Document,
    ExternalBeat,
    ExternalLine,
    ExternalResult,
    Registration,
)
from paceline.tasks import queries, queries_external
from paceline.tasks.commands import (
    AttachWorker,
    ForgetWorker,
)
from paceline.tasks.model import (
    Resources,
    ToolState,
)

GUESTS_LIMIT = 64
SLOTS_LIMIT = 32
REST_MS = 5_000
"""After a rejection a worker is given nothing new for so long."""

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
        watch: GuestWatch,
        redactor: Redactor,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        """`on_change` is told when the next heartbeat should not wait."""
        self._node_id = node_id
        self._connection = connection
        self._work = work
        self._watch = watch
        self._guests = watch.guests
        self._redactor = redactor
        self._clock = clock
        self._on_change = on_change

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
        async with self._watch.lock(worker_id):
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
        self._watch.dismiss(worker_id, "unregistered")

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
            self._watch.spawn(self._work.tell(guest, piece))
        self._on_change()
        self._watch.wake()
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

    async def _guest(self, worker_id: str) -> Guest:
        """Answer a worker that speaks; one that another node spoke for is attached here."""
        async with self._watch.lock(worker_id):
            guest = self._guests.get(worker_id)
            if guest is None or not self._watch.is_ours(guest):
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
        self._watch.adopt(guest, self._work.given(guest))
        self._on_change()
        self._watch.wake()
        return guest

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
