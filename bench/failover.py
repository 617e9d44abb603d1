"""How long nobody commits after the leader is gone: Paceline beside etcd and PySyncObj.

    python -m bench.failover [--quick] [--json] [--data DIRECTORY]

`killed`: the leader's process gets SIGKILL; its connections break, which the others see. `cut off`:
it gets SIGSTOP; its connections stay open and it falls silent, as a machine does whose cable is
pulled. From then on a client offers a command to the two others every 10 ms, and the first one that
is committed ends the measurement. Every trial has a cluster of its own; the systems take turns.

A ratio is the peer's median time over Paceline's.
"""

import signal
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from bench._cluster import Cluster
from bench._etcd import EtcdCluster
from bench._options import options, output, say, table
from bench._process import Missing, scratch
from bench._pysyncobj import PySyncObjCluster

FAULTS = {"killed": signal.SIGKILL, "cut off": signal.SIGSTOP}
SETTLE_S = 1.0
"""A cluster that has just been started may elect again; it gets so long before the fault."""
TRIALS, QUICK_TRIALS = 10, 2


class FailingCluster(Protocol):
    """What is needed of a system."""

    def fail_over(self, number: signal.Signals) -> float: ...

    def close(self) -> None: ...


SYSTEMS: dict[str, Callable[[Path], FailingCluster]] = {
    "paceline": Cluster,
    "etcd": EtcdCluster,
    "PySyncObj": lambda directory: PySyncObjCluster(directory, batch=False),
}

Times = dict[tuple[str, str], list[float]]


def measure(base: Path, trials: int) -> tuple[Times, list[str]]:
    """Answer the seconds of every trial, by fault and system, and what could not be measured."""
    times: Times = defaultdict(list)
    missing: dict[str, str] = {}
    for number in range(trials):
        for fault in FAULTS:
            say(f"trial {number + 1}/{trials}: the leader is {fault}")
            for system in SYSTEMS:
                try:
                    times[fault, system].append(_trial(base, system, fault))
                except Missing as reason:
                    missing[system] = str(reason)
    return {key: found for key, found in times.items() if found}, list(missing.values())


def _trial(base: Path, system: str, fault: str) -> float:
    with scratch(base) as directory:
        cluster = SYSTEMS[system](directory)
        try:
            time.sleep(SETTLE_S)
            return cluster.fail_over(FAULTS[fault])
        finally:
            cluster.close()


def ratios(times: Times) -> dict[str, float]:
    """Answer theirs / ours of the medians: bigger is better."""
    found = {}
    for (fault, system), theirs in times.items():
        if system != "paceline":
            ours = times[fault, "paceline"]
            name = f"failover_{fault.replace(' ', '_')}_vs_{system.lower()}"
            found[name] = statistics.median(theirs) / statistics.median(ours)
    return found


def text(times: Times, missing: Sequence[str]) -> str:
    rows = [
        [
            fault,
            system,
            f"{statistics.median(t):.2f}",
            f"{min(t):.2f}",
            f"{max(t):.2f}",
            str(len(t)),
        ]
        for (fault, system), t in sorted(times.items())
    ]
    head = ["the leader is", "system", "median s", "least s", "most s", "trials"]
    lines = "\n".join(f"- {name}: {ratio:.2f}" for name, ratio in ratios(times).items())
    reasons = "".join(f"\n\nNot measured: {reason}" for reason in missing)
    return f"{table(head, rows)}\n\nRatios, theirs / ours:\n\n{lines}{reasons}"


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = options(__doc__, arguments)
    times, missing = measure(chosen.data, QUICK_TRIALS if chosen.quick else TRIALS)
    document: dict[str, object] = {
        "ratios": ratios(times),
        "results": [
            {"fault": fault, "system": system, "seconds": found}
            for (fault, system), found in times.items()
        ],
        "missing": missing,
    }
    output(chosen.json, document, text(times, missing))


if __name__ == "__main__":
    main()
