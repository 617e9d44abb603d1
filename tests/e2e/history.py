"""Run a real cluster under faults, write down what its clients saw, and check the history.

    python -m tests.e2e.history --nodes 3 --seconds 15 --faults kill,pause --seed 7

Real node processes (see `kv_node`) serve client threads that repeat what nobody answered, while a
seeded nemesis kills, pauses and cuts off nodes and fills their disks. Then everything is mended,
every key is read once more, all nodes must come to the same state, and `tests.linearizability`
says whether one copy of the data could have answered all that.

Exit status: 0 linearizable, 1 not, 2 no verdict (the run could not be made, or not be checked).
"""

import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.kv_clients import OPS, Client
from tests.e2e.kv_cluster import KvCluster, isolation_missing
from tests.e2e.nemesis import FAULTS, ISOLATED, Nemesis
from tests.linearizability import (
    InvalidHistory,
    Operation,
    SearchTooLong,
    Violation,
    check,
    relative,
)

CLIENTS = 6
LEADER_S = 180.0
"""This bound and the next ones are for machines with ten times more to do than they can."""
AFTERWARDS_S = 2.0
"""So long the clients go on when everything is mended."""
ENOUGH = 5
"""So many operations of each kind must have been answered, or the history says too little ..."""
ENOUGH_S = 180.0
"""... and if they are not at the end, the clients go on for at most so long."""
FINAL_READ_S = 180.0
EQUAL_S = 180.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is made of."""

    nodes: int
    seconds: float
    faults: tuple[str, ...]
    seed: int
    clients: int = CLIENTS

    @property
    def isolated(self) -> bool:
        """Answer whether nodes need networks and disks of their own."""
        return bool(ISOLATED & set(self.faults))


@dataclass(slots=True)
class Run:
    """What came of it."""

    plan: Plan
    operations: list[Operation] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    exits: list[int] = field(default_factory=list)
    errors: str = ""
    """What the nodes wrote to their standard error, if any ended by itself."""
    stalled: int = 0
    snapshots: int = 0
    """Nodes that at the end stood on a state received from a leader."""
    check_s: float = 0.0

    def report(self) -> dict[str, Any]:
        """Answer the numbers of the run."""
        outcomes = Counter(f"{o.op} {_OUTCOMES[o.ok]}" for o in self.operations)
        return {
            **asdict(self.plan),
            "operations": len(self.operations),
            "outcomes": dict(sorted(outcomes.items())),
            "faults_done": dict(sorted(self.faults.items())),
            "restarts": self.restarts,
            "exits": self.exits,
            "errors": self.errors,
            "stalled_logs_seen": self.stalled,
            "nodes_with_snapshot": self.snapshots,
            "check_s": round(self.check_s, 2),
            "violations": [str(violation) for violation in self.violations],
        }


_OUTCOMES = {True: "done", False: "refused", None: "unknown"}


def perform(plan: Plan) -> Run:
    """Make one run and check it. Raise SearchTooLong, TimeoutError if the cluster stays broken."""
    run = Run(plan)
    with KvCluster(plan.nodes, isolated=plan.isolated) as cluster:
        cluster.wait_for_leader(LEADER_S)
        run.operations = _observe(plan, cluster, run)
        cluster.wait_until_equal(EQUAL_S)
        statuses = [cluster.status(number, EQUAL_S) for number in cluster.numbers]
        run.snapshots = sum(bool(status and status["restored"]) for status in statuses)
        run.restarts, run.exits = cluster.restarts, cluster.exits
        run.errors = cluster.errors() if cluster.exits else ""
    start_s = time.monotonic()
    run.operations = relative(run.operations)
    run.violations = check(run.operations)
    run.check_s = time.monotonic() - start_s
    return run


def _observe(plan: Plan, cluster: KvCluster, run: Run) -> list[Operation]:
    """Let clients work under faults and for a while after; answer their history."""
    stop = threading.Event()
    clients = [_client(f"c{number}", plan, cluster, stop) for number in range(plan.clients)]
    nemesis = Nemesis(cluster, plan.faults, str(plan.seed))
    for client in clients:
        client.start()
    try:
        nemesis.run(plan.seconds)
        nemesis.end()
        time.sleep(AFTERWARDS_S)
        _wait_until_enough(clients)
    finally:
        stop.set()
        for client in clients:
            client.join()
    run.faults, run.stalled = nemesis.done, nemesis.stalled
    failures = [client.failure for client in clients if client.failure is not None]
    if failures:
        raise failures[0]
    operations = [operation for client in clients for operation in client.operations]
    return operations + _read_all(plan, cluster, {operation.key for operation in operations})


def _wait_until_enough(clients: Sequence[Client]) -> None:
    """Return when operations of every kind were answered. Raise TimeoutError if they never are."""
    deadline = time.monotonic() + ENOUGH_S
    while True:
        answered = Counter(o.op for client in clients for o in tuple(client.operations) if o.ok)
        if min(answered[op] for op in OPS) >= ENOUGH or not all(c.is_alive() for c in clients):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {dict(answered)} were answered")
        time.sleep(0.1)


def _client(name: str, plan: Plan, cluster: KvCluster, stop: threading.Event) -> Client:
    return Client(
        name=name,
        seed=str(plan.seed),
        sockets=[cluster.socket(number) for number in cluster.numbers],
        start_s=time.monotonic(),
        stop=stop,
    )


def _read_all(plan: Plan, cluster: KvCluster, keys: set[str]) -> list[Operation]:
    """Read every key once: without that, writes at the end would be seen by nobody."""
    reader = _client("end", plan, cluster, threading.Event())
    try:
        for key in sorted(keys):
            reader.read(key, FINAL_READ_S)
    finally:
        reader.close()
    return [operation for operation in reader.operations if operation.ok]


def write(operations: Sequence[Operation], path: Path) -> None:
    """Write a history as JSON lines, in order of the calls."""
    with path.open("w", encoding="utf-8") as file:
        for operation in sorted(operations, key=lambda o: o.invoke_ns):
            file.write(json.dumps(asdict(operation)) + "\n")


def text(report: dict[str, Any]) -> str:
    """Answer a report for people to read."""
    lines = [f"{name}: {value}" for name, value in report.items() if name != "violations"]
    found = report["violations"]
    return "\n".join([*lines, *found, f"{len(found)} violations"])


def _faults(words: str) -> tuple[str, ...]:
    faults = tuple(word for word in words.split(",") if word)
    unknown = sorted(set(faults) - set(FAULTS))
    if unknown:
        raise argparse.ArgumentTypeError(f"no such fault: {', '.join(unknown)}")
    return faults


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, choices=(3, 5), default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--faults", type=_faults, default=("kill", "pause"), help=",".join(FAULTS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="where to write the history (JSON lines)")
    parser.add_argument("--json", action="store_true", help="the report as one JSON document")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make one run; print its report."""
    chosen = _options(arguments)
    plan = Plan(chosen.nodes, chosen.seconds, chosen.faults, chosen.seed)
    missing = isolation_missing() if plan.isolated else None
    if missing is not None:
        print(f"{', '.join(sorted(ISOLATED))}: {missing}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # so that nothing is left behind
    try:
        run = perform(plan)
    except (OSError, subprocess.SubprocessError, InvalidHistory, SearchTooLong) as error:
        print(error, file=sys.stderr)
        return 2
    if chosen.output is not None:
        write(run.operations, chosen.output)
    report = run.report()
    print(json.dumps(report, indent=1) if chosen.json else text(report))
    return 1 if run.violations else 0


if __name__ == "__main__":
    sys.exit(main())
