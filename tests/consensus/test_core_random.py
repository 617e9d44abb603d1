"""Random schedules of everything that can happen to a few cores, with the paper's invariants.

The whole cluster, with replicas, storage and clocks, is simulated in `tests/sim`; this is its small
sister: only cores, so that thousands of schedules run in seconds and a failure points at the core.
"""

from contextlib import suppress
from random import Random

import pytest

from paceline.consensus.core import CoreConfig
from paceline.consensus.messages import Entry, HardState
from paceline.consensus.storage.protocol import StoredLog
from paceline.errors import Busy, Conflict, NotLeader
from tests.consensus.lab import Lab, Node, founding

NODES = ("a", "b", "c", "d", "e")


class Chaos:
    """One schedule. Figure 3 of the paper is checked after every step."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.lab = Lab()
        voters = NODES[: self.random.choice((1, 2, 3, 3, 5))]
        for node_id in NODES:
            meta = founding(voters) if node_id in voters else None
            config = CoreConfig(
                node_id,
                election_ticks=5,
                heartbeat_ticks=1,
                stall_ticks=15,
                max_inflight_messages=self.random.choice((1, 3)),
                max_append_entries=self.random.choice((1, 4)),
                max_committed_bytes=self.random.choice((1, 1000)),
                max_uncommitted_bytes=self.random.choice((200, 10_000)),
            )
            stored = StoredLog(HardState(), meta, ())
            self.lab.add(Node(config, stored, Random(self.random.random())))
        self.leaders: dict[int, str] = {}
        self.committed: dict[int, Entry] = {}
        self.terms = dict.fromkeys(NODES, 0)
        self.proposed = 0

    def run(self, steps: int) -> None:
        trouble = self.random.choice((0.1, 1, 3))
        weights = {
            self.tick: 30,
            self.turn: 50,
            self.deliver: 120,
            self.sync: 20,
            self.propose: 10,
            self.change: 1,
            self.read: 2,
            self.compact: 1,
            self.heal: 2,
            self.snapshot_ends: 2,
            self.lose: 3 * trouble,
            self.duplicate: 3 * trouble,
            self.transfer: trouble,
            self.forget: trouble,
            self.crash: trouble,
            self.partition: trouble,
            self.unreachable: trouble,
        }
        for action in self.random.choices(list(weights), list(weights.values()), k=steps):
            node_id = self.random.choice(NODES)
            if action in (self.propose, self.change, self.transfer):
                node_id = self.some_leader() or node_id
            with suppress(NotLeader, Busy, Conflict):
                action(node_id)
            self.check(node_id)

    def some_leader(self) -> str | None:
        leaders = [n for n, node in self.lab.nodes.items() if node.core.role == "leader"]
        return self.random.choice(leaders) if leaders else None

    # --- what can happen --------------------------------------------------------------------------

    def tick(self, node_id: str) -> None:
        self.lab.tick(node_id, self.random.randint(1, 3))

    def turn(self, node_id: str) -> None:
        self.lab.nodes[node_id].fast = self.random.random() < 0.5
        self.lab.turn(node_id)

    def sync(self, node_id: str) -> None:
        if self.lab.nodes[node_id].under_way:
            self.lab.sync(node_id)

    def deliver(self, node_id: str) -> None:
        """Deliver some message, not always the oldest one."""
        if self.lab.wire:
            late = self.random.random() < 0.2
            position = self.random.randrange(len(self.lab.wire)) if late else 0
            self.lab.step(self.lab.wire.pop(position))

    def lose(self, node_id: str) -> None:
        if self.lab.wire:
            self.lab.wire.pop(self.random.randrange(len(self.lab.wire)))

    def duplicate(self, node_id: str) -> None:
        if self.lab.wire:
            self.lab.wire.append(self.random.choice(self.lab.wire))

    def propose(self, node_id: str) -> None:
        self.proposed += 1
        self.lab[node_id].propose([b"%d" % self.proposed] * self.random.randint(1, 3))

    def change(self, node_id: str) -> None:
        voters = self.random.sample(NODES, self.random.randint(1, 5))
        learners = [node for node in NODES if node not in voters and self.random.random() < 0.5]
        self.lab[node_id].change_membership(voters, learners)

    def transfer(self, node_id: str) -> None:
        self.lab[node_id].transfer(self.random.choice(NODES))

    def forget(self, node_id: str) -> None:
        self.lab[node_id].forget_leader()

    def read(self, node_id: str) -> None:
        self.lab[node_id].read_index(max(self.committed, default=0))

    def crash(self, node_id: str) -> None:
        """What is under way is lost from some write on."""
        node = self.lab.nodes[node_id]
        for _ in range(self.random.randint(0, len(node.under_way))):
            node.disk.write(node.under_way.popleft())
        node.restart()
        self.terms[node_id] = node.disk.hard_state.term

    def compact(self, node_id: str) -> None:
        node = self.lab.nodes[node_id]
        snapshot = node.disk.snapshot.index if node.disk.snapshot else 0
        if node.applied_index > snapshot and not node.under_way:
            meta = node.core.snapshot_meta(node.applied_index)
            keep_from = self.random.randint(snapshot + 1, meta.index + 1)
            node.core.compact(meta, keep_from)
            node.disk.compact(meta, keep_from)

    def partition(self, node_id: str) -> None:
        self.lab.cut.add((node_id, self.random.choice(NODES)))
        if self.random.random() < 0.3:
            self.lab.isolate(node_id)

    def heal(self, node_id: str) -> None:
        self.lab.heal()

    def unreachable(self, node_id: str) -> None:
        self.lab[node_id].report_unreachable(self.random.choice(NODES))

    def snapshot_ends(self, node_id: str) -> None:
        ok = self.random.random() < 0.5
        self.lab[node_id].report_snapshot(self.random.choice(NODES), ok)

    # --- what must hold ---------------------------------------------------------------------------

    def check(self, node_id: str) -> None:
        for name, node in self.lab.nodes.items():
            status = node.core.status()
            assert status.term >= self.terms[name], "terms only grow"
            self.terms[name] = status.term
            if status.role == "leader":
                assert self.leaders.setdefault(status.term, name) == name, "election safety"
        for node in self.lab.nodes.values():
            for entry in node.applied:
                known = self.committed.setdefault(entry.index, entry)
                assert known == entry, "state machine safety"
            node.applied.clear()
        for name, node in self.lab.nodes.items():
            for context, index in node.reads:
                assert index >= context, f"{name} would serve a stale read"
            node.reads.clear()

    def settle_down(self) -> None:
        """Heal everything; the cluster must come to agree and to make progress."""
        self.lab.heal()
        for node in self.lab.nodes.values():
            node.fast = True
            while node.under_way:
                self.lab.send(node.sync())
        for round_ in range(300):
            for node_id in self.lab.nodes:
                self.lab.tick(node_id)
                self.lab.turn(node_id)
            self.lab.deliver()
            if round_ % 10 == 0:
                for node_id in NODES:  # the shell's duty: the transfers that were lost have ended
                    for other in NODES:
                        self.lab[node_id].report_snapshot(other, ok=False)
        leaders = [n for n, node in self.lab.nodes.items() if node.core.role == "leader"]
        top = max(leaders, key=lambda n: self.lab[n].term)
        before = self.lab[top].commit_index
        self.lab[top].propose([b"last"])
        for _ in range(20):
            self.lab.settle()
            self.lab.tick(top)
        status = self.lab[top].status()
        assert status.commit_index > before, "no progress"
        for member in status.membership.members:
            assert self.lab[member].commit_index == status.commit_index, f"{member} lags behind"
        self.check(top)


@pytest.mark.parametrize("seed", range(60))
def test_random_schedules_are_safe_and_come_to_rest(seed: int) -> None:
    chaos = Chaos(seed)
    chaos.run(1500)
    chaos.settle_down()
