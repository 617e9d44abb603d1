"""What a tool says while it works: a closed family of events, the last one being `Final`."""

from dataclasses import dataclass, field
from typing import Any

from paceline.tasks.model import ResultStatus


@dataclass(frozen=True, slots=True)
class Log:
    """One line for the attempt's log. `stream` is `stdout`, `stderr` or `tool`."""

    stream: str
    line: str


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of what the agent says; pieces join without separators and may break anywhere."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The agent used one of its own tools (wrote a file, ran a shell command)."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens so far in this run: `input_tokens`, `output_tokens`; the last one said counts."""

    tokens: dict[str, int]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """How the run ended, in the words of `Outcome`. The output lies in the job's output file."""

    status: ResultStatus
    text: str = ""
    """The tool's own words, or the reason of a failure."""
    exit_code: int | None = None
    usage: dict[str, int] = field(default_factory=dict)
    cost_usd: float | None = None
    session: str = ""
    retryable_after_ms: int | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Final:
    """The end. Exactly one per run; a run that ends without it has failed."""

    result: ToolResult


Event = Log | Text | ToolCall | Usage | Final
