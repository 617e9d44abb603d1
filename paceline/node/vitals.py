"""Heartbeats: what each node can do and is doing, who lives, and who may keep its work.

Every node sends its `Vitals` to every member twice a second, so any of them can take the lead
knowing all. Vitals never enter the log. Two judgements rest on them:

* liveness, by each node for itself: when did I last hear of that one?
* leases: the leader acknowledges vitals; a worker that has had no acknowledgement for `lease_ms`
  must assume that its attempts are being given away and stops them. The leader gives them away only
  after `lease_ms + grace_ms` of silence, or at once when the process is proven dead (its port
  refuses).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from paceline.clock import Clock
from paceline.codec import decode, encode
from paceline.ids import NodeId
from paceline.node.authority import nobody
from paceline.node.transport import Transport
from paceline.node.wire import Kind
from paceline.tasks.model import Resources, Vitals

INTERVAL_MS = 500
HURRY_MS = 50
"""Between two beats, however much there is to be said."""
ALIVE_MS = 4 * INTERVAL_MS
"""Silent for longer: shown as offline, gets no new work."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What travels: the vitals, and the sender's count and clock for the acknowledgement."""

    vitals: Vitals
    sent_ms: int


@dataclass(frozen=True, slots=True)
class BeatReply:
    """The leader has heard the beat that was sent at `sent_ms` (by the receiver's clock)."""

    sent_ms: int
    term: int


@dataclass(slots=True)
class Heard:
    """The newest vitals of one node and when (monotonic) they came."""

    vitals: Vitals
    at_ms: int
    dead: bool = False
    """Its process is proven gone: its port refuses connections though its machine answers."""
    restart_index: int = 0
    """Attempts with a token up to this were given to an earlier process of it; 0 = unknown."""


class VitalsTable:
    """What this node has heard of the others, and of itself."""

    def __init__(self, *, clock: Clock, applied_index: Callable[[], int]) -> None:
        """Wire it: `applied_index` answers how far this node's own state is."""
        self._clock = clock
        self._applied_index = applied_index
        self._heard: dict[NodeId, Heard] = {}

    def note(self, vitals: Vitals, *, external: bool = False) -> None:
        """Take newer vitals; older ones (reordered, or of a former process) change nothing.

        An `external` worker's incarnation is the entry of the log that attached it: what it was
        given before that, it was given elsewhere.
        """
        known = self._heard.get(vitals.node_id)
        newest = (known.vitals.incarnation, known.vitals.sequence) if known else (0, 0)
        if (vitals.incarnation, vitals.sequence) <= newest:
            return
        restart_index = known.restart_index if known else 0
        if known and vitals.incarnation > known.vitals.incarnation:
            restart_index = vitals.incarnation if external else self._applied_index()
        self._heard[vitals.node_id] = Heard(
            vitals, self._clock.monotonic_ms(), restart_index=restart_index
        )

    def mark_dead(self, node_id: NodeId) -> None:
        """Note the proof that its process is gone; newer vitals take that back."""
        if node_id in self._heard:
            self._heard[node_id].dead = True

    def get(self, node_id: NodeId) -> Heard | None:
        """Answer what was heard last, or None."""
        return self._heard.get(node_id)

    def silent_ms(self, node_id: NodeId) -> int | None:
        """Answer for how long nothing was heard; None = never heard of since this node started."""
        heard = self._heard.get(node_id)
        return None if heard is None else self._clock.monotonic_ms() - heard.at_ms

    def alive(self, node_id: NodeId) -> bool:
        """Answer whether it was heard of lately."""
        heard = self._heard.get(node_id)
        if heard is None or heard.dead:
            return False
        return self._clock.monotonic_ms() - heard.at_ms <= ALIVE_MS

    def forget(self, node_id: NodeId) -> None:
        """Drop a node that is no member any more."""
        self._heard.pop(node_id, None)


