"""What a plan says of gates and reviewers."""

import pytest

from paceline.errors import InvalidPlan
from paceline.tasks import plan
from paceline.tasks.gates import Gates, read_gates
from paceline.tasks.model import Decision

PLAN = """
description: x
gates: {checkpoint: 8, tests: "make test", expire_s: 60, on_expiry: fail}
reviewer: {tool: ollama}
subtasks:
  - {name: a, tool: claude_code}
  - {name: b, tool: claude_code, gates: {checkpoint: 6.5, retry: 2}, reviewer: {tool: [command], \
run: ./look}}
"""


def test_a_subtask_goes_before_its_task_key_by_key() -> None:
    first, second = plan.parse(PLAN).subtasks
    assert read_gates(first.settings) == Gates(8.0, None, 3, 60.0, Decision.FAIL)
    assert first.settings["gates"]["tests"] == ["make test"]
    assert first.settings["reviewer"] == {"tools": ["ollama"]}
    assert read_gates(second.settings) == Gates(6.5, 2.0, 3, 60.0, Decision.FAIL)
    assert second.settings["reviewer"] == {"tools": ["command"], "run": "./look"}


def test_templates_take_them_too() -> None:
    drafted = plan.parse("description: x\ntype: bug_fix\ngates: {cycles: 1}\n")
    assert {read_gates(each.settings).cycles for each in drafted.subtasks} == {1}
    assert drafted.subtasks[1].settings["review"] is True


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("gates: {checkpoint: 11}", "from 0"),
        ("gates: {checkpoint: 3, retry: 5}", "must not be above"),
        ("gates: {cycle: 1}", "cycles"),
        ("gates: 7", "map"),
        ("gates: {on_expiry: reject}", "fail"),
        ("reviewer: {tool: command}", "shell line"),
        ("reviewer: {tool: ollama, run: x}", "shell line"),
    ],
)
def test_refusals(field: str, reason: str) -> None:
    with pytest.raises(InvalidPlan, match=reason) as told:
        plan.parse(f"description: x\n{field}\nsubtasks:\n  - {{name: a, tool: ollama}}\n")
    assert told.value.line == 2
