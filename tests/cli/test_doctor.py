"""How `paceline doctor` shows what was found, and how it ends."""

from typing import Any

import pytest

from tests.cli.command import Node

ESCAPE = "\x1b"
QUIET = ("doctor", "--no-mdns")


@pytest.fixture(autouse=True)
def private(node: Node) -> None:
    """As a node keeps its directory: the examination of this machine finds no problem then."""
    node.data_dir.chmod(0o700)
    (node.data_dir / "api.token").chmod(0o600)


def finding(level: str, text: str = "text", subject: str = "") -> dict[str, Any]:
    advice = "" if level == "ok" else "do something"
    return {"level": level, "area": "reach", "text": text, "advice": advice, "subject": subject}


@pytest.mark.parametrize(("level", "status"), [("ok", 0), ("warning", 0), ("problem", 1)])
def test_the_exit_status_tells_of_problems_only(node: Node, level: str, status: int) -> None:
    node.service.inspection.found = [finding(level)]
    ended = node.run(*QUIET, "--json")
    assert ended.status == status
    assert ended.err == ""
    assert finding(level) in ended.json["findings"]
    assert ended.json["counts"]["problem"] == status


def test_what_is_wrong_is_shown_with_what_to_do(node: Node) -> None:
    node.service.inspection.found = [finding("problem", "the way is closed", "n1 -> n2")]
    lines = node.run(*QUIET).out.splitlines()
    at = next(place for place, line in enumerate(lines) if "n1 -> n2: the way is closed" in line)
    assert lines[at].split()[0] == "PROBLEM"
    assert lines[at + 1].strip() == "-> do something"
    assert lines[-1].startswith("1 problem")


def test_a_pipe_gets_no_colours_and_a_terminal_no_controls_of_others(node: Node) -> None:
    node.service.inspection.found = [finding("warning", "\x1b]0;owned\x07", "\x1b[2J")]
    assert ESCAPE not in node.run(*QUIET).out
    shown = node.on_terminal(*QUIET).out
    assert "\x1b[33m" in shown
    assert "\x1b]0" not in shown
    assert "\x1b[2J" not in shown


def verdict(**changes: Any) -> dict[str, Any]:
    plain = {"index": 7, "equal": True, "compared": ["a", "b"], "missing": {}, "warnings": []}
    return plain | {"names": {"c": "gamma"}} | changes


def test_equal_states(node: Node) -> None:
    node.service.inspection.verdict = verdict()
    ended = node.run(*QUIET, "--compare")
    assert ended.status == 0
    assert "2 nodes hold the same state at index 7" in ended.out


def test_states_that_differ_are_a_problem(node: Node) -> None:
    said = ["the state of beta differs (tasks): move it away"]
    node.service.inspection.verdict = verdict(equal=False, warnings=said, missing={"c": "away"})
    ended = node.run(*QUIET, "--compare", "--json")
    assert ended.status == 1
    found = [each for each in ended.json["findings"] if each["area"] == "state"]
    assert [(each["level"], each["subject"]) for each in found] == [
        ("warning", "gamma"),
        ("problem", ""),
    ]
    assert found[1]["advice"] == "move it away"


def test_a_node_that_cannot_answer_is_a_problem(node: Node) -> None:
    node.service.inspection.found = None
    ended = node.run(*QUIET, "--json")
    assert ended.status == 1
    assert any("does not answer" in each["text"] for each in ended.json["findings"])


def test_without_a_node_this_machine_is_examined(node: Node) -> None:
    (node.data_dir / "node.json").unlink()
    ended = node.run(*QUIET, "--compare", "--json")
    texts = [each["text"] for each in ended.json["findings"]]
    assert "no node is running here" in texts
    assert any("were not compared" in text for text in texts)
    assert {"versions", "memory", "disk", "data"} <= {e["area"] for e in ended.json["findings"]}
