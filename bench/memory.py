"""What memory a node takes over very many commits, with its log cut short as it goes.

    python -m bench.memory [--quick] [--json] [--data DIRECTORY]

Three real nodes; the client is inside the leader's process and keeps many commands outstanding.
The resident set of each node's process is read after each tenth of the commits. The first tenth
warms up: caches, the log's tail and the allocator's arenas grow to their usual size in it. From
then on a node must not grow with what it has committed.

`ratios.memory_leader` (and `..._followers`, the worse of them) is the resident set after the second
tenth over the one at the end: 1 is no growth, 0.5 is a node that doubled.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench._cluster import Cluster
from bench._options import options, output, say, table
from bench._process import scratch

COMMITS, QUICK_COMMITS = 1_000_000, 100_000
STEPS = 10
OUTSTANDING = 1024
COMMAND_BYTES = 128
LOAD_S = 0.1
"""One order to the client; so exactly are the steps kept."""


@dataclass(slots=True)
class Results:
    """The resident sets, a row per step; the leader's first."""

    commits: list[int] = field(default_factory=list)
    rss_mb: list[list[float]] = field(default_factory=list)

    def ratios(self) -> dict[str, float]:
        early, late = self.rss_mb[1], self.rss_mb[-1]
        growth = [before / after for before, after in zip(early, late, strict=True)]
        return {"memory_leader": growth[0], "memory_followers": min(growth[1:])}

    def document(self) -> dict[str, object]:
        return {
            "ratios": self.ratios(),
            "commits": self.commits[-1],
            "rss_mb": [row[0] for row in self.rss_mb],
            "followers_rss_mb": [row[1:] for row in self.rss_mb],
            "at_commits": self.commits,
        }

    def text(self) -> str:
        rows = [
            [f"{commits:,}", *(f"{mb:.1f}" for mb in row)]
            for commits, row in zip(self.commits, self.rss_mb, strict=True)
        ]
        ratios = "\n".join(f"- {name}: {ratio:.2f}" for name, ratio in self.ratios().items())
        growth = statistics.mean(self.rss_mb[-1]) - statistics.mean(self.rss_mb[1])
        head = ["commits", "leader MB", "follower MB", "follower MB"]
        return (
            f"{table(head, rows)}\n\nFrom the second step to the last: {growth:+.1f} MB on average."
            f"\n\nRatios, second step / last:\n\n{ratios}"
        )


class WeighedCluster(Cluster):
    """The measured cluster, on the scales."""

    def applied(self) -> int:
        """Answer the last index that the leader of the moment has applied."""
        self._leader = self._wait_for_leader()
        index: int = self._nodes[self._leader].ask({"do": "status"})["applied"]
        return index

    def rss_mb(self) -> list[float]:
        """Answer the resident set of each node's process, the leader's first."""
        nodes = sorted(self._nodes, key=lambda node: node is not self._nodes[self._leader])
        return [psutil.Process(node.pid).memory_info().rss / 1e6 for node in nodes]


def measure(directory: Path, total: int) -> Results:
    """Commit `total` commands; read the nodes' memory `STEPS` times."""
    results = Results()
    cluster = WeighedCluster(directory)
    try:
        done = 0
        for step in range(1, STEPS + 1):
            while done < total * step // STEPS:
                cluster.load_inside(OUTSTANDING, COMMAND_BYTES, LOAD_S)
                done = cluster.applied()
            results.commits.append(done)
            results.rss_mb.append(cluster.rss_mb())
            say(f"{done:,} commits: {results.rss_mb[-1]}")
    finally:
        cluster.close()
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = options(__doc__, arguments)
    with scratch(chosen.data) as directory:
        results = measure(directory, QUICK_COMMITS if chosen.quick else COMMITS)
    output(chosen.json, results.document(), results.text())


if __name__ == "__main__":
    main()
