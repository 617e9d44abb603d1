"""What a node is like now, in Prometheus' text form, together with what `meters` has counted.

Figures of the replicated state (tasks, subtasks, open attempts, checkpoints, scores) are the same
on every node: take `max` over nodes, not `sum`. All others are this node's own. The state is
counted off the event loop, and again only when it has changed and the last count is some seconds
old, so that no scraper can keep a node busy.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from paceline import __version__
from paceline.clock import Clock
from paceline.consensus.replica import ReplicaStatus
from paceline.ids import NodeId
from paceline.node.meters import Meters
from paceline.node.state_reader import StateReader
from paceline.node.transport import LinkStats, TransportStats
from paceline.tasks.model import Vitals
from paceline.tasks.queries_figures import Figures, figures

COUNT_AGAIN_MS = 5_000
_FILES = ("raft.db", "raft.db-wal", "state.db", "state.db-wal", "outbox.db", "outbox.db-wal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the figures of now come from; each is asked once per scrape, on the event loop."""

    node_id: NodeId
    data_dir: Path
    consensus: Callable[[], ReplicaStatus]
    transport: Callable[[], TransportStats]
    link: Callable[[NodeId], LinkStats | None]
    members: Callable[[], Collection[NodeId]]
    own_vitals: Callable[[], Vitals | None]
    blob_bytes: Callable[[], int]


class Exposition:
    """Answers scrapes."""

    def __init__(
        self, *, sources: Sources, meters: Meters, reader: StateReader, clock: Clock
    ) -> None:
        self._sources = sources
        self._meters = meters
        self._reader = reader
        self._clock = clock
        self._counted: tuple[int, int, Figures] | None = None
        """At which applied index, when (monotonic), and what."""

    async def text(self) -> bytes:
        """Answer everything in Prometheus' text form."""
        counted = await self._figures()
        sizes = await asyncio.to_thread(_sizes, self._sources.data_dir)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Now(self._sources, counted, sizes, self._clock.now_ms()))
        return generate_latest(registry) + generate_latest(self._meters.registry)

    async def _figures(self) -> Figures:
        index, now_ms = self._sources.consensus().applied_index, self._clock.monotonic_ms()
        if self._counted is not None:
            at_index, at_ms, counted = self._counted
            if at_index == index or now_ms - at_ms < COUNT_AGAIN_MS:
                return counted
        wall_ms = self._clock.now_ms()
        counted = await self._reader.read(lambda connection: figures(connection, wall_ms))
        self._counted = (index, now_ms, counted)
        return counted


def _sizes(directory: Path) -> dict[str, int]:
    found = {}
    for name in _FILES:
        try:
            found[name] = (directory / name).stat().st_size
        except OSError:
            continue
    return found


