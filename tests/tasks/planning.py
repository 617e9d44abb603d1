"""Short ways to write down what the planner sees."""

from typing import Any

from paceline.tasks.model import AttemptStatus, Resources, Running, ToolState, Vitals, WorkerStatus
from paceline.tasks.view import ActiveAttempt, PlanningView, ReadySubtask, WorkerView

NOW_MS = 1_000_000


def worker(
    node_id: str,
    *,
    tools: str | tuple[ToolState, ...] = "command",
    slots: int = 2,
    running: tuple[Running, ...] = (),
    heard: bool = True,
    resources: Resources | None = None,
    caches: tuple[str, ...] = (),
    applied_index: int = 100,
    status: WorkerStatus = WorkerStatus.ONLINE,
    **more: Any,
) -> WorkerView:
    """Answer a worker that is alive and idle; `tools` may be names with spaces between."""
    states = tuple(map(ToolState, tools.split())) if isinstance(tools, str) else tools
    vitals = Vitals(
        node_id=node_id,
        incarnation=1,
        sequence=1,
        resources=resources or Resources(),
        tools=states,
        slots=slots,
        running=running,
        applied_index=applied_index,
        caches=caches,
    )
    return WorkerView(
        node_id, node_id.title(), status, slots, states, vitals=vitals if heard else None, **more
    )


def ready(subtask_id: str, *, tools: str = "command", task: str = "T", **more: Any) -> ReadySubtask:
    """Answer a ready subtask that has waited for no time."""
    known = {"waiting_since_ms": NOW_MS, **more}
    return ReadySubtask(subtask_id, task, f"name of {subtask_id}", tuple(tools.split()), **known)


def active(
    subtask_id: str, node_id: str, *, tool: str = "command", task: str = "T", **more: Any
) -> ActiveAttempt:
    """Answer an attempt that was started a minute ago, under the token 7."""
    known = {
        "attempt": 1,
        "token": 7,
        "status": AttemptStatus.RUNNING,
        "allocated_at_ms": NOW_MS - 60_000,
        "started_at_ms": NOW_MS - 60_000,
        **more,
    }
    return ActiveAttempt(subtask_id=subtask_id, task_id=task, node_id=node_id, tool=tool, **known)


def view(*things: WorkerView | ReadySubtask | ActiveAttempt, **more: Any) -> PlanningView:
    """Answer the view of these, each kind in its order."""
    return PlanningView(
        now_ms=NOW_MS,
        workers=tuple(each for each in things if isinstance(each, WorkerView)),
        ready=tuple(each for each in things if isinstance(each, ReadySubtask)),
        active=tuple(each for each in things if isinstance(each, ActiveAttempt)),
        **{"applied_index": 100, **more},
    )
