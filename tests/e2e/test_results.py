"""Changes of a repository travel: to what depends on them, and to people."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from paceline.client import Document
from tests.e2e.cluster import ENDED, Cluster, Node, attempts, cluster, completed, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("nodes")
    with cluster(directory, 3, ["--slots", "1"]) as nodes:
        yield nodes


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    (place / "a.txt").write_text("one\ntwo\nthree\n")
    git(place, "add", ".")
    git(place, "commit", "-qm", "first")
    return place


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    done = subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout.strip()


PLAN = """
description: Change it together
repository: {{path: {source}}}
subtasks:
  - {{name: top, tool: command, run: 'sleep 1; sed -i s/one/ONE/ a.txt'}}
  - {{name: bottom, tool: command, run: 'sleep 1; sed -i s/three/THREE/ a.txt; echo b > b.txt'}}
  - {{name: look, needs: [bottom], tool: command, run: 'cat b.txt > "$PACELINE_OUTPUT"'}}
  - name: both
    needs: [top, look]
    tool: command
    run: 'cat a.txt b.txt > "$PACELINE_OUTPUT"; echo c > c.txt'
"""


def test_dependents_begin_with_what_others_changed_elsewhere(three: Cluster, source: Path) -> None:
    node = three.nodes[0]
    task = completed(node, node.submit(PLAN.format(source=source)))
    top, bottom, look, both = task["subtasks"]
    assert top["node_id"] != bottom["node_id"], "at the same time, one slot each"
    assert both["result"]["output"]["text"] == "ONE\ntwo\nTHREE\nb\n"
    assert look["result"]["change"] is None
    assert (both["result"]["change"]["files"], both["result"]["change"]["insertions"]) == (1, 1)
    for each in (top, bottom, both):
        assert len(each["result"]["change"]["bundle"]["holders"]) == 2


def test_the_merged_commits_are_fetched_from_any_node(
    three: Cluster, source: Path, tmp_path: Path
) -> None:
    """Submitted on one node, taken on another, into the repository and as files."""
    task = completed(three.nodes[0], three.nodes[0].submit(PLAN.format(source=source)))
    (source / "a.txt").write_text("being edited\n")
    for node in three.nodes:
        completed(node, task["task_id"])
        place = str(tmp_path / f"out-{node.name}")
        paceline(node, "result", task["task_id"], "--branch", f"by-{node.name}", cwd=source)
        paceline(node, "result", task["task_id"], "--output", place, cwd=source)
        assert (tmp_path / f"out-{node.name}" / "look").read_text() == "b\n"
    (commit,) = {git(source, "rev-parse", f"by-{node.name}") for node in three.nodes}
    assert git(source, "show", f"{commit}:a.txt") == "ONE\ntwo\nTHREE"
    assert git(source, "show", f"{commit}:c.txt") == "c"
    subjects = git(source, "log", "--format=%an: %s", f"main..{commit}").split("\n")
    assert sorted(subjects) == [
        'Paceline: Merge bottom with "top"',
        "Paceline: both: Change it together",
        "Paceline: bottom: Change it together",
        "Paceline: top: Change it together",
    ]
    assert (source / "a.txt").read_text() == "being edited\n"
    assert git(source, "branch", "--show-current") == "main"
    shown = paceline(three.nodes[2], "result", task["task_id"], cwd=source)
    assert "3 files +4 -2" in shown
    patch = paceline(three.nodes[1], "result", task["task_id"], "top", "--patch", cwd=source)
    assert "+ONE" in patch
    assert "THREE" not in patch


def paceline(node: Node, *arguments: str, cwd: Path) -> str:
    command = [sys.executable, "-P", "-m", "paceline", *arguments]
    command += ["--data-dir", str(node.directory)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_killing_the_worker_leaves_the_right_branch(three: Cluster, source: Path) -> None:
    """The attempt that was cut off brings nothing; the one after it everything, once."""
    task_id = three.nodes[0].submit(SLOW.format(source=source))

    def holder() -> Node | None:
        subtasks = three.nodes[0].task(task_id)["subtasks"]
        held = {s["node_id"] for s in subtasks if s["name"] == "slow" and "in_pro" in s["status"]}
        return next((n for n in three.nodes if n.node_id in held), None)

    victim = wait_for("it to run", holder, 30)
    wait_for("its file", lambda: list(victim.directory.glob("attempts/*/*/workspace/half")), 30)
    victim.kill()
    other = next(node for node in three.nodes if node is not victim)
    wait_for("the loss", lambda: len(attempts(other.task(task_id))["slow"]) > 1, 60)
    (source / "go").touch()
    task = completed(other, task_id)
    assert [each["status"] for each in attempts(task)["slow"]] == ["lost", "succeeded"]
    paceline(other, "result", task_id, "--branch", "got", cwd=source)
    assert git(source, "log", "--format=%s", "main..got").count("slow:") == 1
    assert git(source, "diff", "--name-status", "main", "got") == "A\tafter\nA\thalf"
    victim.start()
    wait_for("no work tree to be left", lambda: not left(victim), 30)


SLOW = """
description: Slowly
repository: {{path: {source}}}
subtasks:
  - name: slow
    tool: command
    run: 'echo $PACELINE_ATTEMPT > half; while ! test -e {source}/go; do sleep 0.1; done'
  - {{name: after, needs: [slow], tool: command, run: 'test "$(cat half)" = 2; echo x > after'}}
