"""From the rows that `queries` answers to the planner's own records.

The planner does not read rows itself: its records are plain data that a test can write down.
"""

from paceline.tasks import queries_work as rows
from paceline.tasks.model import ResultStatus
from paceline.tasks.view import ActiveAttempt, ReadySubtask

NODE_FAULTS = frozenset({None, ResultStatus.ERROR, ResultStatus.AUTH, ResultStatus.DENIED})
"""How an attempt ends for its node's sake (None: the node was lost): it may go well elsewhere. What
`failed`, timed out or ran into a turn limit did so because of the work."""


def ready_subtask(
    row: rows.ReadySubtask, *, waiting_since_ms: int | None = None, served: int = 0
) -> ReadySubtask:
    """Answer the record of a subtask that may be given out. For the rest see `ReadySubtask`."""
    spec = row.spec
    return ReadySubtask(
        subtask_id=row.subtask_id,
        task_id=row.task_id,
        name=spec.name,
        tools=spec.tools,
        attempt=row.next_attempt,
        priority=spec.priority,
        task_priority=row.task_priority,
        privacy=row.privacy,
        labels=spec.labels,
        failed_nodes=frozenset(tried.node_id for tried in row.tried if _node_at_fault(tried)),
        throttled_until_ms={
            (tried.node_id, tried.tool): tried.finished_at_ms + tried.retryable_after_ms
            for tried in row.tried
            if tried.result_status is ResultStatus.QUOTA and tried.retryable_after_ms
        },
        waiting_since_ms=waiting_since_ms,
        served=served,
        commit=row.repository.commit if row.repository else "",
    )


def _node_at_fault(tried: rows.Tried) -> bool:
    """Answer whether another node may do better. A limit with an end is waited for."""
    if tried.result_status is ResultStatus.QUOTA:
        return not tried.retryable_after_ms
    return tried.result_status in NODE_FAULTS


def active_attempt(row: rows.ActiveAttempt) -> ActiveAttempt:
    """Answer the record of an attempt that a node holds."""
    return ActiveAttempt(
        subtask_id=row.subtask_id,
        task_id=row.task_id,
        attempt=row.ref.attempt,
        token=row.ref.token,
        node_id=row.node_id,
        tool=row.tool,
        status=row.status,
        allocated_at_ms=row.allocated_at_ms,
        started_at_ms=row.started_at_ms,
    )
