"""What a plan may say of how work is judged: the limits of its gates, and who reviews.

    gates:
      checkpoint: 7.0        # a lower score asks a person
      retry: 5.0             # a lower one asks for another attempt, once
      cycles: 3              # so often a reviewer may send the work back
      tests: [pytest -q]     # run on the result, in /bin/sh; what fails is never a pass
      expire_s: 86400        # a checkpoint decides itself after so long
      on_expiry: accept      # or fail
    reviewer:
      tool: [gemini_cli]     # who reviews; default: the subtask's own tools, another's first
      run: ./review.sh       # for the tool `command`

A task says it for all its subtasks, a subtask for itself. It travels in `SubtaskSpec.settings`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from paceline.errors import InvalidPlan
from paceline.tasks import plan_fields
from paceline.tasks.draft import COMMAND
from paceline.tasks.gates import CYCLES_LIMIT, GATES
from paceline.tasks.peer_review import REVIEWER
from paceline.tasks.plan_fields import Findings, Reader
from paceline.tasks.plan_source import Located

SCORE_LIMIT: Final = 10.0
EXPIRE_LIMIT_S: Final = 365 * 24 * 3600
TESTS_LIMIT: Final = 10
LINE_LIMIT: Final = 4_096


class OnExpiry(StrEnum):
    """What becomes of work that nobody has decided about in time."""

    ACCEPT = "accept"
    FAIL = "fail"


def _lines(node: Located) -> list[str]:
    items = node.value if isinstance(node.value, tuple) else (node,)
    if len(items) > TESTS_LIMIT:
        raise InvalidPlan(f"at most {TESTS_LIMIT} lines", node.line)
    return [plan_fields.text(LINE_LIMIT)(item) for item in items]


def _words(node: Located) -> list[str]:
    return [word.text for word in plan_fields.words(node)]


_GATES: Final[dict[str, Reader]] = {
    "checkpoint": plan_fields.number(0, SCORE_LIMIT),
    "retry": plan_fields.number(0, SCORE_LIMIT),
    "cycles": plan_fields.integer(1, CYCLES_LIMIT),
    "tests": _lines,
    "expire_s": plan_fields.number(0, EXPIRE_LIMIT_S),
    "on_expiry": plan_fields.choice(OnExpiry),
}

_REVIEWER: Final[dict[str, Reader]] = {"tool": _words, "run": plan_fields.text(LINE_LIMIT)}


def _gates(node: Located) -> dict[str, Any]:
    read = _map(node, _GATES, "gates")
    if read.get("retry", 0.0) > read.get("checkpoint", SCORE_LIMIT):
        raise InvalidPlan("retry must not be above checkpoint", node.line)
    return {key: str(value) if isinstance(value, StrEnum) else value for key, value in read.items()}


def _reviewer(node: Located) -> dict[str, Any]:
    read = _map(node, _REVIEWER, "a reviewer")
    tools = read.get("tool", [])
    if (COMMAND in tools) is not ("run" in read):
        raise InvalidPlan(f"the tool {COMMAND} needs a shell line in run, and no other", node.line)
    return {"tools": tools, **({"run": read["run"]} if "run" in read else {})}


def _map(node: Located, readers: Mapping[str, Reader], what: str) -> dict[str, Any]:
    found = Findings()
    read = found.fields(node, readers, what)
    found.settle()
    return read.values


FIELDS: Final[dict[str, Reader]] = {GATES: _gates, REVIEWER: _reviewer}
"""Of a task and of a subtask."""


def settings(task: Mapping[str, Any], own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Answer what goes into a subtask's settings: what its task says, and over it what it says."""
    said = own or {}
    found = {key: {**task.get(key, {}), **said.get(key, {})} for key in FIELDS}
    if said.get(REVIEWER):
        found[REVIEWER] = said[REVIEWER]
    return {key: value for key, value in found.items() if value}
