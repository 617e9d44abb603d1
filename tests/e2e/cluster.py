"""Real nodes as real processes, for tests that look at the whole thing from outside."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from paceline.client import Client, Document, read_node_file
from paceline.errors import PacelineError

T = TypeVar("T")

TOKEN = "a-token-of-these-tests-only"
START_S = 60.0
PAUSE_S = 0.05
ENDED = {"completed", "failed", "cancelled"}


def wait_for(what: str, probe: Callable[[], T | None], timeout_s: float) -> T:
    """Answer what `probe` answers as soon as that is neither None nor False."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = None
        with contextlib.suppress(PacelineError):
            found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain for {what}")
        time.sleep(PAUSE_S)


@dataclass
class Node:
    """One node; `prefix` goes before its command (a network namespace, for example)."""

    name: str
    directory: Path
    options: Sequence[str] = ()
    prefix: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> Client:
        return Client(self.directory, timeout_s=20)

    @property
    def log_path(self) -> Path:
        return self.directory.with_suffix(".log")

    def spawn(self) -> None:
        command = [sys.executable, "-P", "-m", "paceline", "node", "start"]
        command += ["--data-dir", str(self.directory), "--name", self.name]
        command += ["--port", "0", "--web-port", "0", *self.options]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    def wait_ready(self) -> Document:
        """Answer its node.json, once this very process has written it."""

        def ready() -> Document | None:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended:\n{self.log()}")
            document = read_node_file(self.directory)
            # Behind a prefix, the process that we started is only the parent of the node.
            fresh = self.prefix or document["pid"] == self.process.pid
            return document if fresh else None

        return wait_for(f"{self.name} to be ready\n", ready, START_S)

    def start(self) -> Document:
        self.spawn()
        return self.wait_ready()

    @property
    def node_id(self) -> str:
        return str(read_node_file(self.directory)["node_id"])

    @property
    def address(self) -> str:
        return str(read_node_file(self.directory)["address"])

    def signal(self, number: int) -> None:
        """Send it to the node's group; to nobody if it has ended: its number may be another's."""
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """End it with -9: nothing is said, nothing is flushed."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self.process.wait()
        self.process = None
        (self.directory / "node.json").unlink(missing_ok=True)

    def stop(self) -> int:
        """End it as a person would; answer its exit status."""
        assert self.process is not None
        self.process.terminate()
        status = self.process.wait(timeout=30)
        self.process = None
        return status

    def status(self) -> Document:
        return self.client.get("status")

    def task(self, task_id: str) -> Document:
        return self.client.get(f"tasks/{task_id}")

    def submit(self, plan: str, key: str = "") -> str:
        body: dict[str, Any] = {"plan": plan, "format": "yaml", "idempotency_key": key}
        return str(self.client.post("tasks", body)["task_id"])

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")[-6000:]


class Cluster:
    """Nodes on loopback; the first founds, the others join it."""

    def __init__(self, directory: Path, size: int, options: Sequence[str] = ()) -> None:
        self.nodes = [
            Node(
                f"n{number}",
                directory / f"n{number}",
                ["--bind", "127.0.0.1", "--slots", "2", "--no-mdns", *options],
                environment={"PACELINE_TOKEN": TOKEN},
            )
            for number in range(1, size + 1)
        ]

    def start(self) -> None:
        """Start all, and wait until all are voters and agree on a leader."""
        self.nodes[0].start()
        for node in self.nodes[1:]:
            node.options = [*node.options, "--join", self.nodes[0].address]
            node.spawn()
        for node in self.nodes[1:]:
            node.wait_ready()
        wait_for("all to be voters", self.settled, 60)

    def settled(self) -> bool:
        """Answer whether all are up, voters, registered, and follow one leader."""
        seen = [node.status() for node in self.nodes]
        leaders = {each["leader_id"] for each in seen}
        return (
            len(leaders) == 1
            and None not in leaders
            and all(len(each["voters"]) == len(self.nodes) for each in seen)
            and all(m["status"] == "online" and m["tools"] for m in seen[0]["members"])
        )

    def leader(self) -> Node:
        """Answer the node that a majority of the live ones calls leader."""

        def find() -> Node | None:
            live = [node for node in self.nodes if node.process is not None]
            named = [node.status()["leader_id"] for node in live]
            chosen = max(set(named), key=named.count)
            return next((node for node in live if node.node_id == chosen), None)

        return wait_for("a leader", find, 30)

    def followers(self) -> list[Node]:
        leader = self.leader()
        return [node for node in self.nodes if node is not leader and node.process is not None]

    def close(self) -> None:
        for node in self.nodes:
            node.kill()


@contextlib.contextmanager
def cluster(directory: Path, size: int, options: Sequence[str] = ()) -> Iterator[Cluster]:
    nodes = Cluster(directory, size, options)
    try:
        nodes.start()
        yield nodes
    except BaseException:
        for node in nodes.nodes:
            if node.log_path.exists():
                print(f"--- {node.name}\n{node.log()}")
        raise
    finally:
        nodes.close()


def completed(node: Node, task_id: str, timeout_s: float = 60) -> Document:
    """Wait for the end of a task and answer its document; it must have completed."""

    def ended() -> Document | None:
        document = node.task(task_id)
        return document if document["status"] in ENDED else None

    document = wait_for(f"task {task_id} to end", ended, timeout_s)
    assert document["status"] == "completed", document
    return document


def attempts(document: Document) -> dict[str, list[Document]]:
    return {each["name"]: each["attempts"] for each in document["subtasks"]}
