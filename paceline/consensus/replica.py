"""Runs the pure core: persists, sends, applies, answers, and keeps the log short.

The replica is callback-driven. It has no thread, clock, socket or event loop, so that the seeded
simulation runs this very code on a simulated disk and network. Its owner

- calls `tick` every 50 ms and `receive`/`receive_bulk` with what peers sent,
- calls `pump` soon after `wake()` was called (many wakes may make one pump),
- and does all of that on one thread.

One pump gives what callers have queued to the core in one batch (one disk write and one message per
follower for all of it: group commit), performs every `Ready` in the order that `ready.py` demands,
and applies one bounded slice of committed entries, so that it returns within a few milliseconds.

A full disk is waited for (see `stall`). Any other error that the state machine or the storage
raises goes through to the owner and is final: a node whose disk or state cannot be trusted must
stop. Every later pump raises it again, for owners who call where errors are only logged.
"""

from collections.abc import Callable, Sequence
from typing import Any

from paceline.consensus.applying import Applying
from paceline.consensus.core import Core
from paceline.consensus.desk import Desk
from paceline.consensus.messages import Append, Entry, InstallSnapshot, Message, SnapshotMeta
from paceline.consensus.pending import Decision, OnDecision, OnRead
from paceline.consensus.persisting import Persisting
from paceline.consensus.ready import Ready
from paceline.consensus.replica_model import (
    ReplicaLimits,
    ReplicaObserver,
    ReplicaStatus,
    Standing,
)
from paceline.consensus.snapshots import SendBulk, SnapshotClient, SnapshotServer, encoded
from paceline.consensus.spool import MemorySpool, Spool
from paceline.consensus.stall import Room
from paceline.consensus.storage.protocol import LogStorage, StateMachine
from paceline.consensus.transfer import SNAPSHOT_MESSAGES, SnapshotChunk, SnapshotOffer
from paceline.errors import NotLeader, StorageFull
from paceline.ids import NodeId

__all__ = ["Decision", "Replica", "ReplicaLimits", "ReplicaObserver", "ReplicaStatus"]


def _nothing() -> None:
    """Stand in for a sender that gathers nothing."""


