"""Log entries for tests of the machine: a small log that numbers, times and wraps commands."""

from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

from paceline.tasks.commands import (
    Allocate,
    AttemptRef,
    Command,
    Envelope,
    FinishAttempt,
    Placement,
    RegisterWorker,
    StartAttempts,
    SubmitTask,
    encode_envelope,
)
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import Outcome, ResultStatus, SubtaskSpec, TaskSpec, ToolState

START_MS = 1_700_000_000_000

OK = Outcome(ResultStatus.OK, text="done", exit_code=0)
FAILED = Outcome(ResultStatus.FAILED, text="it broke", exit_code=1)


class Entry(NamedTuple):
    """What consensus gives."""

    index: int  # type: ignore[assignment]  # hides tuple.index
    term: int
    kind: int
    data: bytes


class Log:
    """Makes the entries of one log, gapless, one millisecond apart."""

    def __init__(self, index: int = 0, level: int = 1) -> None:
        self.index = index
        self.level = level
        self.now_ms = START_MS
        self.entries: list[Entry] = []
        self._requests = count(1)

    def command(
        self,
        command: Command,
        *,
        request_id: bytes = b"",
        basis: int | None = None,
        origin: str = "origin",
    ) -> Entry:
        self.now_ms += 1
        envelope = Envelope(
            request_id or next(self._requests).to_bytes(16, "big"),
            self.index if basis is None else basis,
            self.now_ms,
            origin,
            command,
            self.level,
        )
        return self.raw(1, encode_envelope(envelope))

    def raw(self, kind: int, data: bytes = b"") -> Entry:
        self.index += 1
        entry = Entry(self.index, 1, kind, data)
        self.entries.append(entry)
        return entry


class Driver:
    """A machine and its log, one command at a time."""

    def __init__(self, machine: TaskMachine, level: int = 1) -> None:
        self.machine = machine
        self.log = Log(machine.applied_index, level)

    def __call__(self, command: Command, **envelope: Any) -> Any:
        return self.machine.apply([self.log.command(command, **envelope)])[0]

    def submit(self, *subtasks: SubtaskSpec, task_id: str = "task", key: str = "") -> Any:
        return self(SubmitTask(TaskSpec(task_id, "words", "plan", subtasks), key, "ann"))

    def register(self, *node_ids: str) -> None:
        for node_id in node_ids:
            self(worker(node_id))

    def allocate(self, *subtask_ids: str, node_id: str = "n1", attempt: int = 1) -> AttemptRef:
        """Place them all on one node; answer the last one's reference."""
        placements = tuple(Placement(each, attempt, node_id, "command") for each in subtask_ids)
        result = self(Allocate(placements))
        assert result == {"allocated": len(subtask_ids), "void": []}
        return AttemptRef(subtask_ids[-1], attempt, self.log.index)

    def start(self, *refs: AttemptRef, node_id: str = "n1") -> Any:
        return self(StartAttempts(refs, node_id))

    def finish(self, ref: AttemptRef, outcome: Outcome = OK, node_id: str = "n1") -> Any:
        return self(FinishAttempt(ref, node_id, outcome))

    def run(self, subtask_id: str, outcome: Outcome = OK, *, attempt: int = 1) -> Any:
        """Take one attempt from its allocation to its end."""
        ref = self.allocate(subtask_id, attempt=attempt)
        self.start(ref)
        return self.finish(ref, outcome)

    def column(self, sql: str, *parameters: Any) -> Any:
        """Answer the first column of the first row."""
        return self.machine.connection.execute(sql, parameters).fetchone()[0]

    def status(self, subtask_id: str) -> str:
        return str(self.column("SELECT status FROM subtasks WHERE subtask_id = ?", subtask_id))

    def task_status(self, task_id: str = "task") -> str:
        return str(self.column("SELECT status FROM tasks WHERE task_id = ?", task_id))


def subtask(subtask_id: str, *needs: str, **fields: Any) -> SubtaskSpec:
    """A subtask whose name is its id."""
    return SubtaskSpec(subtask_id, subtask_id, ("command",), needs, **fields)


def worker(node_id: str, **fields: Any) -> RegisterWorker:
    tools: Sequence[ToolState] = (ToolState("command"),)
    return RegisterWorker(node_id, f"name of {node_id}", "127.0.0.1:1", 4, tuple(tools), **fields)
