"""What a node counts while it works, for Prometheus; what merely is, `exposition` reads when asked.

Everything is in a registry of its own: the library's global one belongs to whoever embeds a node.
Labels have few values each (commands, tools, paths of the REST table), never an id of a task:
a label's values are kept for as long as the process lives.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from paceline.tasks.model import Outcome

_FAST_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_WORK_S = (0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0)

ProposalMeter = Callable[[str, float, str], None]
"""Told of a command that was decided or given up: its name, seconds, and the error's name or ``."""

OutcomeMeter = Callable[[str, Outcome], None]
"""Told of an attempt that ended here: its tool and what it came to."""

UNITS_MAX = 32
"""Kinds of usage that are told apart; a tool may name them as it likes."""

RequestMeter = Callable[[str, str, int, float], None]
"""Told of an answered request: method, path as in the table, HTTP status, seconds."""


def unmetered(*_: object) -> None:
    """Count nothing."""


class Meters:
    """Counters and histograms of one node's process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        self._proposals = Histogram(
            "paceline_proposal_seconds",
            "From a command's proposal on this node until its own state had the answer.",
            ("command",),
            buckets=_FAST_S,
            registry=self.registry,
        )
        self._refusals = self._counter(
            "paceline_proposals_failed", "Commands that came to nothing, by error.", "error"
        )
        self._attempts = self._counter(
            "paceline_attempts_finished", "Attempts that ended on this node.", "tool", "result"
        )
        self._durations = Histogram(
            "paceline_attempt_seconds",
            "How long attempts took on this node.",
            ("tool",),
            buckets=_WORK_S,
            registry=self.registry,
        )
        self._cost = self._counter(
            "paceline_cost_usd", "What tools said that their attempts cost, in dollars.", "tool"
        )
        self._units = self._counter(
            "paceline_usage", "What tools said that they used, such as tokens.", "tool", "unit"
        )
        self._requests = Histogram(
            "paceline_http_request_seconds",
            "Until a REST request was answered; of streams, until they began.",
            ("method", "path", "status"),
            buckets=_FAST_S,
            registry=self.registry,
        )
        self._unit_names: set[str] = set()
        self.leader_changes = self._counter(
            "paceline_raft_leader_changes", "How often this node learnt of another leader."
        )

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, registry=self.registry)

    def proposal(self, command: str, seconds: float, error: str) -> None:
        """Count a command of this node."""
        if error:
            self._refusals.labels(error).inc()
        else:
            self._proposals.labels(command).observe(seconds)

    def outcome(self, tool: str, outcome: Outcome) -> None:
        """Count an attempt of this node."""
        self._attempts.labels(tool, str(outcome.status)).inc()
        self._durations.labels(tool).observe((outcome.duration_ms or 0) / 1000)
        self._cost.labels(tool).inc(max(0.0, outcome.cost_usd or 0.0))
        for unit, amount in outcome.usage.items():
            if amount > 0:
                self._units.labels(tool, self._unit(unit)).inc(amount)

    def _unit(self, name: str) -> str:
        if len(self._unit_names) < UNITS_MAX:
            self._unit_names.add(name)
        return name if name in self._unit_names else "other"

    def request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request to this node."""
        self._requests.labels(method, path, str(status)).observe(seconds)