class Lease:
    """This worker's right to go on running what it runs."""

    def __init__(self, *, clock: Clock, lease_ms: int) -> None:
        self._clock = clock
        self._lease_ms = lease_ms
        self._renewed_ms = clock.monotonic_ms()

    def renew(self, sent_ms: int) -> None:
        """Count from when the acknowledged beat was SENT: the leader counts from later."""
        self._renewed_ms = max(self._renewed_ms, min(sent_ms, self._clock.monotonic_ms()))

    @property
    def remaining_ms(self) -> int:
        """Answer how long the lease still lasts; negative when it has ended."""
        return self._renewed_ms + self._lease_ms - self._clock.monotonic_ms()


def read_resources(disk_path: str) -> Resources:
    """Answer what the machine has left now (psutil; CPU since the previous call)."""
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(disk_path)
    return Resources(
        cpu_percent=psutil.cpu_percent(interval=None),
        memory_percent=memory.percent,
        disk_percent=disk.percent,
        cpu_count=psutil.cpu_count() or 1,
        memory_bytes=memory.total,
        disk_free_bytes=disk.free,
        load_1m=psutil.getloadavg()[0],
    )


class Heartbeats:
    """Sends this node's vitals, takes the others', and acknowledges when it leads."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        transport: Transport,
        table: VitalsTable,
        lease: Lease,
        clock: Clock,
        own_vitals: Callable[[int], Vitals],
        members: Callable[[], tuple[NodeId, ...]],
        leading_term: Callable[[], int],
        on_beat: Callable[[NodeId], None],
        guests: Callable[[], Sequence[Vitals]] = tuple,
        via: Callable[[str], str] = nobody,
    ) -> None:
        """`own_vitals(sequence)` reads this node; `leading_term()` is 0 unless this node leads.

        `guests()` reads the external workers that this node speaks for, and `via` answers who
        speaks for one.
        """
        self._guests = guests
        self._via = via
        self._node_id = node_id
        self._transport = transport
        self._table = table
        self._lease = lease
        self._clock = clock
        self._own_vitals = own_vitals
        self._members = members
        self._leading_term = leading_term
        self._on_beat = on_beat
        self._sequence = 0
        self._hurry = asyncio.Event()
        transport.on(Kind.VITALS, self._on_vitals)
        transport.on(Kind.VITALS_REPLY, self._on_reply)

    def hurry(self) -> None:
        """Send the next beat now: something that the planner should know has changed."""
        self._hurry.set()

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            self.beat()
            await asyncio.sleep(HURRY_MS / 1000)
            try:
                async with asyncio.timeout((INTERVAL_MS - HURRY_MS) / 1000):
                    await self._hurry.wait()
            except TimeoutError:
                continue
            self._hurry.clear()

    def beat(self) -> None:
        """Send the vitals as they are now."""
        self._sequence += 1
        vitals = self._own_vitals(self._sequence)
        self._table.note(vitals)
        now_ms = self._clock.monotonic_ms()
        if self._leading_term():
            self._lease.renew(now_ms)
        self._on_beat(self._node_id)
        self._send(Beat(vitals, now_ms))
        for guest in self._guests():
            self._table.note(guest, external=True)
            self._send(Beat(guest, now_ms))

    def _send(self, beat: Beat) -> None:
        body = encode(beat)
        for member in self._members():
            if member != self._node_id:
                self._transport.send(member, Kind.VITALS, body)

    def _on_vitals(self, sender: NodeId, body: bytes) -> None:
        beat = decode(Beat, body)
        external = beat.vitals.node_id != sender
        if external and self._via(beat.vitals.node_id) != sender:
            return  # nobody speaks for another, but for a worker that is no node
        self._table.note(beat.vitals, external=external)
        if term := self._leading_term():
            reply = encode(BeatReply(beat.sent_ms, term))
            self._transport.send(sender, Kind.VITALS_REPLY, reply)
        self._on_beat(sender)

    def _on_reply(self, sender: NodeId, body: bytes) -> None:
        self._lease.renew(decode(BeatReply, body).sent_ms)
