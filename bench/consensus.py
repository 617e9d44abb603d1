"""Commits per second: Paceline's consensus beside etcd and PySyncObj.

    python -m bench.consensus [--quick] [--json] [--data DIRECTORY]

Three nodes each, on this machine and on one disk, all up at once; the loads take turns (round by
round, system by system), so that a slow minute of the disk is everybody's. Each system is measured
as it is meant to be used: etcd and Paceline from a client in a process of its own, Paceline and
PySyncObj also from inside the leader's process. Paceline and etcd sync every commit to the disk of
a quorum; PySyncObj syncs nothing.

A ratio is Paceline's commits/s over the peer's in the same round; the median of the rounds counts.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import _disk
from bench._cluster import Cluster
from bench._etcd import EtcdCluster
from bench._options import options, output, say, table
from bench._process import Missing, scratch
from bench._pysyncobj import BATCH_FROM, PySyncObjCluster
from bench._stats import Spread

OUTSIDE, INSIDE = "own process", "in the leader"
Load = Callable[[int, int, float], dict[str, float]]
Case = tuple[int, int]
"""Bytes of a command, and how many are outstanding."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    cases: Sequence[Case]
    rounds: int
    seconds: float


FULL = Plan([(size, n) for size in (128, 4096) for n in (1, 64, 1024)], rounds=5, seconds=2.0)
QUICK = Plan([(128, 1), (128, 64), (128, 1024), (4096, 64)], rounds=2, seconds=1.0)


@dataclass(slots=True)
class Results:
    """Everything measured: for each case and place of a client, the rounds."""

    rounds: dict[tuple[str, str, Case], list[dict[str, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    disk: list[dict[str, float]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def ratios(self) -> dict[str, float]:
        """Answer ours / theirs, by a name that says what was compared."""
        found = {}
        for (system, place, case), theirs in self.rounds.items():
            ours = self.rounds.get(("paceline", place, case))
            if system != "paceline" and ours:
                name = f"commits_{case[0]}B_x{case[1]}_vs_{system.lower()}"
                pairs = zip(ours, theirs, strict=True)
                found[name] = statistics.median(
                    mine["ops_per_s"] / max(other["ops_per_s"], 1.0) for mine, other in pairs
                )
        return found

    def document(self) -> dict[str, object]:
        """Answer what `--json` prints."""
        results = [
            {
                "system": system,
                "client": place,
                "bytes": case[0],
                "outstanding": case[1],
                "rounds": r,
            }
            for (system, place, case), r in self.rounds.items()
        ]
        return {
            "ratios": self.ratios(),
            "results": results,
            "disk": self.disk,
            "missing": self.missing,
        }

    def text(self) -> str:
        """Answer what is printed for people."""
        ratios = "\n".join(f"- {name}: {ratio:.2f}" for name, ratio in self.ratios().items())
        disks = "; ".join(
            f"{probe['syncs_per_s']:,.0f} syncs/s (p50 {probe['p50_ms']:.2f} ms, "
            f"p99 {probe['p99_ms']:.2f} ms)"
            for probe in self.disk
        )
        missing = "".join(f"\n\nNot measured: {reason}" for reason in self.missing)
        return (
            f"{self._table()}\n\nMedian of the rounds (and their range).\n\n"
            f"The disk before and after, 4 KiB append and sync: {disks}\n\n"
            f"Ratios, ours / theirs:\n\n{ratios}{missing}"
        )

    def _table(self) -> str:
        head = ["bytes", "outstanding", "client", "system", "commits/s", "p50 ms", "p99 ms"]
        rows = []
        for system, place, case in sorted(self.rounds, key=lambda key: (key[2], key[1], key[0])):
            measured = self.rounds[system, place, case]
            columns = [
                Spread.of([m[name] for m in measured]).text(digits)
                for name, digits in (("ops_per_s", 0), ("p50_ms", 2), ("p99_ms", 1))
            ]
            rows.append([str(case[0]), str(case[1]), place, system, *columns])
        return table(head, rows)


class Comparison:
    """The clusters that are up, and the turns they take."""

    def __init__(self, directory: Path, stack: ExitStack, results: Results) -> None:
        self._results = results
        ours = Cluster(directory / "paceline")
        stack.callback(ours.close)
        self._loads: list[tuple[str, str, Callable[[int], Load]]] = [
            ("paceline", OUTSIDE, lambda n: ours.load),
            ("paceline", INSIDE, lambda n: ours.load_inside),
        ]
        self._try(lambda: self._add_etcd(directory / "etcd", stack))
        self._try(lambda: self._add_pysyncobj(directory / "pysyncobj", stack))

    def warm_up(self) -> None:
        for _, _, load in self._loads:
            load(1)(16, 128, 0.3)

    def run(self, plan: Plan) -> None:
        for number in range(plan.rounds):
            for size, outstanding in plan.cases:
                say(f"round {number + 1}/{plan.rounds}: {size} bytes, {outstanding} outstanding")
                for system, place, load in self._loads:
                    measured = load(outstanding)(outstanding, size, plan.seconds)
                    self._results.rounds[system, place, (size, outstanding)].append(measured)

    def _try(self, add: Callable[[], None]) -> None:
        try:
            add()
        except Missing as reason:
            self._results.missing.append(str(reason))

    def _add_etcd(self, directory: Path, stack: ExitStack) -> None:
        etcd = EtcdCluster(directory)
        stack.callback(etcd.close)
        self._loads.append((etcd.name, OUTSIDE, lambda n: etcd.load))

    def _add_pysyncobj(self, directory: Path, stack: ExitStack) -> None:
        """Both of its modes; the one that is faster for a load is measured with it."""
        clusters = []
        for batch in (False, True):
            clusters.append(PySyncObjCluster(directory / str(batch), batch=batch))
            stack.callback(clusters[-1].close)
        self._loads.append(("PySyncObj", INSIDE, lambda n: clusters[n >= BATCH_FROM].load_inside))


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = options(__doc__, arguments)
    results = Results()
    with scratch(chosen.data) as directory, ExitStack() as stack:
        comparison = Comparison(directory, stack, results)
        comparison.warm_up()
        results.disk.append(_disk.probe(directory))
        comparison.run(QUICK if chosen.quick else FULL)
        results.disk.append(_disk.probe(directory))
    output(chosen.json, results.document(), results.text())


if __name__ == "__main__":
    main()
