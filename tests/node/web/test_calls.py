"""The calls: what they take, what they answer, and how they refuse."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from paceline import errors
from paceline.errors import InvalidSettings
from paceline.node.web.call import BODY_LIMIT_BYTES
from paceline.node.web.ports import TaskChange
from paceline.node.web.server import WebServer
from tests.node.web.fake_service import FakeService, a_task
from tests.node.web.served import Served

TASKS = "/api/v1/tasks"
TASK = "11112222-0000-4000-8000-000000000000"


def test_a_submission_is_created_once(served: Served) -> None:
    body = {"description": "mend", "type": "bug_fix", "idempotency_key": "k"}

    first, second = served.call("POST", TASKS, body), served.call("POST", TASKS, body)

    assert (first.status, second.status) == (201, 200)
    assert first.json["task_id"] == second.json["task_id"]
    assert first.headers["location"] == f"{TASKS}/{first.json['task_id']}"


def test_everything_that_a_submission_says_reaches_the_node(served: Served) -> None:
    body = {
        "plan": "subtasks: []",
        "format": "toml",
        "repository": {"path": "/r", "ref": "main"},
        "directory": "/d",
        "privacy": "sensitive",
        "checkpoint_frequency": "high",
        "tool_preferences": ["a", "b"],
        "priority": 7,
        "metadata": {"x": [1]},
    }
    assert served.call("POST", TASKS, body).status == 201

    request = served.service.requests[-1]
    assert (request.plan, request.format, request.directory) == ("subtasks: []", "toml", "/d")
    assert (request.repository.path, request.repository.ref) == ("/r", "main")
    assert (request.privacy, request.checkpoint_frequency) == ("sensitive", "high")
    assert (request.tool_preferences, request.priority) == (("a", "b"), 7)
    assert request.metadata == {"x": [1]}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "plan"),
        ({"description": "x"}, "type"),
        ({"plan": "x", "type": "bug_fix"}, "exclude"),
        ({"description": "x", "type": "y", "format": "yaml"}, "format"),
        ({"plan": "x", "colour": "red"}, "colour"),
        ({"plan": "x", "priority": 101}, "priority"),
        ({"plan": "x", "priority": "7"}, "priority"),
        ({"plan": "x", "privacy": "secret"}, "privacy"),
        ({"plan": "x", "directory": "relative"}, "directory"),
        ({"plan": "x", "tool_preferences": ["a b"]}, "tool_preferences"),
        ({"plan": "x", "repository": {"ref": "main"}}, "repository.path"),
        ([], "object"),
    ],
)
def test_a_wrong_submission_says_which_member(served: Served, body: Any, word: str) -> None:
    answer = served.call("POST", TASKS, body)

    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["code"] == "InputError"
    assert word in answer.json["detail"]
    assert served.service.requests == []


def test_a_refused_plan_has_its_line(served: Served) -> None:
    answer = served.call("POST", TASKS, {"plan": "!bad"})

    assert answer.status == 422
    assert (answer.json["code"], answer.json["line"]) == ("InvalidPlan", 2)
    assert answer.json["detail"] == "`!bad` is no subtask"


@pytest.mark.parametrize("raw", [b"{", b"\xff\xfe", b"nothing"])
def test_what_is_no_json_is_400(served: Served, raw: bytes) -> None:
    assert served.call("POST", TASKS, raw=raw).status == 400


def test_a_form_is_no_json(served: Served) -> None:
    answer = served.call("POST", TASKS, raw=b"plan=x", Content_Type="text/plain")

    assert answer.status == 415


def test_a_body_may_have_two_mebibytes_and_no_more(served: Served) -> None:
    most = json.dumps({"plan": "x", "metadata": {"x": ""}}).encode()
    filled = most.replace(b'""', b'"' + b"y" * (BODY_LIMIT_BYTES - len(most)) + b'"')

    assert len(filled) == BODY_LIMIT_BYTES
    assert served.call("POST", TASKS, raw=filled).status == 201
    assert served.call("POST", TASKS, raw=filled + b" ").status == 413


def test_a_body_without_length_is_bounded_too(served: Served) -> None:
    connection = served.connect()
    chunks = (b"x" * 65536 for _ in range(BODY_LIMIT_BYTES // 65536 + 8))
    headers = {"Authorization": f"Bearer {served.token}", "Content-Type": "application/json"}
    connection.request("POST", TASKS, chunks, headers, encode_chunked=True)
    status = connection.getresponse().status
    connection.close()

    assert status == 413


def test_a_body_that_never_ends_is_cut_off(served: Served) -> None:
    connection = served.connect()
    chunks = (b"x" * 65536 for _ in range(64 * BODY_LIMIT_BYTES // 65536))
    headers = {"Authorization": f"Bearer {served.token}", "Content-Type": "application/json"}
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        connection.request("POST", TASKS, chunks, headers, encode_chunked=True)
    connection.close()

    assert served.call("GET", "/healthz").status == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InputError("no"), 422),
        (errors.InvalidSettings("no"), 422),
        (errors.NotFound("no"), 404),
        (errors.Conflict("no"), 409),
        (errors.Busy("no"), 429),
        (errors.NoQuorum("no"), 503),
        (errors.NotLeader("abc"), 503),
        (errors.NodeUnreachable("no"), 503),
        (errors.TimedOut("no"), 504),
        (errors.ProtocolError("no"), 502),
        (errors.StorageFull("no"), 507),
        (errors.CorruptStorage("no"), 500),
        (errors.ToolError("no"), 500),
    ],
)
def test_an_error_of_the_node_is_a_problem_with_its_name(
    served: Served, error: errors.PacelineError, status: int
) -> None:
    served.service.failure = error
    answer = served.call("GET", f"{TASKS}/{TASK}")

    assert answer.status == answer.json["status"] == status
    assert answer.json["code"] == type(error).__name__
    assert answer.json["detail"] == str(error)
    assert ("retry-after" in answer.headers) == (status in (429, 503))


def test_a_defect_tells_a_caller_nothing(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    served.service.failure = RuntimeError("the secret path /x/y")
    answer = served.call("GET", f"{TASKS}/{TASK}")

    assert answer.status == 500
    assert b"secret" not in answer.body
    assert "the secret path" in caplog.text


def test_unknown_paths_and_methods_are_problems(served: Served) -> None:
    assert served.call("GET", "/api/v1/nothing").json["code"] == "NotFound"
    answer = served.call("DELETE", TASKS)
    assert (answer.status, answer.json["code"]) == (405, "MethodNotAllowed")
    assert "POST" in answer.headers["allow"]


def test_tasks_are_asked_for_by_query(served: Served) -> None:
    served.call("GET", f"{TASKS}?status=failed&type=plan&search=x%20y&limit=3&cursor=0")

    query = served.service.requests[-1]
    assert (query.status, query.type, query.search) == ("failed", "plan", "x y")
    assert (query.limit, query.cursor) == (3, "0")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "status=done", "colour=red", "limit=1&limit=2"]
)
def test_a_wrong_query_is_refused(served: Served, query: str) -> None:
    assert served.call("GET", f"{TASKS}?{query}").status == 422


def test_cancel_and_retry_are_accepted(served: Served) -> None:
    served.service.documents[TASK] = a_task(TASK, "in_progress")

    cancelled = served.call("POST", f"{TASKS}/1111/cancel", {"reason": "enough"})
    retried = served.call("POST", f"{TASKS}/1111/retry", {"subtask_id": "build"})

    assert (cancelled.status, cancelled.json["status"]) == (202, "cancelled")
    assert (retried.status, retried.json["task_id"]) == (202, TASK)
    assert served.service.requests == ["enough", "build"]


def test_a_change_says_what_is_to_be_otherwise(served: Served) -> None:
    served.service.documents[TASK] = a_task(TASK, "in_progress")

    answers = [
        served.call("PATCH", f"{TASKS}/1111", body)
        for body in (
            {"status": "paused", "priority": 9},
            {"paused": False, "deadline_s": 60.5},
            {"deadline": ""},
        )
    ]

    assert [each.status for each in answers] == [200, 200, 200]
    assert served.service.requests[-3:] == [
        TaskChange(paused=True, priority=9),
        TaskChange(paused=False, deadline=60.5),
        TaskChange(deadline=""),
    ]
    for body in ({}, {"status": "paused", "paused": False}, {"priority": 101}, {"status": "done"}):
        assert served.call("PATCH", f"{TASKS}/1111", body).status == 422


def test_a_dry_run_submits_nothing(served: Served) -> None:
    body = {"description": "mend", "type": "bug_fix", "deadline": "2030-01-01T00:00:00Z"}

    answer = served.call("POST", f"{TASKS}?dry_run=true", body)

    assert (answer.status, answer.json["dry_run"]) == (200, True)
    assert served.service.requests[-1].deadline == "2030-01-01T00:00:00Z"


def test_a_drain_may_have_a_limit(served: Served) -> None:
    answer = served.call("POST", "/api/v1/nodes/beta/drain", {"timeout_s": 5})
    assert answer.status == 200
    assert ("drain within", "beta", 5.0) in served.service.steward.asked


def test_cancelling_needs_no_body(served: Served) -> None:
    served.service.documents[TASK] = a_task(TASK, "in_progress")

    assert served.call("POST", f"{TASKS}/1111/cancel").status == 202


@pytest.mark.parametrize("name", ["nodes", "workers", "tools", "templates"])
def test_lists_are_documents(served: Served, name: str) -> None:
    assert isinstance(served.call("GET", f"/api/v1/{name}").json[name], list)


def test_a_node_without_quorum_is_healthy_and_not_ready(served: Served) -> None:
    served.service.ready = False

    assert served.call("GET", "/healthz", bearer=False).status == 200
    answer = served.call("GET", "/readyz", bearer=False)
    assert (answer.status, answer.json["reason"]) == (503, "no quorum")


def test_stop_is_accepted_and_reaches_the_node(served: Served) -> None:
    assert served.call("POST", "/api/v1/node/stop").status == 202
    assert served.service.stopped.is_set()


def test_the_openapi_document_names_every_call_and_resolves(served: Served) -> None:
    document = served.call("GET", "/api/v1/openapi.json").json

    assert document["openapi"] == "3.1.0"
    assert set(document["paths"][TASKS]) == {"get", "post"}
    assert "/api/v1/tasks/{id}/logs" in document["paths"]
    for name in _references(document):
        assert name in document["components"]["schemas"]
    operations = [o for path in document["paths"].values() for o in path.values()]
    assert len({o["operationId"] for o in operations}) == len(operations)


def _references(part: Any) -> set[str]:
    if isinstance(part, list):
        return set().union(*map(_references, part))
    if not isinstance(part, dict):
        return set()
    own = {part["$ref"].rsplit("/", 1)[-1]} if isinstance(part.get("$ref"), str) else set()
    return own.union(*map(_references, part.values()))


def test_a_taken_port_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidSettings, match=rf"{port}.*--web-port"):
            asyncio.run(_start(tmp_path, port))


async def _start(directory: Path, port: int) -> None:
    web = WebServer(
        service=FakeService(), host="127.0.0.1", port=port, token_path=directory / "api.token"
    )
    await web.start()


def test_a_server_starts_and_stops_inside_a_task_group(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup():
            web = WebServer(
                service=FakeService(), host="127.0.0.1", port=0, token_path=tmp_path / "api.token"
            )
            await web.start()
            assert web.port > 0
            await web.stop()

    asyncio.run(main())
