"""A data directory that was copied: the second of two live processes with one identity refuses."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.e2e.cluster import Node, cluster, completed, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PLAN = "description: d\nsubtasks: [{name: a, tool: command, run: 'true'}]"


def copy_of(node: Node, directory: Path) -> Node:
    """Answer a node with a copy of the other's directory, as if it had been carried over."""
    shutil.copytree(node.directory, directory, ignore=shutil.ignore_patterns("lock", "node.json"))
    return Node("copy", directory, node.options, environment=node.environment)


def test_a_copy_refuses_to_start_beside_the_original(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        original = nodes.followers()[0]
        copy = copy_of(original, tmp_path / "copy")
        copy.spawn()
        assert copy.process is not None
        assert copy.process.wait(timeout=60) == 1
        assert "--anew" in copy.log()
        assert "was copied" in copy.log()
        copy.process = None
        wait_for("the cluster to be as before", nodes.settled, 30)


def test_a_copy_may_go_on_where_the_original_has_ended(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        original = nodes.followers()[0]
        assert original.stop() == 0
        copy = copy_of(original, tmp_path / "copy")
        nodes.nodes[nodes.nodes.index(original)] = copy
        copy.start()
        wait_for("it to be taken for the node", nodes.settled, 60)


def test_a_member_that_has_lost_its_log_is_not_let_in_again(tmp_path: Path) -> None:
    """It could vote against what it has voted for; only as a new node may it come back."""
    with cluster(tmp_path, 3) as nodes:
        lost = nodes.followers()[0]
        assert lost.stop() == 0
        for name in ("cluster.json", "raft.db", "state.db"):
            (lost.directory / name).unlink()
        other = next(node for node in nodes.nodes if node is not lost)
        lost.options = [*lost.options, "--join", other.address]
        lost.spawn()
        wait_for("a word about it", lambda: "is a member already" in lost.log(), 60)
        assert "--anew" in lost.log()
        assert not (lost.directory / "cluster.json").exists()
        lost.kill()
        completed(other, other.submit(PLAN))


def test_a_copy_that_could_not_know_ends_when_it_does(tmp_path: Path) -> None:
    """The original hangs while the copy starts, and comes back."""
    with cluster(tmp_path, 3) as nodes:
        original = nodes.followers()[0]
        original.signal(signal.SIGSTOP)
        copy = copy_of(original, tmp_path / "copy")
        copy.start()
        original.signal(signal.SIGCONT)
        assert copy.process is not None
        assert original.process is not None
        ended = wait_for(
            "one of them to end",
            lambda: next(
                (n for n in (copy, original) if n.process and n.process.poll() is not None), None
            ),
            90,
        )
        assert "was copied" in ended.log()
        assert ended is copy, "the original was there first"
        copy.process = None
        others = [node for node in nodes.nodes if node is not original]
        completed(others[0], others[1].submit(PLAN))  # whatever the two have done to each other
