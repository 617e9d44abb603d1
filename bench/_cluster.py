"""Three nodes of ours and a client, each a process; what is measured is asked through them."""

import signal
import time
from pathlib import Path
from typing import Any

from bench._process import Child, python

ELECTION_S = 20.0


class Cluster:
    """Our side of the comparison."""

    name = "paceline"

    def __init__(self, directory: Path, size: int = 3) -> None:
        self._nodes: list[Child] = []
        for number in range(size):
            place = directory / f"node{number}"
            place.mkdir(parents=True)
            self._nodes.append(Child(python("bench._node", str(place))))
        self._client = Child(python("bench._client"))
        self._introduce()
        self._leader = self._wait_for_leader()

    def load(self, outstanding: int, size: int, seconds: float) -> dict[str, float]:
        """Measure with the client's process."""
        return self._ask(self._client, outstanding, size, seconds, to=self._leader)

    def load_inside(self, outstanding: int, size: int, seconds: float) -> dict[str, float]:
        """Measure with the client inside the leader's process."""
        return self._ask(self._nodes[self._leader], outstanding, size, seconds)

    def fail_over(self, number: signal.Signals) -> float:
        """Kill or stop the leader; answer the seconds until a later command is committed."""
        self._leader = self._wait_for_leader()
        rest = [at for at in range(len(self._nodes)) if at != self._leader]
        start = time.monotonic()
        self._nodes[self._leader].signal(number)
        at: float = self._client.ask({"do": "probe", "to": rest})["at"]
        return at - start

    def cpu_s(self) -> list[float]:
        """Answer the processor time of the nodes so far, the leader's first, then the client's."""
        nodes = sorted(self._nodes, key=lambda node: node is not self._nodes[self._leader])
        return [child.cpu_s() for child in (*nodes, self._client)]

    def close(self) -> None:
        for child in (*self._nodes, self._client):
            child.kill()

    def _introduce(self) -> None:
        everybody = [child.hear() for child in (*self._nodes, self._client)]
        for child in (*self._nodes, self._client):
            child.tell(everybody)
        self._client.hear()

    def _wait_for_leader(self) -> int:
        deadline = time.monotonic() + ELECTION_S
        while time.monotonic() < deadline:
            roles = [node.ask({"do": "status"})["role"] for node in self._nodes]
            if roles.count("leader") == 1:
                return roles.index("leader")
            time.sleep(0.05)
        raise RuntimeError("nobody was elected")

    def _ask(
        self, child: Child, outstanding: int, size: int, seconds: float, **more: Any
    ) -> dict[str, float]:
        order = {"do": "load", "outstanding": outstanding, "size": size, "s": seconds, **more}
        result: dict[str, float] = child.ask(order)
        return result
