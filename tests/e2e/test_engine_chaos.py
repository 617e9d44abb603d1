"""The engine among real processes: kills, stops, cancels, pauses and drains while much is to do.

Some hundred subtasks in tasks of mixed shapes, with commands that fail, hang, are slow or write
without end. Whatever happens to the nodes, each task ends as a plain model of it predicts.
"""

import contextlib
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from paceline.client import Document
from paceline.errors import Conflict, NodeUnreachable, Unavailable
from tests.e2e.cluster import ENDED, Cluster, Node, cluster, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

SEED = 11
TASKS = 40
"""Before the trouble begins; more come while it lasts."""
TROUBLE_S = 15.0
HANG = "sleep 86398"
"""A command that nobody else runs."""

COMMANDS = {
    "ok": 'printf "$PACELINE_SUBTASK" > "$PACELINE_OUTPUT"',
    "slow": "sleep 0.7",
    "flaky": "test $PACELINE_ATTEMPT -gt 1",
    "bad": "exit 3",
    "hang": HANG,
    "flood": "head -c 3000000 /dev/zero | tr '\\\\0' 'x'",
}
"""What a subtask does; `hang` is ended by its time, twice."""


class Chaos:
    """What was submitted, how it is to end, and what may happen to it."""

    def __init__(self, nodes: Cluster, seed: int) -> None:
        self.nodes = nodes
        self.random = random.Random(seed)
        self.expected: dict[str, str] = {}
        """By task: its end, or nothing where a person has ended some of it."""

    def any_node(self) -> Node:
        return self.random.choice([node for node in self.nodes.nodes if node.process is not None])

    def ask(self, call: Callable[[Node], Any]) -> Any:
        """Ask until a node answers; one that has been killed just now cannot."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return call(self.any_node())
            except (Unavailable, NodeUnreachable):
                assert time.monotonic() < deadline

    # --- work -------------------------------------------------------------------------------------

    def submit(self, number: int) -> None:
        size = self.random.randint(1, 6)
        kinds = self.random.choices(list(COMMANDS), [10, 5, 3, 1, 1, 1], k=size)
        subtasks = []
        for at, kind in enumerate(kinds):
            needs = [f"s{n}" for n in range(at) if self.random.random() < 0.3]
            subtasks.append(
                f"  - {{name: s{at}, tool: command, needs: [{', '.join(needs)}], timeout_s: "
                f"{1.5 if kind == 'hang' else 60}, max_attempts: 2, run: '{_quoted(kind)}'}}\n"
            )
        plan = f"description: chaos {number}\nsubtasks:\n{''.join(subtasks)}"
        task_id = self.ask(lambda node: node.submit(plan, key=f"chaos {number}"))
        failing = {"bad", "hang"} & set(kinds)
        self.expected[task_id] = "failed" if failing else "completed"

    def steer(self) -> None:
        task_id = self.random.choice(list(self.expected))
        path = f"tasks/{task_id}"
        move = self.random.choice(["cancel", "pause", "pause", "resume", "hurry", "explain"])
        with contextlib.suppress(Conflict):  # it has ended
            if move == "cancel":
                self.expected[task_id] = ""
                self.ask(lambda node: node.client.post(f"{path}/cancel"))
            elif move == "hurry":
                self.ask(lambda node: node.client.patch(path, {"priority": 90}))
            elif move == "explain":
                self.explained(task_id)
            else:
                self.ask(lambda node: node.client.patch(path, {"paused": move == "pause"}))

    def explained(self, task_id: str) -> None:
        told: Document = self.ask(lambda node: node.client.get(f"tasks/{task_id}/explain"))
        for each in told["subtasks"]:
            assert each["reason"], each
            assert each["waits_for"], each

    # --- trouble ----------------------------------------------------------------------------------

    def trouble(self) -> None:
        move = self.random.choice([self.kill, self.freeze, self.drain, self.kill_leader])
        move()

    def kill(self) -> None:
        node = self.random.choice(self.nodes.followers())
        node.kill()
        node.start()

    def kill_leader(self) -> None:
        node = self.nodes.leader()
        node.kill()
        node.start()

    def freeze(self) -> None:
        """Stop a whole process for a while, as a suspended machine would."""
        node = self.random.choice(self.nodes.followers())
        node.signal(signal.SIGSTOP)
        time.sleep(self.random.choice([0.2, 1.0]))
        node.signal(signal.SIGCONT)

    def drain(self) -> None:
        node_id = self.random.choice(self.nodes.nodes).node_id
        self.ask(lambda node: node.client.post(f"nodes/{node_id}/drain", {"timeout_s": 0.5}))
        self.steer()
        self.undrain(node_id)

    def undrain(self, node_id: str) -> None:
        self.ask(lambda node: node.client.post(f"nodes/{node_id}/drain", {"on": False}))

    # --- the end ----------------------------------------------------------------------------------

    def calm(self) -> None:
        for node in self.nodes.nodes:
            self.undrain(node.node_id)
        for task_id in self.expected:
            with contextlib.suppress(Conflict):  # it has ended
                self.resume(task_id)

    def resume(self, task_id: str) -> None:
        self.ask(lambda node: node.client.patch(f"tasks/{task_id}", {"paused": False}))

    def all_ended(self) -> bool:
        open_ones = [task_id for task_id in self.expected if not self.has_ended(task_id)]
        for task_id in open_ones[:3]:
            self.explained(task_id)
        return not open_ones

    def has_ended(self, task_id: str) -> bool:
        found: Document = self.ask(lambda node: node.task(task_id))
        return found["status"] in ENDED and all(s["status"] in ENDED for s in found["subtasks"])

    def check(self, task_id: str) -> None:
        found: Document = self.ask(lambda node: node.task(task_id))
        if self.expected[task_id]:
            assert found["status"] == self.expected[task_id], found
        for each in found["subtasks"]:
            accepted = [a for a in each["attempts"] if a["status"] == "succeeded"]
            assert len(accepted) == (each["status"] == "completed"), each
            assert all(a["finished_at"] for a in each["attempts"]), each


def _quoted(kind: str) -> str:
    return COMMANDS[kind].replace("'", "''")


def hanging() -> list[int]:
    found = psutil.process_iter(["cmdline"])
    return [each.pid for each in found if each.info["cmdline"] == HANG.split()]


def test_every_task_ends_as_predicted_whatever_happens_to_the_nodes(tmp_path: Path) -> None:
    options = ["--lease-ms", "4000", "--grace-ms", "1000", "--slots", "6"]
    with cluster(tmp_path, 3, options) as nodes:
        chaos = Chaos(nodes, SEED)
        for number in range(TASKS):
            chaos.submit(number)
        until = time.monotonic() + TROUBLE_S
        while time.monotonic() < until:
            chaos.trouble()
            chaos.steer()
            chaos.submit(len(chaos.expected))
        chaos.calm()
        wait_for("all tasks to end", chaos.all_ended, 120)
        for task_id in chaos.expected:
            chaos.check(task_id)
        wait_for("no process to be left", lambda: not hanging(), 30)