class _Now(Collector):
    """One scrape: families made of what was read."""

    def __init__(
        self, sources: Sources, counted: Figures, sizes: Mapping[str, int], now_ms: int
    ) -> None:
        self._sources = sources
        self._counted = counted
        self._sizes = sizes
        self._now_ms = now_ms

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        node = GaugeMetricFamily(
            "paceline_info", "This node; the value is 1.", labels=("node_id", "version")
        )
        node.add_metric((self._sources.node_id, __version__), 1)
        yield node
        yield from self._consensus()
        yield from self._transport()
        yield from self._work()
        yield from self._machine()

    def _consensus(self) -> Iterator[Metric]:
        status = self._sources.consensus()
        voters, learners = status.membership.voters, status.membership.learners
        for name, about, value in (
            ("term", "The Raft term.", status.term),
            ("last_index", "The last entry of this node's log.", status.last_index),
            ("commit_index", "The last entry known to be committed.", status.commit_index),
            ("applied_index", "The last entry in this node's state.", status.applied_index),
            ("leader", "1 while this node leads.", status.role == "leader"),
            ("has_leader", "1 while a leader is known.", bool(status.leader_id)),
            ("has_quorum", "1 while changes can be committed.", status.quorum_active),
            ("stalled", "1 while the disk is full.", status.stalled),
            ("pending", "Proposals and reads that wait for an answer.", status.pending),
            ("voters", "Members that vote.", len(voters)),
            ("learners", "Members that do not vote.", len(learners)),
        ):
            yield GaugeMetricFamily(f"paceline_raft_{name}", about, value)
        behind = GaugeMetricFamily(
            "paceline_raft_follower_behind",
            "Entries that a follower has not confirmed; told by the leader only.",
            labels=("peer",),
        )
        for peer in status.peers:
            behind.add_metric((peer.node_id,), max(0, status.last_index - peer.match))
        yield behind

    def _transport(self) -> Iterator[Metric]:
        stats = self._sources.transport()
        for name, about, value in (
            ("handshakes", "Handshakes of members.", stats.admitted),
            ("handshakes_refused", "Handshakes of strangers, refused.", stats.refused),
            ("frames_refused", "Frames of keys that are members no more.", stats.refused_frames),
            ("messages_failed", "Messages whose handling failed.", stats.failed),
        ):
            yield CounterMetricFamily(f"paceline_transport_{name}", about, value)
        yield from self._links()

    def _links(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("paceline_peer_up", "1 while connected.", labels=("peer",))
        families = {
            name: CounterMetricFamily(f"paceline_peer_{name}", about, labels=("peer",))
            for name, about in (
                ("sent_messages", "Messages to a peer."),
                ("sent_bytes", "Bytes to a peer."),
                ("received_messages", "Messages from a peer."),
                ("received_bytes", "Bytes from a peer."),
                ("dropped", "Messages to a peer that were dropped."),
                ("malformed", "Messages from a peer that no correct node sends."),
            )
        }
        for peer in sorted(self._sources.members()):
            link = self._sources.link(peer)
            if link is None:
                continue
            up.add_metric((peer,), link.up)
            for name, family in families.items():
                family.add_metric((peer,), getattr(link, name))
        yield up
        yield from families.values()

    def _work(self) -> Iterator[Metric]:
        counted = self._counted
        yield _by("paceline_tasks", "Tasks, by status.", "status", counted.tasks)
        yield _by("paceline_subtasks", "Subtasks, by status.", "status", counted.subtasks)
        yield _by(
            "paceline_attempts_open", "Attempts not ended, by node.", "node", counted.attempts_open
        )
        waits = self._now_ms - counted.ready_since_ms if counted.ready_since_ms else 0
        for name, about, value in (
            ("subtasks_ready", "Subtasks that could begin now.", counted.ready),
            ("ready_wait_seconds", "How long the oldest of them waits.", max(0, waits) / 1000),
            ("checkpoints_open", "Decisions that wait for a person.", counted.checkpoints_open),
        ):
            yield GaugeMetricFamily(f"paceline_{name}", about, value)
        scores = {name: total / count for name, (count, total) in counted.evaluations.items()}
        counts = {name: count for name, (count, _) in counted.evaluations.items()}
        yield _by("paceline_evaluations", "Scores, by dimension.", "dimension", counts)
        yield _by("paceline_evaluation_score", "Their mean, 0-10.", "dimension", scores)

    def _machine(self) -> Iterator[Metric]:
        files = _by("paceline_file_bytes", "Files of this node.", "file", self._sizes)
        files.add_metric(("blobs",), self._sources.blob_bytes())
        yield files
        vitals = self._sources.own_vitals()
        if vitals is None:
            return
        resources = vitals.resources
        for name, about, value in (
            ("slots", "Attempts that may run here at once.", vitals.slots),
            ("running", "Attempts that run here.", len(vitals.running)),
            ("cpu_percent", "Of the whole machine.", resources.cpu_percent),
            ("memory_percent", "Of the whole machine.", resources.memory_percent),
            ("disk_percent", "Of the file system of the data.", resources.disk_percent),
            ("disk_free_bytes", "Of the file system of the data.", resources.disk_free_bytes),
            ("load_1m", "The machine's load.", resources.load_1m),
        ):
            yield GaugeMetricFamily(f"paceline_{name}", about, value)
        health = {tool.name: float(tool.healthy) for tool in vitals.tools}
        yield _by("paceline_tool_healthy", "1 while the tool can be used here.", "tool", health)


def _by(
    name: str, documentation: str, label: str, values: Mapping[str, float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=(label,))
    for key, value in sorted(values.items()):
        family.add_metric((key,), value)
    return family
