"""The commands about who gets in, as real processes against the fake service."""

from tests.cli.command import Node

NEWCOMER = {"node_id": "aaaabbbbccccdddd", "name": "cy", "address": "10.0.0.9", "code": "k7qm-2xpd"}


def test_the_token_alone_is_on_standard_output(node: Node) -> None:
    shown = node.run("token", "show")
    assert shown.out == "a-token-of-the-fake-1\n"
    assert "--join 10.0.0.1:7433" in shown.err
    assert "a-token" not in shown.err
    assert node.run("token", "rotate").out == "a-token-of-the-fake-2\n"
    assert node.run("token", "show", "--json").json["version"] == 2


def test_newcomers_are_listed_and_let_in(node: Node) -> None:
    assert node.run("approve").out == "nobody waits\n"
    node.service.access.waiting.append(dict(NEWCOMER))
    assert "k7qm-2xpd" in node.run("approve").out
    assert node.run("approve", "wrong").status == 5
    assert node.run("approve", "k7qm-2xpd").out == "cy (aaaabbbbccccdddd) is a member now\n"
    assert node.run("approve", "--json").json == {"newcomers": []}
