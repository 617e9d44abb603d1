"""Waiting for a task: look, and look again, more slowly the longer nothing changes."""

import time
from collections.abc import Iterator

from paceline.cli.client import Client, Document, segment
from paceline.errors import TimedOut

ENDED = frozenset({"completed", "failed", "cancelled"})
PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 0.5


def has_ended(task: Document) -> bool:
    """Answer whether a task can change no more by itself."""
    return task["status"] in ENDED


def exit_status(task: Document) -> int:
    """Answer 0 for a completed task, else 1."""
    return 0 if task["status"] == "completed" else 1


def changes(client: Client, task_id: str, timeout_s: float | None = None) -> Iterator[Document]:
    """Yield the task now and whenever it has changed; the last one has ended. Raise TimedOut."""
    deadline = time.monotonic() + timeout_s if timeout_s else None
    pause_s, before = PAUSE_MIN_S, None
    while True:
        task = client.get(f"tasks/{segment(task_id)}")
        if task != before:
            yield task
            pause_s, before = PAUSE_MIN_S, task
        if has_ended(task):
            return
        if deadline and time.monotonic() >= deadline:
            raise TimedOut(
                f"task {task['task_id']} is still {task['status']} after {timeout_s:g} s; "
                "it goes on: see `paceline watch`"
            )
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, PAUSE_MAX_S)


def wait(client: Client, task_id: str, timeout_s: float | None = None) -> Document:
    """Answer the task when it has ended. Raise TimedOut."""
    *_, last = changes(client, task_id, timeout_s)
    return last
