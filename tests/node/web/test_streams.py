"""Streams: as it comes, to the end, and no longer than anybody listens."""

import http.client
import json
from typing import Any

from paceline.errors import StorageError
from tests.node.web.fake_service import a_task
from tests.node.web.served import Served

TASK = "11112222-0000-4000-8000-000000000000"
LOGS = f"/api/v1/tasks/{TASK}/logs"


def lines(body: bytes) -> list[Any]:
    return [json.loads(line) for line in body.splitlines()]


def follow(served: Served, path: str) -> tuple[http.client.HTTPConnection, Any]:
    connection = served.connect()
    connection.request("GET", path, headers={"Authorization": f"Bearer {served.token}"})
    return connection, connection.getresponse()


def wait_for_streams(served: Served, count: int) -> None:
    async def wait() -> None:
        service = served.service
        async with service.streams_changed:
            await service.streams_changed.wait_for(lambda: service.open_streams == count)

    served.run(wait)


def test_a_log_is_one_document_per_line(served: Served) -> None:
    served.service.documents[TASK] = a_task(TASK)
    answer = served.call("GET", f"{LOGS}?subtask=build&attempt=1")

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [item["line"] for item in lines(answer.body)] == ["one", "two", "drei ✓"]
    query = served.service.requests[-1]
    assert (query.task_id, query.subtask, query.attempt, query.follow) == (TASK, "build", 1, False)


def test_a_wrong_id_is_404_and_no_broken_stream(served: Served) -> None:
    assert served.call("GET", LOGS).status == 404
    served.service.documents[TASK] = a_task(TASK)
    assert served.call("GET", f"{LOGS}?subtask=none").status == 404


def test_events_are_asked_for_by_query(served: Served) -> None:
    answer = served.call("GET", "/api/v1/events?after=1&task=abc&action=one,two")

    assert [event["action"] for event in lines(answer.body)] == ["two"]
    query = served.service.requests[-1]
    assert (query.after, query.task_id, query.follow) == (1, "abc", False)


def test_a_failure_in_the_middle_is_the_last_line(served: Served) -> None:
    served.service.stream_failure = StorageError("the log's file is gone")
    answer = served.call("GET", "/api/v1/events")

    *events, last = lines(answer.body)
    assert len(events) == 3
    assert last["problem"]["code"] == "StorageError"


def test_a_follower_gets_lines_as_they_come(served: Served) -> None:
    connection, response = follow(served, "/api/v1/events?follow=true")
    first = [json.loads(response.readline()) for _ in range(3)]
    served.loop.call_soon_threadsafe(served.service.more.set)
    rest = lines(response.read())
    connection.close()

    assert [event["action"] for event in first] == ["one", "two", "drei ✓"]
    assert [event["action"] for event in rest] == ["more"]


def test_a_follower_who_goes_leaves_nothing_open(served: Served) -> None:
    connection, response = follow(served, "/api/v1/events?follow=true")
    response.readline()
    wait_for_streams(served, 1)
    response.close()
    connection.close()

    wait_for_streams(served, 0)


def test_stopping_the_server_ends_followers_as_if_all_was_said(served: Served) -> None:
    connection, response = follow(served, "/api/v1/events?follow=true")
    response.readline()
    served.run(served.web.stop)

    assert len(lines(response.read())) == 2
    connection.close()
    wait_for_streams(served, 0)


def test_head_of_a_stream_has_no_body(served: Served) -> None:
    answer = served.call("HEAD", "/api/v1/events?follow=true")

    assert (answer.status, answer.body) == (200, b"")
