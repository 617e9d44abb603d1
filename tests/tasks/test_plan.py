"""What a plan file comes to, and what becomes of it at submission."""

from itertools import count
from typing import Any

import pytest

from paceline.errors import InvalidPlan
from paceline.tasks.draft import (
    CHECKPOINT,
    MUST_CHANGE,
    REVIEW,
    RepositoryDraft,
    SubtaskDraft,
    TaskDraft,
)
from paceline.tasks.model import BlobRef, CheckpointFrequency, Privacy, Repository, TaskSpec
from paceline.tasks.plan import PlanOptions, from_description, parse, to_spec

YAML = """\
description: Check the repository
repository: {path: ., ref: v1.10}
privacy: normal
checkpoint_frequency: high
priority: 80
tool_preferences: [codex, ollama]
metadata: {ticket: 17, tags: [a, b], urgent: true, owner: null}
subtasks:
  - name: lint
    tool: command
    run: ruff check .
  - name: report
    needs: [lint]
    tool: [claude_code, ollama]
    description: For people
    instructions: |
      Summarise the findings
      in REPORT.md
    priority: 90
    complexity: 5
    timeout_s: 0.5
    max_attempts: 1
    labels: {gpu: yes, cores: 08}
    privacy: sensitive
    review: true
    checkpoint: false
    settings: {model: small, limits: [1, 2.5]}
  - name: thanks
    needs: report
"""

TOML = """\
description = "Check the repository"
privacy = "normal"
checkpoint_frequency = "high"
priority = 80
tool_preferences = ["codex", "ollama"]
repository = { path = ".", ref = "v1.10" }

[metadata]
ticket = 17
tags = ["a", "b"]
urgent = true

[[subtasks]]
name = "lint"
tool = "command"
run = "ruff check ."

[[subtasks]]
name = "report"
needs = ["lint"]
tool = ["claude_code", "ollama"]
description = "For people"
instructions = '''
Summarise the findings
in REPORT.md
'''
priority = 90
complexity = 5
timeout_s = 0.5
max_attempts = 1
labels = { gpu = "yes", cores = "08" }
privacy = "sensitive"
review = true
checkpoint = false

[subtasks.settings]
model = "small"
limits = [1, 2.5]

[[subtasks]]
name = "thanks"
needs = "report"
"""

DRAFT = TaskDraft(
    description="Check the repository",
    type="plan",
    repository=RepositoryDraft(".", "v1.10"),
    privacy=Privacy.NORMAL,
    checkpoint_frequency=CheckpointFrequency.HIGH,
    tool_preferences=("codex", "ollama"),
    priority=80,
    metadata={"ticket": 17, "tags": ["a", "b"], "urgent": True},
    subtasks=(
        SubtaskDraft("lint", ("command",), run="ruff check ."),
        SubtaskDraft(
            "report",
            ("claude_code", "ollama"),
            needs=("lint",),
            description="For people",
            instructions="Summarise the findings\nin REPORT.md\n",
            priority=90,
            complexity=5,
            timeout_s=0.5,
            max_attempts=1,
            labels={"gpu": "yes", "cores": "08"},
            privacy=Privacy.SENSITIVE,
            settings={"model": "small", "limits": [1, 2.5], REVIEW: True},
        ),
        SubtaskDraft(
            "thanks", ("codex", "ollama"), needs=("report",), instructions="Check the repository"
        ),
    ),
)


def without_owner(draft: TaskDraft) -> TaskDraft:
    """TOML has no null."""
    draft.metadata.pop("owner", None)
    return draft


@pytest.mark.parametrize(("text", "format_"), [(YAML, "yaml"), (TOML, "toml")])
def test_every_field_arrives_from_both_formats(text: str, format_: str) -> None:
    assert without_owner(parse(text, format_)) == DRAFT
    assert without_owner(parse(text.encode(), format_)) == DRAFT


@pytest.mark.parametrize(
    ("text", "format_", "lines"), [(YAML, "yaml", [9, 12, 28]), (TOML, "toml", [13, 18, 40])]
)
def test_subtasks_know_their_lines(text: str, format_: str, lines: list[int]) -> None:
    assert [subtask.line for subtask in parse(text, format_).subtasks] == lines


def test_json_is_yaml() -> None:
    text = '{"description": "d", "subtasks": [{"name": "a", "tool": "command", "run": "true"}]}'
    assert parse(text).subtasks == (SubtaskDraft("a", ("command",), run="true"),)


