"""What a plan may say of how an agent works: how much it may do, with which model, for how long.

These words come from people and strangers, and end up in the argument lists of programs. So each
has a shape, checked when a plan is read and once more where the agent is started (`tools.wishes`).
They travel in `SubtaskSpec.settings`, under their own names.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from paceline.errors import InvalidPlan
from paceline.tasks import plan_fields
from paceline.tasks.draft import COMMAND, KEEP_CHANGES, MUST_CHANGE, quoted
from paceline.tasks.model import PermissionLevel
from paceline.tasks.plan_fields import Fields, Findings
from paceline.tasks.plan_source import Located

MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
TURNS_LIMIT: Final = 10_000
BUDGET_LIMIT_USD: Final = 100_000.0
IDLE_LIMIT_S: Final = 7 * 24 * 3600


def _model(node: Located) -> str:
    value: str = plan_fields.text(200)(node)
    if not MODEL.fullmatch(value):
        raise InvalidPlan(
            f"{quoted(value)} is no name of a model: letters, digits and . _ : / @ + -", node.line
        )
    return value


def budget(node: Located) -> float:
    """Read an amount of US dollars above 0."""
    value: float = plan_fields.number(0, BUDGET_LIMIT_USD)(node)
    if value == 0:
        raise InvalidPlan("must be more than 0", node.line)
    return value


DEFAULTS: Final[dict[str, plan_fields.Reader]] = {
    "permission": plan_fields.choice(PermissionLevel),
    "model": _model,
    "max_turns": plan_fields.integer(1, TURNS_LIMIT),
    "idle_timeout_s": plan_fields.number(0, IDLE_LIMIT_S),
}
"""What a task may say for all its subtasks."""

OWN: Final[dict[str, plan_fields.Reader]] = {
    **DEFAULTS,
    "budget_usd": budget,
    MUST_CHANGE: plan_fields.flag,
    KEEP_CHANGES: plan_fields.flag,
}
"""What a subtask may say; its `budget_usd` is of one attempt, a task's of all together."""

AGENTS_ONLY: Final = frozenset({"permission", "model", "max_turns", "budget_usd"})
"""A shell line has no use for these."""


def own_terms(who: str, fields: Fields, tools: tuple[str, ...], found: Findings) -> dict[str, Any]:
    """Answer what a subtask says of it, as fields or in its `settings`; note what is wrong."""
    settings: Mapping[str, Any] = fields.get("settings", {})
    if tools == (COMMAND,):
        for name in sorted(AGENTS_ONLY.intersection(fields.lines)):
            reason = f"{name}: only agents have one, and {who} has the tool {COMMAND}"
            found.add(reason, fields.line_of(name))
    elif tools:
        for name in sorted(OWN.keys() & settings.keys()):
            _check_setting(name, settings[name], fields, found)
    return {name: _plain(fields.values[name]) for name in OWN if name in fields.values}


def defaults(values: Mapping[str, Any], tools: tuple[str, ...]) -> dict[str, Any]:
    """Answer those of a task's words that are of use to a subtask with these tools."""
    useless = AGENTS_ONLY if tools == (COMMAND,) else frozenset[str]()
    return {
        name: _plain(values[name])
        for name in DEFAULTS
        if values.get(name) is not None and name not in useless
    }


def check(values: Mapping[str, Any], found: Findings) -> None:
    """Note what is wrong with words that were said beside a plan; None = not said."""
    for name, reader in OWN.items():
        if values.get(name) is not None:
            _read(name, reader, Located(values[name], None), found)


def _check_setting(name: str, value: Any, fields: Fields, found: Findings) -> None:
    line = fields.line_of("settings")
    if name in fields:
        found.add(f"{name}: stands in the subtask and in its settings", line)
    _read(f"settings: {name}", OWN[name], Located(value, line), found)


def _read(name: str, reader: plan_fields.Reader, node: Located, found: Findings) -> None:
    try:
        reader(node)
    except InvalidPlan as error:
        found.add(f"{name}: {error.reason}", node.line)


def _plain(value: Any) -> Any:
    """Answer the value as msgpack can hold it."""
    return value.value if isinstance(value, PermissionLevel) else value
