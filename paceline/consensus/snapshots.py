"""A replica's dealings with snapshots: saves them, serves them, receives them, installs them."""

from collections.abc import Callable
from dataclasses import dataclass

from paceline.consensus.messages import InstallSnapshot, SnapshotMeta
from paceline.consensus.spool import Spool
from paceline.consensus.storage.protocol import SnapshotSource, StateMachine
from paceline.consensus.transfer import (
    SNAPSHOT_MESSAGES,
    ReceivedSnapshot,
    SendSnapshotMessage,
    SnapshotChunk,
    SnapshotMessage,
    SnapshotOffer,
    SnapshotReceiver,
    SnapshotResult,
    SnapshotSender,
    TransferLimits,
)
from paceline.errors import Busy, StorageError
from paceline.ids import NodeId

NO_ROOM = "the receiver has no room on its disk for the state"

SendBulk = Callable[[NodeId, bytes], None]
OnSent = Callable[[NodeId, SnapshotMeta, bool], None]


@dataclass(slots=True)
class _Saved:
    """One saved state; several followers may read it. It is let go with its last reader."""

    meta: SnapshotMeta
    source: SnapshotSource
    readers: int = 0


class _Rests:
    """Who must wait after a failure, and for how long: twice as long after each one.

    A whole state is much to read, to write and to send. Where there is no room for it, here or
    there, trying at once and always would keep both disks and the network busy for nothing.
    """

    def __init__(self, first_ticks: int, last_ticks: int) -> None:
        self._first_ticks = first_ticks
        self._last_ticks = last_ticks
        self._pauses: dict[NodeId, int] = {}
        self._left: dict[NodeId, int] = {}

    def __contains__(self, to: object) -> bool:
        return to in self._left

    def failed(self, to: NodeId) -> None:
        """Note that it could not be served."""
        before = self._pauses.get(to, 0)
        self._pauses[to] = min(max(self._first_ticks, 2 * before), self._last_ticks)
        self._left[to] = self._pauses[to]

    def succeeded(self, to: NodeId) -> None:
        """Note that it has what it needs."""
        self._pauses.pop(to, None)
        self._left.pop(to, None)

    def tick(self) -> None:
        """Count time."""
        self._left = {to: left - 1 for to, left in self._left.items() if left > 1}

    def clear(self) -> None:
        """Forget all."""
        self._pauses.clear()
        self._left.clear()


class SnapshotServer:
    """The leader's side: saves the state once and serves it to those who need it."""

    def __init__(
        self,
        *,
        machine: StateMachine,
        applied: Callable[[], SnapshotMeta],
        send: SendSnapshotMessage,
        sent: OnSent,
        limits: TransferLimits,
    ) -> None:
        self._machine = machine
        self._applied = applied
        self._send = send
        self._sent = sent
        self._limits = limits
        self._rests = _Rests(limits.rest_ticks, limits.longest_rest_ticks)
        self._wanted: dict[NodeId, InstallSnapshot] = {}
        self._saving = False
        self._epoch = 0
        self._senders: dict[NodeId, tuple[SnapshotSender, _Saved]] = {}

    @property
    def holds(self) -> tuple[int, ...]:
        """Answer the indexes that followers are being brought to."""
        return tuple(saved.meta.index for _, saved in self._senders.values())

    def want(self, message: InstallSnapshot) -> None:
        """Serve a follower; a repeated wish changes nothing."""
        if message.to in self._senders:
            return
        self._wanted[message.to] = message
        self._start_next()

    def receive(self, sender: NodeId, message: SnapshotMessage) -> None:
        """Take a follower's message."""
        found = self._senders.get(sender)
        if found is not None:
            found[0].receive(message)
            self._end_if_over(found[0])

    def tick(self) -> None:
        """Count time for all transfers, and for those that wait after a failure."""
        self._rests.tick()
        for sender, _ in tuple(self._senders.values()):
            sender.tick()
            self._end_if_over(sender)
        self._start_next()

    def stop(self) -> None:
        """End all transfers without a word to the core: it does not lead any more."""
        self._epoch += 1
        self._wanted.clear()
        self._rests.clear()
        for to in tuple(self._senders):
            self._release(to)

    def _start_next(self) -> None:
        for message in self._due():
            if self._saving or len(self._senders) >= self._limits.senders:
                return
            saved = self._usable(message.meta.index)
            if saved is None:
                self._save()
                return
            self._begin(message, saved)

    def _due(self) -> list[InstallSnapshot]:
        """Answer the wishes of those who need not wait after a failure."""
        return [message for to, message in self._wanted.items() if to not in self._rests]

    def _usable(self, index: int) -> _Saved | None:
        """Answer a state that is being served already and is new enough for another follower."""
        return next((s for _, s in self._senders.values() if s.meta.index >= index), None)

    def _save(self) -> None:
        meta, epoch = self._applied(), self._epoch
        if not meta.membership.voters:
            return  # this node joined, and has not yet applied who they are; a tick asks again
        self._saving = True
        try:
            self._machine.save(
                lambda source: self._saved(_Saved(meta, source), epoch),
                lambda error: self._not_saved(epoch),
            )
        except Busy:
            self._not_saved(epoch)

    def _not_saved(self, epoch: int) -> None:
        """Tell the core that those who wait get nothing now; it asks again for them."""
        self._saving = False
        if epoch != self._epoch:
            return
        for message in self._due():
            del self._wanted[message.to]
            self._rests.failed(message.to)
            self._sent(message.to, message.meta, False)

    def _saved(self, saved: _Saved, epoch: int) -> None:
        self._saving = False
        waiting = [message for message in self._due() if message.meta.index <= saved.meta.index]
        for message in waiting[: self._limits.senders - len(self._senders)]:
            if epoch == self._epoch:
                self._begin(message, saved)
        if not saved.readers:
            saved.source.close()
        self._start_next_unless_behind(saved.meta.index)

    def _start_next_unless_behind(self, index: int) -> None:
        """Go on with the rest; a wish beyond what is applied waits for the next tick."""
        if all(message.meta.index <= index for message in self._due()):
            self._start_next()

    def _begin(self, message: InstallSnapshot, saved: _Saved) -> None:
        del self._wanted[message.to]
        source = saved.source
        offer = SnapshotOffer(message.term, saved.meta, source.size, source.sha256)
        sender = SnapshotSender(
            to=message.to, offer=offer, source=source, send=self._send, limits=self._limits
        )
        saved.readers += 1
        self._senders[message.to] = (sender, saved)
        sender.start()

    def _end_if_over(self, sender: SnapshotSender) -> None:
        if sender.outcome is None or sender.to not in self._senders:
            return
        self._release(sender.to)
        if sender.outcome:
            self._rests.succeeded(sender.to)
        else:
            self._rests.failed(sender.to)
        self._sent(sender.to, sender.offer.meta, sender.outcome)
        self._start_next()

    def _release(self, to: NodeId) -> None:
        _, saved = self._senders.pop(to)
        saved.readers -= 1
        if not saved.readers:
            saved.source.close()


