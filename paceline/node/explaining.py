"""Answers why work waits, from this node's own picture; any node can, with or without a quorum."""

import sqlite3
from typing import Any

from paceline.clock import Clock
from paceline.node.planning import Planning, as_ready
from paceline.node.replica_loop import ReplicaLoop
from paceline.tasks import dry_run, plan_fields, queries
from paceline.tasks.draft import TaskDraft
from paceline.tasks.explain import Explainer, document
from paceline.tasks.plan_source import Located
from paceline.tasks.queries_work import unblocked_subtask
from paceline.tasks.view import ReadySubtask


class Explaining:
    """Looks at the state and the vitals as the planner would if this node led."""

    def __init__(
        self,
        *,
        connection: sqlite3.Connection,
        planning: Planning,
        replicas: ReplicaLoop,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._planning = planning
        self._replicas = replicas
        self._clock = clock
        self._started_ms = clock.monotonic_ms()

    @property
    def now_ms(self) -> int:
        """Answer the wall clock's time, from which deadlines in seconds count."""
        return self._clock.now_ms()

    def deadline_ms(self, deadline: str | float | None) -> int | None:
        """Answer a deadline as a moment; 0 for an empty one, None for none. Raise InvalidPlan."""
        if deadline is None or deadline == "":
            return None if deadline is None else 0
        return plan_fields.deadline(Located(deadline, None)).ms(self.now_ms)

    def dry_run(self, draft: TaskDraft) -> dict[str, Any]:
        """Answer the graph of a draft, and where each subtask would go if it were ready now."""
        status = self._replicas.status
        view = self._planning.view(
            leading_since_ms=self._started_ms, applied_index=status.applied_index
        )
        return dry_run.document(draft, view)

    def explain(self, identifier: str) -> dict[str, Any]:
        """Answer `explain --json` of a task. Raise NotFound, InputError."""
        status = self._replicas.status
        view = self._planning.view(
            leading_since_ms=self._started_ms, applied_index=status.applied_index
        )
        task_id = queries.resolve_task_id(self._connection, identifier)
        explainer = Explainer(view, quorum=status.quorum_active)
        return document(self._connection, explainer, task_id, self._ready(task_id))

    def _ready(self, task_id: str) -> dict[str, ReadySubtask]:
        pending = self._connection.execute(
            "SELECT subtask_id FROM subtasks WHERE task_id = ?"
            " AND status IN ('pending', 'review') AND unmet = 0",
            (task_id,),
        )
        found = (unblocked_subtask(self._connection, row[0]) for row in pending.fetchall())
        held = self._planning.hold(as_ready(each) for each in found if each is not None)
        return {each.subtask_id: each for each in held}
