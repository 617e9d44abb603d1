"""Tasks as people ask for them, before they have ids: what plan files and templates come to.

A draft is complete and checked, but still free of everything that is chosen at submission: ids and
the commit that a ref stands for. `plan.to_spec` adds those.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from paceline.errors import InvalidPlan
from paceline.tasks.model import CheckpointFrequency, Privacy

SHIPPED_TOOLS = (
    "command",
    "ollama",
    "openai",
    "claude_code",
    "gemini_cli",
    "codex",
    "opencode",
    "qwen",
    "copilot",
    "aider",
    "acp",
)
"""The tools that come with the program; plugins and `tools.d` add others."""

COMMAND = "command"
"""The one tool that takes a shell line (`run`) instead of instructions."""

REVIEW, CHECKPOINT = "review", "checkpoint"
"""Marks in `SubtaskSpec.settings`, true where set: another agent reviews the outcome; it is a major
step, after which a person is asked when checkpoints are `medium`."""

MUST_CHANGE, KEEP_CHANGES = "must_change", "keep_changes"
"""Of a subtask with a repository: whether it must change files, and whether that is kept."""

DESCRIPTION_LIMIT = 64 * 1024
"""Characters of a task's description: a template repeats it in each subtask's instructions."""

REPORTED_PROBLEMS = 10
"""A refusal names at most so many problems; a person corrects them and asks again."""

QUOTED_LENGTH = 100
"""Longer words from a plan are cut short in messages."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a plan. `line` is 1-based, or None where it is not known."""

    reason: str
    line: int | None = None

    def __str__(self) -> str:
        return self.reason if self.line is None else f"line {self.line}: {self.reason}"


def refuse(problems: Iterable[Problem]) -> None:
    """Raise InvalidPlan if there are any: its line is the first problem's, its words tell all."""
    found = sorted(dict.fromkeys(problems), key=_position)
    if not found:
        return
    first, *rest = found
    told = [first.reason, *map(str, rest[: REPORTED_PROBLEMS - 1])]
    if len(rest) >= REPORTED_PROBLEMS:
        told.append(f"and {len(rest) - REPORTED_PROBLEMS + 1} more")
    raise InvalidPlan("\n".join(told), first.line)


def _position(problem: Problem) -> int:
    return problem.line if problem.line is not None else 1 << 30


def quoted(word: str) -> str:
    """Answer the word in quotes for a message: one line, no control characters, not long."""
    shown = word if len(word) <= QUOTED_LENGTH else word[: QUOTED_LENGTH - 3] + "..."
    return '"' + "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown) + '"'


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Answer `; did you mean "x"?` for the known word that is closest, or nothing."""
    close = difflib.get_close_matches(word[:QUOTED_LENGTH], sorted(known), n=1)
    return f"; did you mean {quoted(close[0])}?" if close else ""


@dataclass(frozen=True, slots=True)
class RepositoryDraft:
    """Where the work starts: a path or URL as the person named it, and a ref of it."""

    path: str
    ref: str = "HEAD"
    folder: str = ""
    """Where in it the work is done; empty = at its top."""


@dataclass(frozen=True, slots=True)
class SubtaskDraft:
    """A `SubtaskSpec` without its id; `line` is where the plan file has it, for messages only."""

    name: str
    tools: tuple[str, ...]
    needs: tuple[str, ...] = ()
    description: str = ""
    instructions: str = ""
    run: str = ""
    priority: int = 50
    complexity: int = 1
    timeout_s: float = 3600.0
    max_attempts: int = 3
    labels: dict[str, str] = field(default_factory=dict)
    privacy: Privacy | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    start_timeout_s: float | None = None
    not_labels: dict[str, str] = field(default_factory=dict)
    foreach: str = ""
    line: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a task is to have ended: so many seconds after its submission, or at a moment (UTC)."""

    after_s: float = 0.0
    at_ms: int = 0

    def ms(self, now_ms: int) -> int:
        """Answer the moment, in milliseconds since 1970."""
        return self.at_ms or now_ms + max(1, round(self.after_s * 1000))


@dataclass(frozen=True, slots=True)
class TaskDraft:
    """A `TaskSpec` without ids and with the repository as it was named."""

    description: str
    type: str
    subtasks: tuple[SubtaskDraft, ...]
    repository: RepositoryDraft | None = None
    privacy: Privacy = Privacy.NORMAL
    checkpoint_frequency: CheckpointFrequency = CheckpointFrequency.MEDIUM
    tool_preferences: tuple[str, ...] = ()
    priority: int = 50
    metadata: dict[str, Any] = field(default_factory=dict)
    budget_usd: float | None = None
    deadline: Deadline | None = None
