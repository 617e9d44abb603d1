"""Dask's scheduler and ten workers of one thread, each a process, driven by a client process."""

from pathlib import Path

from bench._environments import interpreter_with
from bench._process import Child, free_ports

VERSION = "2026.8.0"
PROGRAM = Path(__file__).with_name("_dask_run.py")
WAIT_S = 120.0


class DaskCluster:
    """Dask's side of the comparison."""

    name = "Dask"

    def __init__(self, directory: Path) -> None:
        """Start it. Raise Missing if it cannot be installed."""
        interpreter = interpreter_with("distributed", VERSION, "distributed")
        directory.mkdir(parents=True)
        command = [str(interpreter), str(PROGRAM), str(directory), str(free_ports(1)[0])]
        self._client = Child(command, cwd=directory, wait_s=WAIT_S, quiet=True)
        self._client.hear()

    def independent(self, count: int) -> float:
        """Answer the seconds from the submission of independent no-ops to the last result."""
        return self._ask("independent", count)

    def chains(self, length: int, count: int) -> float:
        """Likewise of chains: each task needs the one before it."""
        return self._ask("chains", length, count)

    def barriers(self, layers: int, width: int) -> float:
        """Likewise of layers: each task needs all of the layer before it."""
        return self._ask("barriers", layers, width)

    def latencies(self, count: int) -> list[float]:
        """Answer the seconds from each submission until the function was called."""
        found: list[float] = self._client.ask(["latencies", [count]])
        return found

    def worker_killed(self, seconds: float) -> float:
        """Kill a worker; answer the seconds until its work runs elsewhere."""
        return self._ask("worker_killed", seconds)

    def close(self) -> None:
        """End it; it ends its scheduler and workers when nobody speaks to it any more."""
        self._client.leave()

    def _ask(self, what: str, *arguments: float) -> float:
        found: float = self._client.ask([what, list(arguments)])
        return found
