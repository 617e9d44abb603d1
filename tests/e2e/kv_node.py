"""One node of a replicated key-value store, as a process: for tests of linearizability.

    python -m tests.e2e.kv_node CLUSTER_FILE NUMBER

Everything between the client's socket and the store is the real thing: replica, core, log in
SQLite, encrypted transport, loop. The cluster's file names all members; keys and ports stay the
same over restarts.

Clients speak JSON lines over a Unix socket, which no partition of the network cuts: they reach
every node that runs, also one that is alone and does not know it. There a stale read would show.

    {"do": "command", "command": [client, request, op, key, value]}  ->  {"result": ...}
    {"do": "read", "key": ...}                                       ->  {"result": ...}
    {"do": "status"}                                                 ->  {"result": {...}}

or `{"error": ..., "leader": number or null}`. An error of a command leaves open whether it takes
effect; a repetition under the same request number is harmless.

The node ends when its standard input does, so that it does not outlive who started it.
"""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from paceline.clock import SystemClock
from paceline.consensus.compaction import CompactionLimits
from paceline.consensus.core import Core, CoreConfig
from paceline.consensus.messages import (
    Membership,
    Message,
    SnapshotMeta,
    decode_message,
    encode_message,
)
from paceline.consensus.recovery import recover
from paceline.consensus.replica import Replica, ReplicaLimits
from paceline.consensus.spool import FileSpool
from paceline.consensus.storage.protocol import LogWrite
from paceline.consensus.storage.sqlite import SqliteLogStorage
from paceline.errors import NotLeader, PacelineError
from paceline.node.keys import NodeKeys, load_keys
from paceline.node.replica_loop import ReplicaLoop
from paceline.node.transport import Transport
from paceline.node.wire import Kind, Lane
from tests.e2e.kv_machine import SqliteKvMachine
from tests.sim.machine import Command, encode_command

ELECTION_TICKS = 10
LIMITS = ReplicaLimits(
    election_ticks=ELECTION_TICKS,
    compaction=CompactionLimits(every_entries=300, keep_trailing_entries=100),
)
"""The log is cut so often that a node which was away for a moment needs the whole state."""
STOPPED_BY_STORAGE = 74
"""Exit status: the disk failed, or was full where that cannot be waited for."""
LINE_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """One line of the cluster's file."""

    key: bytes
    host: str
    port: int
    directory: Path
    data: Path
    socket: Path

    @classmethod
    def read(cls, document: dict[str, Any]) -> "Member":
        paths = {name: Path(document[name]) for name in ("directory", "data", "socket")}
        return cls(bytes.fromhex(document["key"]), document["host"], document["port"], **paths)

    @property
    def node_id(self) -> str:
        return NodeKeys(public=self.key, secret=b"").node_id


class KvNode:
    """Wires one node as the real composition root does."""

    def __init__(self, members: list[Member], number: int) -> None:
        self._me = members[number]
        self._others = [member for member in members if member is not self._me]
        self._numbers = {member.node_id: at for at, member in enumerate(members)}
        keys = {member.key for member in self._others}
        self._transport = Transport(
            keys=load_keys(self._me.directory / "node.key"),
            bind_host=self._me.host,
            port=self._me.port,
            allowed=keys.__contains__,
        )
        call_soon = asyncio.get_running_loop().call_soon_threadsafe
        storage = SqliteLogStorage(self._me.data / "raft.db", loop_call=call_soon, on_failure=_stop)
        _found(storage, sorted(self._numbers))
        self.machine = SqliteKvMachine(self._me.data / "state.db")
        self.loop = ReplicaLoop(clock=SystemClock())
        self._replica = self._make_replica(storage)
        self.loop.attach(self._replica)

    def _make_replica(self, storage: SqliteLogStorage) -> Replica:
        config = CoreConfig(
            self._me.node_id, election_ticks=ELECTION_TICKS, stall_ticks=2 * ELECTION_TICKS
        )
        lots = SystemRandom()
        start = recover(storage, self.machine)
        core = Core(config, start, self.machine.applied_index, Random(lots.getrandbits(64)))
        return Replica(
            core=core,
            storage=storage,
            machine=self.machine,
            send=self._send,
            wake=self.loop.wake,
            observer=self.loop,
            limits=LIMITS,
            send_bulk=self._send_bulk,
            spool=FileSpool(self._me.data),
            first_context=lots.getrandbits(48),
        )

    async def run(self) -> None:
        """Serve until the standard input ends."""
        await self._transport.open()
        self._transport.on(Kind.RAFT, self._on_message)
        self._transport.on(Kind.SNAPSHOT, self._replica.receive_bulk)
        self._transport.on_link(self._on_link)
        for other in self._others:
            hosts, port = [other.host], other.port
            self._transport.add_peer(other.node_id, other.key, hosts, port + 1, port + 2)
        self._me.socket.unlink(missing_ok=True)
        await asyncio.start_unix_server(self._serve, self._me.socket, limit=LINE_LIMIT_BYTES)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tick())
            await asyncio.to_thread(sys.stdin.read)
            os._exit(0)

    async def _tick(self) -> None:
        """Run the replica; its failure is the node's end."""
        try:
            await self.loop.run()
        except PacelineError as error:
            _stop(error)

    # --- peers ------------------------------------------------------------------------------------

    def _send(self, to: str, message: Message) -> None:
        self._transport.send(to, Kind.RAFT, encode_message(message))

    def _send_bulk(self, to: str, data: bytes) -> None:
        self._transport.send(to, Kind.SNAPSHOT, data, Lane.BULK)

    def _on_message(self, sender: str, body: bytes) -> None:
        self._replica.receive(decode_message(body))

    def _on_link(self, node_id: str, up: bool) -> None:
        if not up:
            self._replica.peer_lost(node_id)

    # --- clients ----------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client's lines, one after the other."""
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(json.loads(line))).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"result": await self._result(question)}
        except NotLeader as error:
            leader = self._numbers.get(error.leader_id or "")
            return {"error": "NotLeader", "leader": leader}
        except PacelineError as error:
            return {"error": type(error).__name__, "leader": None}

    async def _result(self, question: dict[str, Any]) -> Any:
        if question["do"] == "command":
            command = Command(*question["command"])
            return (await self.loop.propose(encode_command(command))).result
        if question["do"] == "read":
            await self.loop.read_barrier()
            return self.machine.state.keys.get(question["key"])
        status = self._replica.status()
        return {
            "role": status.role,
            "term": status.term,
            "applied": status.applied_index,
            "stalled": status.stalled,
            "restored": (self.machine.snapshot_meta or SnapshotMeta(0, 0, Membership())).index,
            "digest": self.machine.digest().hex(),
        }


def _found(storage: SqliteLogStorage, voters: list[str]) -> None:
    """Write the log's beginning, unless an earlier life of this node has."""
    stored = storage.load()
    if stored.snapshot is None and not stored.entries and not stored.hard_state.term:
        storage.write(LogWrite(None, SnapshotMeta(0, 0, Membership(tuple(voters))), ()), _nothing)


def _nothing() -> None:
    """Nobody waits: what follows is written after it."""


def _stop(error: BaseException) -> None:
    print(error, file=sys.stderr, flush=True)
    os._exit(STOPPED_BY_STORAGE)


async def main(members: list[Member], number: int) -> None:
    await KvNode(members, number).run()


if __name__ == "__main__":
    documents = json.loads(Path(sys.argv[1]).read_text())
    asyncio.run(main([Member.read(document) for document in documents], int(sys.argv[2])))
