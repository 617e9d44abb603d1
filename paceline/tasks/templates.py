"""Task types: those that come with the program, in `paceline/tasks/data`, and people's own.

Source: the seed's "Task Decomposer": names, complexities, priorities, dependencies and the
recommended tool are its own. The instructions are prompts for an agent; `{description}` in them
becomes the words of the person, taken literally. Marks on a subtask:

* `review`: another agent looks at the outcome before anything builds on it;
* `permission`: what its agent may do, unless the person says otherwise;
* `must_change`: in a repository it fails unless it changes files;
* `checkpoint`: a major step, after which a person is asked when checkpoints are `medium`.

The recommended tool is the first preference. Every other agent follows it, so that a template also
runs where that tool is not installed; the task's own `tool_preferences` replace the whole list.
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from paceline.errors import InvalidPlan
from paceline.tasks.draft import (
    CHECKPOINT,
    COMMAND,
    MUST_CHANGE,
    REVIEW,
    RepositoryDraft,
    SubtaskDraft,
    did_you_mean,
    quoted,
)
from paceline.tasks.model import PermissionLevel

PLACEHOLDER = "{description}"

AGENTS = (
    "claude_code",
    "codex",
    "gemini_cli",
    "opencode",
    "qwen",
    "copilot",
    "aider",
    "ollama",
    "openai",
)
"""Tools that can follow a template's instructions: those that edit files by themselves first."""


@dataclass(frozen=True, slots=True)
class Template:
    """One task type: what it is for, in a line, and its subtasks with the placeholder in them."""

    name: str
    summary: str
    subtasks: tuple[SubtaskDraft, ...]
    origin: str = "shipped"
    """`shipped`, `user` (the configuration directory) or `repository`."""
    path: str = ""
    """The file, where it is not shipped."""


Finder = Callable[[str, RepositoryDraft | None], Template | None]
"""Answers a person's own template of that name for work on that repository, or None where there is
none. Raise InvalidPlan for one that is wrong."""


@cache
def names() -> tuple[str, ...]:
    """Answer the names of all templates, sorted."""
    files = (resources.files("paceline.tasks") / "data").iterdir()
    return tuple(sorted(file.name[:-5] for file in files if file.name.endswith(".toml")))


@cache
def load(name: str) -> Template:
    """Answer the template of that name. Raise InvalidPlan if there is none."""
    if name not in names():
        hint = did_you_mean(name, names()) or f"; there are {', '.join(names())}"
        raise InvalidPlan(f"no task type is named {quoted(name)}{hint}")
    file = resources.files("paceline.tasks") / "data" / f"{name}.toml"
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    tools = (data["tool"], *(tool for tool in AGENTS if tool != data["tool"]))
    subtasks = tuple(_subtask(entry, tools) for entry in data["subtasks"])
    return Template(name, data["summary"], subtasks)


def expand(
    name: str,
    description: str,
    *,
    tool_preferences: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    own: Template | None = None,
) -> tuple[SubtaskDraft, ...]:
    """Answer the template's subtasks for one task. Raise InvalidPlan if there is no such template.

    `tool_preferences`, if given, are the only tools, in that order; `settings` go before those of
    the template. A shell line of a template keeps its tool and knows nothing of the person's words:
    they would be run. `own`: a person's template, in the place of a shipped one.
    """
    chosen = tuple(tool_preferences)
    return tuple(
        subtask
        if COMMAND in subtask.tools
        else replace(
            subtask,
            instructions=subtask.instructions.replace(PLACEHOLDER, description.strip()),
            tools=chosen or subtask.tools,
            settings={**subtask.settings, **(settings or {})},
        )
        for subtask in (own or load(name)).subtasks
    )


def _subtask(entry: dict[str, Any], tools: tuple[str, ...]) -> SubtaskDraft:
    return SubtaskDraft(
        name=entry["name"],
        tools=tools,
        needs=tuple(entry.get("needs", ())),
        description=entry["description"],
        instructions=entry["instructions"].strip(),
        complexity=entry["complexity"],
        priority=entry["priority"],
        settings={
            "permission": PermissionLevel(entry["permission"]).value,
            **{mark: True for mark in (REVIEW, CHECKPOINT, MUST_CHANGE) if entry.get(mark)},
        },
    )
