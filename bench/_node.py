"""One measured node: the real replica, log, transport and loop around a small state machine.

    python -m bench._node DIRECTORY

Lines in: the list of members, then {"do": "status" | "load"}.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random, SystemRandom

from bench._kv import KvMachine
from bench._load import ClosedLoop, Done
from bench._station import Station, heard, pack, tell, unpack
from paceline.clock import SystemClock
from paceline.consensus.core import Core, CoreConfig
from paceline.consensus.messages import (
    Membership,
    Message,
    SnapshotMeta,
    decode_message,
    encode_message,
)
from paceline.consensus.recovery import recover
from paceline.consensus.replica import Decision, Replica
from paceline.consensus.spool import FileSpool
from paceline.consensus.storage.protocol import LogWrite
from paceline.consensus.storage.sqlite import SqliteLogStorage
from paceline.errors import StorageError
from paceline.node.replica_loop import ReplicaLoop
from paceline.node.wire import Kind, Lane

CLIENTS = 1
"""The last of the members is the client, and has no vote."""


class MeasuredNode:
    """Wires one node as the real composition root does."""

    def __init__(self, station: Station, directory: Path, voters: tuple[str, ...]) -> None:
        self._transport = station.transport
        node_id = station.keys.node_id
        event_loop = asyncio.get_running_loop()

        def call_soon(callback: Callable[[], None]) -> None:
            event_loop.call_soon_threadsafe(self._call, callback)

        storage = SqliteLogStorage(directory / "raft.db", loop_call=call_soon, on_failure=_stop)
        mark = SnapshotMeta(0, 0, Membership(voters=voters))
        storage.write(LogWrite(None, mark, ()), lambda: None)
        machine = KvMachine(directory / "state.db")
        core = Core(
            CoreConfig(node_id, hold_news=True),
            recover(storage, machine),
            machine.applied_index,
            Random(SystemRandom().getrandbits(64)),
        )
        self.loop = ReplicaLoop(clock=SystemClock())
        self.replica = Replica(
            core=core,
            storage=storage,
            machine=machine,
            send=self._send,
            wake=self.loop.wake,
            flush=self._transport.flush,
            later=self.loop.tell_news_later,
            observer=self.loop,
            send_bulk=self._send_bulk,
            spool=FileSpool(directory),
        )
        self.loop.attach(self.replica)
        self._transport.on(Kind.RAFT, lambda _, body: self.replica.receive(decode_message(body)))
        self._transport.on(Kind.SNAPSHOT, self.replica.receive_bulk)
        self._transport.on(Kind.REQUEST, self._on_request)
        self._transport.on_link(self._on_link)
        self._transport.on_turn(self.loop.turn_over)

    def issue(self, data: bytes, done: Done) -> None:
        """Propose from inside the process."""
        self.replica.propose(data, lambda decision: done(decision.error is None))

    def _call(self, callback: Callable[[], None]) -> None:
        callback()
        self.loop.turn_over()

    def _send(self, to: str, message: Message) -> None:
        self._transport.send(to, Kind.RAFT, encode_message(message))

    def _send_bulk(self, to: str, data: bytes) -> None:
        self._transport.send(to, Kind.SNAPSHOT, data, Lane.BULK)

    def _on_request(self, sender: str, body: bytes) -> None:
        number, data = unpack(body)

        def done(decision: Decision) -> None:
            answer = pack([number, decision.error is None])
            self._transport.send(sender, Kind.RESPONSE, answer)

        self.replica.propose(data, done)

    def _on_link(self, node_id: str, up: bool) -> None:
        if not up:
            self.replica.peer_lost(node_id)


def _stop(error: StorageError) -> None:
    raise SystemExit(str(error))


async def main() -> None:
    station = Station()
    others = await station.meet()
    voters = tuple(sorted([station.keys.node_id, *others[:-CLIENTS]]))
    node = MeasuredNode(station, Path(sys.argv[1]), voters)
    async with asyncio.TaskGroup() as group:
        group.create_task(node.loop.run())
        while True:
            order = await heard()
            if order["do"] == "status":
                status = node.replica.status()
                tell({"role": status.role, "term": status.term, "applied": status.applied_index})
            else:
                load = ClosedLoop(node.issue, order["outstanding"], order["size"], order["s"])
                tell(await load.run())


if __name__ == "__main__":
    asyncio.run(main())
