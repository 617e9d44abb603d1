"""What one seed is about, drawn from the seed alone.

Sizes are kept small on purpose: most bugs of consensus show with three nodes, two clients and a few
dozen entries, and a thousand small runs find more than ten large ones.
"""

import random
from dataclasses import dataclass, replace

from paceline.consensus.compaction import CompactionLimits
from paceline.consensus.core import CoreConfig
from paceline.consensus.replica import ReplicaLimits
from paceline.consensus.transfer import TransferLimits
from tests.sim.faults import AT_RISK, KINDS
from tests.sim.network import Conditions
from tests.sim.operator import ACTIONS
from tests.sim.world import MILLISECOND, SECOND

SIZES = (1, 2, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7)
NODE_DRIFTS = (1.0, 1.0, 0.95, 1.05, 0.8, 1.25)


@dataclass(frozen=True, slots=True)
class Scenario:
    """The settings of one run."""

    voters: int
    """How many nodes found the cluster."""
    max_nodes: int
    """How many may ever exist."""
    election_ticks: int
    heartbeat_ticks: int
    drifts: tuple[float, ...]
    """Each node's clock has one of these speeds."""
    network: Conditions
    pump_us: int
    """How late the owner's loop may call `pump`: much comes together in a late one."""
    disk_latency_us: int
    faults: tuple[str, ...]
    fault_every_ms: int
    actions: tuple[str, ...]
    action_every_ms: int
    clients: int
    client_pause_ms: int
    noise_every_ms: int
    """0 = no noise."""
    compact_every: int
    keep_trailing: int
    small_messages: bool
    """Windows and batches of a few entries, so that flow control is always at its bounds."""
    chaos_us: int
    """How long things go wrong before they are healed."""
    hold_news: bool = False
    """Leaders wait for an append to take the news of a commit along."""

    def core(self, node_id: str) -> CoreConfig:
        """Answer the options of a node's core."""
        if self.small_messages:
            return CoreConfig(
                node_id,
                self.election_ticks,
                self.heartbeat_ticks,
                hurry_ticks=min(3, self.election_ticks),
                stall_ticks=2 * self.election_ticks,
                max_append_entries=3,
                max_inflight_messages=2,
                max_uncommitted_bytes=2_000,
                max_committed_bytes=200,
                max_pending_reads=4,
                hold_news=self.hold_news,
            )
        return CoreConfig(
            node_id,
            self.election_ticks,
            self.heartbeat_ticks,
            hurry_ticks=min(3, self.election_ticks),
            stall_ticks=2 * self.election_ticks,
            hold_news=self.hold_news,
        )

    def limits(self) -> ReplicaLimits:
        """Answer the bounds of every replica."""
        return ReplicaLimits(
            apply_entries=3 if self.small_messages else 64,
            read_timeout_ticks=6 * self.election_ticks,
            room_ticks=2 * self.election_ticks,
            election_ticks=self.election_ticks,
            compaction=CompactionLimits(
                every_entries=self.compact_every, keep_trailing_entries=self.keep_trailing
            ),
            transfer=TransferLimits(
                chunk_bytes=20 if self.small_messages else 200,
                window_bytes=60 if self.small_messages else 500,
                resend_ticks=6,
                patience_ticks=60,
                rest_ticks=6,
                longest_rest_ticks=24,
            ),
        )

    @property
    def unit_ms(self) -> int:
        """Answer the shortest election timeout."""
        return 50 * self.election_ticks

    @property
    def election_us(self) -> int:
        """Answer the longest election timeout, on the slowest clock."""
        return int(2 * self.election_ticks * 50 * MILLISECOND * max(NODE_DRIFTS))


def draw(seed: int) -> Scenario:
    """Answer the scenario of a seed: anything, or one of the themes."""
    lots = random.Random(f"{seed} scenario")
    scenario = replace(_anything(lots), hold_news=seed % 2 == 1)
    return lots.choice(THEMES)(scenario, lots)


def _free(scenario: Scenario, lots: random.Random) -> Scenario:
    """Anything goes."""
    return scenario


def _diverging(scenario: Scenario, lots: random.Random) -> Scenario:
    """Leaders come and go under load, so that logs differ (paper, figures 7 and 8)."""
    return replace(
        scenario,
        voters=lots.choice((3, 4, 5, 5)),
        max_nodes=5,
        faults=("turnover", "turnover", "minority", "crash", "drop"),
        fault_every_ms=scenario.unit_ms * 2,
        actions=("transfer",),
        action_every_ms=scenario.unit_ms * 3,
        noise_every_ms=50,
        compact_every=lots.choice((15, 10_000)),
    )


def _stale(scenario: Scenario, lots: random.Random) -> Scenario:
    """Leaders are cut off or stopped while they are asked to read, on clocks that differ."""
    return replace(
        scenario,
        voters=lots.choice((3, 3, 5)),
        max_nodes=5,
        drifts=(0.8, 1.25),
        faults=("turnover", "isolate", "pause"),
        fault_every_ms=scenario.unit_ms * 3,
        actions=_transfers(lots),
        noise_every_ms=30,
    )


def _late(scenario: Scenario, lots: random.Random) -> Scenario:
    """Messages come so late, and again, that leaders have come and gone meanwhile.

    Of three voters two are a majority, and what one follower has acknowledged stays; so there are
    more of them as a rule.
    """
    return replace(
        scenario,
        voters=lots.choice((3, 4, 5, 5)),
        max_nodes=5,
        election_ticks=3,
        heartbeat_ticks=1,
        network=Conditions(tail=0.3, tail_us=1500 * MILLISECOND, repeat=0.3, ordered=False),
        faults=("turnover", "turnover", "pause"),
        fault_every_ms=lots.choice((200, 400)),
        actions=("transfer",),
        action_every_ms=800,
        noise_every_ms=50,
        small_messages=lots.random() < 0.7,
    )