@pytest.mark.parametrize(
    ("written", "run"),
    [
        ("true", "true"),
        ("'true'", "true"),
        ("1.10", "1.10"),
        ("yes", "yes"),
        ("2024-01-01", "2024-01-01"),
        ("0x1F", "0x1F"),
        ("null-check .", "null-check ."),
        (r'"printf \"\u00e9\""', 'printf "é"'),
    ],
)
def test_unquoted_yaml_is_text_as_it_is_written(written: str, run: str) -> None:
    draft = parse(f"subtasks: [{{name: a, tool: command, run: {written}}}]")
    assert draft.subtasks[0].run == run


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    text = "\ufeff" + YAML.replace("\n", "\r\n")
    assert without_owner(parse(text.encode())) == DRAFT


@pytest.mark.parametrize(
    "name", ["a", "1", "_x", "Code Review", "v1.2-rc_3", "x" * 100, "a..b", "unit.tests"]
)
def test_names_that_are_safe_as_file_names(name: str) -> None:
    assert parse(f"subtasks: [{{name: '{name}', tool: ollama}}]").subtasks[0].name == name


def test_without_a_description_the_names_stand_for_it() -> None:
    text = "subtasks: [{name: a, tool: command, run: x}, {name: b, tool: command, run: x}]"
    assert parse(text).description == "a, b"


def test_an_agent_without_instructions_is_told_the_next_best_thing() -> None:
    text = """\
    description: The task
    subtasks:
      - {name: a, tool: ollama}
      - {name: b, tool: ollama, description: The subtask}
      - {name: c, tool: [ollama, command], run: make, instructions: Build it}
      - {name: d, tool: command, run: make}
    """
    told = [subtask.instructions for subtask in parse(text).subtasks]
    assert told == ["The task", "The subtask", "Build it", ""]


def test_repository_may_be_a_path_alone() -> None:
    text = "repository: https://example.org/x.git\nsubtasks: [{name: a, tool: ollama}]"
    assert parse(text).repository == RepositoryDraft("https://example.org/x.git", "HEAD")


def test_tools_of_plugins_are_known_when_they_are_passed_in() -> None:
    text = "subtasks: [{name: a, tool: my_agent}]"
    assert parse(text, known_tools={"my_agent"}).subtasks[0].tools == ("my_agent",)
    with pytest.raises(InvalidPlan):
        parse(text)


# --- templates ------------------------------------------------------------------------------------


def test_a_plan_may_name_a_template() -> None:
    text = "type: bug_fix\ndescription: It crashes on {empty} input\ntool_preferences: [ollama]"
    draft = parse(text)
    options = PlanOptions(tool_preferences=("ollama",))
    same = from_description("It crashes on {empty} input", "bug_fix", options=options)
    assert draft == same
    assert draft.type == "bug_fix"
    assert [subtask.tools for subtask in draft.subtasks] == [("ollama",)] * 3
    assert all("It crashes on {empty} input" in s.instructions for s in draft.subtasks)
    assert draft.subtasks[1].settings == {
        "permission": "run",
        REVIEW: True,
        CHECKPOINT: True,
        MUST_CHANGE: True,
    }


def test_a_template_recommends_the_seeds_tool_first() -> None:
    draft = from_description("Add CSV export", "develop_feature")
    assert {subtask.tools[0] for subtask in draft.subtasks} == {"claude_code"}
    assert draft.subtasks[0].tools[-2:] == ("ollama", "openai")


@pytest.mark.parametrize(
    ("description", "type_", "options", "words"),
    [
        ("", "bug_fix", PlanOptions(), "description: is empty"),
        (" \n", "bug_fix", PlanOptions(), "description: is empty"),
        ("x" * 65537, "bug_fix", PlanOptions(), "over the limit of 65536"),
        ("x", "bugfix", PlanOptions(), 'did you mean "bug_fix"?'),
        ("x", "plan", PlanOptions(), 'no task type is named "plan"'),
        ("x", "bug_fix", PlanOptions(priority=101), "priority: must be from 0 to 100, not 101"),
        ("x", "bug_fix", PlanOptions(tool_preferences=("olama",)), 'did you mean "ollama"?'),
        ("x", "bug_fix", PlanOptions(tool_preferences=("command",)), "a template has none"),
    ],
)
def test_what_is_wrong_with_a_description_is_told(
    description: str, type_: str, options: PlanOptions, words: str
) -> None:
    with pytest.raises(InvalidPlan) as refusal:
        from_description(description, type_, options=options)
    assert words in refusal.value.reason
    assert refusal.value.line is None


