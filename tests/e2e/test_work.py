"""What people do with it: repositories, outputs between nodes, logs from anywhere, cancelling."""

import hashlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from paceline.client import Client
from paceline.errors import Conflict, InputError, InvalidPlan, NotFound
from tests.e2e.cluster import ENDED, Cluster, cluster, completed, wait_for
from tests.rigs.ollama_server import ollama_server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("nodes"), 3) as nodes:
        yield nodes


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout


def lines(client: Client, task_id: str, subtask: str = "") -> list[str]:
    logged = client.stream(f"tasks/{task_id}/logs", subtask=subtask or None)
    return [each["line"] for each in logged]


def test_a_repository_is_at_its_commit_on_every_node(three: Cluster, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("one\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    (tmp_path / "a.txt").write_text("not committed\n")
    plan = f"description: where\nrepository: {{path: {tmp_path}}}\nsubtasks:\n" + "".join(
        f"  - {{name: s{n}, tool: command, run: 'sleep 1; git rev-parse HEAD; cat a.txt'}}\n"
        for n in range(6)
    )
    with pytest.raises(InputError, match=r"not committed \(a.txt\).*--include-dirty"):
        three.nodes[0].submit(plan)
    body = {"plan": plan, "format": "yaml", "dirty": "leave"}
    accepted = three.nodes[0].client.post("tasks", body)
    assert accepted["notes"] == ["there are changes that are not committed: they stay here"]
    task = completed(three.nodes[1], accepted["task_id"])
    assert task["repository"]["commit"] == commit
    assert len({each["node_id"] for each in task["subtasks"]}) == 3
    logged = lines(three.nodes[2].client, task["task_id"])
    assert logged.count(commit) == logged.count("one") == 6


def test_outputs_of_any_size_arrive_byte_for_byte(three: Cluster) -> None:
    plan = """
description: bytes
subtasks:
  - {name: small one, tool: command, run: 'printf "a\\0b\\n" > "$PACELINE_OUTPUT"'}
  - {name: big, tool: command, run: 'head -c 3000000 /dev/urandom > "$PACELINE_OUTPUT"; \
sha256sum < "$PACELINE_OUTPUT"'}
  - {name: none, tool: command, run: 'true'}
""" + "".join(
        f"  - {{name: r{n}, needs: [small one, big, none], tool: command, "
        'run: \'sleep 0.5; cd "$PACELINE_INPUTS"; sha256sum < "small one"; sha256sum < big; '
        "ls -1'}\n"
        for n in range(6)
    )
    node = three.nodes[0]
    task = completed(node, node.submit(plan))
    (digest,) = [each for each in lines(node.client, task["task_id"], subtask="big") if each]
    small = hashlib.sha256(b"a\0b\n").hexdigest() + "  -"
    for number in range(6):
        logged = lines(three.nodes[2].client, task["task_id"], subtask=f"r{number}")
        assert logged[:2] == [small, digest]
        assert logged[2:4] == ["big", "none"] or logged[2:4] == ["big", "small one"]
    big = next(each for each in task["subtasks"] if each["name"] == "big")
    assert len(big["result"]["output"]["holders"]) == 2, "two nodes have it before it counts"


def test_a_log_is_followed_from_another_node_while_it_grows(three: Cluster) -> None:
    plan = """
description: ticking
subtasks:
  - {name: tick, tool: command, run: 'for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done'}
"""
    task_id = three.nodes[0].submit(plan)
    came: dict[str, float] = {}
    for node in three.nodes:
        for each in node.client.stream(f"tasks/{task_id}/logs", follow=True):
            came.setdefault(each["line"], time.monotonic())
        assert set("123456") <= set(came)
    assert came["6"] - came["1"] > 1, "the first line did not wait for the last"


def descendants(marker: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if marker in str(p.info["cmdline"])]


def test_cancelling_reaches_the_whole_tree_of_processes(three: Cluster) -> None:
    marker = "sleep 98.7654"
    plan = f"""
description: to be cancelled
subtasks:
  - {{name: long, tool: command, run: 'setsid {marker} & {marker}'}}
  - {{name: after, needs: [long], tool: command, run: 'true'}}
"""
    node = three.nodes[0]
    task_id = node.submit(plan)
    wait_for("it to run", lambda: len(descendants("98.7654")) >= 2, 30)
    three.nodes[1].client.post(f"tasks/{task_id}/cancel", {"reason": "enough"})
    wait_for("its end", lambda: node.task(task_id)["status"] in ENDED, 30)
    task = node.task(task_id)
    assert task["status"] == "cancelled"
    assert [each["status"] for each in task["subtasks"]] == ["cancelled", "cancelled"]
    wait_for("no process to be left", lambda: not descendants("98.7654"), 30)
    assert node.client.post(f"tasks/{task_id}/cancel")["status"] == "cancelled", "again: the same"


def test_what_has_completed_cannot_be_cancelled(three: Cluster) -> None:
    node = three.nodes[0]
    plan = "description: x\nsubtasks:\n  - {name: a, tool: command, run: 'true'}\n"
    task_id = completed(node, node.submit(plan))["task_id"]
    with pytest.raises(Conflict):
        node.client.post(f"tasks/{task_id}/cancel")


def test_failures_are_retried_and_then_told(three: Cluster) -> None:
    plan = """
description: fails
subtasks:
  - {name: bad, tool: command, run: 'echo so it is >&2; exit 3', max_attempts: 2}
  - {name: never, needs: [bad], tool: command, run: 'true'}
  - {name: other, tool: command, run: 'true'}
"""
    node = three.nodes[2]
    task_id = node.submit(plan)
    wait_for("its end", lambda: node.task(task_id)["status"] in ENDED, 60)
    task = node.task(task_id)
    bad, never, other = task["subtasks"]
    assert task["status"] == "failed"
    assert [each["status"] for each in bad["attempts"]] == ["failed", "failed"]
    assert bad["result"]["exit_code"] == 3
    assert "so it is" in bad["result"]["text"]
    assert never["status"] == "cancelled"
    assert other["status"] == "completed"


def test_bad_input_is_told_and_changes_nothing(three: Cluster) -> None:
    node = three.nodes[0]
    before = node.status()["tasks"]
    with pytest.raises(InvalidPlan, match="line 4") as told:
        node.submit(
            "description: x\nsubtasks:\n  - name: a\n    needs: [b]\n    tool: command\n"
            "    run: x\n"
        )
    assert told.value.line == 4
    with pytest.raises(InputError, match="not a git repository"):
        node.submit(
            "description: x\nrepository: {path: /proc}\nsubtasks:\n"
            "  - {name: a, tool: command, run: x}\n"
        )
    with pytest.raises(NotFound):
        node.task("no-such-task")
    assert node.status()["tasks"] == before


def test_a_template_waits_for_an_agent_and_says_what_it_waits_for(three: Cluster) -> None:
    body = {"description": "Add a verbose flag to the program", "type": "bug_fix"}
    answer = three.nodes[1].client.post("tasks", body)
    task = three.nodes[0].task(answer["task_id"])
    assert [each["name"] for each in task["subtasks"]] == [
        "Bug Analysis",
        "Fix Implementation",
        "Regression Testing",
    ]
    assert task["subtasks"][0]["status"] == "pending"
    for node in three.nodes:
        told = node.client.get(f"tasks/{answer['task_id']}/explain")["subtasks"]
        assert [each["waits_for"] for each in told] == ["node", "needs", "needs"]
        assert {each["node_id"] for each in told[0]["nodes"]} == {n.node_id for n in three.nodes}
        assert "Bug Analysis (pending)" in told[1]["reason"]
    three.nodes[0].client.post(f"tasks/{answer['task_id']}/cancel")
    assert three.nodes[0].task(answer["task_id"])["status"] == "cancelled"


def test_a_local_model_answers_and_its_words_reach_the_next(tmp_path: Path) -> None:
    plan = """
description: ask a model
subtasks:
  - {name: ask, tool: [claude_code, ollama], instructions: Say hello}
  - {name: use, needs: [ask], tool: command, run: 'cat "$PACELINE_INPUTS/ask"'}
"""
    with ollama_server() as server:
        (tmp_path / "n1").mkdir()
        (tmp_path / "n1" / "tools.toml").write_text(f'[ollama]\nbase_url = "{server.url}"\n')
        with cluster(tmp_path, 1) as nodes:
            node = nodes.nodes[0]
            task = completed(node, node.submit(plan))
            assert lines(node.client, task["task_id"], subtask="use") == ["Hello world"]
            assert task["subtasks"][0]["tool"] == "ollama"
            assert task["subtasks"][0]["attempts"][0]["usage"]
            assert "Say hello" in str(server.requests)
