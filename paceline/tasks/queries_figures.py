"""The state in figures, for graphs and alarms: how much of what there is, and how long it waits."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts at one applied index. Kept in the replicated state: every node answers the same."""

    tasks: Mapping[str, int] = field(default_factory=dict)
    """By status."""
    subtasks: Mapping[str, int] = field(default_factory=dict)
    """By status."""
    attempts_open: Mapping[str, int] = field(default_factory=dict)
    """Given to a node and not ended, by node id."""
    ready: int = 0
    """Subtasks that could begin now, if a node took them."""
    ready_since_ms: int | None = None
    """Since when the one that has waited longest is ready, as far as the state can tell."""
    checkpoints_open: int = 0
    evaluations: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    """How many scores of each dimension there are, and their sum; `overall` is all together."""


def figures(connection: sqlite3.Connection, now_ms: int) -> Figures:
    """Count. Reads some tables as a whole: off the event loop, and not more than now and then."""
    ready, since = connection.execute(
        "SELECT count(*), min(max(updated_at, not_before)) FROM subtasks"
        " WHERE status = 'pending' AND unmet = 0 AND not_before <= ?",
        (now_ms,),
    ).fetchone()
    return Figures(
        tasks=_counts(connection, "SELECT status, count(*) FROM tasks GROUP BY status"),
        subtasks=_counts(connection, "SELECT status, count(*) FROM subtasks GROUP BY status"),
        attempts_open=_counts(
            connection,
            "SELECT node_id, count(*) FROM attempts WHERE finished_at IS NULL GROUP BY node_id",
        ),
        ready=ready,
        ready_since_ms=since,
        checkpoints_open=connection.execute(
            "SELECT count(*) FROM checkpoints WHERE resolved_at IS NULL"
        ).fetchone()[0],
        evaluations=_evaluations(connection),
    )


def _counts(connection: sqlite3.Connection, sql: str) -> dict[str, int]:
    return dict(connection.execute(sql))


def _evaluations(connection: sqlite3.Connection) -> dict[str, tuple[int, float]]:
    """Answer count and sum; what is no number is left out: a score may be sealed, or unknown."""
    known = "CASE WHEN json_valid(dimension_scores) THEN dimension_scores ELSE '{}' END"
    found = connection.execute(
        "SELECT 'overall', count(*), total(overall_score) FROM evaluations"
        " UNION ALL SELECT each.key, count(*), total(each.value)"
        f" FROM evaluations, json_each({known}) AS each"
        " WHERE each.type IN ('real', 'integer') GROUP BY each.key"
    )
    return {name: (count, total) for name, count, total in found if count}
