"""Two clusters of one token that meet: empty ones become one, those with work never do."""

from pathlib import Path

import pytest

from tests.e2e.cluster import TOKEN, Cluster, Node, completed, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

OPTIONS = ["--bind", "127.0.0.1", "--no-mdns"]
PLAN = "description: d\nsubtasks: [{name: a, tool: command, run: 'true'}]"


def alone(directory: Path, name: str) -> Node:
    """Start a node that founds a cluster, as it can find nobody."""
    node = Node(name, directory / name, OPTIONS, environment={"PACELINE_TOKEN": TOKEN})
    node.start()
    return node


def cluster_id(node: Node) -> str:
    return str(node.status()["cluster_id"])


def introduce(one: Node, other: Node) -> None:
    """Start a node again, and tell it where the other is."""
    one.stop()
    one.options = [*OPTIONS, "--join", other.address]
    one.start()


def together(*nodes: Node) -> bool:
    seen = [node.status() for node in nodes]
    return len({each["cluster_id"] for each in seen}) == 1 and all(
        len(each["members"]) == len(nodes) for each in seen
    )


@pytest.mark.parametrize("who_asks", [0, 1])
def test_two_empty_clusters_become_the_one_with_the_smaller_id(
    tmp_path: Path, who_asks: int
) -> None:
    nodes = [alone(tmp_path, "a"), alone(tmp_path, "b")]
    try:
        smaller = min(map(cluster_id, nodes))
        introduce(nodes[who_asks], nodes[1 - who_asks])
        wait_for("one cluster", lambda: together(*nodes), 60)
        assert cluster_id(nodes[0]) == smaller
        task_id = nodes[0].submit(PLAN)
        completed(nodes[1], task_id)
        given_up = [node for node in nodes if (node.directory / "given-up").exists()]
        assert len(given_up) == 1
        introduce(given_up[0], next(node for node in nodes if node is not given_up[0]))
        wait_for("one cluster still", lambda: together(*nodes), 60)
    finally:
        for node in nodes:
            node.kill()


def test_an_empty_cluster_gives_way_to_one_with_work_whatever_their_ids(tmp_path: Path) -> None:
    busy, idle = alone(tmp_path, "a"), alone(tmp_path, "b")
    try:
        task_id = busy.submit(PLAN)
        before = cluster_id(busy)
        introduce(idle, busy)
        wait_for("one cluster", lambda: together(busy, idle), 60)
        assert cluster_id(idle) == before
        completed(idle, task_id)
    finally:
        busy.kill()
        idle.kill()


def test_clusters_with_work_stay_apart_and_say_what_to_do(tmp_path: Path) -> None:
    one, other = alone(tmp_path, "a"), alone(tmp_path, "b")
    try:
        tasks = [node.submit(PLAN) for node in (one, other)]
        introduce(one, other)

        def warned(node: Node) -> bool:
            return any("node leave" in warning for warning in node.status()["warnings"])

        wait_for("a warning", lambda: warned(one), 60)
        wait_for("a warning of the other too", lambda: warned(other), 60)
        assert cluster_id(one) != cluster_id(other)
        for node, task_id in zip((one, other), tasks, strict=True):
            completed(node, task_id)
    finally:
        one.kill()
        other.kill()


def test_an_empty_cluster_of_several_goes_over_as_a_whole(tmp_path: Path) -> None:
    target = alone(tmp_path, "target")
    crowd = Cluster(tmp_path, 3)
    nodes = [target, *crowd.nodes]
    try:
        task_id = target.submit(PLAN)
        crowd.start()
        introduce(crowd.nodes[2], target)
        wait_for("one cluster", lambda: together(*nodes), 100)
        completed(crowd.nodes[0], task_id)
    except BaseException:
        for node in nodes:
            print(f"--- {node.name}\n{node.log()}")
        raise
    finally:
        target.kill()
        crowd.close()
