"""What a state full of old work costs: time per commit, queries and memory as it grows.

    python -m bench.growth [--quick] [--json] [--data DIRECTORY]

The state machine of one node, in this process, filled with completed tasks of ten subtasks each, up
to 1,000, 10,000 and (not with `--quick`) 100,000 subtasks. At each size the processor time of what
every new subtask costs is measured: its submission, allocation, start and outcome, each applied as
an entry of its own; and the time of what people and the leader ask. A ratio is the cost at 1,000
over the cost at that size: bigger is better, 1 means that the past costs nothing. What it has in
common with the other measurements is its options; the peer is the same program with less to carry.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from bench._options import options, output, say, table
from bench._process import scratch
from paceline.tasks import queries
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

SIZES, QUICK_SIZES = (1_000, 10_000, 100_000), (1_000, 10_000)
PER_TASK = 10
FILL_AT_ONCE = 20
"""Tasks whose entries are applied in one batch while the state is filled."""
CYCLES = 150
ASKED = 20
NODE = "n1"
START_MS = 1_700_000_000_000
OK = Outcome(ResultStatus.OK, "done", exit_code=0)

Sample = dict[str, float]


class Entry(NamedTuple):
    """What consensus gives."""

    index: int  # type: ignore[assignment]  # hides tuple.index
    term: int
    kind: int
    data: bytes


class State:
    """A machine, and the log that fills it."""

    def __init__(self, directory: Path) -> None:
        self.machine = TaskMachine(directory / "state.db")
        self._index = 0
        self._tasks = 0
        tools = (ToolState("command"),)
        self.apply([RegisterWorker(NODE, "one", "127.0.0.1:1", 1000, tools)])

    def fill(self, subtasks: int) -> None:
        """Complete tasks until there have been so many subtasks."""
        while self._tasks * PER_TASK < subtasks:
            self._complete([self._task() for _ in range(FILL_AT_ONCE)])

    def cycle(self) -> list[float]:
        """Complete one task; answer the processor seconds of each entry."""
        task = self._task()
        names = [subtask.subtask_id for subtask in task.subtasks]
        refs = [AttemptRef(name, 1, self._index + 2) for name in names]
        placed = tuple(Placement(name, 1, NODE, "command") for name in names)
        commands: list[Command] = [
            SubmitTask(task, task.task_id),
            Allocate(placed),
            StartAttempts(tuple(refs), NODE),
            *(FinishAttempt(ref, NODE, OK) for ref in refs),
        ]
        return [self._timed(command) for command in commands]

    def apply(self, commands: Sequence[Command]) -> None:
        """Apply these in one batch. Raise RuntimeError if any of them is refused."""
        entries = []
        for command in commands:
            self._index += 1
            request, now_ms = self._index.to_bytes(16, "big"), START_MS + self._index
            envelope = Envelope(request, self._index - 1, now_ms, NODE, command, 2)
            entries.append(Entry(self._index, 1, 1, encode_envelope(envelope)))
        for result in self.machine.apply(entries):
            if isinstance(result, Exception) or result is False:
                raise RuntimeError(f"not as expected: {result!r}")

    def _timed(self, command: Command) -> float:
        begun = time.thread_time()
        self.apply([command])
        return time.thread_time() - begun

    def _task(self) -> TaskSpec:
        self._tasks += 1
        task_id = f"t{self._tasks}"
        subtasks = tuple(
            SubtaskSpec(f"{task_id}-{at}", f"part {at}", ("command",), run="true")
            for at in range(PER_TASK)
        )
        return TaskSpec(task_id, f"the task number {self._tasks}", "plan", subtasks)

    def _complete(self, tasks: Sequence[TaskSpec]) -> None:
        names = [subtask.subtask_id for task in tasks for subtask in task.subtasks]
        token = self._index + len(tasks) + 1
        refs = tuple(AttemptRef(name, 1, token) for name in names)
        self.apply(
            [
                *(SubmitTask(task, task.task_id) for task in tasks),
                Allocate(tuple(Placement(name, 1, NODE, "command") for name in names)),
                StartAttempts(refs, NODE),
                *(FinishAttempt(ref, NODE, OK) for ref in refs),
            ]
        )


def measure(base: Path, sizes: Sequence[int]) -> dict[int, Sample]:
    """Answer what things cost at each size."""
    with scratch(base) as directory:
        state = State(directory)
        found = {}
        for size in sizes:
            say(f"filling up to {size:,} subtasks")
            state.fill(size)
            found[size] = _sample(state)
            say(f"{size:,}: " + ", ".join(f"{k} {v:,.3f}" for k, v in found[size].items()))
        state.machine.close()
    return found


def _sample(state: State) -> Sample:
    entries = [seconds for _ in range(CYCLES) for seconds in state.cycle()]
    connection, now_ms = state.machine.connection, START_MS * 2
    asked: dict[str, Callable[[], object]] = {
        "page_of_tasks": lambda: queries.tasks(connection, limit=50),
        "one_task": lambda: queries.task(connection, "t1"),
        "ready_subtasks": lambda: queries.ready_subtasks(connection, now_ms),
        "attempts_of_node": lambda: queries.attempts_of_node(connection, NODE),
        "search": lambda: queries.tasks(connection, search="number 77", limit=50),
    }
    return {
        "commit_ms": 1000 * statistics.mean(entries),
        **{f"{name}_ms": 1000 * _median(ask) for name, ask in asked.items()},
        "memory_mb": psutil.Process(os.getpid()).memory_info().rss / 1e6,
    }


def _median(ask: Callable[[], object]) -> float:
    times = []
    for _ in range(ASKED):
        begun = time.thread_time()
        ask()
        times.append(time.thread_time() - begun)
    return statistics.median(times)


def ratios(found: dict[int, Sample]) -> dict[str, float]:
    """Answer the cost with little to carry over the cost with much: bigger is better."""
    least, *others = found
    return {
        f"{name.removesuffix('_ms')}_at_{size}": found[least][name] / max(found[size][name], 1e-9)
        for size in others
        for name in found[size]
        if name.endswith("_ms")
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    chosen = options(__doc__, arguments)
    found = measure(chosen.data, QUICK_SIZES if chosen.quick else SIZES)
    names = list(next(iter(found.values())))
    rows = [
        [f"{size:,}", *(f"{sample[name]:,.3f}" for name in names)] for size, sample in found.items()
    ]
    lines = "\n".join(f"- {name}: {ratio:.2f}" for name, ratio in ratios(found).items())
    document: dict[str, object] = {
        "ratios": ratios(found),
        "results": [{"subtasks": size, **sample} for size, sample in found.items()],
    }
    output(chosen.json, document, f"{table(['subtasks', *names], rows)}\n\nRatios:\n\n{lines}")


if __name__ == "__main__":
    main()