class SnapshotClient:
    """The follower's side: decides what to take, and keeps what is complete for the core."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        machine: StateMachine,
        spool: Spool,
        send: SendSnapshotMessage,
        limits: TransferLimits,
    ) -> None:
        self._node_id = node_id
        self._machine = machine
        self._send = send
        self._receiver = SnapshotReceiver(spool=spool, send=send, limits=limits)
        self._complete: ReceivedSnapshot | None = None

    def receive(
        self, sender: NodeId, message: SnapshotOffer | SnapshotChunk, term: int
    ) -> InstallSnapshot | None:
        """Take a leader's message; answer what to give to the core once all bytes are there."""
        if isinstance(message, SnapshotChunk):
            received = self._receiver.chunk(sender, message)
        elif message.term < term:
            self._send(sender, SnapshotResult(message.sha256, "the offer's term has passed"))
            return None
        elif message.meta.index <= self._machine.applied_index:
            self._send(sender, SnapshotResult(message.sha256))
            return None
        else:
            received = self._receiver.offered(sender, message)
        return None if received is None else self._completed(received)

    def install(self, meta: SnapshotMeta) -> None:
        """Restore the state that the core has accepted, and tell its sender.

        Raise StorageFull if there is no room for it; it is kept for another try.
        """
        complete = self._complete
        if complete is None or complete.offer.meta != meta:
            raise StorageError(f"no snapshot at index {meta.index} has been received")
        self._machine.restore(complete.source, meta)
        self._drop()
        self._send(complete.sender, SnapshotResult(complete.offer.sha256))

    def refuse(self, sender: NodeId, message: SnapshotOffer | SnapshotChunk) -> None:
        """Decline what is sent while another one waits for room."""
        self._send(sender, SnapshotResult(message.sha256, NO_ROOM))

    def drop_unused(self) -> None:
        """Forget a complete snapshot that the core had no use for: its log has come that far."""
        complete = self._complete
        if complete is not None:
            self._drop()
            self._send(complete.sender, SnapshotResult(complete.offer.sha256))

    def tick(self) -> None:
        """Count time."""
        self._receiver.tick()

    def close(self) -> None:
        """Let go of everything."""
        self._drop()
        self._receiver.close()

    def _completed(self, received: ReceivedSnapshot) -> InstallSnapshot:
        self._drop()
        self._complete = received
        offer = received.offer
        return InstallSnapshot(received.sender, self._node_id, offer.term, offer.meta)

    def _drop(self) -> None:
        if self._complete is not None:
            self._complete.source.close()
            self._complete = None


def encoded(send_bulk: SendBulk) -> SendSnapshotMessage:
    """Answer how to send a snapshot message over a lane of bytes."""
    return lambda to, message: send_bulk(to, SNAPSHOT_MESSAGES.encode(message))
