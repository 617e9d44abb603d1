"""Commands about the nodes that are in, against a small node."""

import pytest

from tests.cli.command import Node
from tests.node.web.fake_service import NODE_ID, OTHER_ID


def test_drain_names_a_node_or_means_this_one(node: Node) -> None:
    assert node.run("node", "drain", "beta").out == f"beta ({OTHER_ID}) is draining\n"
    assert node.run("node", "drain", "beta", "--off").out == f"beta ({OTHER_ID}) is online\n"
    assert node.service.steward.asked == [("drain", "beta", True), ("drain", "beta", False)]


def test_trust_and_untrust(node: Node) -> None:
    assert node.run("trust", "beta").out == f"beta ({OTHER_ID}) is trusted\n"
    assert node.run("untrust", "beta").out == f"beta ({OTHER_ID}) is not trusted\n"
    assert node.run("trust", "beta", "--json").json["changed"] is True


def test_revoke_asks_and_says_what_follows(node: Node) -> None:
    assert node.run("revoke", "beta").status != 0, "nobody said yes"
    assert node.service.steward.asked == []
    done = node.run("revoke", "beta", "--yes", "--reason", "stolen")
    assert done.status == 0
    assert done.out == f"beta ({OTHER_ID}) is out\n"
    assert "paceline token show" in done.err
    assert "two voters" in done.err, "and what the status warns of"
    assert node.service.steward.asked == [("revoke", "beta", "stolen")]


@pytest.mark.parametrize(
    "command", [["node", "drain"], ["trust"], ["untrust"], ["revoke", "--yes"]]
)
def test_a_node_that_is_none_is_5(node: Node, command: list[str]) -> None:
    ended = node.run(*command, "nobody")
    assert ended.status == 5
    assert "nobody" in ended.err


def test_recover_without_a_node_is_5(node: Node) -> None:
    ended = node.run("recover", "--yes")
    assert ended.status == 5
    assert "--data-dir" in ended.err


def test_the_nodes_show_who_is_trusted_and_who_is_missing(node: Node) -> None:
    shown = node.run("nodes").out
    assert "TRUSTED" in shown
    assert NODE_ID in shown
