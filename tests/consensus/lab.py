"""Cores on a bench: each with a disk that can be made slow, and messages delivered by hand.

No time passes and nothing is lost unless a test says so. The random numbers are the smallest that
the core may draw, so a follower stands after exactly `election_ticks` ticks of silence, and after
one tick once it has forgotten its leader.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from paceline.consensus.core import Core, CoreConfig
from paceline.consensus.messages import (
    Entry,
    EntryKind,
    HardState,
    Membership,
    Message,
    SnapshotMeta,
    decode_message,
    encode_message,
)
from paceline.consensus.ready import Ready
from paceline.consensus.storage.protocol import StoredLog


class Smallest(Random):
    """Draws the smallest number that is asked for."""

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return 0 if stop is None else start

    def randint(self, a: int, b: int) -> int:
        return a


def founding(voters: Iterable[str], learners: Iterable[str] = ()) -> SnapshotMeta:
    """Answer what a cluster with these members starts from."""
    return SnapshotMeta(0, 0, Membership(tuple(sorted(voters)), tuple(sorted(learners))))


def entries(*terms: int, first: int = 1) -> tuple[Entry, ...]:
    """Answer commands of these terms from index `first` on."""
    return tuple(
        Entry(index, term, int(EntryKind.COMMAND), b"%d/%d" % (index, term))
        for index, term in enumerate(terms, first)
    )


@dataclass
class Disk:
    """What one node has written durably."""

    hard_state: HardState = field(default_factory=HardState)
    snapshot: SnapshotMeta | None = None
    entries: list[Entry] = field(default_factory=list)

    def write(self, ready: Ready) -> None:
        if ready.hard_state is not None:
            self.hard_state = ready.hard_state
        if ready.snapshot is not None:
            self.snapshot = ready.snapshot
            self.entries.clear()
        if ready.entries:
            first = ready.entries[0].index
            self.entries = [entry for entry in self.entries if entry.index < first]
            self.entries.extend(ready.entries)

    def compact(self, meta: SnapshotMeta, keep_from: int) -> None:
        self.snapshot = meta
        self.entries = [entry for entry in self.entries if entry.index >= keep_from]

    def stored(self) -> StoredLog:
        return StoredLog(self.hard_state, self.snapshot, tuple(self.entries))


Trace = Callable[[str, Any], None]
"""Told what each node does: (node id, a Ready, a Message or a str)."""


class Node:
    """A core with its disk. `fast` disks complete each write before anything else happens."""

    def __init__(self, config: CoreConfig, stored: StoredLog, random: Random | None = None) -> None:
        self.config = config
        self.disk = Disk(stored.hard_state, stored.snapshot, list(stored.entries))
        self.random = random or Smallest()
        self.applied: list[Entry] = []
        self.applied_index = stored.snapshot.index if stored.snapshot else 0
        self.reads: list[tuple[int, int]] = []
        self.fast = True
        self.under_way: deque[Ready] = deque()
        self.core = Core(config, self.disk.stored(), self.applied_index, self.random)

    def restart(self) -> None:
        """Crash and come back with what the disk has; applied state is taken for durable."""
        self.under_way.clear()
        self.core = Core(self.config, self.disk.stored(), self.applied_index, self.random)

    def take_ready(self) -> tuple[Ready | None, list[Message]]:
        """Do one turn's work; answer it and the messages that may leave now."""
        ready = self.core.ready()
        if ready is None:
            return None, []
        out = list(ready.messages)
        if ready.snapshot is not None:
            self.applied_index = ready.snapshot.index
            self.core.applied(ready.snapshot.index)
        if ready.token is None:
            out += ready.after_sync
        else:
            self.under_way.append(ready)
        for entry in ready.committed:
            self.applied.append(entry)
            self.applied_index = entry.index
        self.core.applied(self.applied_index)
        self.reads += [(read.context, read.index) for read in ready.reads]
        if self.fast:
            while self.under_way:
                out += self.sync()
        return ready, out

    def sync(self) -> list[Message]:
        """Complete the oldest write; answer what may leave now."""
        ready = self.under_way.popleft()
        self.disk.write(ready)
        assert ready.token is not None
        self.core.persisted(ready.token)
        return list(ready.after_sync)


