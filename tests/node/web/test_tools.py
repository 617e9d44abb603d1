"""The calls about tools and money."""

import pytest

from paceline.node.web.ports import UsageQuery
from tests.node.web.served import Served

TASK = "11112222-0000-4000-8000-000000000000"


def test_tools_and_looking_anew(served: Served) -> None:
    listed = served.call("GET", "/api/v1/tools").json["tools"]
    assert [(each["name"], each["throttled_by"]) for each in listed] == [
        ("command", ""),
        ("codex", "usage"),
    ]
    checked = served.call("POST", "/api/v1/tools/check").json
    assert checked["tools"] == listed
    assert list(checked["unanswered"].values()) == ["not connected"]


def test_usage_takes_what_to_sum_by_and_since_when(served: Served) -> None:
    assert served.call("GET", "/api/v1/usage").json["by"] == "tool"
    path = "/api/v1/usage?by=day&since=2023-11-14"
    assert served.call("GET", path).status == 200
    assert served.call("GET", "/api/v1/usage?since=2023-11-14T01:00:00Z").status == 200
    assert served.service.toolbox.asked == [
        UsageQuery(),
        UsageQuery("day", 1_699_920_000_000),
        UsageQuery("tool", 1_699_923_600_000),
    ]


@pytest.mark.parametrize("query", ["by=user", "since=yesterday", "since=2023-99-01", "what=1"])
def test_what_usage_cannot_be_asked(served: Served, query: str) -> None:
    assert served.call("GET", f"/api/v1/usage?{query}").status == 422
    assert served.service.toolbox.asked == []


def test_a_budget_is_set_and_lifted(served: Served) -> None:
    path = f"/api/v1/tasks/{TASK}/budget"
    assert served.call("POST", path, {"budget_usd": 2.5}).json["budget_usd"] == 2.5
    assert served.call("POST", path, {"budget_usd": None}).json["changed"] is True
    for wrong in ({"budget_usd": 0}, {"budget_usd": "much"}, {}):
        assert served.call("POST", path, wrong).status == 422
    assert served.service.toolbox.asked == [(TASK, 2.5), (TASK, None)]


def test_a_submission_says_what_agents_may_do(served: Served) -> None:
    body = {
        "description": "mend",
        "type": "bug_fix",
        "permission": "read",
        "model": "m",
        "max_turns": 3,
        "idle_timeout_s": 5.0,
        "budget_usd": 1.5,
    }
    assert served.call("POST", "/api/v1/tasks", body).status == 201
    request = served.service.requests[-1]
    assert request.budget_usd == 1.5
    assert request.terms == {
        "permission": "read",
        "model": "m",
        "max_turns": 3,
        "idle_timeout_s": 5.0,
    }
    assert served.call("POST", "/api/v1/tasks", {**body, "permission": "all"}).status == 422
