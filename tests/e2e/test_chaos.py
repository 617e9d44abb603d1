"""Submissions go on while nodes are killed and started again at random."""

import contextlib
import functools
import os
import random
import threading
import time
from pathlib import Path

import pytest

from paceline.client import Client
from paceline.errors import PacelineError
from tests.e2e.cluster import ENDED, Cluster, Node, cluster, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(420)]

CHAOS_S = float(os.environ.get("PACELINE_CHAOS_S", "30"))
SUBMISSIONS = int(4 * CHAOS_S)

PLAN = """
description: {name}
subtasks:
  - name: first
    tool: command
    run: echo {name} > "$PACELINE_OUTPUT"
    max_attempts: 5
  - name: second
    needs: [first]
    tool: command
    run: cat "$PACELINE_INPUTS/first"
    max_attempts: 5
"""


class Submitter(threading.Thread):
    """One client of one node: submits, repeats what was not answered, notes what was."""

    def __init__(self, node: Node, names: list[str], until: float) -> None:
        super().__init__(daemon=True)
        self._client = Client(node.directory, timeout_s=15)
        self._names = names
        self._pause_s = (until - time.monotonic()) / len(names)
        self.acknowledged: dict[str, str] = {}

    def run(self) -> None:
        for name in self._names:
            self._submit(name)
            time.sleep(self._pause_s * 0.8)

    def _submit(self, name: str) -> None:
        body = {"plan": PLAN.format(name=name), "format": "yaml", "idempotency_key": name}
        for _ in range(200):
            with contextlib.suppress(PacelineError, OSError, ValueError):
                self.acknowledged[name] = str(self._client.post("tasks", body)["task_id"])
                return
            time.sleep(0.2)


def torment(nodes: Cluster, rng: random.Random, until: float) -> int:
    """Kill one node after the other, now and then two, and start them again; answer how often."""
    kills = 0
    while time.monotonic() < until:
        victims = rng.sample(nodes.nodes, k=2 if rng.random() < 0.25 else 1)
        for node in victims:
            node.kill()
            kills += 1
        time.sleep(rng.uniform(0.2, 2.5))
        for node in victims:
            node.spawn()
        for node in victims:
            node.wait_ready()
        time.sleep(rng.uniform(0.2, 2.5))
    return kills


def all_tasks(node: Node) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    cursor = None
    while True:
        page = node.client.get("tasks", limit=100, cursor=cursor)
        found += page["tasks"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def test_acknowledged_submissions_are_there_once_and_complete(tmp_path: Path) -> None:
    seed = int(os.environ.get("PACELINE_CHAOS_SEED", "0")) or random.randrange(1 << 32)
    print(f"PACELINE_CHAOS_SEED={seed}")
    options = ["--lease-ms", "3000", "--grace-ms", "1000"]
    with cluster(tmp_path, 3, options) as nodes:
        until = time.monotonic() + CHAOS_S
        names = [f"job-{number}" for number in range(SUBMISSIONS)]
        clients = [
            Submitter(node, names[place::3], until) for place, node in enumerate(nodes.nodes)
        ]
        for client in clients:
            client.start()
        kills = torment(nodes, random.Random(seed), until)
        for client in clients:
            client.join(timeout=120)
        acknowledged = {k: v for client in clients for k, v in client.acknowledged.items()}
        print(f"{kills} kills, {len(acknowledged)} acknowledged")
        assert len(acknowledged) == SUBMISSIONS
        node = nodes.leader()
        wait_for("all to end", lambda: all(t["status"] in ENDED for t in all_tasks(node)), 180)
        check(nodes, acknowledged)


def check(nodes: Cluster, acknowledged: dict[str, str]) -> None:
    """Every acknowledged task is there once, completed, with one accepted outcome per subtask."""
    node = nodes.leader()
    tasks = all_tasks(node)
    by_name = {str(task["description"]): task for task in tasks}
    assert len(by_name) == len(tasks) == len(acknowledged)
    for name, task_id in acknowledged.items():
        task = node.task(task_id)
        assert task["description"] == name
        assert task["status"] == "completed", task
        for subtask in task["subtasks"]:
            succeeded = [a for a in subtask["attempts"] if a["status"] == "succeeded"]
            assert len(succeeded) == 1, subtask
    commit = node.status()["commit_index"]
    for other in nodes.nodes:
        wait_for("it to catch up", functools.partial(has_applied, other, commit), 30)
        assert {t["task_id"] for t in all_tasks(other)} == set(acknowledged.values())


def has_applied(node: Node, index: int) -> bool:
    return bool(node.status()["applied_index"] >= index)