# --- options --------------------------------------------------------------------------------------


def test_what_was_said_beside_the_plan_goes_first() -> None:
    draft = parse(
        YAML,
        options=PlanOptions(
            repository=RepositoryDraft("/src", "main"),
            checkpoint_frequency=CheckpointFrequency.LOW,
            tool_preferences=("qwen",),
            priority=0,
            metadata={"by": "me"},
        ),
    )
    assert draft.repository == RepositoryDraft("/src", "main")
    assert draft.checkpoint_frequency is CheckpointFrequency.LOW
    assert draft.priority == 0
    assert draft.metadata == {"by": "me"}
    assert draft.tool_preferences == ("qwen",)
    # A subtask that names its tool keeps it; one that names none goes by the preferences.
    tools = [subtask.tools for subtask in draft.subtasks]
    assert tools == [("command",), ("claude_code", "ollama"), ("qwen",)]


@pytest.mark.parametrize(
    ("in_plan", "beside", "result"),
    [
        ("normal", None, Privacy.NORMAL),
        ("normal", Privacy.SENSITIVE, Privacy.SENSITIVE),
        ("sensitive", None, Privacy.SENSITIVE),
        ("sensitive", Privacy.NORMAL, Privacy.SENSITIVE),
    ],
)
def test_privacy_is_never_lowered(in_plan: str, beside: Privacy | None, result: Privacy) -> None:
    text = f"privacy: {in_plan}\nsubtasks: [{{name: a, tool: ollama}}]"
    assert parse(text, options=PlanOptions(privacy=beside)).privacy is result


# --- submission -----------------------------------------------------------------------------------


def spec_of(text: str, **more: Any) -> TaskSpec:
    numbers = count(1)
    return to_spec(parse(text), task_id="T", new_subtask_id=lambda: f"S{next(numbers)}", **more)


def test_a_spec_is_the_draft_with_ids_and_a_commit() -> None:
    pinned = Repository(".", "v1.10", "c0ffee", BlobRef("00", 1))
    spec = spec_of(YAML, repository=pinned)
    assert (spec.task_id, spec.repository) == ("T", pinned)
    assert [subtask.subtask_id for subtask in spec.subtasks] == ["S1", "S2", "S3"]
    assert (spec.description, spec.type) == ("Check the repository", "plan")
    assert (spec.priority, spec.checkpoint_frequency) == (80, CheckpointFrequency.HIGH)
    assert spec.tool_preferences == ("codex", "ollama")
    lint, report, thanks = spec.subtasks
    assert (lint.tools, lint.run, lint.privacy) == (("command",), "ruff check .", None)
    assert report.needs == ("lint",)
    assert report.instructions == "Summarise the findings\nin REPORT.md\n"
    assert (report.priority, report.complexity, report.max_attempts) == (90, 5, 1)
    assert (report.timeout_s, report.labels) == (0.5, {"gpu": "yes", "cores": "08"})
    assert report.settings == {"model": "small", "limits": [1, 2.5], REVIEW: True}
    assert thanks.needs == ("report",)


def test_what_needs_a_sensitive_subtask_is_sensitive_too() -> None:
    text = """\
    subtasks:
      - {name: last, tool: ollama, needs: middle}
      - {name: secret, tool: ollama, privacy: sensitive, needs: before}
      - {name: middle, tool: ollama, needs: secret, privacy: normal}
      - {name: before, tool: ollama}
      - {name: beside, tool: ollama, needs: before}
    """
    levels = {subtask.name: subtask.privacy for subtask in spec_of(text).subtasks}
    sensitive = Privacy.SENSITIVE
    assert levels == {
        "last": sensitive,
        "secret": sensitive,
        "middle": sensitive,
        "before": None,
        "beside": None,
    }


def test_in_a_sensitive_task_no_subtask_says_otherwise() -> None:
    options = PlanOptions(privacy=Privacy.SENSITIVE)
    draft = parse("subtasks: [{name: a, tool: ollama, privacy: sensitive}]", options=options)
    spec = to_spec(draft, task_id="T", new_subtask_id=lambda: "S")
    assert spec.privacy is Privacy.SENSITIVE
    assert spec.subtasks[0].privacy is None
