"""What docs/plans.md shows, is so."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from paceline.errors import InvalidPlan
from paceline.tasks import graph, plan, plan_fields, plan_subtasks, templates
from paceline.tasks.draft import DESCRIPTION_LIMIT, SHIPPED_TOOLS, SubtaskDraft, TaskDraft
from paceline.tasks.model import Privacy
from paceline.tasks.own_templates import read_template
from paceline.tasks.plan import parse

PAGE = (Path(__file__).parents[2] / "docs" / "plans.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\S+)(?: (\S+))?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
GOOD = [(text, format_) for format_, mark, text in BLOCKS if format_ != "text" and not mark]
REFUSED = [(text, told) for (_, mark, text), (_, _, told) in pairwise(BLOCKS) if mark == "refused"]


def drafts() -> list[TaskDraft]:
    return [parse(text, format_) for text, format_ in GOOD]


def test_the_examples_are_there() -> None:
    assert len(GOOD) == 5
    assert len(REFUSED) == 2


def test_both_formats_say_the_same() -> None:
    in_yaml, in_toml, *_ = drafts()
    assert in_yaml == in_toml
    assert [subtask.name for subtask in in_yaml.subtasks] == ["lint", "tests", "report"]


def test_sensitive_work_passes_on() -> None:
    spec = plan.to_spec(drafts()[3], task_id="T", new_subtask_id=iter("12").__next__)
    assert [subtask.privacy for subtask in spec.subtasks] == [Privacy.SENSITIVE] * 2


def test_the_template_of_ones_own_can_be_read() -> None:
    (text,) = [text for _, mark, text in BLOCKS if mark == "template"]
    found = read_template(text, "release", origin="user", known_tools=SHIPPED_TOOLS)
    assert [subtask.name for subtask in found.subtasks] == ["Check", "Notes"]


def test_a_plan_with_a_template() -> None:
    draft = drafts()[4]
    assert draft.type == "bug_fix"
    assert {subtask.tools for subtask in draft.subtasks} == {("codex", "claude_code")}


@pytest.mark.parametrize(("text", "told"), REFUSED)
def test_refusals_are_told_as_shown(text: str, told: str) -> None:
    with pytest.raises(InvalidPlan) as refusal:
        parse(text)
    assert str(refusal.value) == told.rstrip("\n")


def test_templates_are_shown_with_their_subtasks() -> None:
    for name in templates.names():
        waves = graph.layers({each.name: each.needs for each in templates.load(name).subtasks})
        assert f"| `{name}` | {' → '.join(', '.join(wave) for wave in waves)} |" in PAGE


def test_every_field_and_tool_is_told() -> None:
    task, subtask = PAGE.split("### The task")[1].split("### A subtask")
    shown = re.compile(r"^\| `(\w+)`", re.MULTILINE)
    assert set(shown.findall(task)) == set(plan._TASK_FIELDS)
    assert set(shown.findall(subtask)) == set(plan_subtasks._SUBTASK_FIELDS)
    assert all(f"`{tool}`" in subtask for tool in SHIPPED_TOOLS)


def test_limits_and_defaults_are_as_told() -> None:
    assert "2,000 subtasks with 10,000 dependencies" in PAGE
    assert (graph.SUBTASK_LIMIT, graph.EDGE_LIMIT) == (2_000, 10_000)
    assert (DESCRIPTION_LIMIT, plan_fields.NAME_LIMIT) == (65_536, 100)
    assert (plan_subtasks.TIMEOUT_LIMIT_S, plan_subtasks.MAX_ATTEMPTS_LIMIT) == (604_800, 20)
    plain = SubtaskDraft("name", ("command",))
    assert (plain.priority, plain.complexity, plain.timeout_s, plain.max_attempts) == (
        50,
        1,
        3600,
        3,
    )
