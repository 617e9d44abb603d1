"""The calls by name: what programs ask a node for, over `link`."""

import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from paceline.client.link import Document, Link, segment
from paceline.errors import NodeUnreachable, TimedOut

ENDED = frozenset({"completed", "failed", "cancelled"})
"""The statuses in which a task can change no more by itself."""

PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 0.5
AGAIN_S = 1.0
PAGE = 200


class Client(Link):
    """The node of one data directory. Holds nothing open between calls; safe in several threads."""

    def status(self) -> Document:
        """Answer the document of `paceline status --json`."""
        return self.get("status")

    def nodes(self) -> list[Document]:
        """Answer the members of the cluster, the leader first."""
        return list(self.get("nodes")["nodes"])

    # --- tasks ------------------------------------------------------------------------------------

    def submit(self, **task: Any) -> Document:
        """Hand in work; answer `task_id, status, created` once a quorum has it on disk.

        Either `plan` (text) with `format` ("yaml", "toml"), or `description` with `type` (a
        template); besides, any of `repository` ({"path", "ref"}), `idempotency_key`, `privacy`,
        `checkpoint_frequency`, `tool_preferences`, `priority`, `metadata`. Without a key it makes
        one; give your own to repeat a submission whose outcome is unknown (TimedOut).
        """
        said = {key: value for key, value in task.items() if value is not None}
        return self.post("tasks", {"idempotency_key": os.urandom(16).hex(), **said})

    def task(self, task_id: str) -> Document:
        """Answer the document of `paceline show --json`; a unique prefix of the id will do."""
        return self.get(f"tasks/{segment(task_id)}")

    def tasks(self, *, limit: int | None = None, **query: str | None) -> Iterator[Document]:
        """Yield tasks, the newest first; `status`, `type` and `search` choose among them."""
        cursor: str | None = None
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(PAGE, limit)
            page = self.get("tasks", limit=size, cursor=cursor, **query)
            yield from page["tasks"]
            limit = None if limit is None else limit - len(page["tasks"])
            cursor = page["next_cursor"]
            if not cursor:
                return

    def explain(self, task_id: str) -> Document:
        """Answer what each subtask waits for, and what each node lacks or scores."""
        return self.get(f"tasks/{segment(task_id)}/explain")

    def cancel(self, task_id: str, reason: str = "") -> Document:
        """Ask for the end of a task."""
        return self.post(f"tasks/{segment(task_id)}/cancel", {"reason": reason})

    def retry(self, task_id: str, subtask_id: str = "") -> Document:
        """Try what failed again; one subtask, or all."""
        return self.post(f"tasks/{segment(task_id)}/retry", {"subtask_id": subtask_id})

    def changes(self, task_id: str, timeout_s: float | None = None) -> Iterator[Document]:
        """Yield the task now and whenever it has changed; the last one has ended. Raise TimedOut.

        It looks again and again, more slowly the longer nothing changes.
        """
        deadline = time.monotonic() + timeout_s if timeout_s else None
        pause_s, before = PAUSE_MIN_S, None
        while True:
            task = self.task(task_id)
            if task != before:
                yield task
                pause_s, before = PAUSE_MIN_S, task
            if task["status"] in ENDED:
                return
            if deadline and time.monotonic() >= deadline:
                raise TimedOut(
                    f"task {task['task_id']} is still {task['status']} after {timeout_s:g} s; "
                    "it goes on: see `paceline watch`"
                )
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, PAUSE_MAX_S)

    def wait(self, task_id: str, timeout_s: float | None = None) -> Document:
        """Answer the task when it has ended, however it ended. Raise TimedOut."""
        *_, last = self.changes(task_id, timeout_s)
        return last

    # --- streams ----------------------------------------------------------------------------------

    def logs(
        self,
        task_id: str,
        subtask: str = "",
        *,
        attempt: int | None = None,
        follow: bool = False,
    ) -> Iterator[Document]:
        """Yield lines, the oldest first; with `follow` until the task has ended."""
        path = f"tasks/{segment(task_id)}/logs"
        return self.stream(path, follow=follow, subtask=subtask, attempt=attempt)

    def events(
        self, *, after: int = 0, follow: bool = False, **filters: str | None
    ) -> Iterator[Document]:
        """Yield what happened after a `log_id`, the oldest first.

        Filters: `task` (id), `node` (id), `action` (several separated by commas). With `follow` it
        goes on until the node ends.
        """
        return self.stream("events", follow=follow, after=after, **filters)

    def follow_events(
        self, *, after: int = 0, patience_s: float = 60.0, **filters: str | None
    ) -> Iterator[Document]:
        """Yield events for ever, each once and in order, also across restarts of the node.

        Give the `log_id` of the last event that was dealt with as `after` to go on from there, on
        any node of the cluster. Raise NodeUnreachable when no node has answered for `patience_s`.
        """
        heard_s = time.monotonic()
        while True:
            begun_s = time.monotonic()
            try:
                for event in self.events(after=after, follow=True, **filters):
                    after = event["log_id"]
                    yield event
                heard_s = time.monotonic()
            except NodeUnreachable:
                now_s = time.monotonic()
                if now_s - begun_s > AGAIN_S:
                    heard_s = now_s  # it was there until now, and had nothing to say
                elif now_s - heard_s > patience_s:
                    raise
            time.sleep(AGAIN_S)


def ended(task: Mapping[str, Any]) -> bool:
    """Answer whether a task can change no more by itself."""
    return task["status"] in ENDED
