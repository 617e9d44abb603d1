"""Sends a whole state to a follower that is too far behind for the log, on the bulk lane.

    leader                                  follower
    SnapshotOffer (meta, size, hash)  ->
                                      <-    SnapshotCredit (have 0 bytes, send up to 1 MiB)
    SnapshotChunk, SnapshotChunk ...  ->
                                      <-    SnapshotCredit (have n, send up to n + 1 MiB)
                                      <-    SnapshotResult (installed, or why not)

Every message names the snapshot by its SHA-256, so a late or doubled message of another transfer
can do no harm, and the same content may be continued at the byte where an earlier attempt ended:
an offer is answered with what is there already. The follower takes chunks in order only. When
nothing moves for a while the leader goes back to what the last credit confirmed (go-back-N); when
nothing moves for long it gives up, and its core, told so, will ask again.

Not one of these messages is trusted to be right: sizes are bounded, and nothing is installed that
does not have the announced hash. Time is counted in ticks, as everywhere in this package.
"""

from collections.abc import Callable
from dataclasses import dataclass

from paceline.codec import Union_
from paceline.consensus.messages import SnapshotMeta
from paceline.consensus.spool import Incoming, Spool
from paceline.consensus.storage.protocol import SnapshotSource
from paceline.errors import CorruptStorage
from paceline.ids import NodeId


@dataclass(frozen=True, slots=True)
class SnapshotOffer:
    """The leader of `term` has a state for the receiver."""

    term: int
    meta: SnapshotMeta
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class SnapshotCredit:
    """The follower has all bytes before `offset`, and takes those before `limit` now."""

    sha256: bytes
    offset: int
    limit: int


@dataclass(frozen=True, slots=True)
class SnapshotChunk:
    """Bytes from `offset` on."""

    sha256: bytes
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SnapshotResult:
    """The end: the follower has a state at least as new, or `refusal` says why not."""

    sha256: bytes
    refusal: str = ""


SnapshotMessage = SnapshotOffer | SnapshotCredit | SnapshotChunk | SnapshotResult

SNAPSHOT_MESSAGES: Union_[SnapshotMessage] = Union_(
    {1: SnapshotOffer, 2: SnapshotCredit, 3: SnapshotChunk, 4: SnapshotResult}
)
"""The closed family on the bulk lane; tags never change meaning."""

SendSnapshotMessage = Callable[[NodeId, SnapshotMessage], None]


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """Bounds of the transfer of snapshots."""

    chunk_bytes: int = 256 * 1024
    window_bytes: int = 1024 * 1024
    """How far the sender may run ahead of what is confirmed; at least one chunk."""
    snapshot_bytes: int = 8 * 1024 * 1024 * 1024
    """A larger offer is refused."""
    senders: int = 2
    """So many followers are served at once; the others wait for their turn."""
    resend_ticks: int = 6
    """After so long without progress the sender repeats itself."""
    patience_ticks: int = 200
    """After so long without progress either side gives up."""
    rest_ticks: int = 20
    """After a failure a follower is not served for so long, then twice as long, and so on ..."""
    longest_rest_ticks: int = 600


class SnapshotSender:
    """One transfer to one follower. `outcome` is None while it lasts, then True or False."""

    def __init__(
        self,
        *,
        to: NodeId,
        offer: SnapshotOffer,
        source: SnapshotSource,
        send: SendSnapshotMessage,
        limits: TransferLimits,
    ) -> None:
        self.to = to
        self.offer = offer
        self.outcome: bool | None = None
        self.refusal = ""
        self._source = source
        self._send = send
        self._limits = limits
        self._confirmed = 0
        self._allowed = 0
        self._sent = 0
        self._answered = False
        self._idle_ticks = 0

    def start(self) -> None:
        """Offer it."""
        self._send(self.to, self.offer)

    def receive(self, message: SnapshotMessage) -> None:
        """Take a message of the follower."""
        if self.outcome is not None:
            return
        match message:
            case SnapshotCredit(sha256, offset, limit) if sha256 == self.offer.sha256:
                self._take_credit(offset, limit)
            case SnapshotResult(sha256, refusal) if sha256 == self.offer.sha256:
                self.outcome = not refusal
                self.refusal = refusal
            case _:
                pass

    def tick(self) -> None:
        """Count time: repeat what seems lost, and give up in the end."""
        self._idle_ticks += 1
        if self._idle_ticks >= self._limits.patience_ticks:
            self.outcome = False
            self.refusal = "no progress"
        elif self._idle_ticks % self._limits.resend_ticks == 0:
            self._repeat()

    def _take_credit(self, offset: int, limit: int) -> None:
        if offset > self.offer.size or (self._answered and offset < self._confirmed):
            return
        if offset > self._confirmed:
            self._idle_ticks = 0
        self._answered = True
        self._confirmed = offset
        self._sent = max(self._sent, offset)
        self._allowed = min(limit, offset + self._limits.window_bytes, self.offer.size)
        self._fill_window()

    def _fill_window(self) -> None:
        while self._sent < self._allowed:
            limit = min(self._limits.chunk_bytes, self._allowed - self._sent)
            data = self._read(limit)
            if not data:
                self.outcome = False
                self.refusal = "the snapshot's file cannot be read to its end"
                return
            self._send(self.to, SnapshotChunk(self.offer.sha256, self._sent, data))
            self._sent += len(data)

    def _read(self, limit: int) -> bytes:
        """Answer the next bytes; none if the disk refuses: the next attempt reads a new copy."""
        try:
            return self._source.read(self._sent, limit)
        except OSError:
            return b""

    def _repeat(self) -> None:
        """Offer again; the credit that answers says where to go on, be it further back."""
        self._answered = False
        self._sent = 0
        self._send(self.to, self.offer)


