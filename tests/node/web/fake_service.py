"""A node's service over plain data: no mock, a small honest one that keeps tasks in a dict."""

import asyncio
import contextlib
import io
import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import IO, Any, cast

from paceline.errors import (
    Conflict,
    InputError,
    InvalidPlan,
    NotFound,
    PacelineError,
    TimedOut,
)
from paceline.node.web.ports import (
    CheckpointDecision,
    Document,
    Download,
    EventQuery,
    Health,
    LogQuery,
    TaskChange,
    TaskQuery,
    TaskRequest,
    UsageQuery,
)
from tests.node.web.fake_guests import FakeGuests

TOKEN = "a-token-of-the-fake"
NODE_ID = "aaaabbbbccccdddd"
OTHER_ID = "eeeeffffgggghhhh"
CHECKPOINT_ID = "cccc1111-0000-4000-8000-000000000000"


def a_task(task_id: str, status: str = "completed", **changes: Any) -> Document:
    subtasks: list[Document] = [
        {
            "subtask_id": f"{task_id[:8]}-sub-{number}",
            "name": name,
            "status": status,
            "dependencies": [],
            "tool": "command",
            "node_id": NODE_ID,
            "attempts": [
                {
                    "attempt": 1,
                    "node_id": NODE_ID,
                    "tool": "command",
                    "status": "succeeded",
                    "token": 7 + number,
                    "started_at": "2023-11-14T22:13:20.000Z",
                    "finished_at": "2023-11-14T22:13:21.500Z",
                    "usage": {},
                    "cost_usd": None,
                }
            ],
            "evaluation": None,
            "result": {"status": "ok", "text": "", "output": {"size": 4, "text": "done"}},
        }
        for number, name in enumerate(("build", "check"))
    ]
    task = {
        "task_id": task_id,
        "type": "plan",
        "description": "count the lines",
        "status": status,
        "progress": 100 if status == "completed" else 50,
        "subtasks": subtasks,
        "checkpoints": [],
    }
    return task | changes


@dataclass
class FakeAccess:
    """One token, and whoever a test lets wait."""

    token_version: int = 1
    waiting: list[Document] = field(default_factory=list)

    async def token(self) -> Document:
        return {
            "token": f"{TOKEN}-{self.token_version}",
            "version": self.token_version,
            "cluster_id": "c1",
            "approve": True,
            "join": "10.0.0.1:7433",
            "command": "paceline node start",
        }

    async def rotate_token(self) -> Document:
        self.token_version += 1
        return await self.token()

    async def pending(self) -> list[Document]:
        return self.waiting

    async def approve(self, newcomer: str) -> Document:
        for each in self.waiting:
            if newcomer in each.values():
                self.waiting.remove(each)
                return each
        raise NotFound(f"no newcomer {newcomer!r} waits")


@dataclass
class FakeToolbox:
    """Two tools, one of which rests; `asked` is what was."""

    failure: PacelineError | None = None
    asked: list[Any] = field(default_factory=list)

    async def tools(self) -> list[Document]:
        if self.failure is not None:
            raise self.failure
        healthy = {"healthy": True, "version": "1", "reason": "", "node_id": NODE_ID, "slots": 2}
        more = {"isolation": "bubblewrap", "running": 1, "cost_usd": 0.25, "cost_today_usd": 0.0}
        rest = {"throttled_until": "2023-11-14T22:13:20.000Z", "throttled_by": "usage"}
        free = {"throttled_until": None, "throttled_by": ""}
        return [
            {"name": "command", **healthy, **more, **free},
            {"name": "codex", **healthy, **more, **rest},
        ]

    async def check(self) -> Document:
        self.asked.append("check")
        return {"tools": await self.tools(), "unanswered": {OTHER_ID: "not connected"}}

    async def usage(self, query: UsageQuery) -> Document:
        self.asked.append(query)
        numbers = {
            "attempts": 2,
            "tokens_in": 1200,
            "tokens_out": 34,
            "cached": 100,
            "cost_usd": 0.25,
            "reported_usd": 0.25,
            "computed_usd": 0.0,
            "unpriced": 1,
        }
        rows = [{"tool": name, **numbers} for name in ("codex", "qwen")]
        return {"by": query.by, "since": None, "rows": rows, "more": 0, "total": numbers}

    async def set_budget(self, task_id: str, budget_usd: float | None) -> Document:
        self.asked.append((task_id, budget_usd))
        return {"task_id": task_id, "budget_usd": budget_usd, "changed": True}


@dataclass
class FakeInspection:
    """Says what a test wants it to say."""

    verdict: Document = field(default_factory=lambda: {"index": 7, "equal": True})
    found: list[Document] | None = field(default_factory=list)
    """None = it cannot be examined."""

    async def compare(self) -> Document:
        return self.verdict

    async def findings(self) -> list[Document]:
        if self.found is None:
            raise TimedOut("the others did not answer")
        return self.found


