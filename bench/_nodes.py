"""Three whole nodes of ours, each a process with its logs and states on the disk, and a client.

The client speaks REST to the node that leads, with one connection per call, as the command line
does. Together the nodes have ten slots, where the peer has ten workers.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

import psutil

from bench._marks import Marks
from paceline.cli import launch
from paceline.client import Client, read_node_file
from paceline.errors import PacelineError
from paceline.settings import NodeSettings
from paceline.tokens import new_token

T = TypeVar("T")

SLOTS = (4, 3, 3)
KILL_COUNT = 6
START_S = 30.0
WAIT_S = 120.0
POLL_S = 0.02
LEASE_MS, GRACE_MS = 2_000, 500
"""What `paceline demo` has; the default suits networks that stutter."""
PLUGIN = Path(__file__).with_name("_bench_noop.py")


class Nodes:
    """Our side of the comparison."""

    name = "paceline"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        environment = {**os.environ, "PYTHONPATH": str(_install(directory / "plugins"))}
        token, self.ready_s = new_token(), list[float]()
        self._settings: list[NodeSettings] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for number, slots in enumerate(SLOTS):
                self.ready_s.append(
                    self._start(self._settings_of(number, slots, token), environment)
                )
            self._wait("the nodes to be one cluster", self._complete)
            self._find_leader()
        except BaseException:
            self.close()
            raise

    # --- what is measured -------------------------------------------------------------------------

    def independent(self, count: int) -> float:
        """Answer the seconds from the submission of independent no-ops to the end of the last."""
        return self._timed(_plan((f"s{i}", ()) for i in range(count)))

    def chains(self, length: int, count: int) -> float:
        """Likewise of chains: each subtask needs the one before it."""
        return self._timed(
            _plan(
                (f"s{layer}_{i}", (f"s{layer - 1}_{i}",) if layer else ())
                for layer in range(length)
                for i in range(count)
            )
        )

    def barriers(self, layers: int, width: int) -> float:
        """Likewise of layers, with one more subtask between two of them that joins them."""
        return self._timed(_plan(_layers(layers, width)))

    def latencies(self, count: int) -> list[float]:
        """Answer the seconds from each submission until its tool was called on some node."""
        found = []
        for _ in range(count):
            begun = time.time()
            task_id = self._submit(_plan([("s", ())]))
            self._wait("a no-op", partial(self._ended, task_id))
            subtasks = self._leader.get(f"tasks/{task_id}/subtasks")["subtasks"]
            found.append(float(subtasks[0]["result"]["text"]) - begun)
        return found

    def worker_killed(self, seconds: float) -> float:
        """Kill a node that does not lead; answer the seconds until its work runs elsewhere.

        There are more slots than subtasks, so that nothing waits for want of one.
        """
        marks = Marks(self._directory / "marks")
        words = f"{seconds:g} {marks.path}"
        plan = _plan(((f"s{i}", ()) for i in range(KILL_COUNT)), tool="mark", instructions=words)
        self._submit(plan)
        self._wait("all to be at work", lambda: len(marks.read()) >= KILL_COUNT)
        victim = self._processes[1 if self._leads == 0 else 0]
        lost = {name for name, pid, _ in marks.read() if pid == victim.pid}
        killed = time.time()
        victim.kill()
        victim.wait()

        def elsewhere() -> float | None:
            again = [at for name, _, at in marks.read() if name in lost and at > killed]
            return max(again) if len(again) == len(lost) else None

        return self._wait("its work to run elsewhere", elsewhere) - killed

    def idle(self, seconds: float) -> list[dict[str, float]]:
        """Answer each node's share of a processor, in percent, and its memory while idle."""
        measured = [psutil.Process(process.pid) for process in self._processes]
        before = [sum(process.cpu_times()[:2]) for process in measured]
        time.sleep(seconds)
        return [
            {
                "cpu_percent": 100 * (sum(process.cpu_times()[:2]) - used) / seconds,
                "memory_mb": process.memory_info().rss / 1e6,
            }
            for process, used in zip(measured, before, strict=True)
        ]

    def status_command_s(self, count: int = 5) -> float:
        """Answer the median time of `paceline status`, the start of its Python included."""
        command = [sys.executable, "-P", "-m", "paceline", "status"]
        command += ["--data-dir", str(self._settings[0].data_dir)]
        times = []
        for _ in range(count):
            start = time.monotonic()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.monotonic() - start)
        return statistics.median(times)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    # --- how --------------------------------------------------------------------------------------

    def _settings_of(self, number: int, slots: int, token: str) -> NodeSettings:
        join = (read_node_file(self._settings[0].data_dir)["address"],) if number else ()
        return NodeSettings(
            data_dir=self._directory / f"node{number}",
            name=f"node{number}",
            bind="127.0.0.1",
            token=token,
            port=0,
            web_port=0,
            join=join,
            mdns=False,
            slots=slots,
            lease_ms=LEASE_MS,
            grace_ms=GRACE_MS,
        )

    def _start(self, settings: NodeSettings, environment: dict[str, str]) -> float:
        """Start a node; answer the seconds until it is ready."""
        start = time.monotonic()
        process = launch.spawn(settings, environment)
        self._settings.append(settings)
        self._processes.append(process)
        launch.wait_ready(process, settings, timeout_s=START_S)
        return time.monotonic() - start

    def _complete(self) -> bool:
        status = self._client(0).get("status")
        ready = [m for m in status["members"] if "noop" in m["tools"]]
        return len(status["voters"]) == len(SLOTS) == len(ready)

    def _find_leader(self) -> None:
        leader = self._client(0).get("status")["leader_id"]
        ids = [read_node_file(each.data_dir)["node_id"] for each in self._settings]
        self._leads = ids.index(leader)
        self._leader = self._client(self._leads)

    def _client(self, number: int) -> Client:
        return Client(self._settings[number].data_dir)

    def _timed(self, plan: str) -> float:
        start = time.monotonic()
        task_id = self._submit(plan)
        self._wait("a task to end", lambda: self._ended(task_id))
        return time.monotonic() - start

    def _submit(self, plan: str) -> str:
        body = {"plan": plan, "format": "yaml"}
        return str(self._leader.post("tasks", body)["task_id"])

    def _ended(self, task_id: str) -> bool:
        """Answer whether the newest task is that one and has ended; raise if it failed."""
        newest = self._leader.get("tasks", limit=1)["tasks"][0]
        if newest["task_id"] != task_id or newest["status"] in ("failed", "cancelled"):
            raise RuntimeError(f"not as expected: {newest}")
        return bool(newest["status"] == "completed")

    def _wait(self, what: str, probe: Callable[[], T | None]) -> T:
        """Answer what the probe answers as soon as that is true."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                if found := probe():
                    return found
            except PacelineError:
                pass
            if time.monotonic() > deadline:
                logs = "\n".join(launch.log_tail(each.log_file) for each in self._settings)
                raise RuntimeError(f"waited {WAIT_S:g} s in vain for {what}\n{logs}")
            time.sleep(POLL_S)


def _layers(layers: int, width: int) -> Iterable[tuple[str, tuple[str, ...]]]:
    for layer in range(layers):
        needs = (f"join{layer}",) if layer else ()
        names = tuple(f"s{layer}_{i}" for i in range(width))
        if layer:
            yield f"join{layer}", tuple(f"s{layer - 1}_{i}" for i in range(width))
        yield from ((name, needs) for name in names)


def _plan(
    subtasks: Iterable[tuple[str, tuple[str, ...]]], tool: str = "noop", instructions: str = "-"
) -> str:
    """Answer a plan file. JSON is YAML."""
    lines = [
        json.dumps({"name": name, "tool": tool, "instructions": instructions, "needs": needs})
        for name, needs in subtasks
    ]
    return "subtasks:\n" + "".join(f"- {line}\n" for line in lines)


def _install(directory: Path) -> Path:
    """Make a directory from which Python imports the plugin, with its entry points."""
    metadata = directory / "bench_noop-1.0.dist-info"
    metadata.mkdir(parents=True)
    shutil.copy(PLUGIN, directory / "_bench_noop.py")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-noop\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[paceline.tools]\nnoop = _bench_noop:Noop\nmark = _bench_noop:Mark\n"
    )
    return directory
