"""A disk fills up, or breaks, under a running node: what was acknowledged stays, the rest goes on.

Each node has a small file system of its own, which root can mount.
"""

import contextlib
import errno
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.client import read_node_file
from paceline.errors import Unavailable
from tests.e2e.cluster import Cluster, Node, cluster, completed, wait_for
from tests.rigs.disks import Ballast, FailingDisk, small_disk

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

MIB = 1024 * 1024
DISK_BYTES = 48 * MIB
PLAN = """
description: one that is quickly done
subtasks:
  - name: a
    tool: command
    run: echo done > "$PACELINE_OUTPUT"
"""
HOG = """
description: one that takes all the room there is
subtasks:
  - name: hog
    tool: command
    max_attempts: 1
    run: cat /dev/zero > hog || true; sleep 3; exit 1
"""


@contextlib.contextmanager
def on_small_disks(directory: Path, size: int) -> Iterator[Cluster]:
    """Run a cluster whose nodes have a small disk each."""
    with contextlib.ExitStack() as stack:
        for number in range(1, size + 1):
            stack.enter_context(small_disk(directory / f"n{number}", DISK_BYTES))
        yield stack.enter_context(cluster(directory, size))


def ballast(node: Node) -> Ballast:
    return Ballast(node.directory / "ballast")


def readiness(node: Node) -> str:
    """Answer nothing if the node is ready, else why it is not."""
    url = str(read_node_file(node.directory)["page_url"])
    try:
        with urllib.request.urlopen(f"{url}readyz", timeout=20):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code}: {json.load(error)['reason']}"


def stalled(node: Node) -> bool:
    return bool(node.status()["stalled"])


def submit(node: Node, key: str) -> str:
    """Submit until it is acknowledged; the key makes repeating it harmless."""

    def accepted() -> str | None:
        with contextlib.suppress(Unavailable):
            return node.submit(PLAN, key)
        return None

    return wait_for(f"{key} to be accepted", accepted, 90)


def test_the_cluster_goes_on_without_the_leader_whose_disk_is_full(tmp_path: Path) -> None:
    with on_small_disks(tmp_path, 3) as nodes:
        leader = nodes.leader()
        first, second = nodes.followers()
        before = submit(first, "before")
        completed(leader, before)
        pid = leader.process.pid if leader.process else 0
        ballast(leader).fill()
        acknowledged = [submit(first if n % 2 else second, f"key {n}") for n in range(12)]
        wait_for("another leader", lambda: nodes.leader() is not leader, 60)
        for task_id in acknowledged:
            completed(second, task_id)
        # It says so, and what it has can be read.
        wait_for("it to notice", lambda: stalled(leader), 30)
        assert leader.task(before)["status"] == "completed"
        assert any("disk is full" in warning for warning in leader.status()["warnings"])
        assert readiness(leader) == "503: the disk is full"
        with pytest.raises(Unavailable, match="disk"):
            leader.submit(PLAN, "while it is full")
        # There is room again: it needs nobody's help.
        ballast(leader).drop()
        wait_for("it to go on", lambda: not stalled(leader), 60)
        for task_id in acknowledged:
            completed(leader, task_id)
        assert readiness(leader) == ""
        assert leader.process is not None
        assert (leader.process.poll(), leader.process.pid) == (None, pid)
        completed(leader, submit(leader, "while it is full"))


def test_where_all_disks_are_full_the_caller_is_told_and_all_is_there_later(
    tmp_path: Path,
) -> None:
    with on_small_disks(tmp_path, 3) as nodes:
        acknowledged = [submit(nodes.nodes[0], "before")]
        for node in nodes.nodes:
            ballast(node).fill()
        reasons = []
        for number in range(2):
            try:
                acknowledged.append(nodes.nodes[number].submit(PLAN, f"key {number}"))
            except Unavailable as error:
                reasons.append(str(error))
        assert any("disk" in reason for reason in reasons), reasons
        for node in nodes.nodes:
            ballast(node).drop()
        for number in range(4):
            task_id = submit(nodes.nodes[number % 3], f"key {number}")
            if task_id not in acknowledged:
                acknowledged.append(task_id)
        assert len(set(acknowledged)) == 5  # none was made twice
        for node in nodes.nodes:
            for task_id in acknowledged:
                completed(node, task_id)
            assert not stalled(node)


def test_work_that_fills_the_disk_ends_and_the_node_goes_on(tmp_path: Path) -> None:
    with on_small_disks(tmp_path, 1) as nodes:
        (node,) = nodes.nodes
        hog = node.submit(HOG)
        document = wait_for(
            "it to end",
            lambda: d if (d := node.task(hog))["status"] in ("failed", "completed") else None,
            120,
        )
        assert document["status"] == "failed"
        completed(node, submit(node, "after"))
        assert not stalled(node)


def test_a_node_does_not_start_without_room_and_does_with_it(tmp_path: Path) -> None:
    with on_small_disks(tmp_path, 1) as nodes:
        (node,) = nodes.nodes
        task_id = submit(node, "before")
        completed(node, task_id)
        assert node.stop() == 0
        ballast(node).fill()
        node.spawn()
        assert node.process is not None
        assert node.process.wait(timeout=60) == 1
        assert "no room" in node.log() or "No space" in node.log()
        assert "Traceback" not in node.log()
        assert "defect" not in node.log()
        ballast(node).drop()
        node.start()
        assert node.task(task_id)["status"] == "completed"


@pytest.mark.parametrize(
    ("calls", "file"),
    [("sync", "raft.db-wal"), ("write", "state.db-wal")],
)
def test_a_disk_that_fails_ends_the_node_and_not_the_cluster(
    tmp_path: Path, calls: str, file: str
) -> None:
    disk = FailingDisk(tmp_path)
    nodes = Cluster(tmp_path, 3)
    broken = nodes.nodes[0]
    broken.environment = {**broken.environment, **disk.environment}
    try:
        nodes.start()
        before = submit(broken, "before")
        disk.fail(calls, file, errno.EIO)
        after = submit(nodes.nodes[1], "after")
        completed(nodes.nodes[2], after)
        assert broken.process is not None
        assert broken.process.wait(timeout=60) == 1
        assert file.removesuffix("-wal") in broken.log()
        assert "Traceback" not in broken.log()
        assert len(disk.failures) == 1, disk.failures
        disk.repair()
        broken.start()
        for task_id in (before, after):
            completed(broken, task_id)
    finally:
        for node in nodes.nodes:
            print(f"--- {node.name}\n{node.log()}")
        nodes.close()
