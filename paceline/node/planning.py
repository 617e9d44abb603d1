"""The picture that the planner is shown: the replicated state, the vitals, and the time."""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

from paceline.clock import Clock
from paceline.ids import NodeId
from paceline.node.vitals import VitalsTable
from paceline.tasks import queries, queries_quality, queries_usage
from paceline.tasks.model import ResultStatus
from paceline.tasks.peer_review import reviewers
from paceline.tasks.queries_external import external_ids
from paceline.tasks.queries_time import drain_limits, times_up
from paceline.tasks.queries_work import ActiveAttempt as StoredAttempt
from paceline.tasks.queries_work import ReadySubtask as StoredSubtask
from paceline.tasks.queries_workers import RegisteredWorker, registered_workers
from paceline.tasks.throttles import Throttle, throttles
from paceline.tasks.view import (
    ActiveAttempt,
    PlanningSettings,
    PlanningView,
    ReadySubtask,
    WorkerView,
)

NODES_FAULT = frozenset({ResultStatus.ERROR, ResultStatus.AUTH})
"""Results that say more about the node than about the work."""


DAILY_BUDGET_KEY = "daily_budget_usd"
"""In what a worker says of itself when it registers: what its attempts may cost in a day."""


class Planning:
    """Reads pictures for a leader."""

    def __init__(
        self,
        *,
        connection: sqlite3.Connection,
        vitals: VitalsTable,
        clock: Clock,
        settings: PlanningSettings,
        trusted: Callable[[], frozenset[NodeId]],
    ) -> None:
        """Wire it: `trusted` answers who may be given sensitive work."""
        self._connection = connection
        self._vitals = vitals
        self._clock = clock
        self._settings = settings
        self._trusted = trusted
        self._served: dict[str, int] = {}
        """The highest token that any subtask of a task is known to have had."""
        self._shown: dict[str, tuple[StoredSubtask, ReadySubtask]] = {}

    def view(self, *, leading_since_ms: int, applied_index: int) -> PlanningView:
        """Answer the picture of now. `leading_since_ms` is on the monotonic clock."""
        now_ms = self._clock.now_ms()
        active = tuple(map(_active, queries.active_attempts(self._connection)))
        ready = self.hold(self._shown_as(queries.ready_subtasks(self._connection, now_ms)))
        return PlanningView(
            now_ms=now_ms,
            workers=tuple(self._workers(leading_since_ms, now_ms)),
            ready=ready,
            active=active,
            applied_index=applied_index,
            settings=self._settings,
            served=self._turns(ready, active),
            times_up=times_up(self._connection, now_ms),
        )

    def _shown_as(self, stored: list[StoredSubtask]) -> tuple[ReadySubtask, ...]:
        """Answer them as the planner sees them; one that has not changed, as the last time."""
        last, self._shown = self._shown, {}
        for subtask in stored:
            known = last.get(subtask.subtask_id)
            fits = known is not None and known[0] is subtask
            shown = known if known is not None and fits else (subtask, as_ready(subtask))
            self._shown[subtask.subtask_id] = shown
        return tuple(ready for _, ready in self._shown.values())

    def _turns(
        self, ready: tuple[ReadySubtask, ...], active: tuple[ActiveAttempt, ...]
    ) -> dict[str, int]:
        """Answer when each task was last served, as far as this leader has seen it.

        What it has not seen counts as long ago: a new leader begins with everybody's turn. Tasks
        that neither wait nor run are forgotten, so this is bounded by the view.
        """
        seen = {task_id: self._served.get(task_id, 0) for task_id in {s.task_id for s in ready}}
        for attempt in active:
            known = seen.get(attempt.task_id, self._served.get(attempt.task_id, 0))
            seen[attempt.task_id] = max(known, attempt.token)
        self._served = seen
        return seen

    def next_ready_ms(self) -> int | None:
        """Answer when the next back-off ends, on the wall clock; None if nothing waits for one."""
        return queries.next_ready_ms(self._connection, self._clock.now_ms())

    def hold(self, ready: Iterable[ReadySubtask]) -> tuple[ReadySubtask, ...]:
        """Answer the same, those of tasks held back that have cost what they may cost."""
        over = queries_usage.overspent(self._connection)
        if not over:
            return tuple(ready)
        return tuple(
            replace(each, held=over[each.task_id].reason) if each.task_id in over else each
            for each in ready
        )

    def expired(self) -> list[tuple[str, str]]:
        """Answer the checkpoints whose time is over, with the decision that their plan wants."""
        return queries_quality.expired(self._connection, self._clock.now_ms())

    def _workers(self, leading_since_ms: int, now_ms: int) -> Iterable[WorkerView]:
        trusted = self._trusted()
        resting = defaultdict[str, dict[str, Throttle]](dict)
        for each in throttles(self._connection, now_ms):
            resting[each.node_id][each.tool] = each
        spent = queries_usage.spent_today(self._connection, now_ms)
        external = external_ids(self._connection)
        leading_ms = self._clock.monotonic_ms() - leading_since_ms
        drains = drain_limits(self._connection)
        for worker in registered_workers(self._connection):
            node_id = worker.node_id
            heard = self._vitals.get(node_id)
            silent_ms = self._vitals.silent_ms(node_id)
            yield WorkerView(
                node_id=node_id,
                name=worker.name,
                status=worker.status,
                slots=worker.slots,
                tools=worker.tools,
                labels=worker.labels,
                trusted=node_id in trusted,
                vitals=heard.vitals if heard else None,
                silent_ms=leading_ms if silent_ms is None else min(silent_ms, leading_ms),
                dead=heard.dead if heard else False,
                restart_index=heard.restart_index if heard else 0,
                external=node_id in external,
                throttled=resting.get(node_id, {}),
                money=_money(worker, spent.get(node_id, 0.0)),
                drain_until_ms=drains.get(node_id),
            )