class Lab:
    """Several nodes and the messages between them, in the order in which they were sent."""

    def __init__(self, trace: Trace | None = None) -> None:
        self.nodes: dict[str, Node] = {}
        self.wire: list[Message] = []
        self.cut: set[tuple[str, str]] = set()
        self._trace = trace or (lambda node_id, event: None)

    @staticmethod
    def of(*voters: str, learners: Sequence[str] = (), **options: Any) -> "Lab":
        """Answer a cluster that has just been founded by these members together."""
        lab = Lab()
        for node_id in [*voters, *learners]:
            stored = StoredLog(HardState(), founding(voters, learners), ())
            lab.add(Node(CoreConfig(node_id, **options), stored))
        return lab

    def __getitem__(self, node_id: str) -> Core:
        return self.nodes[node_id].core

    def add(self, node: Node) -> None:
        self.nodes[node.config.node_id] = node

    def join(self, node_id: str, **options: Any) -> None:
        """Add a node that knows nothing yet."""
        self.add(Node(CoreConfig(node_id, **options), StoredLog(HardState(), None, ())))

    def turn(self, node_id: str) -> bool:
        """Let a node do all the work that is waiting; answer whether there was any."""
        node, worked = self.nodes[node_id], False
        while True:
            ready, out = node.take_ready()
            if ready is None:
                return worked
            worked = True
            self._trace(node_id, ready)
            self.send(out)

    def sync(self, node_id: str) -> None:
        """Complete the oldest write of a node with a slow disk."""
        self.send(self.nodes[node_id].sync())

    def send(self, messages: Iterable[Message]) -> None:
        for message in messages:
            lost = (message.sender, message.to) in self.cut or message.to not in self.nodes
            self._trace(message.sender, (message, lost))
            if not lost:
                self.wire.append(decode_message(encode_message(message)))

    def deliver(self, wanted: Callable[[Message], bool] = lambda message: True) -> int:
        """Deliver what is on the wire now, if wanted; answer how many."""
        chosen = [message for message in self.wire if wanted(message)]
        self.wire = [message for message in self.wire if not wanted(message)]
        for message in chosen:
            self.step(message)
        return len(chosen)

    def step(self, message: Message) -> None:
        self.nodes[message.to].core.step(message)
        self._trace(message.to, "stepped")

    def drop(self, wanted: Callable[[Message], bool] = lambda message: True) -> list[Message]:
        """Lose what is on the wire now, if wanted; answer it."""
        dropped = [message for message in self.wire if wanted(message)]
        self.wire = [message for message in self.wire if not wanted(message)]
        return dropped

    def settle(self, rounds: int = 100) -> None:
        """Let everybody work and talk until nobody has anything to do."""
        for _ in range(rounds):
            busy = [self.turn(node_id) for node_id in self.nodes]
            if not self.deliver() and not any(busy):
                return
        raise AssertionError("the cluster does not come to rest")

    def elect(self, node_id: str) -> None:
        """Make a node the leader, and let everybody know."""
        self[node_id].campaign()
        self.settle()
        assert self[node_id].role == "leader"

    def tick(self, node_id: str, ticks: int = 1) -> None:
        """Let time pass for one node, which does nothing meanwhile."""
        for _ in range(ticks):
            self[node_id].tick()

    def isolate(self, *node_ids: str) -> None:
        """Cut these nodes off from all others (not from each other)."""
        inside, outside = set(node_ids), set(self.nodes) - set(node_ids)
        self.cut |= {pair for i in inside for o in outside for pair in ((i, o), (o, i))}

    def heal(self) -> None:
        self.cut.clear()
