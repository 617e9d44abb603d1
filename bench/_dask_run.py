"""Runs inside the environment of `dask.distributed`: answers lines of JSON with measurements."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import dask
from distributed import Client

WORKERS = 10
KILL_COUNT = 6


def noop(*needs: object) -> float:
    """Answer when it was called."""
    return time.time()


def mark(name: int, path: str, seconds: float) -> None:
    """Note that it began, and sleep a while."""
    with open(path, "a") as log:
        log.write(f"{name} {os.getpid()} {time.time()}\n")
    time.sleep(seconds)


class Cluster:
    """A scheduler, ten workers and their client."""

    def __init__(self, directory: str, port: int) -> None:
        self.directory = directory
        address = f"tcp://127.0.0.1:{port}"
        common = ["--host", "127.0.0.1", "--no-dashboard"]
        self.processes = [self._start(["dask", "scheduler", "--port", str(port), *common])]
        one = ["--nthreads", "1", "--no-nanny", "--memory-limit", "0"]
        one += ["--local-directory", directory]
        for _ in range(WORKERS):
            self.processes.append(self._start(["dask", "worker", address, *one, *common]))
        self.client = Client(address, timeout=60)
        self.client.wait_for_workers(WORKERS, timeout=60)
        self.client.gather([self.client.submit(noop, pure=False) for _ in range(100)])

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        program = os.path.join(os.path.dirname(sys.executable), command[0])
        silent = subprocess.DEVNULL
        return subprocess.Popen([program, *command[1:]], stdout=silent, stderr=silent)

    def independent(self, count: int) -> float:
        start = time.monotonic()
        futures = self.client.map(noop, range(count), pure=False)
        self.client.gather(futures)
        return time.monotonic() - start

    def chains(self, length: int, count: int) -> float:
        return self._graph(length, count, lambda layer: [[each] for each in layer])

    def barriers(self, layers: int, width: int) -> float:
        def joined(layer: list[Any]) -> list[list[Any]]:
            return [[dask.delayed(noop, pure=False)(*layer)]] * width

        return self._graph(layers, width, joined)

    def _graph(
        self, layers: int, width: int, needs: Callable[[list[Any]], list[list[Any]]]
    ) -> float:
        """Its building is not measured, as the writing of our plan is not."""
        call = dask.delayed(noop, pure=False)
        layer = [call(i) for i in range(width)]
        for _ in range(layers - 1):
            layer = [call(*before) for before in needs(layer)]
        start = time.monotonic()
        self.client.gather(self.client.compute(layer, optimize_graph=False))
        return time.monotonic() - start

    def latencies(self, count: int) -> list[float]:
        found = []
        for i in range(count):
            begun = time.time()
            found.append(self.client.submit(noop, i, pure=False).result() - begun)
        return found

    def worker_killed(self, seconds: float) -> float:
        path = os.path.join(self.directory, "marks")
        futures = self.client.map(mark, range(KILL_COUNT), path=path, seconds=seconds, pure=False)
        while len(begun := self._marks(path)) < KILL_COUNT:
            time.sleep(0.02)
        victim = next(each for each in self.processes if str(each.pid) == begun[0][1])
        lost = {name for name, pid, _ in begun if int(pid) == victim.pid}
        killed = time.time()
        victim.kill()
        victim.wait()
        while True:
            again = [float(at) for name, _, at in self._marks(path) if float(at) > killed]
            if len(again) >= len(lost):
                self.client.gather(futures)
                return max(again) - killed
            time.sleep(0.02)

    def _marks(self, path: str) -> list[list[str]]:
        if not os.path.exists(path):
            return []
        with open(path) as log:
            return [line.split() for line in log.read().splitlines() if line.count(" ") == 2]


def main() -> None:
    """Answer questions until nobody asks any more."""
    cluster = Cluster(sys.argv[1], int(sys.argv[2]))
    try:
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            name, arguments = json.loads(line)
            print(json.dumps(getattr(cluster, name)(*arguments)), flush=True)
    finally:
        for process in cluster.processes:
            process.kill()


if __name__ == "__main__":
    main()
