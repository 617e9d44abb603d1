"""The quality loop on three nodes: agents that judge and correct each other, people who decide.

The agent is a small program, installed as two tools. What it does depends on what it is told and on
what it finds in the repository, as with real ones: it writes a function, mends it each time that
somebody asks for that, and as a reviewer approves what has been mended often enough.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.client import Document
from paceline.errors import Conflict
from tests.cli.command import paceline
from tests.e2e.cluster import ENDED, Cluster, Node, cluster, completed, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

AGENT = '''#!{python}
import json, os, pathlib, re, sys

if sys.argv[1:] == ["--version"]:
    sys.exit(print("1.0"))
said = sys.stdin.read()
file = pathlib.Path("mean.py")
needed = int(re.search(r"NEEDS=([0-9]+)", said)[1])

def review():
    assert "+def mean" in pathlib.Path(os.environ["PACELINE_INPUTS"], "change.diff").read_text()
    good = file.read_text().count("# mended") >= needed
    found = {{"file": "mean.py", "line": 4, "severity": "high", "message": "it fails for []"}}
    verdict = "approve" if good else "revise"
    answer = {{"verdict": verdict, "summary": "read it", "findings": [] if good else [found]}}
    print("I have read it.\\n" + json.dumps(answer))

def write():
    asked = "asks for" in said
    old = file.read_text() if file.exists() else ""
    risky = "RISKY" in said and not asked
    line = "    return eval(input())\\n" if risky else "    return sum(numbers) / len(numbers)\\n"
    mended = "\\n# mended" * (old.count("# mended") + asked)
    file.write_text(
        '"""Means."""\\n\\n\\ndef mean(numbers: list[float]) -> float:\\n'
        '    """Answer the mean. Raise ValueError for an empty list."""\\n'
        '    if not numbers:\\n        raise ValueError("no numbers")\\n' + line + mended + "\\n"
    )
    print("written", "again" if old else "anew")

review() if "Review a change" in said else write()
'''

DEFINITION = """
title = "A small agent"
binary = "{binary}"
argv = []
prompt = "stdin"
format = "text"

[key]
required = false

[permissions]
read = {{}}
edit = {{}}
run = {{}}
"""


def install(directory: Path, nodes: int) -> None:
    """Give every node two tools that are the same program under two names."""
    program = directory / "agents" / "agent"
    program.parent.mkdir()
    program.write_text(AGENT.format(python=sys.executable))
    program.chmod(0o755)
    seen = json.dumps([sys.prefix, sys.base_prefix])  # behind an agent's walls there is no Python
    for number in range(1, nodes + 1):
        place = directory / f"n{number}" / "tools.d"
        place.mkdir(parents=True)
        for name in ("alpha", "beta"):
            (place / f"{name}.toml").write_text(DEFINITION.format(binary=program))
        tables = [f"[{name}]\nreadable = {seen}\n" for name in ("alpha", "beta")]
        (place.parent / "tools.toml").write_text("".join(tables))


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("nodes")
    install(directory, 3)
    with cluster(directory, 3, ("--sandbox", "off")) as nodes:  # the agent lies under /tmp
        yield nodes


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    (place / "a.txt").write_text("one\n")
    git(place, "add", ".")
    git(place, "commit", "-qm", "first")
    return place


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    done = subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout.strip()


PLAN = """
description: a mean
repository: {{path: {source}}}
subtasks:
  - {{name: write, tool: [alpha, beta], review: true, instructions: 'Write mean(). {words}'}}
  - {{name: use, needs: [write], tool: command, run: 'grep -c "# mended" mean.py || true'}}
  - {{name: aside, tool: command, run: 'true'}}
