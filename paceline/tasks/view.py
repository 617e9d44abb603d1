"""What the planner sees: one frozen picture of the work, the workers and the time.

The coordinator fills it from the replicated state (`queries`) and from what it has heard of the
workers (`Vitals`), and asks again whenever either changes. Nothing here is stored or sent.
Durations of silence come from the leader's monotonic clock, moments from its wall clock, which is
also what the state's own times are from.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from paceline.tasks.model import (
    AttemptStatus,
    Privacy,
    Resources,
    ToolState,
    Vitals,
    WorkerStatus,
)
from paceline.tasks.throttles import Throttle

LOCAL_TOOLS = frozenset({"command", "ollama"})
"""Tools that keep what they are given on the machine: the only ones for sensitive work."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """A machine that is fuller than this, in percent, is given nothing new."""

    cpu_percent: float = 95.0
    memory_percent: float = 95.0
    disk_percent: float = 97.0


@dataclass(frozen=True, slots=True)
class PlanningSettings:
    """How the planner judges. `alive_ms` < `lease_ms`; a worker stops its agents at `lease_ms`.

    `report_grace_ms` must be longer than two heartbeats take to arrive: so long a worker may leave
    an attempt unmentioned that it has only just been given. `start_limit_ms` is how long one may
    leave an attempt untouched because it does not know of it yet. `ageing_ms` of waiting lift a
    task by one point of priority.
    """

    thresholds: Thresholds = Thresholds()
    alive_ms: int = 2_000
    lease_ms: int = 10_000
    grace_ms: int = 2_000
    report_grace_ms: int = 5_000
    start_limit_ms: int = 60_000
    busy_after_ms: int = 2_000
    ageing_ms: int = 30_000
    batch_limit: int = 512
    local_tools: frozenset[str] = LOCAL_TOOLS


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A registered worker, and what was last heard of it.

    `silent_ms` counts from the last heartbeat or from when this node began to lead, whichever was
    later. `dead`: its process is proven gone. `restart_index`: attempts with a token up to it were
    given to an earlier process of this worker; 0 as long as this leader has seen only one.
    `throttled`: by tool, the providers' limits that hold there now. `money`: why it takes no work
    that costs something; empty = it does.
    `drain_until_ms`: when it is to give back what it holds, where it drains within a limit.
    """

    node_id: str
    name: str = ""
    status: WorkerStatus = WorkerStatus.ONLINE
    slots: int = 1
    tools: tuple[ToolState, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    trusted: bool = False
    vitals: Vitals | None = None
    silent_ms: int = 0
    dead: bool = False
    restart_index: int = 0
    external: bool = False
    """It is no node: it has no repository's data, and never looks at another's work."""
    throttled: Mapping[str, Throttle] = field(default_factory=dict)
    money: str = ""
    drain_until_ms: int | None = None

    @property
    def slots_now(self) -> int:
        """Answer how many attempts it takes at once, by its own latest word."""
        return self.vitals.slots if self.vitals else self.slots

    @property
    def tools_now(self) -> tuple[ToolState, ...]:
        """Answer its tools, by its own latest word."""
        return self.vitals.tools if self.vitals else self.tools

    @property
    def labels_now(self) -> Mapping[str, str]:
        """Answer its labels: what it was registered with, and its own latest word before that."""
        return {**self.labels, **self.vitals.labels} if self.vitals else self.labels

    @property
    def resources(self) -> Resources:
        """Answer what the machine had left; nothing is known before the first heartbeat."""
        return self.vitals.resources if self.vitals else Resources()

    def alive(self, settings: PlanningSettings) -> bool:
        """Answer whether it was heard of lately, and so may be given work."""
        return not self.dead and self.vitals is not None and self.silent_ms <= settings.alive_ms

    def gone(self, settings: PlanningSettings) -> bool:
        """Answer whether what it held may be given to others."""
        return self.dead or self.silent_ms >= settings.lease_ms + settings.grace_ms


@dataclass(frozen=True, slots=True)
class ReadySubtask:
    """A pending subtask whose needs are met.

    `attempt` is the number that its next attempt will have. `privacy` is the effective one: the
    subtask's own, or else its task's. `failed_nodes`: where an earlier attempt ended for the node's
    sake. `session_on`: the node that has a session of its last attempt, which another can go on
    with. `waiting_since_ms`: when it became ready; None, where that is not known, means that it
    does not age. `not_before_ms`: when its back-off ends. `position`: its place in the task, the
    view's order standing in where all are 0. `commit`: the repository state that it starts from.
    `avoid_tool`: not to be used where there is another, nor, where there is none, `avoid_node`: so
    a review is another's than the author's. `held`: why it may not begin wherever it fits (its
    task's budget is spent).
    """

    subtask_id: str
    task_id: str
    name: str
    tools: tuple[str, ...]
    attempt: int = 1
    priority: int = 50
    task_priority: int = 50
    privacy: Privacy = Privacy.NORMAL
    labels: Mapping[str, str] = field(default_factory=dict)
    not_labels: Mapping[str, str] = field(default_factory=dict)
    failed_nodes: frozenset[str] = frozenset()
    session_on: str = ""
    waiting_since_ms: int | None = None
    not_before_ms: int = 0
    position: int = 0
    commit: str = ""
    avoid_tool: str = ""
    avoid_node: str = ""
    held: str = ""


@dataclass(frozen=True, slots=True)
class ActiveAttempt:
    """An attempt that a node holds by the state: allocated or running."""

    subtask_id: str
    task_id: str
    attempt: int
    token: int
    node_id: str
    tool: str
    status: AttemptStatus = AttemptStatus.ALLOCATED
    allocated_at_ms: int = 0
    started_at_ms: int | None = None
    recalled: bool = False

    @property
    def since_ms(self) -> int:
        """Answer when its latest change was: the start, or else the allocation."""
        return self.allocated_at_ms if self.started_at_ms is None else self.started_at_ms


@dataclass(frozen=True, slots=True)
class TimesUp:
    """What is to be ended now, by id, and when the next thing is due; None = nothing is.

    Tasks past their deadline, and subtasks that were ready for longer than they may be.
    """

    tasks: tuple[str, ...] = ()
    subtasks: tuple[str, ...] = ()
    next_ms: int | None = None


@dataclass(frozen=True, slots=True)
class PlanningView:
    """All that planning depends on. `applied_index`: of the state that this was read from.

    `served`: by task, the highest token that any subtask of it ever had, so that tasks of one
    priority take turns even when slots free one by one; a task that is not there had none.
    """

    now_ms: int
    workers: tuple[WorkerView, ...] = ()
    ready: tuple[ReadySubtask, ...] = ()
    active: tuple[ActiveAttempt, ...] = ()
    applied_index: int = 0
    settings: PlanningSettings = PlanningSettings()
    served: Mapping[str, int] = field(default_factory=dict)
    times_up: TimesUp = TimesUp()


def by_node(attempts: Iterable[ActiveAttempt]) -> dict[str, list[ActiveAttempt]]:
    """Answer the attempts that each node holds."""
    held: dict[str, list[ActiveAttempt]] = {}
    for attempt in attempts:
        held.setdefault(attempt.node_id, []).append(attempt)
    return held
