"""What the one runner (`program`) knows about a command-line agent: plain data.

A definition says how the program is started, what its output means and how its failures are told
apart. Those that come with Paceline are in `data/`; an owner adds others. How they are written, and
what is checked, is in `definition_file`.

A start is made of layers: the base, how the service is reached (with a key, or by the owner's
login), the permission level, and one layer per wish that was given (model, turns, budget, session).
Each adds arguments, variables and files of the private home. Words in braces are filled in; an
argument list, a variable or a file that names a value which is not there is left out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from paceline.tasks.model import PermissionLevel, ResultStatus

PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")

PLACEHOLDERS = frozenset(
    {
        *("base_url", "api_key", "model", "max_turns", "budget_usd", "session"),
        *("workspace", "home", "output", "prompt", "prompt_file"),
    }
)


class PromptBy(StrEnum):
    """How the prompt reaches the program. Arguments can be seen by everybody on the machine."""

    STDIN = "stdin"
    ARGV = "argv"
    """Where `{prompt}` stands."""
    FILE = "file"
    """Its path stands where `{prompt_file}` does."""


class Format(StrEnum):
    """What standard output is."""

    JSONL = "jsonl"
    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Layer:
    """What one part adds to a start. Keys of `home_files` are paths below the home."""

    argv: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    home_files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeyAccess:
    """Reaching the service with a key. `required` is false for services that ask for none."""

    variable: str = ""
    """Of the node's environment, where the configuration gives no key."""
    base_url: str = ""
    """The maker's own address. It is always told to the program, so that nothing in a repository
    can name another one."""
    required: bool = True
    layer: Layer = Layer()


@dataclass(frozen=True, slots=True)
class LoginAccess:
    """Reaching it by the owner's login: `files` of that home, linked into the private one."""

    files: tuple[str, ...] = ()
    layer: Layer = Layer()


@dataclass(frozen=True, slots=True)
class EventRule:
    """Which objects of the output mean what. All dotted paths start at the object.

    An object matches if every path in `when` has that value (or one of a list of them; `"*"` =
    anything but nothing). With `each`, the rule is applied to every element of the list there that
    matches `where`.
    """

    when: Mapping[str, Any] = field(default_factory=dict)
    each: str = ""
    where: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    """A piece of what the agent says."""
    line: bool = False
    """Each piece is a paragraph of its own."""
    answer: str = ""
    """The last words, as a whole; they replace the pieces."""
    thought: str = ""
    call: str = ""
    """The name of one of the agent's own tools, and what it was given."""
    arguments: str = ""
    result: str = ""
    """Its name or number when it is over, what it said, and the path that is true if it failed."""
    result_text: str = ""
    result_failed: str = ""
    tokens_in: tuple[str, ...] = ()
    """Added up."""
    tokens_out: tuple[str, ...] = ()
    cached: tuple[str, ...] = ()
    add: bool = False
    """Tokens and cost are of one step, to be added to those before."""
    cost: str = ""
    session: str = ""
    error: str = ""
    """Words of a failure."""
    http: str = ""
    """The status that the service's API gave, and its header of that name."""
    retry_after: str = ""
    reason: str = ""
    """A word for how it ended, for the rules of `statuses`."""
    failed: str | bool = False
    """Whether this says that the run failed: a path to look at, or true."""
    denied: str = ""
    """The name of a tool that was not allowed."""
    final: bool = False
    """Without such an event nothing has succeeded."""


@dataclass(frozen=True, slots=True)
class StatusRule:
    """Which status an ending means; the first rule that fits counts. All that is given must fit."""

    status: ResultStatus
    exits: tuple[int, ...] = ()
    http: tuple[int, ...] = ()
    reasons: tuple[str, ...] = ()
    match: re.Pattern[str] | None = None
    """Found in the words of the failure: errors of the output, standard error; for the format
    `text`, standard output too."""
    message: str = ""
    """What a person is told, and should do."""
    always: bool = False
    """Also where the program itself thinks that it succeeded."""


@dataclass(frozen=True, slots=True)
class Health:
    """How to see, without spending tokens, what is here. Arguments after the program's name."""

    version: tuple[str, ...] = ("--version",)
    login: tuple[str, ...] = ()
    """Ends with 0 if and only if the owner is logged in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One command-line agent."""

    name: str
    title: str
    binary: str
    install: str = ""
    """How a person gets it."""
    base: Layer = Layer()
    tail: tuple[str, ...] = ()
    """The arguments that come last."""
    prompt: PromptBy = PromptBy.STDIN
    format: Format = Format.JSONL
    model: str = ""
    """Asked for where nobody wishes another one; empty = the program's own choice."""
    key: KeyAccess | None = None
    login: LoginAccess | None = None
    permissions: Mapping[PermissionLevel, Layer] = field(default_factory=dict)
    walled: Mapping[PermissionLevel, Layer] = field(default_factory=dict)
    """In place of `permissions` behind a sandbox of ours, for a program whose own sandbox does not
    work within another one; the work tree of a reader is then read-only. Empty = no difference."""
    options: Mapping[str, Layer] = field(default_factory=dict)
    """One layer per wish: `model`, `max_turns`, `budget_usd`, `session`."""
    health: Health = Health()
    agent_files: tuple[str, ...] = ()
    """Files of a repository that steer this agent."""
    judged_by_changes: bool = False
    """It does not say whether it succeeded: work that may change files must have changed some."""
    session_usage_counts: bool = False
    """In a session that goes on, its tokens are counted from the session's beginning."""
    session_resumes: bool = False
    """A session goes on at the same place, in the same home, whatever was done there meanwhile."""
    http_words: tuple[re.Pattern[str], ...] = ()
    """Where the API's status stands in the words of a failure: the first group."""
    events: tuple[EventRule, ...] = ()
    statuses: tuple[StatusRule, ...] = ()