@dataclass
class FakeResults:
    """One result, whatever is asked for; `asked` is what was."""

    data: bytes = b"bytes"
    ref: str = "refs/x"
    changes: Document = field(default_factory=dict)
    """What of the document is different."""
    failure: PacelineError | None = None
    asked: list[tuple[str, ...]] = field(default_factory=list)
    sent: list[IO[bytes]] = field(default_factory=list)

    async def document(self, task_id: str, subtask: str) -> Document:
        self.asked.append(("document", task_id, subtask))
        if self.failure is not None:
            raise self.failure
        return a_result(task_id, **self.changes)

    async def patch(self, task_id: str, subtask: str) -> Download:
        return self._download("patch", task_id, subtask)

    async def bundle(self, task_id: str, subtask: str, since: str) -> Download:
        return self._download("bundle", task_id, subtask, since)

    async def output(self, subtask_id: str) -> Download:
        return self._download("output", subtask_id)

    def _download(self, *asked: str) -> Download:
        self.asked.append(asked)
        if self.failure is not None:
            raise self.failure
        self.sent.append(io.BytesIO(self.data))
        kind = "text/x-diff" if asked[0] == "patch" else "application/octet-stream"
        return Download(self.sent[-1], len(self.data), kind, "a ü", "c0ffee", self.ref)


def a_result(task_id: str, **changes: Any) -> Document:
    return {
        "task_id": task_id,
        "status": "completed",
        "description": "words",
        "complete": True,
        "repository": {"source": "/nowhere", "ref": "HEAD", "commit": "0" * 40},
        "base": "0" * 40,
        "commit": "1" * 40,
        "files": 1,
        "insertions": 2,
        "deletions": 0,
        "changes": [{"path": "a.txt", "insertions": 2, "deletions": 0}],
        "conflicts": [],
        "problem": "",
        "merged_from": [],
        "subtasks": [
            {
                "subtask_id": "s1",
                "name": "build",
                "status": "completed",
                "reason": "",
                "change": None,
                "output": {"size": 5},
            }
        ],
    } | changes


@dataclass
class FakeSteward:
    """Knows one other node, and keeps what it was asked."""

    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def _find(self, wanted: str) -> Document:
        if wanted not in (OTHER_ID, "beta"):
            raise NotFound(f"no node {wanted!r}")
        return {"node_id": OTHER_ID, "name": "beta"}

    async def drain(self, wanted: str, *, on: bool, timeout_s: float | None = None) -> Document:
        if timeout_s is not None:
            self.asked.append(("drain within", wanted, timeout_s))
        self.asked.append(("drain", wanted, on))
        return {**self._find(wanted), "status": "draining" if on else "online"}

    async def trust(self, wanted: str, *, trusted: bool) -> Document:
        self.asked.append(("trust", wanted, trusted))
        return {**self._find(wanted), "trusted": trusted, "changed": True}

    async def revoke(self, wanted: str, reason: str) -> Document:
        self.asked.append(("revoke", wanted, reason))
        return {**self._find(wanted), "token_version": 2}

    async def leave(self, timeout_s: float) -> Document:
        self.asked.append(("leave", timeout_s))
        return {"node_id": NODE_ID, "finished": True}


@dataclass
class FakeDeciding:
    """One checkpoint, which can be decided once."""

    decided: CheckpointDecision | None = None
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def document(self) -> Document:
        decision = self.decided.decision if self.decided else None
        return {
            "checkpoint_id": CHECKPOINT_ID,
            "task_id": "11112222-0000-4000-8000-000000000000",
            "subtask_id": "s1",
            "subtask_name": "build",
            "type": "evaluation",
            "status": "resolved" if self.decided else "pending",
            "reason": "the score 6 is below 7",
            "triggered_by": "gates",
            "created_at": "2023-11-14T22:13:20.000Z",
            "resolved_at": None,
            "decision": decision,
            "feedback": self.decided.feedback if self.decided else "",
            "score": 6.0,
        }

    async def checkpoints(self, status: str, task_id: str) -> list[Document]:
        self.asked.append(("checkpoints", status, task_id))
        return [self.document()]

    async def checkpoint(self, wanted: str) -> Document:
        self._find(wanted)
        finding = {"file": "a.py", "line": 3, "severity": "high", "message": "wrong", "rule": ""}
        return self.document() | {
            "decided_by": None,
            "cost_usd": 0.25,
            "reviews": [
                {
                    "cycle": 1,
                    "tool": "ollama",
                    "verdict": "revise",
                    "summary": "No.",
                    "findings": [finding],
                }
            ],
            "evaluation": {
                "dimension_scores": {"security": 6.0},
                "findings": [finding],
                "details": {"diff": "+new\x1b[31m line\n"},
            },
            "attempt": {"text": "I did it."},
        }

    async def resolve(self, wanted: str, decision: CheckpointDecision) -> Document:
        self._find(wanted)
        if self.decided is not None:
            raise Conflict(f"n1 has decided {self.decided.decision}")
        self.decided = decision
        return self.document() | {"task_status": "in_progress"}

    async def open(self, task_id: str, subtask: str, reason: str) -> Document:
        self.asked.append(("open", task_id, subtask, reason))
        return self.document() | {"task_status": "checkpoint"}

    async def evaluation(self, subtask_id: str) -> Document:
        self.asked.append(("evaluation", subtask_id))
        return {"evaluation": None, "evaluations": []}

    def _find(self, wanted: str) -> None:
        if not CHECKPOINT_ID.startswith(wanted):
            raise NotFound(f"no checkpoint has the id {wanted}")


