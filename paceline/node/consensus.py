"""This node's part in the replicated log, built from its disk and tied to the network."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import structlog

from paceline.clock import Clock
from paceline.consensus.compaction import CompactionLimits
from paceline.consensus.config import CoreConfig
from paceline.consensus.core import Core
from paceline.consensus.messages import Message, SnapshotMeta, decode_message, encode_message
from paceline.consensus.recovery import found, recover
from paceline.consensus.replica import Replica, ReplicaLimits
from paceline.consensus.spool import FileSpool
from paceline.consensus.storage.sqlite import SqliteLogStorage
from paceline.errors import Conflict, ProtocolError, StorageError
from paceline.ids import NodeId
from paceline.node.progress import AppliedProgress
from paceline.node.replica_loop import TICK_MS, ReplicaLoop
from paceline.node.transport import Transport
from paceline.node.wire import Kind, Lane
from paceline.tasks.machine import TaskMachine

ELECTION_TICKS = {"wifi": 20, "wired": 10}
"""One to two seconds of silence, or half of that where the network does not stall."""
HAND_OVER_S = 1.5
SNAPSHOT_COPIES = 3
"""As it was received, as it is checked, and in the state's write-ahead log until that is cut."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusSettings:
    """Where it lives and how it votes. `founder`: begin a cluster of one with an empty log.

    `compaction` says when the log is cut; the default suits logs of some ten thousand entries.
    """

    node_id: NodeId
    directory: Path
    profile: str
    founder: bool
    compaction: CompactionLimits = field(default_factory=CompactionLimits)


class Consensus:
    """Log, state machine and replica of one node."""

    def __init__(
        self,
        *,
        settings: ConsensusSettings,
        transport: Transport,
        clock: Clock,
        failed: Callable[[BaseException], None],
    ) -> None:
        """Open the files and build the replica. Raise CorruptStorage, StorageError.

        `failed` hears of a disk that cannot be trusted any more: the node must stop.
        """
        loop = asyncio.get_running_loop()

        def call_soon(callback: Callable[[], None]) -> None:
            loop.call_soon_threadsafe(self._call, callback)

        self._node_id = settings.node_id
        self._transport = transport
        self.machine = TaskMachine(
            settings.directory / "state.db",
            meta_type=SnapshotMeta,
            call_soon=call_soon,
            failed=failed,
        )
        self._storage = SqliteLogStorage(
            settings.directory / "raft.db", loop_call=call_soon, on_failure=failed
        )
        if settings.founder:
            with suppress(Conflict):  # a start that was cut short has written it already
                found(self._storage, settings.node_id)
        self.progress: AppliedProgress[Any] = AppliedProgress(self.machine.applied_index)
        self.machine.on_applied(
            lambda changes: self.progress.advanced(self.machine.applied_index, changes)
        )
        self.loop = ReplicaLoop(clock=clock, tick_ms=TICK_MS)
        self.loop.attach(self._replica(settings))
        transport.on(Kind.RAFT, self._on_message)
        transport.on(Kind.SNAPSHOT, self.loop.replica.receive_bulk)
        transport.on_link(self._on_link)
        transport.on_turn(self.loop.turn_over)

    def _replica(self, settings: ConsensusSettings) -> Replica:
        ticks = ELECTION_TICKS[settings.profile]
        core = Core(
            CoreConfig(
                settings.node_id, election_ticks=ticks, stall_ticks=2 * ticks, hold_news=True
            ),
            recover(self._storage, self.machine),
            self.machine.applied_index,
            Random(SystemRandom().getrandbits(64)),
        )
        return Replica(
            core=core,
            storage=self._storage,
            machine=self.machine,
            send=self._send,
            wake=self.loop.wake,
            flush=self._transport.flush,
            later=self.loop.tell_news_later,
            observer=self.loop,
            limits=ReplicaLimits(
                election_ticks=ticks, room_ticks=2 * ticks, compaction=settings.compaction
            ),
            send_bulk=self._send_bulk,
            spool=FileSpool(settings.directory, copies=SNAPSHOT_COPIES),
            first_context=SystemRandom().getrandbits(48),
        )

    def _call(self, callback: Callable[[], None]) -> None:
        """Call back from another thread, and act on it in the same turn."""
        callback()
        self.loop.turn_over()

    # --- the network ------------------------------------------------------------------------------

    def _send(self, to: NodeId, message: Message) -> None:
        self._transport.send(to, Kind.RAFT, encode_message(message))

    def _send_bulk(self, to: NodeId, data: bytes) -> None:
        self._transport.send(to, Kind.SNAPSHOT, data, Lane.BULK)

    def _on_message(self, sender: NodeId, body: bytes) -> None:
        message = decode_message(body)
        if message.sender != sender or message.to != self._node_id:
            raise ProtocolError(f"{sender} speaks for {message.sender}, to {message.to}")
        self.loop.replica.receive(message)

    def _on_link(self, node_id: NodeId, up: bool) -> None:
        if not up:
            self.loop.replica.peer_lost(node_id)

    # --- the end ----------------------------------------------------------------------------------

    async def hand_over(self) -> None:
        """If this node leads, have the voter that is furthest lead instead; wait for that."""
        status = self.loop.status
        voters = set(status.membership.voters) - {self._node_id}
        heirs = [peer for peer in status.peers if peer.node_id in voters and peer.recently_active]
        if not self.loop.leads or not heirs:
            return
        self.loop.replica.transfer(max(heirs, key=lambda peer: peer.match).node_id)
        with suppress(TimeoutError):
            async with asyncio.timeout(HAND_OVER_S):
                while self.loop.leads:
                    await self.loop.leader_change()

    def close(self) -> None:
        """Answer all who wait, finish writes, let go of the files."""
        self.loop.replica.close()
        for part in (self._storage, self.machine):
            try:
                part.close()
            except StorageError as error:
                log.warning("did not close cleanly", reason=str(error))
