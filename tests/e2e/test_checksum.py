"""Real nodes compare their states: equal under load, and loud where one has changed on its disk."""

import contextlib
import json
import sqlite3
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from paceline.client import read_node_file
from tests.e2e.cluster import Cluster, Node, cluster, completed, wait_for

pytestmark = pytest.mark.e2e

PLAN = """
description: two steps
subtasks:
  - {name: one, tool: command, run: echo one}
  - {name: two, tool: command, needs: [one], run: echo two}
"""


def compare(node: Node) -> dict[str, Any]:
    return node.client.post("checksum", {})


def ready(node: Node) -> bool:
    """Answer whether the node says that it can serve."""
    page = read_node_file(node.directory)["page_url"]
    try:
        with urllib.request.urlopen(f"{page}readyz", timeout=20) as answer:
            return bool(json.load(answer)["ready"])
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return False


def change_a_row(node: Node) -> None:
    """As a disk would: behind the node's back, and without damage that SQLite could see."""
    with contextlib.closing(sqlite3.connect(node.directory / "state.db")) as connection:
        changed = connection.execute("UPDATE tasks SET description = 'something else'").rowcount
        connection.commit()
    assert changed


def test_equal_while_work_goes_on(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        tasks = [node.submit(PLAN) for node in nodes.nodes for _ in range(4)]
        found = [compare(node) for node in nodes.nodes]
        for task_id in tasks:
            completed(nodes.nodes[0], task_id)
        found.append(compare(nodes.followers()[0]))
    for each in found:
        assert each["equal"], each
        assert len(each["compared"]) == 3, each
    indexes = [each["index"] for each in found]
    assert indexes == sorted(set(indexes))


def test_a_changed_row_is_loud(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        completed(nodes.nodes[0], nodes.nodes[0].submit(PLAN))
        odd = nodes.followers()[0]
        odd_id = odd.node_id
        odd.kill()  # what is closed in order is sealed, and would be refused at the start
        change_a_row(odd)
        odd.start()
        wait_for("all to be back", nodes.settled, 60)
        found = compare(nodes.nodes[0])
        assert found["differing"] == {odd_id: ["tasks"]}
        assert found["decided"]
        for node in nodes.nodes:
            warnings = node.status()["warnings"]
            assert any(f"the state of {odd.name} differs" in each for each in warnings), warnings
            assert "differs" in node.log()
        assert [node.name for node in nodes.nodes if not ready(node)] == [odd.name]
        _known_after_a_restart(odd)
        _mended_by_joining_again(nodes, odd)


def _known_after_a_restart(odd: Node) -> None:
    odd.stop()
    odd.start()
    assert any("differs" in each for each in odd.status()["warnings"])


def _mended_by_joining_again(nodes: Cluster, odd: Node) -> None:
    """What the warning says to do helps."""
    odd.stop()
    odd.directory.rename(odd.directory.with_suffix(".aside"))
    odd.start()

    def equal_again() -> bool:
        found = compare(nodes.nodes[0])
        return bool(found["equal"] and odd.node_id in found["compared"])

    wait_for("the state to come from the others", equal_again, 60)
    assert ready(odd)
    assert not any("differs" in each for each in odd.status()["warnings"])