@dataclass
class FakeService:
    """Answers from `documents`; what a test wants to go wrong it puts into `failure`."""

    documents: dict[str, Document] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    requests: list[Any] = field(default_factory=list)
    failure: Exception | None = None
    stream_failure: PacelineError | None = None
    access: FakeAccess = field(default_factory=FakeAccess)
    inspection: FakeInspection = field(default_factory=FakeInspection)
    toolbox: FakeToolbox = field(default_factory=FakeToolbox)
    results: FakeResults = field(default_factory=FakeResults)
    guests: FakeGuests = field(default_factory=FakeGuests)
    steward: FakeSteward = field(default_factory=FakeSteward)
    deciding: FakeDeciding = field(default_factory=FakeDeciding)
    task_counts: dict[str, int] = field(default_factory=dict)
    delay_s: float = 0.0
    """How long the status takes."""
    ready: bool = True
    quorum: bool = True
    lines: list[str] = field(default_factory=lambda: ["one", "two", "drei ✓"])
    more: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    open_streams: int = 0
    streams_changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure

    def health(self) -> Health:
        return Health(healthy=True, ready=self.ready, reason="" if self.ready else "no quorum")

    async def status(self) -> Document:
        self._fail()
        await asyncio.sleep(self.delay_s)
        return {
            "cluster_id": "c1",
            "node_id": NODE_ID,
            "role": "leader",
            "leader_id": NODE_ID if self.quorum else None,
            "term": 3,
            "commit_index": 42,
            "applied_index": 42,
            "quorum": self.quorum,
            "voters": [NODE_ID, OTHER_ID],
            "learners": [],
            "failures_tolerated": 0,
            "members": await self.nodes(),
            "tasks": {"completed": len(self.documents), **self.task_counts},
            "warnings": ["two voters: both must be up"],
        }

    async def nodes(self) -> list[Document]:
        self._fail()
        return [
            {
                "node_id": node_id,
                "name": name,
                "status": "online",
                "role": role,
                "address": "127.0.0.1:7433",
                "tools": ["command"],
                "resources": {},
                "slots": 2,
                "running": 1,
            }
            for node_id, name, role in (
                (NODE_ID, "alpha", "leader"),
                (OTHER_ID, "<b>beta</b>", "follower"),
            )
        ]

    async def running(self) -> list[Document]:
        self._fail()
        return [
            {
                "task_id": "t1",
                "task": "words",
                "subtask_id": "s1",
                "name": "build",
                "attempt": 1,
                "token": 7,
                "tool": "command",
                "node_id": NODE_ID,
                "status": "running",
                "allocated_at": "2023-11-14T22:13:20.000Z",
                "started_at": None,
            }
        ]

    async def settings(self) -> Document:
        self._fail()
        return {"groups": [{"title": "Node", "rows": []}]}

    async def check(self, request: TaskRequest) -> Document:
        self._fail()
        self.requests.append(request)
        if "!bad" in request.plan:
            raise InvalidPlan("`!bad` is no subtask", line=2)
        return {"type": request.type, "subtasks": [], "layers": []}

    async def submit(self, request: TaskRequest) -> Document:
        self._fail()
        self.requests.append(request)
        if "!bad" in request.plan:
            raise InvalidPlan("`!bad` is no subtask", line=2)
        known = self.keys.get(request.idempotency_key)
        if known is not None:
            return {"task_id": known, "status": "pending", "created": False}
        task_id = f"{len(self.documents):08d}-0000-4000-8000-000000000000"
        self.keys[request.idempotency_key or task_id] = task_id
        self.documents[task_id] = a_task(
            task_id, "failed" if "!fail" in request.plan else "completed"
        )
        return {"task_id": task_id, "status": "pending", "created": True}

    async def tasks(self, query: TaskQuery) -> Document:
        self._fail()
        self.requests.append(query)
        found = [task for task in self.documents.values() if query.status in ("", task["status"])]
        if query.cursor and not re.fullmatch("[0-9]{1,6}", query.cursor):
            raise InputError("this cursor is none that was given out")
        start = int(query.cursor or 0)
        page = found[start : start + query.limit]
        end = start + len(page)
        return {"tasks": page, "next_cursor": str(end) if end < len(found) else None}

    async def task(self, task_id: str) -> Document:
        self._fail()
        return self._find(task_id)

    def _find(self, prefix: str) -> Document:
        found = [key for key in self.documents if key.startswith(prefix)]
        if not found:
            raise NotFound(f"there is no task {prefix}")
        if len(found) > 1:
            raise InputError(f"{prefix} could be {len(found)} tasks")
        return self.documents[found[0]]

    async def subtasks(self, task_id: str) -> list[Document]:
        subtasks: list[Document] = self._find(task_id)["subtasks"]
        return subtasks

    async def backup(self, path: str) -> Document:
        self._fail()
        self.requests.append(path)
        return {"path": path, "tasks": 0, "blobs": 0, "missing_blobs": 0}

    async def explain(self, task_id: str) -> Document:
        self._fail()
        task = self._find(task_id)
        return {"task_id": task["task_id"], "status": task["status"], "reason": "", "subtasks": []}

    async def change(self, task_id: str, change: TaskChange) -> Document:
        self._fail()
        self.requests.append(change)
        task = self._find(task_id)
        return {"task_id": task["task_id"], "status": task["status"], "paused": change.paused}

    async def dry_run(self, request: TaskRequest) -> Document:
        self._fail()
        self.requests.append(request)
        return {"dry_run": True, "layers": [["a"]], "subtasks": []}

    async def cancel(self, task_id: str, reason: str, subtask_id: str = "") -> Document:
        self._fail()
        task = self._find(task_id)
        if subtask_id:
            self.requests.append((subtask_id, reason))
            return {"task_id": task["task_id"], "status": task["status"]}
        if task["status"] == "completed":
            raise Conflict(f"task {task_id} is completed already")
        self.requests.append(reason)
        task["status"] = "cancelled"
        return {"task_id": task["task_id"], "status": "cancelled"}

    async def retry(self, task_id: str, subtask_id: str) -> Document:
        self._fail()
        self.requests.append(subtask_id)
        return {"task_id": self._find(task_id)["task_id"], "status": "in_progress"}

    async def logs(self, query: LogQuery) -> AsyncIterator[Document]:
        self._fail()
        self.requests.append(query)
        task = self._find(query.task_id)
        if query.subtask and query.subtask not in [sub["name"] for sub in task["subtasks"]]:
            raise NotFound(f"task {query.task_id} has no subtask {query.subtask}")
        return self._stream(query.follow, self._log_line)

    async def events(self, query: EventQuery) -> AsyncIterator[Document]:
        self._fail()
        self.requests.append(query)
        return self._wanted(query, self._stream(query.follow, self._event))

    async def _wanted(
        self, query: EventQuery, events: AsyncIterator[Document]
    ) -> AsyncIterator[Document]:
        async with contextlib.aclosing(cast(AsyncGenerator[Document], events)):
            async for event in events:
                if event["log_id"] > query.after and query.wants(event):
                    yield event

    def _log_line(self, number: int, line: str) -> Document:
        return {
            "subtask_id": "s1",
            "name": "build",
            "attempt": 1,
            "node_id": NODE_ID,
            "time_ms": 1_700_000_000_000 + number,
            "stream": "stdout",
            "line": line,
        }

    def _event(self, number: int, line: str) -> Document:
        return {
            "log_id": number + 1,
            "task_id": "t1",
            "subtask_id": None,
            "worker_id": NODE_ID,
            "action": line,
            "details": {},
            "timestamp": f"2023-11-14T22:13:20.{number % 1000:03}Z",
        }

    async def _stream(self, follow: bool, make: Any) -> AsyncIterator[Document]:
        await self._count(1)
        try:
            for number, line in enumerate(self.lines):
                yield make(number, line)
            if self.stream_failure is not None:
                raise self.stream_failure
            if follow:
                await self.more.wait()
                yield make(len(self.lines), "more")
        finally:
            await self._count(-1)

    async def _count(self, change: int) -> None:
        self.open_streams += change
        async with self.streams_changed:
            self.streams_changed.notify_all()

    async def workers(self) -> list[Document]:
        return await self.nodes()

    async def templates(self, repository: str = "") -> list[Document]:
        self._fail()
        return [{"name": "bug_fix", "description": "find and mend", "subtasks": ["Bug Analysis"]}]

    async def metrics(self) -> bytes:
        self._fail()
        return b"# TYPE paceline_info gauge\npaceline_info 1.0\n"

    async def stop(self) -> None:
        self._fail()
        self.stopped.set()
