"""What the coordinator and the workers read of the replicated state: typed rows.

The coordinator asks on every change and every heartbeat, so these cost by what they answer and not
by the size of the state: each is a range of one index. SQLite is told which (`INDEXED BY`, and
`CROSS JOIN` for the order), because it may guess otherwise as the state grows.
"""

import json
import sqlite3
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from paceline import codec
from paceline.errors import NotFound
from paceline.tasks import phases
from paceline.tasks.commands import AttemptRef
from paceline.tasks.effects import MAX_TIME_MS
from paceline.tasks.model import (
    AttemptStatus,
    CheckpointFrequency,
    Output,
    Privacy,
    Repository,
    ResultStatus,
    SubtaskSpec,
    TaskSpec,
)

READY_LIMIT: Final = 1_000
READY_CACHED: Final = 2 * READY_LIMIT
SPECS_CACHED: Final = 4_096


@dataclass(frozen=True, slots=True)
class Tried:
    """An earlier attempt of a subtask that waits again."""

    attempt: int
    node_id: str
    tool: str
    status: AttemptStatus
    result_status: ResultStatus | None
    """None where the node was lost."""
    finished_at_ms: int
    retryable_after_ms: int | None = None
    """With `quota`: this tool on this node is throttled for so long after it finished."""


@dataclass(frozen=True, slots=True)
class ReadySubtask:
    """A subtask that may be given out now."""

    subtask_id: str
    task_id: str
    spec: SubtaskSpec
    task_priority: int
    privacy: Privacy
    """The subtask's own, or else its task's."""
    tool_preferences: tuple[str, ...]
    """The task's."""
    attempts: int
    """How many it has had: the next is this plus 1."""
    failures: int
    """How many of them failed by themselves since it was submitted or last retried."""
    waiting_since_ms: int
    """When it became ready: the latest of its submission, its last need and its back-off."""
    tried: tuple[Tried, ...] = ()
    repository: Repository | None = None
    not_before_ms: int = 0
    """When its back-off ends; told by `unblocked_subtask` only."""
    reviewed: Tried | None = None
    """The attempt whose work is to be reviewed; None where the work itself is to be done."""
    avoid_tool: str = ""
    session_on: str = ""
    """The node with the session of the last attempt at the work itself, if it left one."""
    """Not to be used where there is another: a person rejected what came of it."""

    @property
    def next_attempt(self) -> int:
        """Answer the number for `Placement.attempt`."""
        return self.attempts + 1

    @property
    def failed_nodes(self) -> frozenset[str]:
        """Answer the nodes on which it failed or was lost."""
        return frozenset(each.node_id for each in self.tried)


@dataclass(frozen=True, slots=True)
class ActiveAttempt:
    """An attempt that is allocated or running."""

    ref: AttemptRef
    task_id: str
    node_id: str
    tool: str
    status: AttemptStatus
    cancel_requested: bool
    allocated_at_ms: int
    started_at_ms: int | None
    spec: SubtaskSpec
    """Its timeouts, among others."""
    recalled: str = ""
    """Why the worker is to stop it and give it back; empty = it is not."""

    @property
    def subtask_id(self) -> str:
        """Answer the subtask's id."""
        return self.ref.subtask_id


LAST_WORK: Final = (
    "SELECT max(w.attempt) FROM attempts w WHERE w.subtask_no = {0} AND w.status = 'succeeded'"
    " AND NOT EXISTS (SELECT 1 FROM reviews r"
    " WHERE r.subtask_no = w.subtask_no AND r.attempt = w.attempt)"
)
"""The attempt whose work is what a subtask (a column of its number) came to, or null."""

_WORKED: Final = ", ".join(f"'{status}'" for status in sorted(phases.WORKED_TASK))

_NOT_HELD: Final = (
    "(t.status = 'in_progress' OR NOT EXISTS (SELECT 1 FROM checkpoints c"
    " WHERE c.task_id = t.task_id AND c.status = 'pending' AND c.subtask_id IS NULL))"
)
"""Whether no person is to decide about the whole task first."""

_READY: Final = f"""
SELECT s.subtask_no, s.subtask_id, s.task_id, p.spec, s.task_priority, t.privacy_level,
       t.tool_preferences, s.attempts, s.failures, max(s.updated_at, s.not_before), t.repository
FROM subtasks s INDEXED BY subtasks_ready
CROSS JOIN tasks t ON t.task_id = s.task_id
JOIN subtask_specs p ON p.subtask_no = s.subtask_no
WHERE s.status = 'pending' AND s.unmet = 0 AND t.status IN ({_WORKED}) AND {_NOT_HELD}
  AND t.paused = 0
"""

_TO_REVIEW: Final = _READY.replace("subtasks_ready", "subtasks_in_review").replace(
    "s.status = 'pending' AND s.unmet = 0", "s.status = 'review'"
)

_BY_URGENCY: Final = " ORDER BY s.task_priority DESC, s.priority DESC, s.subtask_no LIMIT ?"