class Replica:
    """One node's part in the replicated log."""

    def __init__(
        self,
        *,
        core: Core,
        storage: LogStorage,
        machine: StateMachine,
        send: Callable[[NodeId, Message], None],
        wake: Callable[[], None],
        flush: Callable[[], None] = _nothing,
        later: Callable[[], None] | None = None,
        observer: ReplicaObserver | None = None,
        limits: ReplicaLimits | None = None,
        send_bulk: SendBulk | None = None,
        spool: Spool | None = None,
        first_context: int = 1,
    ) -> None:
        """Wire a replica.

        `core` was built from `recovery.recover(storage, machine)`. Without `send_bulk` no snapshot
        is sent; without `spool` a received one is kept in memory. `flush` is called when nothing
        will be sent for a moment, in case `send` gathers messages. `later` asks the owner to call
        `tell_news` in a few milliseconds, for a core that holds news. `first_context` numbers this
        process's first read: different for each start, so that an answer to an earlier one's
        question is not taken for an answer to this one's.
        """
        self._core = core
        self._storage = storage
        self._machine = machine
        self._send = send
        self._wake = wake
        self._flush = flush
        self._observer = observer or ReplicaObserver()
        self._limits = limits or ReplicaLimits()
        self._room = Room(self._limits.room_ticks, lambda: storage.stalled)
        self._desk = Desk(
            core=core, limits=self._limits, room=self._room, first_context=first_context
        )
        self._held: Ready | None = None  # its snapshot waits for room
        self._told_stalled = False
        self._persisting = Persisting(
            core=core, storage=storage, send=self._send_all, persisted=self._persisted
        )
        self._server: SnapshotServer
        self._applying = Applying(
            core=core,
            storage=storage,
            machine=machine,
            room=self._room.state,
            limits=self._limits,
            holds=lambda: self._server.holds,
            applied=self._applied,
            compacted=self._observer.compacted,
        )
        self._held_ticks = 0
        self._pumping = False
        self._closed = False
        self._failure: Exception | None = None
        self._later = later
        self._news_index = 0
        self._seen = Standing.of(core)
        self._wire_snapshots(send_bulk, spool or MemorySpool())

    def _wire_snapshots(self, send_bulk: SendBulk | None, spool: Spool) -> None:
        send = encoded(send_bulk or _send_nothing)
        limits = self._limits.transfer
        self._server = SnapshotServer(
            machine=self._machine,
            applied=self._applying.meta,
            send=send,
            sent=self._snapshot_sent,
            limits=limits,
        )
        self._client = SnapshotClient(
            node_id=self._core.status().node_id,
            machine=self._machine,
            spool=spool,
            send=send,
            limits=limits,
        )

    # --- what callers ask for ---------------------------------------------------------------------

    def propose(self, data: bytes, done: OnDecision) -> None:
        """Put a command into the log; `done` gets the Decision, possibly before this returns.

        Errors come by `done` too: InputError (too large), Busy (at a bound, or the disk is full),
        NotLeader; and Unavailable or NotLeader with the outcome unknown once it was appended.
        """
        if self._desk.propose(data, done):
            self._wake()

    def change_membership(
        self, voters: Sequence[NodeId], learners: Sequence[NodeId], done: OnDecision
    ) -> None:
        """Ask for these sets; `done` gets the Decision once the (first) change is committed.

        Errors come by `done`: NotLeader; Conflict while another change is under way.
        """
        if self._desk.change_membership(voters, learners, done):
            self._wake()

    def read(self, done: OnRead) -> None:
        """Call `done(None)` once this node's state has all that was committed before now.

        `done(error)` if that cannot be known: NotLeader (there is no leader, or it was lost),
        NoQuorum (no answer in time), Unavailable (this node lags behind the answer), Busy.
        """
        if self._desk.read(done):
            self._wake()

    def transfer(self, node_id: NodeId) -> None:
        """Hand leadership over to a voter. Raise NotLeader, or Conflict if it is no voter."""
        self._core.transfer(node_id)
        self._wake()

    def status(self) -> ReplicaStatus:
        """Answer what this replica knows, now."""
        return ReplicaStatus.of(
            self._core.status(),
            applied_index=self._machine.applied_index,
            pending=self._desk.waiting,
            stalled=self.stalled,
        )

    @property
    def stalled(self) -> bool:
        """Answer whether the disk is full, under the log or under the state."""
        return self._room.stalled

    def close(self) -> None:
        """Answer everybody who waits with Unavailable, and take nothing more.

        The storage and the machine are the owner's to close.
        """
        self._closed = True
        self._applying.close()
        self._desk.close()
        self._persisting.close()
        self._server.stop()
        self._client.close()

    # --- what happens to it -----------------------------------------------------------------------

    def tick(self, elapsed_ticks: int = 1) -> None:
        """Count time. `elapsed_ticks` says how many ticks have passed since the last call.

        A jump of more than half an election timeout is no silence of the leader's: this process
        was stopped (a suspended laptop), and what the leader sent meanwhile waits in the sockets.
        It counts as one tick, and for as long again as the jump's measure this node does not
        stand, so that it hears the leader first.
        """
        half_timeout = self._limits.election_ticks // 2
        if elapsed_ticks > half_timeout:
            self._held_ticks = half_timeout
            elapsed_ticks = 1
        for _ in range(elapsed_ticks):
            self._tick_once()
        self._wake()

    def _tick_once(self) -> None:
        self._watch_room()
        if self._held_ticks > 0 and self._seen.role != "leader":
            self._held_ticks -= 1
        elif self._seen.role == "leader" or (self._held is None and self._room.state.lets_stand):
            self._held_ticks = 0
            self._core.tick()
        self._desk.tick()
        self._server.tick()
        self._client.tick()

    def _watch_room(self) -> None:
        """Let another voter lead, and answer who waits here, while there is no room."""
        if self._room.tick():
            self._core.resign()
        if self.stalled and self._seen.role != "leader":
            self._desk.fail_after(self._machine.applied_index, self._not_leader())
        if self.stalled != self._told_stalled:
            self._told_stalled = self.stalled
            self._observer.stall_changed(self.stalled)

    def receive(self, message: Message) -> None:
        """Take a peer's message. Raise ProtocolError if no correct node sends such a one."""
        if not self._has_no_room_for(message):
            self._core.step(message)
            self._wake()

    def _has_no_room_for(self, message: Message) -> bool:
        """Answer whether to lose a message: there is no room for what it would bring."""
        if not self._room.state.lasting:
            return False
        return self._held is not None or (
            isinstance(message, Append)
            and bool(message.entries)
            and self._core.unapplied_bytes >= self._limits.unapplied_bytes
        )

    def receive_bulk(self, sender: NodeId, data: bytes) -> None:
        """Take bytes from the bulk lane. Raise ProtocolError if they are malformed."""
        message = SNAPSHOT_MESSAGES.decode(data)
        if not isinstance(message, SnapshotOffer | SnapshotChunk):
            self._server.receive(sender, message)
        elif self._held is not None:
            self._client.refuse(sender, message)
        else:
            complete = self._client.receive(sender, message, self._core.term)
            if complete is not None:
                self._take_snapshot(complete)

    def peer_lost(self, node_id: NodeId) -> None:
        """Take note that the connection to a peer dropped: most likely its process died.

        If it led, it is forgotten, and this node stands soon; where it lives after all, the others
        do not vote, and nothing has happened.
        """
        if self._core.leader_id == node_id:
            self._core.forget_leader()
        self._core.report_unreachable(node_id)
        self._wake()

    def tell_news(self) -> None:
        """Tell followers of commits that no append has told them of since `later` was called."""
        if self._core.untold(self._news_index):
            self._core.tell_news()
        self._news_index = 0
        self._wake()

    def pump(self) -> None:
        """Do all work that is waiting, but apply only one slice of entries."""
        if self._pumping or self._closed:
            return
        if self._failure is not None:
            raise self._failure
        self._pumping = True
        try:
            if self._room.state.waiting and self._held is not None:
                return
            self._turn()
            self._flush()
        except Exception as error:
            self._failure = error
            raise
        finally:
            self._pumping = False
        if self._held is None and (self._desk.has_queued or self._applying.may_go_on):
            self._wake()

    def _turn(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._perform(held)
        if self._held is None:
            self._desk.ask()
            self._perform_all()
            self._applying.apply_slice()

    # --- out of the core --------------------------------------------------------------------------

    def _perform_all(self) -> None:
        """Take work from the core until there is none.

        One Ready takes all there is, except entries to apply, which are bounded. So asking again is
        only worth its price after some of those, or if a write was durable at once.
        """
        more = True
        while more and self._held is None and (ready := self._core.ready()) is not None:
            more = self._perform(ready) or bool(ready.committed)
        self._notice_role()
        if self._later is not None and not self._news_index:
            self._hold_news(self._later)

    def _hold_news(self, later: Callable[[], None]) -> None:
        index = self._core.commit_index
        if self._core.untold(index):
            self._news_index = index
            later()

    def _perform(self, ready: Ready) -> bool:
        """Do it all but apply; answer whether a write was durable at once."""
        if ready.snapshot is not None and not self._install(ready.snapshot):
            self._held = ready
            return False
        self._send_all(ready.messages)
        if ready.messages and ready.token is not None:
            self._flush()  # the disks of the others are to work while this node's does
        at_once = self._persisting.persist(ready)
        self._applying.add(ready.committed)
        self._desk.confirmed(ready.reads, self._machine.applied_index)
        return at_once

    def _persisted(self, entries: int) -> None:
        self._observer.persisted(entries)
        if not self._pumping:
            self._wake()

    def _send_all(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if isinstance(message, InstallSnapshot):
                self._server.want(message)
            else:
                self._send(message.to, message)

    def _notice_role(self) -> None:
        """Compare role, term and leader with the last turn's, and act on the difference."""
        now, before = Standing.of(self._core), self._seen
        if now == before:
            return
        self._seen = now
        if before.role == "leader" and (now.role != "leader" or now.term != before.term):
            self._desk.fail_after(self._answerable_index, self._not_leader())
            self._server.stop()
        if now.leader_id != before.leader_id or now.term != before.term:
            self._desk.fail_reads(self._not_leader())
        self._observer.role_changed(self.status())

    def _not_leader(self) -> NotLeader:
        return NotLeader(self._core.leader_id or None)

    # --- into the machine -------------------------------------------------------------------------

    @property
    def _answerable_index(self) -> int:
        """Answer up to where those who proposed will hear the outcome from this node, and soon."""
        return self._machine.applied_index if self._room.state.lasting else self._core.commit_index

    def _applied(self, entries: Sequence[Entry], results: Sequence[Any]) -> None:
        self._desk.applied(entries, results, self._not_leader())
        self._observer.applied(entries[-1].index, len(entries))

    # --- snapshots --------------------------------------------------------------------------------

    def _snapshot_sent(self, to: NodeId, meta: SnapshotMeta, ok: bool) -> None:
        self._core.report_snapshot(to, ok)
        self._observer.snapshot_sent(to, meta, ok)
        self._wake()

    def _take_snapshot(self, message: InstallSnapshot) -> None:
        """Let the core decide about a verified snapshot, at once, so that nothing comes between."""
        self._core.step(message)
        try:
            self._perform_all()
        except Exception as error:
            self._failure = error
            raise
        if self._held is None:
            self._client.drop_unused()
        self._wake()

    def _install(self, meta: SnapshotMeta) -> bool:
        """Replace the state, and answer whether there was room for it.

        The log's mark is written afterwards; see `recovery` for why. So without room nothing else
        of this turn may be done either: until there is, this node is as one that hears nothing.
        """
        try:
            self._client.install(meta)
        except StorageFull:
            self._room.state.refused()
            return False
        self._room.state.relieved()
        self._applying.installed(meta)
        self._desk.installed(meta.index, self._not_leader())
        self._observer.snapshot_installed(meta)
        return True


def _send_nothing(to: NodeId, data: bytes) -> None:
    """Stand in for a bulk lane where there is none."""
