"""What a submission would come to: its graph in waves, and each node's word on each subtask.

Each subtask is judged as if it were ready this moment and alone: what others would take before it
is not foreseen.
"""

from typing import Any

from paceline.tasks import graph
from paceline.tasks.draft import SubtaskDraft, TaskDraft
from paceline.tasks.explain import nobody, verdict_document
from paceline.tasks.plan import to_spec
from paceline.tasks.schedule import why
from paceline.tasks.view import PlanningView, ReadySubtask

Document = dict[str, Any]


def document(draft: TaskDraft, view: PlanningView) -> Document:
    """Answer `submit --dry-run --json`."""
    spec = to_spec(draft, task_id="dry run", new_subtask_id=lambda: "", now_ms=view.now_ms)
    needs = {subtask.name: subtask.needs for subtask in draft.subtasks}
    subtasks = [
        _subtask(
            subtask,
            ReadySubtask(
                subtask_id=f"dry run {at}",
                task_id=spec.task_id,
                name=subtask.name,
                tools=subtask.tools,
                priority=subtask.priority,
                task_priority=spec.priority,
                privacy=made.privacy or spec.privacy,
                labels=subtask.labels,
                not_labels=subtask.not_labels,
            ),
            view,
        )
        for at, (subtask, made) in enumerate(zip(draft.subtasks, spec.subtasks, strict=True))
    ]
    return {
        "dry_run": True,
        "type": draft.type,
        "description": draft.description,
        "priority": draft.priority,
        "privacy": draft.privacy.value,
        "layers": [list(layer) for layer in graph.layers(needs)],
        "subtasks": subtasks,
    }


def _subtask(draft: SubtaskDraft, ready: ReadySubtask, view: PlanningView) -> Document:
    verdicts = why(view, ready)
    best = next((each for each in verdicts if each.eligible), None)
    return {
        "name": draft.name,
        "needs": list(draft.needs),
        "tools": list(draft.tools),
        "labels": dict(draft.labels),
        "not_labels": dict(draft.not_labels),
        "privacy": ready.privacy.value,
        "timeout_s": draft.timeout_s,
        "start_timeout_s": draft.start_timeout_s,
        "node_id": best.node_id if best else None,
        "tool": best.tool if best else None,
        "score": best.score if best else None,
        "reason": "" if best else nobody(verdicts),
        "nodes": [verdict_document(each) for each in verdicts],
    }
