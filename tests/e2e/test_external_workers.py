"""Workers that speak the seed's protocol, on real nodes: the same guarantees as on a node."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from paceline.client import Document
from paceline.client.link import web_address
from tests.e2e.cluster import Cluster, Node, cluster, completed, wait_for
from tests.rigs.seed_worker import HTTPError, SeedWorker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

TOOL = "stranger"
"""A tool that only external workers have."""


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("nodes"), 3) as nodes:
        yield nodes


def backend(node: Node) -> tuple[int, str]:
    _, port = web_address(node.directory)
    return port, (node.directory / "api.token").read_text().strip()


def echo(worker: SeedWorker, task: dict[str, Any]) -> dict[str, Any]:
    worker.stream_execution_log(task["subtask_id"], f"works on {task['description']}")
    needs = "+".join(task["context"]["inputs"].values())
    return {"success": True, "output": f"{needs}[{task['description']}]"}


def submit(node: Node, *subtasks: Document) -> str:
    return node.submit(json.dumps({"subtasks": [{"tool": TOOL, **each} for each in subtasks]}))


def test_the_seeds_worker_is_a_worker_like_any_other(three: Cluster) -> None:
    first, second, _ = three.nodes
    worker = SeedWorker("m1", [backend(second)], echo, tools=(TOOL,))
    worker.start()
    try:
        one = {"name": "one", "instructions": "first"}
        two = {"name": "two", "instructions": "second", "needs": ["one"]}
        wait_for("the worker to be online", lambda: _online(first, worker), 10)
        task_id = submit(first, one, two)
        begun, ended = completed(first, task_id)["subtasks"]
        assert ended["result"]["output"]["text"] == "[first][second]"
        (attempt,) = begun["attempts"]
        assert attempt["node_id"] == worker.worker_id
        lines = [each["line"] for each in first.client.stream(f"tasks/{task_id}/logs")]
        assert "works on first" in lines
        with pytest.raises(HTTPError, match="409"):
            worker.call("DELETE", f"/workers/{first.node_id}")
        worker.call("DELETE", f"/workers/{worker.worker_id}")
        wait_for("it to be gone", lambda: not _online(first, worker), 10)
    finally:
        worker.vanish()


def test_what_a_vanished_worker_had_in_hand_goes_elsewhere(three: Cluster) -> None:
    first, second, third = three.nodes
    never = threading.Event()

    def hang(worker: SeedWorker, task: dict[str, Any]) -> dict[str, Any]:
        never.wait(30)
        return {"output": "too late"}

    gone = SeedWorker("m1", [backend(second)], hang, tools=(TOOL,))
    gone.start()
    other = SeedWorker("m2", [backend(third)], echo, tools=(TOOL,))
    try:
        wait_for("the worker to be online", lambda: _online(first, gone), 10)
        task_id = submit(first, {"name": "one", "instructions": "again"})
        wait_for("the assignment", lambda: gone.assigned, 20)
        other.start()
        threading.Thread(target=gone.vanish, daemon=True).start()
        (subtask,) = completed(first, task_id)["subtasks"]
        assert len(subtask["attempts"]) == 2, subtask["attempts"]
        lost, done = subtask["attempts"]
        assert (lost["status"], done["node_id"]) == ("lost", other.worker_id)
        late = {"worker_id": gone.worker_id, "output": "too late"}
        with pytest.raises(HTTPError, match="409"):
            gone.call("POST", f"/subtasks/{subtask['subtask_id']}/result", late)
    finally:
        never.set()
        other.vanish()


def test_when_its_node_dies_a_worker_goes_on_at_another(three: Cluster) -> None:
    first, second, third = three.nodes
    go_on = threading.Event()

    def slowly(worker: SeedWorker, task: dict[str, Any]) -> dict[str, Any]:
        assert go_on.wait(60)
        return {"output": "still here"}

    worker = SeedWorker("m1", [backend(second), backend(third)], slowly, tools=(TOOL,))
    worker.start()
    try:
        wait_for("the worker to be online", lambda: _online(first, worker), 10)
        task_id = submit(first, {"name": "one", "instructions": "-"})
        wait_for("the assignment", lambda: worker.assigned, 20)
        second.kill()
        wait_for("its new place", lambda: _via(first, worker) == third.node_id, 30)
        go_on.set()
        (subtask,) = completed(first, task_id)["subtasks"]
        (attempt,) = subtask["attempts"]
        assert (attempt["status"], attempt["node_id"]) == ("succeeded", worker.worker_id)
        assert len(worker.assigned) == 1, "it was not told twice"
    finally:
        go_on.set()
        worker.vanish()


def _online(node: Node, worker: SeedWorker) -> Document | None:
    workers: list[Document] = node.client.get("workers")["workers"]
    found = (w for w in workers if w["node_id"] == worker.worker_id and w["status"] == "online")
    return next(found, None)


def _via(node: Node, worker: SeedWorker) -> str:
    found = _online(node, worker)
    return str(found["via"]) if found else ""