"""


def waiting(node: Node, task_id: str, timeout_s: float = 60) -> Document:
    """Wait for a checkpoint of a task, and answer it in full."""

    def probe() -> Document | None:
        assert node.task(task_id)["status"] not in ENDED, node.task(task_id)
        found = node.client.get("checkpoints", status="pending", task=task_id)["checkpoints"]
        return node.client.get(f"checkpoints/{found[0]['checkpoint_id']}") if found else None

    return wait_for("a checkpoint", probe, timeout_s)


def history(task: Document) -> list[tuple[str, str, str]]:
    """What happened to the first subtask: each attempt's kind and tool, and a review's verdict."""
    return [
        (each["kind"], each["tool"], (each["review"] or {}).get("verdict", ""))
        for each in task["subtasks"][0]["attempts"]
    ]


def test_a_reviewer_finds_a_fault_twice_and_then_approves(three: Cluster, source: Path) -> None:
    node = three.nodes[0]
    task = completed(node, node.submit(PLAN.format(source=source, words="NEEDS=2")))
    told = history(task)
    assert [(kind, verdict) for kind, _, verdict in told] == [
        ("work", ""),
        ("review", "revise"),
        ("work", ""),
        ("review", "revise"),
        ("work", ""),
        ("review", "approve"),
    ]
    for (_, author, _), (_, reviewer, _) in zip(told[::2], told[1::2], strict=True):
        assert author != reviewer
    assert [each["review"]["cycle"] for each in task["subtasks"][0]["attempts"][1::2]] == [1, 2, 3]
    assert task["subtasks"][0]["evaluation"]["score"] >= 7
    logged = node.client.stream(f"tasks/{task['task_id']}/logs", subtask="use")
    assert "2" in [each["line"] for each in logged], "the last version is what others build on"
    wait_for(
        "the same on all nodes",
        lambda: all(each.task(task["task_id"]) == task for each in three.nodes),
        30,
    )


def test_one_who_never_approves_is_overruled_by_a_person(three: Cluster, source: Path) -> None:
    node = three.nodes[0]
    task_id = node.submit(PLAN.format(source=source, words="NEEDS=99"))
    checkpoint = waiting(node, task_id)
    assert (checkpoint["type"], checkpoint["subtask_name"]) == ("review", "write")
    assert [each["verdict"] for each in checkpoint["reviews"]] == ["revise"] * 3
    assert "it fails for []" in str(checkpoint["reviews"])
    assert "+def mean" in checkpoint["evaluation"]["details"]["diff"]
    task = node.task(task_id)
    assert task["status"] == "checkpoint"
    wait_for("others' work to go on", lambda: _status(node, task_id, "aside") == "completed", 30)
    assert _status(node, task_id, "use") == "pending"
    explained = node.client.get(f"tasks/{task_id}/explain")["subtasks"]
    assert explained[0]["waits_for"] == "person"

    answers = _decide_at_once(three, checkpoint["checkpoint_id"], ["accept", "accept"])
    assert {type(each) for each in answers} == {Conflict, dict}, "the first one wins"
    assert "has decided accept" in str(next(a for a in answers if isinstance(a, Conflict)))
    completed(node, task_id)


def _status(node: Node, task_id: str, name: str) -> str:
    return next(str(s["status"]) for s in node.task(task_id)["subtasks"] if s["name"] == name)


def _decide_at_once(three: Cluster, wanted: str, decisions: list[str]) -> list[object]:
    answers: list[object] = []

    def decide(node: Node, decision: str) -> None:
        try:
            answers.append(
                node.client.post(f"checkpoints/{wanted}/resolve", {"decision": decision})
            )
        except Conflict as refused:
            answers.append(refused)

    people = [
        threading.Thread(target=decide, args=(node, decision))
        for node, decision in zip(three.nodes, decisions, strict=False)
    ]
    for person in people:
        person.start()
    for person in people:
        person.join()
    return answers


def test_a_low_score_is_corrected_though_leaders_die(three: Cluster, source: Path) -> None:
    """One leader is killed while the checkpoint is open, the next right after the decision."""
    node = three.nodes[0]
    plan = PLAN.format(source=source, words="NEEDS=1 RISKY").replace(
        "review: true", "review: false"
    )
    task_id = node.submit(plan.replace("tool: [alpha", "gates: {retry: 0}, tool: [alpha"))
    checkpoint = waiting(node, task_id)
    assert checkpoint["type"] == "evaluation"
    assert checkpoint["score"] < 7
    assert "mean.py" in {each["file"] for each in checkpoint["evaluation"]["findings"]}

    first = three.leader()
    first.kill()
    other = three.followers()[0]
    assert waiting(other, task_id)["checkpoint_id"] == checkpoint["checkpoint_id"]
    first.start()
    wait_for("all to be back", three.settled, 60)

    second = three.leader()
    voice = three.followers()[0]
    words = ("--feedback", "no eval, please", "--comment", "mean.py:8:use sum()")
    ended = paceline(
        "correct", checkpoint["checkpoint_id"][:8], *words, PACELINE_DATA_DIR=str(voice.directory)
    )
    second.kill()
    assert ended.status == 0, ended.err
    task = completed(voice, task_id, 120)
    write = task["subtasks"][0]
    assert write["evaluation"]["score"] >= 7
    assert "written again" in write["result"]["text"], "it went on from its own work"
    (decided,) = task["checkpoints"]
    assert (decided["status"], decided["decision"]) == ("resolved", "correct")
    assert decided["comments"] == [{"file": "mean.py", "line": 8, "text": "use sum()"}]
    second.start()
    wait_for("all to be back", three.settled, 60)


def test_what_is_rejected_is_done_anew_with_another_tool(three: Cluster, source: Path) -> None:
    node = three.nodes[0]
    plan = PLAN.format(source=source, words="NEEDS=0").replace("review: true", "checkpoint: true")
    task_id = node.submit(plan)
    checkpoint = waiting(node, task_id)
    assert checkpoint["type"] == "scheduled"
    body = {"decision": "reject", "feedback": "not like this"}
    node.client.post(f"checkpoints/{task_id}/resolve", body)
    again = waiting(node, task_id)
    assert again["checkpoint_id"] != checkpoint["checkpoint_id"]
    node.client.post(f"checkpoints/{again['checkpoint_id']}/resolve", {"decision": "accept"})
    task = completed(node, task_id)
    assert [tool for _, tool, _ in history(task)] == ["alpha", "beta"]
    assert "written anew" in task["subtasks"][0]["result"]["text"]


def test_a_person_holds_a_task(three: Cluster) -> None:
    node = three.nodes[1]
    gate = Path(os.path.realpath(node.directory)).parent / "gate"
    task_id = node.submit(f"""
description: to be held
subtasks:
  - {{name: first, tool: command, run: 'until test -e {gate}; do sleep 0.1; done'}}
  - {{name: second, needs: [first], tool: command, run: 'true'}}
""")
    node.client.post(f"tasks/{task_id}/checkpoint", {"reason": "let me see"})
    gate.touch()
    wait_for("what runs to end", lambda: _status(node, task_id, "first") == "completed", 30)
    explained = node.client.get(f"tasks/{task_id}/explain")["subtasks"]
    assert "let me see" in explained[1]["reason"]
    assert node.task(task_id)["status"] == "checkpoint"
    node.client.post(f"checkpoints/{task_id}/resolve", {"decision": "accept"})
    completed(node, task_id)
