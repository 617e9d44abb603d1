"""What the work has used and what it cost: sums over the attempts that the state still has.

A cost is what the tool reported or what was computed from configured prices (`details.cost_basis`);
an attempt of neither costs nothing here and counts as `unpriced` where it used tokens. Costs are
added up in millionths of a dollar, so that the sum does not depend on the order.
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from paceline.errors import InputError
from paceline.tasks import phases
from paceline.tasks.documents import iso

BY: Final = {"task": "task_id", "node": "node_id", "tool": "tool", "day": "day"}
"""What may be summed by, and what that is called in the rows."""

TOKENS: Final = ("tokens_in", "tokens_out", "cached")
ROWS_LIMIT: Final = 10_000
DAY_MS: Final = 24 * 3600 * 1000

_MICRO: Final = 1_000_000

_ATTEMPTS: Final = """
SELECT s.task_id, a.node_id, a.tool, a.finished_at, a.usage, a.cost_usd, a.details
FROM attempts a JOIN subtasks s ON s.subtask_no = a.subtask_no
WHERE a.finished_at >= ? AND (a.cost_usd IS NOT NULL OR (a.usage IS NOT NULL AND a.usage != '{}'))
"""

_WORKED: Final = ", ".join(f"'{status}'" for status in sorted(phases.WORKED_TASK))


@dataclass(slots=True)
class _Sum:
    attempts: int = 0
    unpriced: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOKENS, 0))
    micro_usd: dict[str, int] = field(default_factory=dict)

    def add(self, usage: dict[str, Any], cost_usd: float | None, basis: str) -> None:
        self.attempts += 1
        for kind in TOKENS:
            count = usage.get(kind, 0)
            self.tokens[kind] += count if isinstance(count, int) else 0
        if cost_usd is None:
            self.unpriced += 1
        else:
            self.micro_usd[basis] = self.micro_usd.get(basis, 0) + round(cost_usd * _MICRO)

    def document(self) -> dict[str, Any]:
        return {
            "attempts": self.attempts,
            **self.tokens,
            "cost_usd": sum(self.micro_usd.values()) / _MICRO,
            "reported_usd": self.micro_usd.get("reported", 0) / _MICRO,
            "computed_usd": self.micro_usd.get("computed", 0) / _MICRO,
            "unpriced": self.unpriced,
        }


@dataclass(frozen=True, slots=True)
class Overspent:
    """A task whose attempts have cost what it may cost, or more."""

    task_id: str
    budget_usd: float
    spent_usd: float

    @property
    def reason(self) -> str:
        """Answer why nothing more of it begins, and what to do about that."""
        return (
            f"its task has cost {self.spent_usd:.4g} USD of its budget of {self.budget_usd:g} USD; "
            f"`paceline budget {self.task_id[:8]} USD` sets another one"
        )


def usage(connection: sqlite3.Connection, *, by: str = "tool", since_ms: int = 0) -> dict[str, Any]:
    """Answer `by`, `since`, `rows` (each with its key, see `BY`) and their `total`.

    Days are in UTC. The dearest row comes first, of days the latest; beyond 10,000 rows `more` says
    how many were left out of `rows`, not of `total`. Reads all attempts that have ended since then.
    Raise InputError for another `by`.
    """
    if by not in BY:
        raise InputError(f"usage is summed by {', '.join(BY)}, not by {by!r}")
    sums: dict[str, _Sum] = {}
    total = _Sum()
    for row in connection.execute(_ATTEMPTS, (since_ms,)):
        used, cost_usd, basis = json.loads(row[4] or "{}"), row[5], _basis(row[6])
        for each in (total, sums.setdefault(_key(by, row), _Sum())):
            each.add(used, cost_usd, basis)
    found = [{BY[by]: key, **each.document()} for key, each in sums.items()]
    found.sort(key=lambda row: _order(by, row))
    return {
        "by": by,
        "since": iso(since_ms) if since_ms else None,
        "rows": found[:ROWS_LIMIT],
        "more": max(0, len(found) - ROWS_LIMIT),
        "total": total.document(),
    }


def task_usage(attempts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Answer the same sums for documents of attempts."""
    total = _Sum()
    for attempt in attempts:
        if attempt["usage"] or attempt["cost_usd"] is not None:
            basis = str(attempt["details"].get("cost_basis", ""))
            total.add(attempt["usage"], attempt["cost_usd"], basis)
    return total.document()


def budget(connection: sqlite3.Connection, task_id: str) -> float | None:
    """Answer what the task may cost; None = no bound."""
    row = connection.execute(
        "SELECT budget_usd FROM task_budgets WHERE task_id = ?", (task_id,)
    ).fetchone()
    return None if row is None else float(row[0])


def remaining(connection: sqlite3.Connection, task_id: str) -> float | None:
    """Answer what the task may still cost, by what has ended so far; None = no bound."""
    allowed = budget(connection, task_id)
    return None if allowed is None else max(0.0, allowed - _spent(connection, task_id))


def overspent(connection: sqlite3.Connection) -> dict[str, Overspent]:
    """Answer, by id, the tasks of which nothing more may begin. Costs by the tasks with budgets."""
    found = connection.execute(
        "SELECT b.task_id, b.budget_usd FROM task_budgets b JOIN tasks t ON t.task_id = b.task_id"
        f" WHERE t.status IN ({_WORKED})"
    ).fetchall()
    judged = (Overspent(task_id, usd, _spent(connection, task_id)) for task_id, usd in found)
    return {each.task_id: each for each in judged if each.spent_usd >= each.budget_usd}


def spent_today(connection: sqlite3.Connection, now_ms: int) -> dict[str, float]:
    """Answer what each node's attempts cost that ended today (UTC)."""
    found = connection.execute(
        "SELECT node_id, sum(cost_usd) FROM attempts INDEXED BY attempts_by_cost"
        " WHERE cost_usd IS NOT NULL AND finished_at >= ? GROUP BY node_id",
        (now_ms - now_ms % DAY_MS,),
    )
    return {node_id: float(usd) for node_id, usd in found}


def _spent(connection: sqlite3.Connection, task_id: str) -> float:
    (spent,) = connection.execute(
        "SELECT coalesce(sum(a.cost_usd), 0) FROM subtasks s"
        " JOIN attempts a ON a.subtask_no = s.subtask_no WHERE s.task_id = ?",
        (task_id,),
    ).fetchone()
    return float(spent)


def _key(by: str, row: tuple[Any, ...]) -> str:
    if by == "day":
        return datetime.fromtimestamp(row[3] / 1000, UTC).date().isoformat()
    return str(row[list(BY).index(by)])


def _order(by: str, row: dict[str, Any]) -> tuple[Any, ...]:
    if by == "day":
        return (-datetime.fromisoformat(row["day"]).toordinal(),)
    return -row["cost_usd"], -row["tokens_in"] - row["tokens_out"], row[BY[by]]


def _basis(details: str | None) -> str:
    known = json.loads(details) if details else {}
    return str(known.get("cost_basis", "")) if isinstance(known, dict) else ""
