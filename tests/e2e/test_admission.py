"""How a cluster comes about and grows: one founder, its token, a person's yes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cluster import TOKEN, Node, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

LOCAL = ["--bind", "127.0.0.1", "--no-mdns", "--slots", "1"]


def a_node(directory: Path, name: str, *options: str, token: str = TOKEN) -> Node:
    return Node(name, directory / name, [*LOCAL, *options], environment={"PACELINE_TOKEN": token})


def paceline(node: Node, *arguments: str) -> str:
    command = [sys.executable, "-P", "-m", "paceline", *arguments]
    command += ["--data-dir", str(node.directory)]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, env=dict(os.environ)
    ).stdout


def together(nodes: list[Node]) -> bool:
    seen = [node.status() for node in nodes]
    return len({each["cluster_id"] for each in seen}) == 1 and all(
        len(each["members"]) == len(nodes) for each in seen
    )


def test_nodes_of_one_token_that_start_at_once_settle_on_one_founder(tmp_path: Path) -> None:
    ports = [10_000 + 3 * (3 * os.getpid() % 6000 + number) for number in range(3)]
    nodes = []
    for number, port in enumerate(ports):
        others = [f"127.0.0.1:{other}" for other in ports if other != port]
        node = a_node(tmp_path, f"n{number}", "--port", str(port), *join(others))
        nodes.append(node)
    try:
        for node in nodes:
            node.spawn()
        for node in nodes:
            node.wait_ready()
        wait_for("one cluster", lambda: together(nodes), 60)
        assert not any((node.directory / "given-up").exists() for node in nodes)
    except BaseException:
        for node in nodes:
            print(f"--- {node.name}\n{node.log()}")
        raise
    finally:
        for node in nodes:
            node.kill()


def join(addresses: list[str]) -> list[str]:
    return [word for address in addresses for word in ("--join", address)]


def test_the_founder_makes_a_token_with_which_others_join(tmp_path: Path) -> None:
    founder = a_node(tmp_path, "founder", token="")
    founder.start()
    joining = a_node(tmp_path, "joining", "--join", founder.address)
    late = a_node(tmp_path, "late")
    try:
        assert "pl1-" not in founder.log(), "a file keeps what is written to it"
        token = paceline(founder, "token", "show").strip()
        joining.environment = {"PACELINE_TOKEN": token.upper()}
        joining.start()
        wait_for("both to be members", lambda: together([founder, joining]), 30)
        wait_for("the token", lambda: paceline(joining, "token", "show").strip() == token, 30)
        rotated = paceline(joining, "token", "rotate").strip()
        assert rotated != token
        late.options = [*LOCAL, "--join", joining.address]
        late.environment = {"PACELINE_TOKEN": token}
        late.spawn()
        wait_for("a word about it", lambda: "another token" in late.log(), 30)
        late.kill()
        late.environment = {"PACELINE_TOKEN": rotated}
        late.start()
        wait_for("it to be in", lambda: together([founder, joining, late]), 30)
        joining.stop()
        joining.environment = {}  # a member needs no token to come back
        joining.start()
        wait_for("all to be together", lambda: together([founder, joining, late]), 30)
        for node in (founder, joining, late):
            assert token not in node.log()
            assert rotated not in node.log()
    finally:
        for each in (founder, joining, late):
            each.kill()


def test_a_founder_that_somebody_reads_prints_the_joining_command(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "paceline", "node", "start", *LOCAL, "--port", "0"]
    command += ["--web-port", "0", "--data-dir", str(tmp_path / "node")]
    node = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert node.stderr is not None
        line = next(line for line in node.stderr if line.startswith("add a machine"))
        assert re.search(r"paceline node start --join 127\.0\.0\.1:\d+ --token pl1-\S{57}$", line)
    finally:
        node.terminate()
        node.communicate(timeout=30)


def test_with_approval_a_newcomer_waits_for_a_person(tmp_path: Path) -> None:
    founder = a_node(tmp_path, "founder", "--approve")
    founder.start()
    second = a_node(tmp_path, "second", "--join", founder.address)
    third = a_node(tmp_path, "third", "--join", founder.address)
    try:
        second.spawn()
        shown = wait_for("a code", lambda: re.search(r"approve (\S{4}-\S{4})`", second.log()), 30)
        code = shown[1]
        assert code in paceline(founder, "approve")
        assert any(code in warning for warning in founder.status()["warnings"])
        assert len(founder.status()["members"]) == 1
        paceline(founder, "approve", code.replace("-", "").upper())
        second.wait_ready()
        wait_for("both to be members", lambda: together([founder, second]), 30)
        third.options = [*LOCAL, "--join", second.address]  # which need not lead
        third.spawn()
        wait_for("a code", lambda: "paceline approve" in third.log(), 30)
        paceline(second, "approve", "third")
        third.wait_ready()
        wait_for("all to be members", lambda: together([founder, second, third]), 30)
    finally:
        for each in (founder, second, third):
            each.kill()
