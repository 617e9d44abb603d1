"""The seed's calls for external workers: their forms, status codes, and the WebSocket."""

import json
from typing import Any

import pytest

from paceline.node.web.ports import ExternalBeat, ExternalLine, ExternalResult
from tests.node.web.served import Served
from tests.rigs.seed_worker import SeedWorker
from tests.rigs.web_socket import Closed, Refused, WebSocket

REGISTER = {
    "machine_id": "m1",
    "machine_name": "The first",
    "system_info": {"cpu": {"cores": 8}, "os": "Linux"},
    "available_tools": ["claude_code", "ollama"],
    "something_new": 1,
}


@pytest.fixture
def worker(served: Served) -> SeedWorker:
    worker = SeedWorker("m1", [(served.web.port, served.token)], lambda w, task: {})
    worker.register()
    return worker


def line(served: Served, worker_id: str, token: str = "") -> WebSocket:
    headers = {"Authorization": f"Bearer {token or served.token}"}
    return WebSocket(served.web.port, f"/api/v1/ws/worker/{worker_id}", headers)


def test_registering_answers_the_id(served: Served) -> None:
    answer = served.call("POST", "/api/v1/workers", REGISTER)
    assert (answer.status, answer.json["worker_id"]) == (201, "w-m1")
    assert answer.headers["location"] == "/api/v1/workers/w-m1"
    came = served.service.guests.registered["w-m1"]
    assert (came.tools, came.slots, came.running) == (("claude_code", "ollama"), 1, None)
    assert came.system_info == {"cpu": '{"cores": 8}', "os": "Linux"}


@pytest.mark.parametrize(
    "change",
    [{"machine_id": ""}, {"machine_id": 7}, {"available_tools": ["a b"]}, {"slots": 99}],
    ids=str,
)
def test_a_registration_must_be_in_form(served: Served, change: dict[str, Any]) -> None:
    assert served.call("POST", "/api/v1/workers", REGISTER | change).status == 422


def test_a_heartbeat_says_what_the_machine_has_left(served: Served, worker: SeedWorker) -> None:
    worker.send_heartbeat()
    assert served.service.guests.beats == [ExternalBeat("online", "", 10.0, 20.5, 30.0)]


def test_whoever_is_not_known_must_register(served: Served) -> None:
    answer = served.call("POST", "/api/v1/workers/other/heartbeat", {"status": "online"})
    assert (answer.status, answer.json["code"]) == (404, "NotFound")


def test_unregistering(served: Served, worker: SeedWorker) -> None:
    assert served.call("DELETE", "/api/v1/workers/w-m1").status == 200
    assert served.call("DELETE", "/api/v1/workers/w-m1").status == 404
    assert served.call("DELETE", "/api/v1/workers/node-1").status == 409


def test_a_log_line(served: Served, worker: SeedWorker) -> None:
    worker.stream_execution_log("s1", "drei ✓", "error")
    assert served.service.guests.logged == [("s1", ExternalLine("drei ✓", "error"))]


@pytest.mark.parametrize(
    ("body", "came"),
    [
        ({"output": "done"}, ExternalResult(output="done")),
        ({"success": False, "error": "no"}, ExternalResult(success=False, error="no")),
        (
            {"status": "completed", "result": {"a": 1}},
            ExternalResult("", "completed", None, {"a": 1}),
        ),
    ],
    ids=str,
)
def test_a_result(served: Served, body: dict[str, Any], came: ExternalResult) -> None:
    answer = served.call("POST", "/api/v1/subtasks/s1/result", body)
    assert (answer.status, answer.json["accepted"]) == (200, True)
    assert served.service.guests.results == [("s1", came)]


def test_over_the_line_messages_go_both_ways(served: Served, worker: SeedWorker) -> None:
    socket = line(served, worker.worker_id)
    assert socket.receive() == {"type": "ping", "data": {}}
    socket.send({"type": "pong", "worker_id": worker.worker_id})
    opened = served.service.guests.lines[worker.worker_id]
    served.loop.call_soon_threadsafe(lambda: opened.say("task_cancel", subtask_id="s1"))
    assert socket.receive() == {"type": "task_cancel", "data": {"subtask_id": "s1"}}
    assert served.service.guests.heard == [{"type": "pong", "worker_id": worker.worker_id}]
    socket.close()
    served.run(served.service.guests.gone.wait)


def test_a_node_that_hangs_up_says_why(served: Served, worker: SeedWorker) -> None:
    socket = line(served, worker.worker_id)
    socket.receive()
    opened = served.service.guests.lines[worker.worker_id]
    served.loop.call_soon_threadsafe(lambda: opened.close("enough"))
    with pytest.raises(Closed, match="1001 enough"):
        socket.receive()


@pytest.mark.parametrize("text", ["no json", "[]", "{}", json.dumps({"type": 1})])
def test_nonsense_ends_the_line(served: Served, worker: SeedWorker, text: str) -> None:
    socket = line(served, worker.worker_id)
    socket.receive()
    socket.send_text(text)
    with pytest.raises(Closed, match="1003"):
        socket.receive()


def test_a_message_has_a_limit(served: Served, worker: SeedWorker) -> None:
    socket = line(served, worker.worker_id)
    socket.receive()
    socket.send_text("x" * 100_000)
    with pytest.raises(Closed):
        socket.receive()
    assert served.service.guests.heard == []


def test_a_line_needs_the_token_and_a_worker(served: Served, worker: SeedWorker) -> None:
    with pytest.raises(Refused, match="401"):
        line(served, worker.worker_id, token="another")
    with pytest.raises(Refused, match="404"):
        line(served, "nobody")


def test_a_line_is_not_for_other_origins(served: Served, worker: SeedWorker) -> None:
    headers = {"Authorization": f"Bearer {served.token}", "Origin": "http://example.org"}
    with pytest.raises(Refused, match="403"):
        WebSocket(served.web.port, f"/api/v1/ws/worker/{worker.worker_id}", headers)
