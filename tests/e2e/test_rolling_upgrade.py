"""Machines are updated one after the other; meanwhile the cluster uses what all of them know."""

import sys
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import Conflict
from tests.e2e.cluster import Cluster, Node, cluster, completed, wait_for

pytestmark = pytest.mark.e2e

PROGRAM = Path(__file__).with_name("older_program.py")
OLDER = (sys.executable, "-P", str(PROGRAM))
PLAN = "description: x\nsubtasks:\n  - {name: a, tool: command, run: 'true'}\n"


def rotate(node: Node) -> dict[str, Any]:
    """Change the token: a command that only the newer level knows."""
    return node.client.post("token/rotate")


def update(nodes: Cluster, node: Node) -> None:
    """Stop the older program and start the newer one on the same data."""
    node.stop()
    node.prefix = ()
    node.start()
    wait_for("all to be back", nodes.settled, 60)


def test_one_machine_after_the_other(tmp_path: Path) -> None:
    nodes = Cluster(tmp_path, 3)
    for node in nodes.nodes:
        node.prefix = OLDER
    try:
        nodes.start()
        for updated, node in enumerate(nodes.nodes):
            waiting = [each.name for each in nodes.nodes[updated:]]
            check_mixed(nodes, waiting)
            update(nodes, node)
        wait_for("the newer level", lambda: rotate(nodes.nodes[0])["version"] == 2, 30)
        compare_all(nodes)
    finally:
        nodes.close()


def check_mixed(nodes: Cluster, waiting: list[str]) -> None:
    """Work goes on through every node, and what is new is refused, saying whom to update."""
    for node in nodes.nodes:
        completed(node, node.submit(PLAN))
        if not node.prefix:
            with pytest.raises(Conflict, match="update Paceline on " + ", ".join(waiting)):
                rotate(node)
    compare_all(nodes)


def compare_all(nodes: Cluster) -> None:
    """Their states are equal, whatever their programs are."""

    def compared() -> bool:
        found = nodes.nodes[0].client.post("checksum")
        assert found["equal"], found
        return len(found["compared"]) == len(nodes.nodes)

    wait_for("all to be compared", compared, 60)


def test_a_machine_that_was_set_back_stops_and_says_why(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        node = nodes.followers()[0]
        node.stop()
        rotate(nodes.leader())
        node.prefix = OLDER
        node.spawn()
        assert node.process is not None
        assert node.process.wait(timeout=60) == 1
        assert "update Paceline on this machine" in node.log()
        node.prefix = ()
        node.start()
        wait_for("all to be back", nodes.settled, 60)
        compare_all(nodes)


def test_an_older_program_is_told_to_be_updated_before_it_joins(tmp_path: Path) -> None:
    with cluster(tmp_path, 1) as nodes:
        member = nodes.nodes[0]
        late = Node(
            "late",
            tmp_path / "late",
            [*member.options, "--join", member.address],
            OLDER,
            dict(member.environment),
        )
        late.spawn()
        try:
            wait_for("the refusal", lambda: "update Paceline there" in late.log(), 60)
            assert len(member.status()["members"]) == 1
        finally:
            late.kill()