def _echoing(scenario: Scenario, lots: random.Random) -> Scenario:
    """What was said comes back much later, to one who leads again after another has led.

    Leaders with a minority get a tail that some follower acknowledges; the next one replaces it.
    """
    return replace(
        scenario,
        voters=lots.choice((4, 5, 5)),
        max_nodes=5,
        election_ticks=3,
        heartbeat_ticks=1,
        network=Conditions(echo_us=2_000 * MILLISECOND, ordered=False),
        pump_us=200,
        disk_latency_us=500,
        faults=("comeback",),
        fault_every_ms=1200,
        chaos_us=6 * SECOND,
        actions=(),
        noise_every_ms=40,
        compact_every=10_000,
    )


def _reborn(scenario: Scenario, lots: random.Random) -> Scenario:
    """Nodes die and come back between their question and its answer, and old answers come again."""
    return replace(
        scenario,
        voters=3,
        max_nodes=3,
        election_ticks=6,
        heartbeat_ticks=1,
        network=Conditions(
            delay_us=15 * MILLISECOND,
            jitter_us=15 * MILLISECOND,
            echo_us=lots.choice((300, 1_000)) * MILLISECOND,
            ordered=False,
        ),
        pump_us=200,
        disk_latency_us=500,
        faults=("rebirth",),
        fault_every_ms=120,
        actions=(),
        clients=4,
        client_pause_ms=5,
        noise_every_ms=20,
        chaos_us=4 * SECOND,
    )


def _behind(scenario: Scenario, lots: random.Random) -> Scenario:
    """Followers fall behind the compaction point, and crash while they are brought up to it."""
    return replace(
        scenario,
        voters=lots.choice((2, 3, 3, 5)),
        faults=("crash", "isolate", "partition", "full_disk", AT_RISK),
        fault_every_ms=scenario.unit_ms * 2,
        noise_every_ms=scenario.unit_ms // 2,
        compact_every=5,
        keep_trailing=0,
        disk_latency_us=lots.choice((500, 30_000)),
    )


def _changing(scenario: Scenario, lots: random.Random) -> Scenario:
    """Members change all the time, through leaders that come and go."""
    return replace(
        scenario,
        voters=lots.choice((2, 3, 4)),
        max_nodes=6,
        faults=("turnover", "crash", "drop", "minority"),
        fault_every_ms=scenario.unit_ms * 3,
        actions=tuple(ACTIONS),
        action_every_ms=scenario.unit_ms // 2,
        noise_every_ms=scenario.unit_ms,
    )


def _anything(lots: random.Random) -> Scenario:
    voters = lots.choice(SIZES)
    election_ticks = lots.choice((3, 4, 6, 10))
    unit_ms = 50 * election_ticks
    changes = lots.random() < 0.4
    return Scenario(
        voters=voters,
        max_nodes=voters + (lots.randint(1, 3) if changes else 0),
        election_ticks=election_ticks,
        heartbeat_ticks=1 if election_ticks < 6 else 2,
        drifts=NODE_DRIFTS,
        network=_network(lots),
        pump_us=lots.choice((200, 200, 5_000, 30_000)),
        disk_latency_us=lots.choice((200, 500, 2_000, 8_000, 30_000)),
        faults=_some(lots, KINDS, 5) if lots.random() < 0.95 else (),
        fault_every_ms=int(unit_ms * lots.choice((0.8, 1.5, 3, 6))),
        actions=_some(lots, tuple(ACTIONS), 4) if changes else _transfers(lots),
        action_every_ms=int(unit_ms * lots.choice((1, 2, 5))),
        clients=lots.randint(1, 4),
        client_pause_ms=lots.choice((5, 30, 100, 300)),
        noise_every_ms=lots.choice((0, 40, unit_ms // 3, unit_ms)),
        compact_every=lots.choice((5, 15, 50, 10_000)),
        keep_trailing=lots.choice((0, 0, 3, 10)),
        small_messages=lots.random() < 0.4,
        chaos_us=lots.choice((8, 13, 20)) * unit_ms * MILLISECOND,
    )


def _network(lots: random.Random) -> Conditions:
    calm = lots.random() < 0.3
    return Conditions(
        delay_us=lots.choice((100, 500, 5_000)),
        jitter_us=lots.choice((100, 2_000, 20_000)),
        tail=0.0 if calm else lots.choice((0.0, 0.01, 0.1)),
        tail_us=lots.choice((50, 300, 1500)) * MILLISECOND,
        loss=0.0 if calm else lots.choice((0.0, 0.01, 0.05, 0.2)),
        repeat=0.0 if calm else lots.choice((0.0, 0.02, 0.2)),
        ordered=lots.random() < 0.4,
        bulk_bytes_per_ms=lots.choice((1, 20, 2_000)),
    )


def _some(lots: random.Random, names: tuple[str, ...], most: int) -> tuple[str, ...]:
    """Answer a few of the names, in their order; sometimes all."""
    if lots.random() < 0.1:
        return names
    chosen = lots.sample(names, lots.randint(1, most))
    return tuple(name for name in names if name in chosen)


def _transfers(lots: random.Random) -> tuple[str, ...]:
    return ("transfer",) if lots.random() < 0.3 else ()


THEMES = (_free, _free, _reborn, _diverging, _stale, _late, _behind, _changing, _echoing)
"""What a seed may be about."""
