"""The Python client against the REST layer on a real port."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from paceline.client import Client, ended
from paceline.client import calls as client_calls
from paceline.errors import Conflict, InvalidPlan, NodeUnreachable, NotFound, TimedOut
from tests.cli.command import Node
from tests.node.web.fake_service import NODE_ID, a_task
from tests.node.web.served import serving

TASK = "11112222-0000-4000-8000-000000000000"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    with serving(data_dir) as served:
        yield Node(data_dir, served)


@pytest.fixture
def client(node: Node) -> Client:
    return Client(node.data_dir)


def test_the_calls_answer_the_documents_of_the_node(node: Node, client: Client) -> None:
    accepted = client.submit(plan="subtasks: []", format="yaml", priority=None)
    node.service.documents[TASK] = a_task(TASK, "failed")

    assert accepted["created"]
    assert client.status()["node_id"] == NODE_ID
    assert client.nodes()[0]["name"] == "alpha"
    assert client.task("1111")["task_id"] == TASK
    assert len(list(client.tasks())) == 2
    assert len(list(client.tasks(limit=1))) == 1
    assert ended(client.wait(TASK, timeout_s=30))
    assert client.explain(TASK)["status"] == "failed"
    assert client.cancel(TASK, "enough")["status"] == "cancelled"
    assert client.retry(TASK)["task_id"] == TASK
    assert [line["line"] for line in client.logs(TASK, "build")] == node.service.lines


def test_failures_are_the_errors_that_they_were_on_the_node(node: Node, client: Client) -> None:
    node.service.documents[TASK] = a_task(TASK)

    with pytest.raises(NotFound):
        client.task("ffff")
    with pytest.raises(Conflict):
        client.cancel(TASK)
    with pytest.raises(InvalidPlan) as refused:
        client.submit(plan="!bad", format="yaml")
    assert refused.value.line == 2


def test_waiting_ends_when_its_time_is_up(node: Node, client: Client) -> None:
    node.service.documents[TASK] = a_task(TASK, "in_progress")

    with pytest.raises(TimedOut, match="still in_progress"):
        client.wait(TASK, timeout_s=0.01)


def test_events_are_chosen_by_place_kind_and_node(node: Node, client: Client) -> None:
    node.service.lines = ["submitted", "allocated", "finished"]

    def kinds(action: str = "", node: str = "") -> list[str]:
        return [event["action"] for event in client.events(action=action, node=node)]

    assert kinds() == ["submitted", "allocated", "finished"]
    assert kinds(action="submitted,finished") == ["submitted", "finished"]
    assert kinds(node=NODE_ID, action="allocated") == ["allocated"]
    assert kinds(node="another") == []
    assert [event["log_id"] for event in client.events(after=2)] == [3]


def test_a_follower_of_events_outlives_a_restart_and_hears_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_calls, "AGAIN_S", 0.01)
    heard: list[int] = []
    first_heard = threading.Event()
    third_heard = threading.Event()

    def follow() -> None:
        with suppress(NodeUnreachable):
            for event in Client(tmp_path).follow_events(patience_s=3):
                heard.append(event["log_id"])
                (third_heard if event["log_id"] == 3 else first_heard).set()

    with serving(tmp_path) as served:
        served.service.lines = ["one"]
        Node(tmp_path, served)
        follower = threading.Thread(target=follow)
        follower.start()
        assert first_heard.wait(30)
    with serving(tmp_path) as served:
        served.service.lines = ["one", "two", "three"]
        Node(tmp_path, served)
        assert third_heard.wait(30)
    follower.join(60)

    assert not follower.is_alive()
    assert heard == [1, 2, 3]