"""


CONFLICT = """
description: Meet in one line
repository: {{path: {source}}}
subtasks:
  - {{name: left, tool: command, run: 'sed -i s/two/LEFT/ a.txt'}}
  - {{name: right, tool: command, run: 'sed -i s/two/RIGHT/ a.txt'}}
  - {{name: both, needs: [left, right], tool: command, run: 'true'}}
  - {{name: after, needs: [both], tool: command, run: 'cat a.txt > "$PACELINE_OUTPUT"'}}
"""


def test_a_person_decides_what_does_not_go_together(three: Cluster, source: Path) -> None:
    """Work that is not committed yet goes along; what was accepted holds for all that follows."""
    (source / "new.txt").write_text("not committed\n")
    node = three.nodes[1]
    body = {"plan": CONFLICT.format(source=source), "format": "yaml", "dirty": "include"}
    task_id = node.client.post("tasks", body)["task_id"]

    def asked() -> Document | None:
        return next(iter(node.task(task_id)["checkpoints"]), None)

    checkpoint = wait_for("a checkpoint", asked, 60)
    assert checkpoint["checkpoint_type"] == "conflict"
    problem = paceline(node, "result", task_id, cwd=source)
    assert "do not go together in a.txt" in problem
    paceline(node, "accept", task_id, cwd=source)
    task = completed(three.nodes[0], task_id)
    assert task["subtasks"][3]["result"]["output"]["text"] == "one\nRIGHT\nthree\n"
    completed(three.nodes[2], task_id)  # it may have been started anew just now
    paceline(three.nodes[2], "result", task_id, "--branch", "decided", cwd=source)
    assert git(source, "show", "decided:a.txt") == "one\nRIGHT\nthree"
    assert git(source, "show", "decided:new.txt") == "not committed"


LARGE = """
description: A large artifact
subtasks:
  - {name: make, tool: command, run: 'head -c 104857600 /dev/urandom > "$PACELINE_OUTPUT"; \
sha256sum < "$PACELINE_OUTPUT"'}
  - {name: r1, needs: [make], tool: command, run: 'sleep 1; sha256sum < "$PACELINE_INPUTS/make"'}
  - {name: r2, needs: [make], tool: command, run: 'sleep 1; sha256sum < "$PACELINE_INPUTS/make"'}
  - {name: r3, needs: [make], tool: command, run: 'sleep 1; sha256sum < "$PACELINE_INPUTS/make"'}
"""
GROWTH_LIMIT_BYTES = 64 * 1024 * 1024


def test_a_large_artifact_goes_through_without_being_in_memory(
    three: Cluster, tmp_path: Path
) -> None:
    """100 MiB made on one node, copied to a second, read on all, taken by a person."""
    assert all(node.process for node in three.nodes)
    processes = [psutil.Process(node.process.pid) for node in three.nodes if node.process]
    before = [each.memory_info().rss for each in processes]
    growth = 0

    def watched() -> Document | None:
        nonlocal growth
        used = [each.memory_info().rss for each in processes]
        growth = max(growth, *(now - then for now, then in zip(used, before, strict=True)))
        document = three.nodes[0].task(task_id)
        return document if document["status"] in ENDED else None

    task_id = three.nodes[0].submit(LARGE)
    task = wait_for("its end", watched, 120)
    assert task["status"] == "completed", task
    assert len({each["node_id"] for each in task["subtasks"][1:]}) == 3
    logged = three.nodes[1].client.stream(f"tasks/{task_id}/logs")
    assert len({each["line"] for each in logged}) == 1, "one digest, byte for byte"
    out = tmp_path / "out"
    paceline(three.nodes[2], "result", task_id, "make", "--output", str(out), cwd=tmp_path)
    watched()
    assert (out / "make").stat().st_size == 100 * 1024 * 1024
    assert growth < GROWTH_LIMIT_BYTES, f"memory grew by {growth} bytes"


def left(node: Node) -> list[Path]:
    return [*node.directory.glob("attempts/*"), *node.directory.glob("results/*")]
