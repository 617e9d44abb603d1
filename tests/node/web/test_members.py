"""The calls about the nodes that are in."""

import pytest

from tests.node.web.fake_service import OTHER_ID
from tests.node.web.served import Served

NODES = "/api/v1/nodes"


def test_draining_and_back(served: Served) -> None:
    answer = served.call("POST", f"{NODES}/beta/drain", {"on": True})
    assert (answer.status, answer.json["status"]) == (200, "draining")
    assert answer.json["node_id"] == OTHER_ID
    assert served.call("POST", f"{NODES}/beta/drain", {"on": False}).json["status"] == "online"
    assert served.service.steward.asked == [("drain", "beta", True), ("drain", "beta", False)]


def test_trust_says_which(served: Served) -> None:
    assert served.call("POST", f"{NODES}/beta/trust", {"trusted": True}).json["trusted"] is True
    assert served.call("POST", f"{NODES}/beta/trust", {}).status == 422
    assert served.service.steward.asked == [("trust", "beta", True)]


def test_revoking_takes_a_reason(served: Served) -> None:
    answer = served.call("POST", f"{NODES}/{OTHER_ID}/revoke", {"reason": "stolen"})
    assert answer.json == {"node_id": OTHER_ID, "name": "beta", "token_version": 2}
    assert served.service.steward.asked == [("revoke", OTHER_ID, "stolen")]


def test_leaving_takes_a_time(served: Served) -> None:
    assert served.call("POST", "/api/v1/node/leave", {"timeout_s": 5}).json["finished"] is True
    assert served.call("POST", "/api/v1/node/leave").status == 200
    for wrong in (-1, 100_000, "soon"):
        assert served.call("POST", "/api/v1/node/leave", {"timeout_s": wrong}).status == 422
    assert served.service.steward.asked == [("leave", 5.0), ("leave", 60.0)]


@pytest.mark.parametrize(
    ("call", "body"),
    [("drain", {}), ("trust", {"trusted": True}), ("revoke", {})],
)
def test_a_node_that_is_none_is_404(served: Served, call: str, body: dict[str, bool]) -> None:
    assert served.call("POST", f"{NODES}/nobody/{call}", body).status == 404


@pytest.mark.parametrize("path", ["nodes/beta/trust", "nodes/beta/revoke", "node/leave"])
def test_a_browser_cannot_change_who_belongs(served: Served, path: str) -> None:
    assert served.call("POST", f"/api/v1/{path}", bearer=False).status == 401
    assert served.service.steward.asked == []
