"""The demo's three nodes, as processes that are gone when it is over, whatever happens.

A node that is killed with -9 cannot end the tools it was running. On Linux the demo makes itself
the reaper of its descendants' orphans (prctl), so that these become its own children and none can
hide; elsewhere it remembers the node's descendants before it kills it.
"""

import contextlib
import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from paceline.cli import launch
from paceline.cli.demo_stop import Stop
from paceline.client import Client, Document
from paceline.errors import PacelineError, TimedOut
from paceline.settings import NodeSettings
from paceline.tokens import new_token

NAMES = ("ann", "bo", "cy")
SLOTS = 2
LEASE_MS = 2_000
GRACE_MS = 500
"""Shorter than the defaults, as the three share one machine and nobody wants to wait."""

START_S = 20.0
TERM_S = 4.0
KILL_S = 3.0
PAUSE_S = 0.05
CALL_S = 5.0

_PR_SET_CHILD_SUBREAPER = 36


@dataclass(slots=True)
class Node:
    """One of the three. `node_id` is known once it is ready."""

    settings: NodeSettings
    process: subprocess.Popen[bytes]
    node_id: str = ""
    alive: bool = True
    left_behind: list[psutil.Process] = field(default_factory=list)
    """What it was running when it was killed."""

    @property
    def client(self) -> Client:
        """Answer a client of this node, not a patient one: another node may answer sooner."""
        return Client(self.settings.data_dir, timeout_s=CALL_S)


class Cluster:
    """Starts, kills and ends the nodes. `close` must be called, and may be at any moment."""

    def __init__(self, directory: Path, stop: Stop) -> None:
        self._directory = directory
        self._stop = stop
        self._token = new_token()
        self.nodes: list[Node] = []
        _adopt_orphans()

    @property
    def survivors(self) -> list[Node]:
        """Answer the nodes that were not killed."""
        return [node for node in self.nodes if node.alive]

    def start(self) -> None:
        """Start the founder, then the others at once; return when all three vote and work."""
        founder = self._spawn(NAMES[0], ())
        address = str(self._ready(founder)["address"])
        others = [self._spawn(name, (address,)) for name in NAMES[1:]]
        for node in others:
            self._ready(node)
        self.until(_complete, "the three nodes did not become one cluster")

    def _spawn(self, name: str, join: tuple[str, ...]) -> Node:
        settings = NodeSettings(
            data_dir=self._directory / name,
            name=name,
            bind="127.0.0.1",
            token=self._token,
            port=0,
            web_port=0,
            join=join,
            mdns=False,
            slots=SLOTS,
            lease_ms=LEASE_MS,
            grace_ms=GRACE_MS,
        )
        self._stop.check()
        node = Node(settings, launch.spawn(settings, os.environ))
        self.nodes.append(node)
        return node

    def _ready(self, node: Node) -> Document:
        document = launch.wait_ready(
            node.process, node.settings, timeout_s=START_S, pause=self._stop.pause
        )
        node.node_id = str(document["node_id"])
        return document

    def until(self, fits: Callable[[Document], bool], otherwise: str) -> Document:
        """Answer the first status of a survivor that fits. Raise TimedOut with the logs' ends."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            document = self.ask("status")
            if document is not None and fits(document):
                return document
            self._stop.pause(PAUSE_S)
        raise TimedOut(f"{otherwise} within {START_S:g} s.\n{self.logs()}")

    def ask(self, path: str) -> Document | None:
        """Answer a document from the first survivor that gives one, else None."""
        for node in self.survivors:
            self._stop.check()
            if node.process.poll() is not None:
                raise PacelineError(f"a node ended by itself.\n{self.logs()}")
            with contextlib.suppress(PacelineError):
                return node.client.get(path)
        return None

    def kill(self, node: Node) -> float:
        """Kill a node without a word to anybody; answer when, on the monotonic clock, in s."""
        with contextlib.suppress(psutil.Error):
            node.left_behind = psutil.Process(node.process.pid).children(recursive=True)
        node.alive = False
        killed_s = time.monotonic()
        node.process.kill()
        return killed_s

    def logs(self) -> str:
        """Answer the ends of all logs, for an explanation."""
        return "\n".join(
            f"{node.settings.name}:\n{launch.log_tail(node.settings.log_file)}"
            for node in self.nodes
        )

    def close(self) -> None:
        """End every node and whatever they started; bounded in time, never raises."""
        found = {process for node in self.nodes for process in node.left_behind}
        found |= _descendants()
        for node in self.nodes:
            if node.process.poll() is None:
                node.process.terminate()
        deadline = time.monotonic() + TERM_S
        for node in self.nodes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.process.wait(max(0.0, deadline - time.monotonic()))
        for node in self.nodes:
            if node.process.poll() is None:
                node.process.kill()
            node.process.wait()
        _end(found)


def _complete(status: Document) -> bool:
    """Answer whether all three vote and can run something."""
    members = [m for m in status["members"] if m["status"] in ("online", "busy") and m["tools"]]
    return bool(status["quorum"]) and len(status["voters"]) == len(members) == len(NAMES)


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _descendants() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _end(found: set[psutil.Process]) -> None:
    """Kill what is left until nothing is; ending one may reveal another that it had started."""
    deadline = time.monotonic() + KILL_S
    while time.monotonic() < deadline:
        found = {process for process in found | _descendants() if _lives(process)}
        if not found:
            break
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(PAUSE_S)
    _bury()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _bury() -> None:
    """Collect adopted children that have ended; the nodes themselves were waited for."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
