"""Steering work under way on real nodes: cancel one subtask, pause, deadlines, drains, dry runs."""

import time
from collections.abc import Iterator

import psutil
import pytest

from paceline.client import Document
from paceline.errors import Unavailable
from tests.e2e.cluster import ENDED, Cluster, Node, cluster, completed, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

LONG = "sleep 86399"
"""A command that nobody else runs."""


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("nodes"), 3) as nodes:
        yield nodes


def plan(*subtasks: str, **task: object) -> str:
    told = "".join(f"{name}: {value}\n" for name, value in task.items())
    return f"description: steered\n{told}subtasks:\n" + "".join(
        f"  - {{tool: command, {each}}}\n" for each in subtasks
    )


def running(node: Node, task_id: str, name: str) -> Document:
    def begun() -> Document | None:
        (found,) = [each for each in node.task(task_id)["subtasks"] if each["name"] == name]
        return found if found["status"] == "in_progress" else None

    return wait_for(f"{name} to run", begun, 30)


def ended(node: Node, task_id: str) -> Document:
    def look() -> Document | None:
        document = node.task(task_id)
        open_ones = [s for s in document["subtasks"] if s["status"] not in ENDED]
        return document if document["status"] in ENDED and not open_ones else None

    return wait_for(f"task {task_id} to end", look, 60)


def statuses(document: Document) -> dict[str, str]:
    return {each["name"]: each["status"] for each in document["subtasks"]}


def sleepers() -> list[int]:
    found = psutil.process_iter(["cmdline"])
    return [each.pid for each in found if each.info["cmdline"] == LONG.split()]


def test_one_subtask_is_cancelled_and_the_rest_goes_on(three: Cluster) -> None:
    node = three.nodes[0]
    task_id = node.submit(
        plan(f"name: a, run: {LONG}", "name: b, needs: a, run: 'true'", "name: c, run: 'true'")
    )
    running(three.nodes[1], task_id, "a")
    answer = three.nodes[1].client.post(f"tasks/{task_id}/cancel", {"subtask_id": "a"})
    assert answer["subtask_status"] in ("cancelling", "cancelled")
    document = ended(node, task_id)
    assert statuses(document) == {"a": "cancelled", "b": "cancelled", "c": "completed"}
    wait_for("the sleeper to be gone", lambda: not sleepers(), 15)


def test_a_paused_task_waits_and_says_so_until_it_is_resumed(three: Cluster) -> None:
    node = three.nodes[2]
    task_id = node.submit(plan("name: a, run: sleep 1", "name: b, needs: a, run: 'true'"))
    assert node.client.patch(f"tasks/{task_id}", {"status": "paused"})["paused"] is True
    wait_for("a to end", lambda: statuses(node.task(task_id))["a"] in ("completed", "pending"), 30)
    told = node.client.get(f"tasks/{task_id}/explain")
    waiting = [each for each in told["subtasks"] if each["status"] == "pending"]
    assert waiting
    assert all(each["waits_for"] in ("paused", "needs") for each in waiting)
    node.client.patch(f"tasks/{task_id}", {"paused": False, "priority": 80})
    assert completed(node, task_id)["priority"] == 80


def test_time_ends_what_nobody_begins_and_what_does_not_end(three: Cluster) -> None:
    node = three.nodes[0]
    dry = node.client.post(
        "tasks",
        {"plan": plan("name: a, run: 'true', labels: {moon: far}"), "format": "yaml"},
        dry_run="true",
    )
    assert dry["subtasks"][0]["node_id"] is None
    assert "label moon must be far" in dry["subtasks"][0]["reason"]
    never = node.submit(
        plan(
            "name: a, run: 'true', labels: {moon: far}, start_timeout_s: 1",
            "name: b, needs: a, run: 'true'",
        )
    )
    late = node.submit(plan(f"name: a, run: {LONG}", "name: b, needs: a, run: x", deadline=2))
    document = ended(node, never)
    assert document["status"] == "failed"
    assert statuses(document) == {"a": "failed", "b": "cancelled"}
    assert document["subtasks"][0]["reason"].startswith("timeout: ")
    document = ended(node, late)
    assert (document["status"], statuses(document)["b"]) == ("failed", "cancelled")
    assert document["details"]["reason"] == "its deadline has passed"
    wait_for("the sleeper to be gone", lambda: not sleepers(), 15)


def test_what_does_not_end_within_a_drain_goes_elsewhere(three: Cluster) -> None:
    node = three.leader()
    task_id = node.submit(plan("name: a, run: 'test $PACELINE_ATTEMPT = 2 || sleep 86399'"))
    first = running(node, task_id, "a")["node_id"]
    node.client.post(f"nodes/{first}/drain", {"timeout_s": 1.0})
    try:
        document = completed(node, task_id)
        tried = document["subtasks"][0]["attempts"]
        assert [each["status"] for each in tried] == ["lost", "succeeded"]
        assert tried[0]["node_id"] == first != tried[1]["node_id"]
    finally:
        node.client.post(f"nodes/{first}/drain", {"on": False})
    wait_for("the sleeper to be gone", lambda: not sleepers(), 15)


def test_a_list_is_gone_through_on_all_nodes_and_joined(three: Cluster) -> None:
    node = three.nodes[1]
    text = """
description: for each
subtasks:
  - {name: list, tool: command, run: 'printf "a b\\n$(date)\\n;id\\n" > "$PACELINE_OUTPUT"'}
  - name: each
    tool: command
    needs: list
    foreach: list
    run: 'printf "<%s>" "$PACELINE_ITEM" > "$PACELINE_OUTPUT"'
  - {name: join, tool: command, needs: each, run: 'cd "$PACELINE_INPUTS"; cat each*; cat each*
      > "$PACELINE_OUTPUT"'}
"""
    document = completed(node, node.submit(text.replace("$(date)", "two")))
    assert [each["name"] for each in document["subtasks"]] == [
        "list",
        "each 1",
        "join",
        "each 2",
        "each 3",
    ]
    joined = document["subtasks"][2]["result"]["output"]["text"]
    assert joined == "<a b><two><;id>"


def test_a_cancel_arrives_though_the_leader_dies(three: Cluster) -> None:
    leader = three.leader()
    follower = three.followers()[0]
    task_id = follower.submit(plan(*(f"name: s{n}, run: {LONG}" for n in range(6))))
    running(follower, task_id, "s0")
    leader.kill()
    deadline = time.monotonic() + 30
    while True:
        try:
            follower.client.post(f"tasks/{task_id}/cancel")
            break
        except Unavailable:
            assert time.monotonic() < deadline
    document = ended(follower, task_id)
    assert document["status"] == "cancelled"
    assert set(statuses(document).values()) == {"cancelled"}
    leader.start()
    wait_for("no sleeper to be left", lambda: not sleepers(), 30)
