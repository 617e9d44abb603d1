"""What a plan says of agents: checked with its line, defaults filled in, handed on as settings."""

import pytest

from paceline.errors import InvalidPlan
from paceline.tasks import templates
from paceline.tasks.plan import PlanOptions, from_description, parse

PLAN = """\
permission: read
model: a/model:7b
max_turns: 9
subtasks:
  - {name: plain, tool: claude_code}
  - {name: own, tool: [codex, command], run: make, permission: run, budget_usd: 2, max_turns: 3}
  - {name: line, tool: command, run: make, idle_timeout_s: 0}
  - {name: older, tool: ollama, settings: {model: small, options: {num_ctx: 9}}}
"""


def test_a_subtasks_own_word_goes_before_the_tasks() -> None:
    plain, own, line, older = (each.settings for each in parse(PLAN).subtasks)
    task = {"permission": "read", "model": "a/model:7b", "max_turns": 9}
    assert plain == task
    assert own == {**task, "permission": "run", "budget_usd": 2.0, "max_turns": 3}
    assert line == {"idle_timeout_s": 0.0}, "a shell line has no use for the others"
    assert older == {**task, "model": "small", "options": {"num_ctx": 9}}


def test_what_is_said_beside_the_plan_goes_before_the_plans_defaults() -> None:
    options = PlanOptions(terms={"model": "other", "idle_timeout_s": 5.0}, budget_usd=3.0)
    draft = parse(PLAN, options=options)
    assert draft.budget_usd == 3.0
    plain, own, *_ = draft.subtasks
    assert (plain.settings["model"], own.settings["model"]) == ("other", "other")
    assert own.settings["permission"] == "run"


def test_a_templates_permissions_and_a_persons() -> None:
    kinds = {
        each.name: each.settings["permission"] for each in templates.load("code_review").subtasks
    }
    assert kinds == {"Static Analysis": "run", "Security Review": "read", "Review Report": "edit"}
    options = PlanOptions(terms={"permission": "read"})
    draft = from_description("Look.", "code_review", options=options)
    assert {each.settings["permission"] for each in draft.subtasks} == {"read"}


@pytest.mark.parametrize(
    ("more", "line", "words"),
    [
        ("permission: write", 3, 'permission: must be read or edit or run, not "write"'),
        ("permission: rnu", 3, 'did you mean "run"?'),
        ("model: --yolo", 3, 'model: "--yolo" is no name of a model'),
        ('model: "a b"', 3, "is no name of a model"),
        ("max_turns: 0", 3, "max_turns: must be from 1 to 10000, not 0"),
        ("budget_usd: 0", 3, "budget_usd: must be more than 0"),
        ("budget_usd: .nan", 3, "budget_usd: must be a number, not text"),
        ("idle_timeout_s: -1", 3, "idle_timeout_s: must be from 0"),
        ("settings: {permission: all}", 3, "settings: permission: must be read or edit or run"),
        ("model: a\n  settings: {model: b}", 4, "stands in the subtask and in its settings"),
    ],
)
def test_what_is_none_is_told_with_its_line(more: str, line: int, words: str) -> None:
    with pytest.raises(InvalidPlan) as refusal:
        parse(f"subtasks:\n- name: a\n  {more}\n  tool: ollama")
    assert refusal.value.line == line
    assert words in str(refusal.value)


def test_a_shell_line_has_no_permission() -> None:
    with pytest.raises(InvalidPlan, match='only agents have one, and "a" has the tool command'):
        parse("subtasks:\n- {name: a, tool: command, run: make, permission: run}")


def test_bad_options_are_told() -> None:
    with pytest.raises(InvalidPlan, match="max_turns: must be a whole number"):
        parse(PLAN, options=PlanOptions(terms={"max_turns": True}))


def test_what_becomes_of_changes_is_said_by_any_subtask() -> None:
    plan = "subtasks:\n  - {name: a, tool: command, run: x, must_change: true}\n"
    plan += "  - {name: b, tool: codex, keep_changes: false}\n"
    assert [each.settings for each in parse(plan).subtasks] == [
        {"must_change": True},
        {"keep_changes": False},
    ]
    with pytest.raises(InvalidPlan, match=r"line 2: must_change"):
        parse("subtasks:\n  - {name: a, tool: command, run: x, must_change: maybe}\n")
    subtasks = templates.load("develop_feature").subtasks
    assert [each.name for each in subtasks if each.settings.get("must_change")] == [
        "Code Generation"
    ]