_ACTIVE: Final = """
SELECT s.subtask_id, a.attempt, a.token, s.task_id, a.node_id, a.tool, a.status,
       s.cancel_requested, a.allocated_at, a.started_at, p.spec, a.recalled
FROM attempts a INDEXED BY attempts_active
CROSS JOIN subtasks s ON s.subtask_no = a.subtask_no
JOIN subtask_specs p ON p.subtask_no = a.subtask_no
WHERE a.finished_at IS NULL
"""


def ready_subtasks(
    connection: sqlite3.Connection, now_ms: int, limit: int = READY_LIMIT
) -> list[ReadySubtask]:
    """Answer at most `limit` subtasks that may be given out now, the most urgent first.

    Those whose work waits for a reviewer are among them.

    Urgent is: higher priority of the task, then of the subtask, then submitted earlier. Of those
    that waited for a retry, the ones that have been due the longest are considered.
    """
    never_held = connection.execute(_READY + " AND s.not_before = 0" + _BY_URGENCY, (limit,))
    found = never_held.fetchall()
    found += connection.execute(
        _READY + " AND s.not_before > 0 AND s.not_before <= ? ORDER BY s.not_before LIMIT ?",
        (now_ms, limit),
    ).fetchall()
    ready = [(row[0], _ready(connection, row)) for row in found]
    to_review = connection.execute(
        _TO_REVIEW + " AND s.not_before <= ? ORDER BY s.not_before LIMIT ?", (now_ms, limit)
    ).fetchall()
    ready += [(row[0], _review(connection, row)) for row in to_review]
    ready.sort(key=lambda each: (-each[1].task_priority, -each[1].spec.priority, each[0]))
    return [each for _, each in ready[:limit]]


def unblocked_subtask(connection: sqlite3.Connection, subtask_id: str) -> ReadySubtask | None:
    """Answer a subtask that could be given out, to be done or reviewed, were its back-off over."""
    for sql, index, read in (
        (_READY, "subtasks_ready", _ready),
        (_TO_REVIEW, "subtasks_in_review", _review),
    ):
        asked = sql.replace(f"INDEXED BY {index}", "") + " AND s.subtask_id = ?"
        row = connection.execute(asked, (subtask_id,)).fetchone()
        if row is not None:
            return replace(read(connection, row), not_before_ms=_not_before(connection, row[0]))
    return None


def _not_before(connection: sqlite3.Connection, subtask_no: int) -> int:
    (not_before_ms,) = connection.execute(
        "SELECT not_before FROM subtasks WHERE subtask_no = ?", (subtask_no,)
    ).fetchone()
    return int(not_before_ms)


def next_ready_ms(connection: sqlite3.Connection, now_ms: int) -> int | None:
    """Answer when the next subtask that waits for a retry is due; None if none waits."""
    found = [
        connection.execute(
            f"SELECT min(not_before) FROM subtasks WHERE {which} AND not_before > ?", (now_ms,)
        ).fetchone()[0]
        for which in ("status = 'pending' AND unmet = 0", "status = 'review'")
    ]
    return min((due for due in found if due is not None and due < MAX_TIME_MS), default=None)


def active_attempts(connection: sqlite3.Connection) -> list[ActiveAttempt]:
    """Answer all attempts that are allocated or running, oldest allocation first."""
    return [_active(row) for row in connection.execute(_ACTIVE + " ORDER BY a.attempt_no")]


def attempts_of_node(connection: sqlite3.Connection, node_id: str) -> list[ActiveAttempt]:
    """Answer what one node has in its hands, oldest allocation first."""
    sql = _ACTIVE + " AND a.node_id = ? ORDER BY a.attempt_no"
    return [_active(row) for row in connection.execute(sql, (node_id,))]


def subtask_spec(connection: sqlite3.Connection, subtask_id: str) -> SubtaskSpec:
    """Answer a subtask as it was asked for. Raise NotFound."""
    row = connection.execute(
        "SELECT p.spec FROM subtasks s JOIN subtask_specs p ON p.subtask_no = s.subtask_no"
        " WHERE s.subtask_id = ?",
        (subtask_id,),
    ).fetchone()
    if row is None:
        raise NotFound(f"no subtask has the id {subtask_id}")
    return _spec(row[0])


def task_spec(connection: sqlite3.Connection, task_id: str, *, subtasks: bool = False) -> TaskSpec:
    """Answer a task as it was asked for; with its `subtasks` only on request. Raise NotFound."""
    row = connection.execute(
        "SELECT task_id, description, type, repository, privacy_level, checkpoint_frequency,"
        " tool_preferences, priority, task_metadata FROM tasks WHERE task_id = ?",
        (task_id,),
    ).fetchone()
    if row is None:
        raise NotFound(f"no task has the id {task_id}")
    return TaskSpec(
        task_id=row[0],
        description=row[1],
        type=row[2],
        subtasks=_specs_of(connection, task_id) if subtasks else (),
        repository=_repository(row[3]),
        privacy=Privacy(row[4]),
        checkpoint_frequency=CheckpointFrequency(row[5]),
        tool_preferences=tuple(json.loads(row[6])),
        priority=row[7],
        metadata=json.loads(row[8]),
    )


