"""Three PySyncObj nodes, each a process, with the client inside the leader's.

PySyncObj never syncs its journal to the disk, so it promises less than the others; and it has no
client of its own, so it is measured from inside. With `batch`, commands wait for the next append
(100 ms, its default); without, each is sent at once.
"""

import signal
import time
from pathlib import Path

from bench._environments import interpreter_with
from bench._process import Child, free_ports

VERSION = "0.3.17"
ELECTION_S = 30.0
NODE = Path(__file__).with_name("_pysyncobj_node.py")
BATCH_FROM = 1024
"""From so many outstanding on its batching pays (measured)."""


class PySyncObjCluster:
    """PySyncObj's side of the comparison."""

    name = "PySyncObj"

    def __init__(self, directory: Path, *, batch: bool, size: int = 3) -> None:
        """Start it. Raise Missing if it cannot be installed."""
        interpreter = str(interpreter_with("pysyncobj", VERSION, "pysyncobj"))
        addresses = [f"127.0.0.1:{port}" for port in free_ports(size)]
        directory.mkdir(parents=True, exist_ok=True)
        self._nodes = [
            Child(
                [
                    interpreter,
                    str(NODE),
                    address,
                    ",".join(other for other in addresses if other != address),
                    str(directory / f"journal{at}"),
                    str(int(batch)),
                ],
                cwd=directory,
                quiet=True,  # without batching it warns all the time that states may diverge
            )
            for at, address in enumerate(addresses)
        ]
        self._leader = self._wait_for_leader()

    def load_inside(self, outstanding: int, size: int, seconds: float) -> dict[str, float]:
        """Measure with the client inside the leader's process."""
        order = {"do": "load", "outstanding": outstanding, "size": size, "s": seconds}
        result: dict[str, float] = self._nodes[self._leader].ask(order)
        return result

    def fail_over(self, number: signal.Signals) -> float:
        """Kill or stop the leader; answer the seconds until a later command is committed."""
        self._leader = self._wait_for_leader()
        rest = [node for at, node in enumerate(self._nodes) if at != self._leader]
        start = time.monotonic()
        self._nodes[self._leader].signal(number)
        for node in rest:
            node.tell({"do": "probe"})
        return min(float(node.hear()["at"]) for node in rest) - start

    def close(self) -> None:
        for node in self._nodes:
            node.kill()

    def _wait_for_leader(self) -> int:
        deadline = time.monotonic() + ELECTION_S
        while time.monotonic() < deadline:
            leads = [node.ask({"do": "status"})["leads"] for node in self._nodes]
            if leads.count(True) == 1:
                return leads.index(True)
            time.sleep(0.05)
        raise RuntimeError("nobody was elected")