def as_ready(stored: StoredSubtask) -> ReadySubtask:
    """Answer a stored subtask as the planner sees it."""
    spec = stored.spec
    return ReadySubtask(
        subtask_id=stored.subtask_id,
        task_id=stored.task_id,
        name=spec.name,
        tools=reviewers(spec) if stored.reviewed else spec.tools,
        attempt=stored.next_attempt,
        priority=spec.priority,
        task_priority=stored.task_priority,
        privacy=stored.privacy,
        labels=spec.labels,
        not_labels=spec.not_labels,
        failed_nodes=frozenset(
            tried.node_id for tried in stored.tried if tried.result_status in NODES_FAULT
        ),
        session_on="" if stored.reviewed else stored.session_on,
        waiting_since_ms=stored.waiting_since_ms,
        not_before_ms=stored.not_before_ms,
        commit=stored.repository.commit if stored.repository else "",
        avoid_tool=stored.avoid_tool,
        avoid_node=stored.reviewed.node_id if stored.reviewed else "",
    )


def _money(worker: RegisteredWorker, spent_usd: float) -> str:
    """Answer why a worker takes no work that costs something, by its own daily budget."""
    budget_usd = float(worker.system_info.get(DAILY_BUDGET_KEY, 0))
    if not budget_usd or spent_usd < budget_usd:
        return ""
    return f"its budget of {budget_usd:g} USD for today (UTC) is spent: {spent_usd:.4g} USD"


def _active(stored: StoredAttempt) -> ActiveAttempt:
    return ActiveAttempt(
        subtask_id=stored.ref.subtask_id,
        task_id=stored.task_id,
        attempt=stored.ref.attempt,
        token=stored.ref.token,
        node_id=stored.node_id,
        tool=stored.tool,
        status=stored.status,
        allocated_at_ms=stored.allocated_at_ms,
        started_at_ms=stored.started_at_ms,
        recalled=bool(stored.recalled),
    )
