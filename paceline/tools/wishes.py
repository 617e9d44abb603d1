"""What a subtask may wish of an agent: how much it may do, with which model, for how long.

Such wishes come from plans, which strangers may have written. They end up in argument lists and in
configuration files of agents, so each has a shape that is checked: none can pass for a flag, end a
quotation, or leave a line.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paceline.errors import InputError, ToolError
from paceline.tasks.agent_terms import BUDGET_LIMIT_USD, MODEL, TURNS_LIMIT
from paceline.tasks.model import PermissionLevel
from paceline.tools.contract import Job

MAX_TURNS = 100
"""Unless said otherwise. A turn is one answer of the model that uses tools."""

_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")


@dataclass(frozen=True, slots=True)
class Wishes:
    """The terms of one run. Empty or None = not limited, not chosen."""

    permission: PermissionLevel = PermissionLevel.EDIT
    model: str = ""
    max_turns: int = MAX_TURNS
    budget_usd: float | None = None
    session: str = ""


def wishes(job: Job, config: Mapping[str, Any]) -> Wishes:
    """Answer the terms: the subtask's wish, else the node's configuration, else the default.

    The node's `permission` is also the most that a subtask can have. Raise InputError, which names
    the wish and what it may be; ToolError where only this node does not permit it.
    """
    given = {**config, **job.settings}
    return Wishes(
        permission=_permission(job.settings, config),
        model=_shaped(given.get("model", ""), MODEL, "model"),
        max_turns=_turns(given.get("max_turns", MAX_TURNS)),
        budget_usd=_budget(given.get("budget_usd")),
        session=_shaped(job.session, _SESSION, "session"),
    )


def check_wishes(config: Mapping[str, Any]) -> None:
    """Raise InputError if what a node's configuration wishes is not possible."""
    _permission({}, config)
    _shaped(config.get("model", ""), MODEL, "model")
    _turns(config.get("max_turns", MAX_TURNS))
    _budget(config.get("budget_usd"))


def _permission(settings: Mapping[str, Any], config: Mapping[str, Any]) -> PermissionLevel:
    most = _level(config.get("permission", PermissionLevel.RUN))
    wanted = _level(settings.get("permission", min(most, PermissionLevel.EDIT, key=_rank)))
    if _rank(wanted) > _rank(most):
        raise ToolError(f"this node permits its agents no more than `{most}`, not `{wanted}`")
    return wanted


def _level(value: object) -> PermissionLevel:
    try:
        return PermissionLevel(str(value))
    except ValueError:
        raise InputError(f"permission must be read, edit or run, not {value!r}") from None


def _rank(level: PermissionLevel) -> int:
    return list(PermissionLevel).index(level)


def _shaped(value: object, shape: re.Pattern[str], name: str) -> str:
    if value == "" or (isinstance(value, str) and shape.fullmatch(value)):
        return str(value)
    raise InputError(f"{name} must be a name such as the tool's maker gives, not {value!r:.200}")


def _turns(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= TURNS_LIMIT:
        raise InputError(f"max_turns must be a whole number from 1 to {TURNS_LIMIT}")
    return value


def _budget(value: object) -> float | None:
    if value is None:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not 0 < value <= BUDGET_LIMIT_USD
    ):
        raise InputError(f"budget_usd must be a number above 0, at most {BUDGET_LIMIT_USD:g}")
    return float(value)
