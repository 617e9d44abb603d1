"""The calls about checkpoints and evaluations."""

import pytest

from paceline.node.web.ports import CheckpointDecision
from tests.node.web.fake_service import CHECKPOINT_ID
from tests.node.web.served import Served

CHECKPOINTS = "/api/v1/checkpoints"


def test_they_are_listed(served: Served) -> None:
    answer = served.call("GET", f"{CHECKPOINTS}?status=pending&task=1111")
    assert [each["checkpoint_id"] for each in answer.json["checkpoints"]] == [CHECKPOINT_ID]
    assert served.service.deciding.asked == [("checkpoints", "pending", "1111")]
    assert served.call("GET", f"{CHECKPOINTS}?status=odd").status == 422


def test_one_is_shown_by_the_beginning_of_its_id(served: Served) -> None:
    assert served.call("GET", f"{CHECKPOINTS}/cccc").json["reviews"][0]["verdict"] == "revise"
    assert served.call("GET", f"{CHECKPOINTS}/dddd").status == 404


def test_the_first_decision_counts(served: Served) -> None:
    comment = {"file": "a.py", "line": 3, "text": "why?"}
    body = {"decision": "correct", "feedback": "shorter", "comments": [comment]}
    answer = served.call("POST", f"{CHECKPOINTS}/cccc/resolve", body)
    assert (answer.status, answer.json["decision"]) == (200, "correct")
    assert answer.json["task_status"] == "in_progress"
    assert served.service.deciding.decided == CheckpointDecision(
        "correct", "shorter", (("a.py", 3, "why?"),)
    )
    again = served.call("POST", f"{CHECKPOINTS}/cccc/resolve", {"decision": "accept"})
    assert (again.status, again.json["code"]) == (409, "Conflict")
    assert "has decided correct" in again.json["detail"]


@pytest.mark.parametrize(
    "body",
    [{}, {"decision": "fail"}, {"decision": "accept", "comments": [{"file": "", "text": "x"}]}],
)
def test_what_is_no_decision(served: Served, body: dict[str, object]) -> None:
    assert served.call("POST", f"{CHECKPOINTS}/cccc/resolve", body).status == 422


def test_a_person_opens_one(served: Served) -> None:
    answer = served.call("POST", "/api/v1/tasks/1111/checkpoint", {"reason": "look"})
    assert (answer.status, answer.json["task_status"]) == (201, "checkpoint")
    assert served.service.deciding.asked == [("open", "1111", "", "look")]


def test_the_evaluation_of_a_subtask(served: Served) -> None:
    answer = served.call("GET", "/api/v1/subtasks/s1/evaluation")
    assert answer.json == {"evaluation": None, "evaluations": []}
