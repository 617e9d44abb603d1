"""The leader may die, a worker may die, all may die: nothing is lost, nothing is done twice."""

import signal
import time
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, Node, attempts, cluster, completed, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

SLEEPERS = (
    """
description: six that take a moment, and one that needs them all
subtasks:
"""
    + "".join(
        f"""
  - name: s{number}
    tool: command
    run: sleep 3; echo {number} > "$PACELINE_OUTPUT"
"""
        for number in range(6)
    )
    + """
  - name: sum
    needs: [s0, s1, s2, s3, s4, s5]
    tool: command
    run: cat "$PACELINE_INPUTS"/* | sort | tr -d '\\n' | tee "$PACELINE_OUTPUT"
"""
)


def running_on(node: Node, task_id: str) -> dict[str, str]:
    """Answer, by name of the subtask that runs now, the node that runs it."""
    return {
        each["name"]: each["attempts"][-1]["node_id"]
        for each in node.task(task_id)["subtasks"]
        if each["status"] == "in_progress"
    }


def all_slots_busy(node: Node, task_id: str) -> dict[str, str] | None:
    found = running_on(node, task_id)
    return found if len(found) == 6 else None


def test_work_goes_on_when_the_leader_dies(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        survivor = nodes.followers()[0]
        task_id = survivor.submit(SLEEPERS)
        running = wait_for("six to run", lambda: all_slots_busy(survivor, task_id), 30)
        leader = nodes.leader()
        killed_id = leader.node_id
        leader.kill()
        document = completed(survivor, task_id)
        check_once(document, running, killed_id)
        assert survivor.status()["leader_id"] != killed_id
        logged = survivor.client.stream(f"tasks/{task_id}/logs", subtask="sum")
        assert [each["line"] for each in logged if each["stream"] == "stdout"] == ["012345"]


def check_once(document: dict[str, object], running: dict[str, str], killed_id: str) -> None:
    """What ran elsewhere has one attempt; what ran there has a lost one and a good one."""
    for name, tries in attempts(document).items():
        statuses = [each["status"] for each in tries]
        expected = ["lost", "succeeded"] if running.get(name) == killed_id else ["succeeded"]
        assert statuses == expected, (name, statuses)


def test_a_dead_workers_subtasks_run_elsewhere(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        leader, worker = nodes.leader(), nodes.followers()[0]
        task_id = leader.submit(SLEEPERS)
        running = wait_for("six to run", lambda: all_slots_busy(leader, task_id), 30)
        killed_id = worker.node_id
        assert killed_id in running.values()
        worker.kill()
        check_once(completed(leader, task_id), running, killed_id)


def test_a_stopped_node_gives_back_its_work_and_its_lead(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        leader, survivor = nodes.leader(), nodes.followers()[0]
        task_id = survivor.submit(SLEEPERS)
        running = wait_for("six to run", lambda: all_slots_busy(survivor, task_id), 30)
        stopped_id = leader.node_id
        assert leader.stop() == 0
        assert not (leader.directory / "node.json").exists()
        check_once(completed(survivor, task_id), running, stopped_id)


def test_everything_survives_the_death_of_all(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        task_ids = [nodes.nodes[number % 3].submit(SLEEPERS, key=f"k{number}") for number in (0, 1)]
        for node in nodes.nodes:
            node.kill()
        for node in nodes.nodes:
            node.spawn()
        for node in nodes.nodes:
            node.wait_ready()
        for number, task_id in enumerate(task_ids):
            completed(nodes.nodes[0], task_id, timeout_s=120)
            assert nodes.nodes[2].submit(SLEEPERS, key=f"k{number}") == task_id


def test_a_frozen_leader_is_replaced_and_does_no_harm_when_it_wakes(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        leader, survivor = nodes.leader(), nodes.followers()[0]
        frozen_id = leader.node_id
        leader.signal(signal.SIGSTOP)
        try:
            wait_for(
                "another leader",
                lambda: survivor.status()["leader_id"] not in (None, frozen_id),
                30,
            )
            task_id = survivor.submit(SLEEPERS)
            wait_for("some to run", lambda: running_on(survivor, task_id), 30)
        finally:
            leader.signal(signal.SIGCONT)
        completed(survivor, task_id)
        wait_for("it to follow", lambda: leader.status()["role"] == "follower", 30)
        assert completed(leader, task_id)["progress"] == 100


def test_without_a_quorum_a_node_reads_and_says_so(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        last = nodes.followers()[0]
        task_id = last.submit(SLEEPERS)
        for node in nodes.nodes:
            if node is not last:
                node.kill()
        wait_for("it to notice", lambda: not last.status()["quorum"], 30)
        assert last.task(task_id)["task_id"] == task_id
        began = time.monotonic()
        with pytest.raises(Exception, match="too few voters"):
            last.submit(SLEEPERS)
        assert time.monotonic() - began < 100
        assert any("no quorum" in warning for warning in last.status()["warnings"])


def test_one_node_alone_restarts_with_its_state(tmp_path: Path) -> None:
    nodes = Cluster(tmp_path, 1)
    try:
        nodes.start()
        node = nodes.nodes[0]
        task_id = node.submit(SLEEPERS)
        node_id = node.node_id
        node.kill()
        node.start()
        assert node.node_id == node_id
        assert completed(node, task_id)["progress"] == 100
    finally:
        nodes.close()
