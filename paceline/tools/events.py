"""What a tool says while it works: a closed family of events, the last one being `Final`."""

from dataclasses import dataclass, field
from enum import StrEnum
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
class CallResult:
    """What one of the agent's own tools answered. `text` is its beginning."""

    name: str
    ok: bool = True
    text: str = ""


@dataclass(frozen=True, slots=True)
class Permission:
    """The agent wanted what the permission level does not allow (or, seldom, was granted it)."""

    name: str
    granted: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens so far in this run, under the keys of `TOKEN_KINDS`; the last one said counts."""

    tokens: dict[str, int]


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """What the agent's session is called, as soon as that is known: a crash may follow."""

    session: str


TOKEN_KINDS = ("tokens_in", "tokens_out", "cached")
"""`tokens_in` are all that the model read, those that came from a cache (`cached`) included."""


class CostBasis(StrEnum):
    """How far a cost can be believed."""

    NONE = "none"
    """There is none: the tool does not say, and no price is configured."""
    REPORTED = "reported"
    """By the tool, which talks to its maker's own service."""
    COMPUTED = "computed"
    """From the tokens and the prices of the node's configuration."""


class LimitKind(StrEnum):
    """Which limit of a provider was hit: what to do about it differs."""

    RATE = "rate"
    """Too much in a short time: the same again after a pause."""
    USAGE = "usage"
    """The allowance of a plan is used up: the tool rests until it is renewed."""
    CREDIT = "credit"
    """No money is left: waiting does not help, a person must act."""
    OVERLOAD = "overload"
    """The provider cannot serve anybody well just now."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A provider's limit, for the scheduler to let that tool rest on that node."""

    kind: LimitKind
    reset_after_ms: int | None = None
    """Counted from the end of the run; None = not said."""


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
    """What a later job names to go on where this one ended; empty = it cannot."""
    retryable_after_ms: int | None = None
    """A pause that the provider asks for; the same as the limit's."""
    details: dict[str, Any] = field(default_factory=dict)
    cost_basis: CostBasis = CostBasis.NONE
    denials: tuple[str, ...] = ()
    """What the agent was not allowed to do, in order, at most `DENIALS_LIMIT`."""
    limit: Limit | None = None


DENIALS_LIMIT = 50


@dataclass(frozen=True, slots=True)
class Final:
    """The end. Exactly one per run; a run that ends without it has failed."""

    result: ToolResult


Event = Log | Text | ToolCall | CallResult | Permission | Usage | SessionStarted | Final
