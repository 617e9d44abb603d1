"""Which status may follow which: one table per kind of thing, and one function that refuses.

A task runs

    pending → initializing → in_progress ⇄ checkpoint → completed | failed | cancelled

and comes back from failed or cancelled only when a person has it retried. A subtask goes round

    pending → allocated → in_progress → (review →) completed | failed | cancelled

where review is both: another agent looks at the work, or a person is to decide. It falls back to
pending when it is to be corrected, when its attempt failed with tries left, or was lost with its
node. It may end right from allocated: a worker that cannot even prepare says so without having
begun. An attempt never comes back: each try is a new one, with a new fencing token.

Staying what one is, is not a change: callers see to that before they ask.
"""

from collections.abc import Mapping
from typing import Final

from paceline.errors import Conflict
from paceline.tasks.model import AttemptStatus as A
from paceline.tasks.model import SubtaskStatus as S
from paceline.tasks.model import TaskStatus as T
from paceline.tasks.model import WorkerStatus as W

Table = Mapping[str, frozenset[str]]
"""For each status, those that may follow it at once."""

TASK: Final[Table] = {
    T.PENDING: frozenset({T.INITIALIZING, T.CANCELLED}),
    T.INITIALIZING: frozenset({T.IN_PROGRESS, T.FAILED, T.CANCELLED}),
    T.IN_PROGRESS: frozenset({T.CHECKPOINT, T.COMPLETED, T.FAILED, T.CANCELLED}),
    T.CHECKPOINT: frozenset({T.IN_PROGRESS, T.COMPLETED, T.FAILED, T.CANCELLED}),
    T.COMPLETED: frozenset(),
    T.FAILED: frozenset({T.IN_PROGRESS, T.CANCELLED}),
    T.CANCELLED: frozenset({T.IN_PROGRESS}),
}

SUBTASK: Final[Table] = {
    S.PENDING: frozenset({S.ALLOCATED, S.FAILED, S.CANCELLED}),
    S.ALLOCATED: frozenset(
        {S.IN_PROGRESS, S.REVIEW, S.PENDING, S.COMPLETED, S.FAILED, S.CANCELLED}
    ),
    S.IN_PROGRESS: frozenset({S.REVIEW, S.PENDING, S.COMPLETED, S.FAILED, S.CANCELLED}),
    S.REVIEW: frozenset({S.IN_PROGRESS, S.PENDING, S.COMPLETED, S.FAILED, S.CANCELLED}),
    S.COMPLETED: frozenset(),
    S.FAILED: frozenset({S.PENDING}),
    S.CANCELLED: frozenset({S.PENDING}),
}

ATTEMPT: Final[Table] = {
    A.ALLOCATED: frozenset({A.RUNNING, A.SUCCEEDED, A.FAILED, A.CANCELLED, A.LOST}),
    A.RUNNING: frozenset({A.SUCCEEDED, A.FAILED, A.CANCELLED, A.LOST}),
    A.SUCCEEDED: frozenset(),
    A.FAILED: frozenset(),
    A.CANCELLED: frozenset(),
    A.LOST: frozenset(),
}

WORKER: Final[Table] = {
    W.ONLINE: frozenset({W.BUSY, W.OFFLINE, W.ERROR, W.DRAINING}),
    W.BUSY: frozenset({W.ONLINE, W.OFFLINE, W.ERROR, W.DRAINING}),
    W.OFFLINE: frozenset({W.ONLINE, W.ERROR, W.DRAINING}),
    W.ERROR: frozenset({W.ONLINE, W.OFFLINE, W.DRAINING}),
    W.DRAINING: frozenset({W.ONLINE, W.OFFLINE, W.ERROR}),
}

CHECKPOINT: Final[Table] = {
    "pending": frozenset({"resolved", "skipped"}),
    "resolved": frozenset(),
    "skipped": frozenset(),
}

TABLES: Final[Mapping[str, Table]] = {
    "task": TASK,
    "subtask": SUBTASK,
    "attempt": ATTEMPT,
    "worker": WORKER,
    "checkpoint": CHECKPOINT,
}

OPEN_SUBTASK: Final = frozenset({S.PENDING, S.ALLOCATED, S.IN_PROGRESS, S.REVIEW})
"""A subtask that has not ended."""

HELD_SUBTASK: Final = frozenset({S.ALLOCATED, S.IN_PROGRESS})
"""A subtask that a node has in its hands: exactly then it has one active attempt."""

ACTIVE_ATTEMPT: Final = frozenset({A.ALLOCATED, A.RUNNING})
"""An attempt that has not ended."""

WORKED_TASK: Final = frozenset({T.IN_PROGRESS, T.CHECKPOINT, T.FAILED})
"""A task whose ready subtasks may be given out. The branches of a failed task that do not hang on
the failure go on, and so do those that do not hang on a checkpoint."""

FIT_WORKER: Final = frozenset({W.ONLINE, W.BUSY})
"""A worker that may be given work."""


def check(kind: str, old: str, new: str) -> None:
    """Raise Conflict unless a thing of that kind may go from `old` to `new`; change nothing.

    `kind` is a key of `TABLES`. A status that the table does not have may not be left.
    """
    if new not in TABLES[kind].get(old, frozenset()):
        raise Conflict(f"a {kind} that is {old} cannot become {new}")
