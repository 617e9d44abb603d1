"""How fast subtasks that do nothing go through: Paceline beside `dask.distributed`.

    python -m bench.scheduling [--quick] [--json] [--data DIRECTORY]

Paceline: three nodes with ten slots, every change committed by a quorum with synced logs. Dask: a
scheduler and ten workers with one thread each, all in memory. Both run at once and take turns case
by case; what a case answers is the median of its rounds.

- `independent`: 1000 subtasks without dependencies, from submission to the last one's end;
- `barriers`: ten layers of 100 with a subtask between two of them that joins them (the form of a
  full barrier that is quickest with either; 90,000 edges cost both more);
- `chains`: 100 chains of ten;
- `latency`: one subtask, from submission until its tool is called;
- `killed`: a worker (with us a whole node) gets SIGKILL, until its work runs elsewhere.

A ratio is ours over the peer's for speeds, and the peer's over ours for times: bigger is better.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from bench._dask import DaskCluster
from bench._nodes import Nodes
from bench._options import options, output, say, table
from bench._process import Missing, scratch

LAYERS, WIDTH = 10, 100
COUNT = LAYERS * WIDTH
ROUNDS, QUICK_ROUNDS = 5, 2
LATENCIES, QUICK_LATENCIES = 100, 20
KILL_WORK_S = 6.0
IDLE_S, QUICK_IDLE_S = 20.0, 5.0


class System(Protocol):
    """What is needed of one."""

    name: str

    def independent(self, count: int) -> float: ...

    def chains(self, length: int, count: int) -> float: ...

    def barriers(self, layers: int, width: int) -> float: ...

    def latencies(self, count: int) -> list[float]: ...

    def worker_killed(self, seconds: float) -> float: ...

    def close(self) -> None: ...


SPEEDS: dict[str, Callable[[System], float]] = {
    "independent": lambda system: COUNT / system.independent(COUNT),
    "barriers": lambda system: COUNT / system.barriers(LAYERS, WIDTH),
    "chains": lambda system: COUNT / system.chains(LAYERS, WIDTH),
}
"""In subtasks per second."""

Samples = dict[tuple[str, str], list[float]]
"""By case and system: subtasks per second, or seconds."""


def measure(base: Path, *, quick: bool) -> tuple[Samples, dict[str, object], list[str]]:
    """Answer the samples, what was seen of our nodes alone, and what could not be measured."""
    samples: Samples = defaultdict(list)
    with scratch(base) as directory:
        systems, missing = _start(directory)
        try:
            alone = _alone(systems[0], QUICK_IDLE_S if quick else IDLE_S)
            _rounds(systems, samples, QUICK_ROUNDS if quick else ROUNDS)
            for system in systems:
                say(f"latency of {system.name}")
                found = system.latencies(QUICK_LATENCIES if quick else LATENCIES)
                samples["latency", system.name] = found
            for system in systems:
                say(f"a worker of {system.name} is killed")
                samples["killed", system.name].append(system.worker_killed(KILL_WORK_S))
        finally:
            for system in systems:
                system.close()
    return samples, alone, missing


def _start(directory: Path) -> tuple[list[Nodes | DaskCluster], list[str]]:
    systems: list[Nodes | DaskCluster] = [Nodes(directory / "paceline")]
    try:
        systems.append(DaskCluster(directory / "dask"))
    except Missing as reason:
        return systems, [str(reason)]
    except BaseException:
        systems[0].close()
        raise
    return systems, []


def _alone(nodes: Nodes | DaskCluster, idle_s: float) -> dict[str, object]:
    assert isinstance(nodes, Nodes)
    say("our nodes idle")
    time.sleep(1.0)  # what starting leaves to do is not idleness
    return {
        "ready_s": nodes.ready_s,
        "idle": nodes.idle(idle_s),
        "status_command_s": nodes.status_command_s(),
    }


def _rounds(systems: Sequence[System], samples: Samples, rounds: int) -> None:
    for number in range(rounds):
        for case, speed in SPEEDS.items():
            for system in systems:
                found = speed(system)
                samples[case, system.name].append(found)
                say(f"round {number + 1}/{rounds}: {case}, {system.name}: {found:,.0f}/s")


def ratios(samples: Samples) -> dict[str, float]:
    """Answer how often we are as good as the peer: the median of rounds, or of all."""
    found = {}
    for (case, system), theirs in samples.items():
        if system != Nodes.name:
            ours = samples[case, Nodes.name]
            name = f"{case}_vs_{system.lower()}"
            if case in SPEEDS:
                pairs = zip(ours, theirs, strict=True)
                found[name] = statistics.median(our / their for our, their in pairs)
            else:
                found[name] = statistics.median(theirs) / statistics.median(ours)
    return found


def text(samples: Samples, alone: dict[str, object], missing: Sequence[str]) -> str:
    """Answer all of it for people."""
    rows = []
    for (case, system), values in samples.items():
        unit, factor = ("/s", 1) if case in SPEEDS else ("ms", 1000)
        shown = [f"{factor * of(values):,.1f}" for of in (statistics.median, min, max)]
        rows.append([case, system, unit, *shown])
    head = ["case", "system", "unit", "median", "least", "most"]
    lines = "\n".join(f"- {name}: {ratio:.2f}" for name, ratio in ratios(samples).items())
    ours = "\n".join(f"- {name}: {value}" for name, value in alone.items())
    reasons = "".join(f"\n\nNot measured: {reason}" for reason in missing)
    return f"{table(head, rows)}\n\nRatios:\n\n{lines}\n\nOurs alone:\n\n{ours}{reasons}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    chosen = options(__doc__, arguments)
    samples, alone, missing = measure(chosen.data, quick=chosen.quick)
    document: dict[str, object] = {
        "ratios": ratios(samples),
        "results": [
            {"case": case, "system": system, "values": values}
            for (case, system), values in samples.items()
        ],
        "alone": alone,
        "missing": missing,
    }
    output(chosen.json, document, text(samples, alone, missing))


if __name__ == "__main__":
    main()
