"""What the demo found out, counted from the task's document and nothing else.

A result is accepted by one attempt that succeeded. So a completed subtask without such an attempt
has lost its result, and one with two has doubled it.
"""

from dataclasses import asdict, dataclass
from typing import Any

from paceline.client import Document

ACCEPTED = "succeeded"


@dataclass(frozen=True, slots=True)
class Report:
    """The one document of `demo --json`. Times are milliseconds."""

    task: Document
    leader_before: str
    leader_after: str | None
    failover_ms: int
    """From just before the kill to the answer that a new command is committed."""
    restarts: list[dict[str, Any]]
    """Name, number of attempts, and why, of each subtask with more than one."""
    lost_results: int
    duplicated_results: int
    duration_ms: int
    nodes: dict[str, str]
    """Names by node id."""

    @property
    def restarted_subtasks(self) -> int:
        """Answer how many subtasks were tried more than once."""
        return len(self.restarts)

    @property
    def good(self) -> bool:
        """Answer whether the task completed, with nothing lost and nothing doubled."""
        completed: bool = self.task["status"] == "completed"
        return completed and not self.lost_results and not self.duplicated_results

    def document(self) -> dict[str, Any]:
        """Answer it as a JSON-ready document."""
        return {**asdict(self), "restarted_subtasks": self.restarted_subtasks}


def lost_results(task: Document) -> int:
    """Answer how many completed subtasks have no accepted outcome."""
    return sum(
        subtask["status"] == "completed" and not _accepted(subtask) for subtask in task["subtasks"]
    )


def duplicated_results(task: Document) -> int:
    """Answer how many subtasks have more than one accepted outcome."""
    return sum(_accepted(subtask) > 1 for subtask in task["subtasks"])


def _accepted(subtask: Document) -> int:
    return sum(attempt["status"] == ACCEPTED for attempt in subtask["attempts"])


def restarted(task: Document, names: dict[str, str], killed: str) -> list[dict[str, Any]]:
    """Answer the subtasks that were tried more than once, and why."""
    return [
        {
            "name": subtask["name"],
            "attempts": len(subtask["attempts"]),
            "reasons": [_reason(a, names, killed) for a in subtask["attempts"][:-1]],
        }
        for subtask in task["subtasks"]
        if len(subtask["attempts"]) > 1
    ]


def _reason(attempt: Document, names: dict[str, str], killed: str) -> str:
    name = names.get(attempt["node_id"], attempt["node_id"])
    whose = "the killed leader" if attempt["node_id"] == killed else "a survivor"
    return f"attempt {attempt['attempt']} {attempt['status']} on {name}, {whose}"
