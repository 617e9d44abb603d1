"""What a submission would come to, without submitting it."""

from paceline.tasks import plan
from paceline.tasks.dry_run import document
from tests.tasks.planning import NOW_MS, active, view, worker

PLAN = """
description: four
deadline: 2030-01-31T18:00:00+01:00
start_timeout_s: 30
subtasks:
  - {name: anywhere, tool: command, run: "true"}
  - {name: no gpu, tool: command, run: "true", labels: {gpu: "!yes"}, timeout_s: 5}
  - {name: gpu, tool: command, run: "true", needs: [no gpu], labels: {gpu: "yes"}}
  - {name: nowhere, tool: ollama, needs: [gpu], not_labels: {gpu: "yes"}}
"""


def test_each_subtask_is_judged_as_if_it_were_ready_now() -> None:
    seen = view(
        worker("big", labels={"gpu": "yes"}, slots=4),
        worker("small", slots=2),
        active("x", "small"),
    )
    told = document(plan.parse(PLAN), seen)
    assert told["layers"] == [["anywhere", "no gpu"], ["gpu"], ["nowhere"]]
    places = {each["name"]: each["node_id"] for each in told["subtasks"]}
    assert places == {"anywhere": "big", "no gpu": "small", "gpu": "big", "nowhere": None}
    no_gpu = told["subtasks"][1]
    assert no_gpu["nodes"][1]["reason"] == "label gpu must not be yes, and here it is"
    assert no_gpu["score"] == no_gpu["nodes"][0]["score"] > 0
    assert "none of the tools ollama" in told["subtasks"][3]["reason"]


def test_a_plan_says_how_long_things_may_take() -> None:
    draft = plan.parse(PLAN)
    spec = plan.to_spec(draft, task_id="t", new_subtask_id=lambda: "s", now_ms=NOW_MS)
    assert spec.deadline_ms == 1_896_109_200_000
    assert [each.start_timeout_s for each in spec.subtasks] == [30.0] * 4
    assert [each.timeout_s for each in spec.subtasks] == [3600.0, 5.0, 3600.0, 3600.0]
    assert spec.subtasks[1].not_labels == {"gpu": "yes"}
    assert spec.subtasks[1].labels == {}


def test_what_is_said_beside_the_plan_counts_from_the_submission() -> None:
    options = plan.PlanOptions(deadline=90, limits={"timeout_s": 7.0, "start_timeout_s": None})
    draft = plan.from_description("mend it", "bug_fix", options=options)
    spec = plan.to_spec(draft, task_id="t", new_subtask_id=lambda: "s", now_ms=NOW_MS)
    assert spec.deadline_ms == NOW_MS + 90_000
    assert {each.timeout_s for each in spec.subtasks} == {7.0}