def inputs_of(connection: sqlite3.Connection, subtask_id: str) -> dict[str, Output]:
    """Answer, by name, the outputs of what a subtask needs directly and is completed."""
    found = connection.execute(
        "SELECT n.name, a.output FROM subtasks s"
        " JOIN dependencies d ON d.subtask_no = s.subtask_no"
        " JOIN subtasks n ON n.subtask_no = d.needs_no"
        " JOIN attempts a ON a.subtask_no = n.subtask_no AND a.attempt ="
        f" ({LAST_WORK.format('n.subtask_no')})"
        " WHERE s.subtask_id = ? ORDER BY n.subtask_no",
        (subtask_id,),
    )
    return {name: codec.decode(Output, output) for name, output in found}


def _ready(connection: sqlite3.Connection, row: tuple[Any, ...]) -> ReadySubtask:
    fresh = _fresh(row)
    if not fresh.attempts:
        return fresh
    number = row[0]
    return replace(
        fresh,
        tried=_tried(connection, number),
        avoid_tool=_avoid_tool(connection, number),
        session_on=_session_on(connection, number),
    )


@lru_cache(maxsize=READY_CACHED)
def _fresh(row: tuple[Any, ...]) -> ReadySubtask:
    """Answer a subtask without what was tried; a leader asks for all that are ready many times."""
    _, subtask_id, task_id, encoded, task_priority, privacy, tools, attempts, *rest = row
    failures, since_ms, repository = rest
    spec = _spec(encoded)
    return ReadySubtask(
        subtask_id=subtask_id,
        task_id=task_id,
        spec=spec,
        task_priority=task_priority,
        privacy=spec.privacy or Privacy(privacy),
        tool_preferences=tuple(json.loads(tools)),
        attempts=attempts,
        failures=failures,
        waiting_since_ms=since_ms,
        repository=_repository(repository),
    )


def _review(connection: sqlite3.Connection, row: tuple[Any, ...]) -> ReadySubtask:
    ready = _ready(connection, row)
    (author,) = connection.execute(
        "SELECT author_attempt FROM quality WHERE subtask_no = ?", (row[0],)
    ).fetchone()
    (reviewed,) = (each for each in ready.tried if each.attempt == author)
    return replace(ready, reviewed=reviewed, avoid_tool=reviewed.tool)


def _session_on(connection: sqlite3.Connection, subtask_no: int) -> str:
    row = connection.execute(
        "SELECT a.node_id, a.session FROM attempts a"
        " LEFT JOIN reviews r ON r.subtask_no = a.subtask_no AND r.attempt = a.attempt"
        " WHERE a.subtask_no = ? AND r.attempt IS NULL ORDER BY a.attempt DESC LIMIT 1",
        (subtask_no,),
    ).fetchone()
    return str(row[0]) if row and row[1] else ""


def _avoid_tool(connection: sqlite3.Connection, subtask_no: int) -> str:
    row = connection.execute(
        "SELECT avoid_tool FROM quality WHERE subtask_no = ?", (subtask_no,)
    ).fetchone()
    return str(row[0]) if row else ""


def _tried(connection: sqlite3.Connection, subtask_no: int) -> tuple[Tried, ...]:
    found = connection.execute(
        "SELECT attempt, node_id, tool, status, result_status, finished_at, retryable_after_ms"
        " FROM attempts WHERE subtask_no = ? ORDER BY attempt",
        (subtask_no,),
    )
    return tuple(
        Tried(
            attempt,
            node_id,
            tool,
            AttemptStatus(status),
            _result_status(result),
            finished_ms,
            pause_ms,
        )
        for attempt, node_id, tool, status, result, finished_ms, pause_ms in found
    )


def _result_status(text: str | None) -> ResultStatus | None:
    return None if text is None else ResultStatus(text)


def _active(row: tuple[Any, ...]) -> ActiveAttempt:
    subtask_id, attempt, token, task_id, node_id, tool, status, cancel, *rest = row
    allocated, started, spec, recalled = rest
    return ActiveAttempt(
        ref=AttemptRef(subtask_id, attempt, token),
        task_id=task_id,
        node_id=node_id,
        tool=tool,
        status=AttemptStatus(status),
        cancel_requested=bool(cancel),
        allocated_at_ms=allocated,
        started_at_ms=started,
        spec=_spec(spec),
        recalled=recalled,
    )


def _specs_of(connection: sqlite3.Connection, task_id: str) -> tuple[SubtaskSpec, ...]:
    found = connection.execute(
        "SELECT p.spec FROM subtasks s JOIN subtask_specs p ON p.subtask_no = s.subtask_no"
        " WHERE s.task_id = ? ORDER BY s.subtask_no",
        (task_id,),
    )
    return tuple(_spec(encoded) for (encoded,) in found)


@lru_cache(maxsize=SPECS_CACHED)
def _spec(encoded: bytes) -> SubtaskSpec:
    """Read a spec, which never changes; whoever gets it must not change its dicts either."""
    return codec.decode(SubtaskSpec, encoded)


@lru_cache(maxsize=256)
def _repository(encoded: bytes | None) -> Repository | None:
    return None if encoded is None else codec.decode(Repository, encoded)