@dataclass(frozen=True, slots=True)
class ReceivedSnapshot:
    """All bytes are there and verified. Whoever takes it closes `source`."""

    sender: NodeId
    offer: SnapshotOffer
    source: SnapshotSource


@dataclass(slots=True)
class _Receiving:
    sender: NodeId
    offer: SnapshotOffer
    incoming: Incoming
    idle_ticks: int = 0


class SnapshotReceiver:
    """Receives one snapshot at a time; a newer leader's offer replaces an older one's."""

    def __init__(
        self,
        *,
        spool: Spool,
        send: SendSnapshotMessage,
        limits: TransferLimits,
    ) -> None:
        self._spool = spool
        self._send = send
        self._limits = limits
        self._now: _Receiving | None = None

    @property
    def busy(self) -> bool:
        """Answer whether a snapshot is being received."""
        return self._now is not None

    def offered(self, sender: NodeId, offer: SnapshotOffer) -> ReceivedSnapshot | None:
        """Take an offer that the caller has found to be of use.

        Answers the snapshot if all its bytes are there already.
        """
        now = self._now
        if not 0 <= offer.size <= self._limits.snapshot_bytes or len(offer.sha256) != 32:
            self._refuse(sender, offer.sha256, "the snapshot is too large")
            return None
        if now is not None and now.offer.sha256 == offer.sha256:
            self._now = _Receiving(sender, offer, now.incoming)
        elif now is not None and sender != now.sender and offer.term <= now.offer.term:
            self._refuse(sender, offer.sha256, "another snapshot is being received")
            return None
        elif not self._begin(sender, offer):
            return None
        return self._advance()

    def chunk(self, sender: NodeId, chunk: SnapshotChunk) -> ReceivedSnapshot | None:
        """Take a chunk; answer the snapshot if it was the last."""
        now = self._now
        if now is None or sender != now.sender or chunk.sha256 != now.offer.sha256:
            return None
        if chunk.offset == now.incoming.have and self._fits(now, chunk):
            try:
                now.incoming.append(chunk.data)
            except OSError as error:
                self._give_up(f"the receiver cannot store it: {error.strerror}")
                return None
            now.idle_ticks = 0
        return self._advance()

    def tick(self) -> None:
        """Count time: give up what does not move. Its bytes are kept for a later offer."""
        if self._now is None:
            return
        self._now.idle_ticks += 1
        if self._now.idle_ticks >= self._limits.patience_ticks:
            self._now.incoming.suspend()
            self._now = None

    def close(self) -> None:
        """Let go of what is there."""
        if self._now is not None:
            self._now.incoming.suspend()
            self._now = None

    def _fits(self, now: _Receiving, chunk: SnapshotChunk) -> bool:
        end = now.incoming.have + len(chunk.data)
        return len(chunk.data) <= self._limits.window_bytes and end <= now.offer.size

    def _begin(self, sender: NodeId, offer: SnapshotOffer) -> bool:
        self.close()
        try:
            incoming = self._spool.open(offer.size, offer.sha256)
        except OSError as error:
            self._refuse(sender, offer.sha256, f"the receiver cannot store it: {error.strerror}")
            return False
        self._now = _Receiving(sender, offer, incoming)
        return True

    def _advance(self) -> ReceivedSnapshot | None:
        """Finish if all is there; else say how much is."""
        now = self._now
        assert now is not None
        have = now.incoming.have
        if have == now.offer.size:
            return self._finish(now)
        limit = min(have + self._limits.window_bytes, now.offer.size)
        self._send(now.sender, SnapshotCredit(now.offer.sha256, have, limit))
        return None

    def _finish(self, now: _Receiving) -> ReceivedSnapshot | None:
        self._now = None
        try:
            source = now.incoming.finish()
        except CorruptStorage as error:
            self._refuse(now.sender, now.offer.sha256, str(error))
            return None
        return ReceivedSnapshot(now.sender, now.offer, source)

    def _give_up(self, reason: str) -> None:
        now = self._now
        assert now is not None
        self.close()
        self._refuse(now.sender, now.offer.sha256, reason)

    def _refuse(self, sender: NodeId, sha256: bytes, reason: str) -> None:
        self._send(sender, SnapshotResult(sha256, reason))
