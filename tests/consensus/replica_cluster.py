"""Replicas in one process over memory storage and a network that is a list. No time but ticks."""

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from paceline.codec import pack, unpack
from paceline.consensus.core import Core, CoreConfig
from paceline.consensus.messages import (
    Entry,
    EntryKind,
    Membership,
    Message,
    SnapshotMeta,
    decode_message,
    encode_message,
)
from paceline.consensus.recovery import recover
from paceline.consensus.replica import (
    Decision,
    Replica,
    ReplicaLimits,
    ReplicaObserver,
    ReplicaStatus,
)
from paceline.consensus.spool import MemorySource, MemorySpool
from paceline.consensus.storage.memory import MemoryLogStorage
from paceline.consensus.storage.protocol import LogWrite, SnapshotSource
from paceline.errors import StorageFull


class ListMachine:
    """A state machine that remembers every command, in order. All it has is durable at once."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.slices: list[int] = []
        self.snapshot_meta: SnapshotMeta | None = None
        self.saved = 0
        self.full = False
        """Set it to have no room: nothing is applied, saved or restored."""
        self._applied = 0

    @property
    def applied_index(self) -> int:
        return self._applied

    def apply(self, entries: Sequence[Entry]) -> list[Any]:
        self._require_room()
        self.slices.append(len(entries))
        return [self._apply(entry) for entry in entries]

    def _apply(self, entry: Entry) -> Any:
        if entry.index <= self._applied:
            return None
        assert entry.index == self._applied + 1
        self._applied = entry.index
        if entry.kind != EntryKind.COMMAND:
            return None
        self.commands.append(entry.data)
        return len(self.commands)

    def save(
        self,
        done: Callable[[SnapshotSource], None],
        failed: Callable[[StorageFull], None] | None = None,
    ) -> None:
        self.saved += 1
        if self.full:
            assert failed is not None
            failed(StorageFull("no room"))
            return
        done(MemorySource(pack([self._applied, self.commands])))

    def restore(self, source: SnapshotSource, meta: SnapshotMeta) -> None:
        self._require_room()
        self._applied, self.commands = unpack(source.read(0, source.size))
        assert self._applied == meta.index
        self.snapshot_meta = meta

    def _require_room(self) -> None:
        if self.full:
            raise StorageFull("no room")

    def make_durable(self, done: Callable[[int], None]) -> None:
        done(self._applied)

    def digest(self) -> bytes:
        return hashlib.sha256(pack([self._applied, self.commands])).digest()


class Recorder(ReplicaObserver):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.roles: list[ReplicaStatus] = []
        self.persisted_entries: list[int] = []
        self.applied_indexes: list[int] = []
        self.installed: list[SnapshotMeta] = []
        self.compactions: list[SnapshotMeta] = []
        self.sent: list[tuple[str, bool]] = []
        self.stalls: list[bool] = []

    def role_changed(self, status: ReplicaStatus) -> None:
        self.roles.append(status)

    def persisted(self, entries: int) -> None:
        self.persisted_entries.append(entries)

    def applied(self, index: int, entries: int) -> None:
        self.applied_indexes.append(index)

    def compacted(self, meta: SnapshotMeta) -> None:
        self.compactions.append(meta)

    def snapshot_installed(self, meta: SnapshotMeta) -> None:
        self.installed.append(meta)

    def snapshot_sent(self, to: str, meta: SnapshotMeta, ok: bool) -> None:
        self.sent.append((to, ok))

    def stall_changed(self, stalled: bool) -> None:
        self.stalls.append(stalled)


class Node:
    """One node: what survives a crash (disk, machine, spool), and the replica of this life."""

    def __init__(self, name: str, cluster: "Cluster") -> None:
        self.name = name
        self.storage = MemoryLogStorage()
        self.machine = ListMachine()
        self.spool = MemorySpool()
        self.up = False
        self.observer = Recorder()
        self.replica: Replica
        self.core: Core
        self._cluster = cluster
        self._lives = 0

    def start(self) -> None:
        self._lives += 1
        stored = recover(self.storage, self.machine)
        config = CoreConfig(node_id=self.name)
        self.core = Core(
            config, stored, self.machine.applied_index, Random(f"{self.name}{self._lives}")
        )
        self.replica = Replica(
            core=self.core,
            storage=self.storage,
            machine=self.machine,
            send=self._send,
            wake=lambda: None,
            observer=self.observer,
            limits=self._cluster.limits,
            send_bulk=self._send_bulk,
            spool=self.spool,
            first_context=self._lives << 20,
        )
        self.up = True

    def crash(self) -> None:
        self.up = False
        self.storage.crash()

    def _send(self, to: str, message: Message) -> None:
        self._cluster.network.append((self.name, to, encode_message(message), False))

    def _send_bulk(self, to: str, data: bytes) -> None:
        self._cluster.network.append((self.name, to, data, True))


class Cluster:
    """Nodes a, b, c ... founded together; `lossy(sender, to, bulk)` says what gets lost."""

    def __init__(self, size: int = 3, limits: ReplicaLimits | None = None) -> None:
        self.limits = limits or ReplicaLimits()
        self.network: deque[tuple[str, str, bytes, bool]] = deque()
        self.lossy: Callable[[str, str, bool], bool] = lambda sender, to, bulk: False
        self.without: tuple[type[Message], ...] = ()
        """Messages of these types get lost."""
        self.nodes = {name: Node(name, self) for name in "abcdefg"[:size]}
        mark = SnapshotMeta(0, 0, Membership(voters=tuple(self.nodes)))
        for node in self.nodes.values():
            node.storage.write(LogWrite(None, mark, ()), lambda: None)
            node.start()

    def settle(self) -> None:
        """Deliver until nothing moves. No time passes."""
        busy = True
        while busy:
            for node in self.nodes.values():
                if node.up:
                    self._pump(node)
            busy = bool(self.network)
            while self.network:
                self._deliver(*self.network.popleft())

    def _pump(self, node: Node) -> None:
        before = -1
        while before != (before := node.machine.applied_index):
            node.replica.pump()

    def _deliver(self, sender: str, to: str, data: bytes, bulk: bool) -> None:
        node = self.nodes[to]
        if not node.up or self.lossy(sender, to, bulk):
            return
        if bulk:
            node.replica.receive_bulk(sender, data)
            return
        message = decode_message(data)
        if not isinstance(message, self.without):
            node.replica.receive(message)

    def run(self, ticks: int = 1) -> None:
        for _ in range(ticks):
            for node in self.nodes.values():
                if node.up:
                    node.replica.tick()
            self.settle()

    def until(self, condition: Callable[[], bool], ticks: int = 400) -> None:
        for _ in range(ticks):
            if condition():
                return
            self.run()
        raise AssertionError(f"not within {ticks} ticks")

    def leaders(self) -> list[Node]:
        return [n for n in self.nodes.values() if n.up and n.replica.status().role == "leader"]

    def elect(self) -> Node:
        """Answer the leader whom a majority follows."""

        def settled() -> bool:
            return len(self.leaders()) == 1 and all(
                n.replica.status().leader_id == self.leaders()[0].name
                for n in self.nodes.values()
                if n.up
            )

        self.until(settled)
        return self.leaders()[0]

    def propose(self, node: Node, data: bytes) -> list[Decision]:
        """Answer a list that the decision will be put into."""
        answers: list[Decision] = []
        node.replica.propose(data, answers.append)
        return answers

    def commit(self, node: Node, data: bytes) -> Decision:
        answers = self.propose(node, data)
        self.until(lambda: bool(answers))
        return answers[0]

    def agree(self) -> None:
        """Run until all nodes that are up have applied the same; check that it is the same."""
        up = [n for n in self.nodes.values() if n.up]
        self.until(
            lambda: len({(n.machine.applied_index, n.core.status().last_index) for n in up}) == 1
        )
        assert len({n.machine.digest() for n in up}) == 1

    def cut_off(self, name: str) -> None:
        """Lose all messages to and from that node."""
        self.lossy = lambda sender, to, bulk: name in (sender, to)

    def heal(self) -> None:
        self.lossy = lambda sender, to, bulk: False
