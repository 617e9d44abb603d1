"""Which worker suits a subtask, and how well: hard filters first, then the seed's score.

Source: the seed's "Task Allocator". There, a worker without the tool or below the privacy level
merely scored lower, and work ended up where it could not run; here both are filters, and each
refusal has its reason in words for `paceline explain`. Of the workers that are left,

    score = tool x 0.5 + resources x 0.3 + privacy x 0.2, each from 0 to 10

* tool: 10 for the first preference that the worker can use now, and half as much for each place
  further down (5, 2.5, ...), so that adding a last resort to a list changes nothing before it.
* resources: availability of CPU (0.4), memory (0.4) and disk (0.2), to whole points: smaller
  differences are noise of the measurement. Of the CPU no more counts as available than the share of
  free slots, because what was placed a moment ago does not show in a heartbeat yet.
* privacy: 10, the requirement being met.

Equal scores are decided by where a session of the subtask can go on, then by where the repository's
data already is, then by free slots, then by the node id, so that the same view always gives the
same plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from paceline.tasks.documents import iso
from paceline.tasks.model import Privacy, ToolState, WorkerStatus
from paceline.tasks.phases import FIT_WORKER
from paceline.tasks.throttles import Throttle
from paceline.tasks.view import (
    ActiveAttempt,
    PlanningSettings,
    ReadySubtask,
    Thresholds,
    WorkerView,
)

TOOL_WEIGHT, RESOURCE_WEIGHT, PRIVACY_WEIGHT = 0.5, 0.3, 0.2
CPU_SHARE, MEMORY_SHARE, DISK_SHARE = 0.4, 0.4, 0.2
FULL_SCORE = 10.0

Rank = tuple[float, bool, bool, int, str]
"""What workers are compared by, the least first: see `rank`."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """What allocation asks of a subtask; subtasks with equal ones are judged together."""

    tools: tuple[str, ...]
    privacy: Privacy = Privacy.NORMAL
    labels: tuple[tuple[str, str], ...] = ()
    failed_nodes: frozenset[str] = frozenset()
    avoid_tool: str = ""
    avoid_node: str = ""
    session_on: str = ""
    """The node that has a session to go on with."""
    not_labels: tuple[tuple[str, str], ...] = ()
    repository: bool = False
    """It begins with the files of a repository."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one worker is worth to one subtask: refused with a reason, or a tool and a score."""

    node_id: str
    name: str
    reason: str = ""
    tool: str = ""
    tool_score: float = 0.0
    resource_score: float = 0.0
    privacy_score: float = 0.0
    score: float = 0.0
    cached: bool = False
    resumes: bool = False
    """A session of an earlier attempt can go on there."""
    free_slots: int = 0
    passing: bool = False
    """Refused only for want of a slot: it could do the work when something there has ended."""

    @property
    def eligible(self) -> bool:
        """Answer whether the subtask may be placed there now."""
        return not self.reason


@dataclass(slots=True)
class Load:
    """How much of a worker is taken, by the state and by the plan that is being made."""

    slots: int = 0
    by_tool: dict[str, int] = field(default_factory=dict)

    def take(self, tool: str) -> None:
        """Count one more attempt with that tool."""
        self.slots += 1
        self.by_tool[tool] = self.by_tool.get(tool, 0) + 1


def requirements(subtask: ReadySubtask) -> Requirements:
    """Answer what allocation asks of the subtask."""
    return Requirements(
        tools=subtask.tools,
        privacy=subtask.privacy,
        labels=tuple(sorted(subtask.labels.items())) if subtask.labels else (),
        failed_nodes=subtask.failed_nodes,
        avoid_tool=subtask.avoid_tool,
        avoid_node=subtask.avoid_node,
        repository=bool(subtask.commit),
        session_on=subtask.session_on,
        not_labels=tuple(sorted(subtask.not_labels.items())) if subtask.not_labels else (),
    )


def load_of(attempts: list[ActiveAttempt]) -> Load:
    """Answer the load of a worker that holds these attempts."""
    load = Load()
    for attempt in attempts:
        load.take(attempt.tool)
    return load


class Candidate:
    """One worker, judged for one set of requirements.

    What does not change while a plan is made is judged once, here; `verdict` adds what does. As a
    plan fills slots, a worker's rank for given requirements never improves.
    """

    __slots__ = ("_tools", "_wanted", "lasting_reason", "passing_reason", "worker")

    def __init__(
        self, worker: WorkerView, wanted: Requirements, settings: PlanningSettings
    ) -> None:
        self.worker = worker
        self._wanted = wanted
        self._tools, tool_reason = _usable_tools(worker, wanted, settings)
        self.lasting_reason = (
            _absence(worker, settings)
            or tool_reason
            or _distrust(worker, wanted)
            or _label_mismatch(worker, wanted)
            or _beyond_external(worker, wanted)
        )
        self.passing_reason = _fullness(worker, settings.thresholds)

    def has_other_tool(self, avoided: str) -> bool:
        """Answer whether it fits with another tool than that one."""
        return self.fit and any(tool.name != avoided for tool in self._tools)

    def leave_out(self, avoided: str, reason: str) -> None:
        """Let that tool not be used here; without another, the worker is refused."""
        self._tools = tuple(tool for tool in self._tools if tool.name != avoided)
        if not self._tools and not self.lasting_reason:
            self.lasting_reason = reason

    @property
    def fit(self) -> bool:
        """Answer whether nothing but a want of slots can keep the subtask from this worker."""
        return not self.lasting_reason and not self.passing_reason

    def verdict(self, load: Load, *, cached: bool = False) -> Verdict:
        """Answer what the worker is worth under that load; `cached`: the repository is there."""
        reason = self.lasting_reason or self.passing_reason
        free = self.worker.slots_now - load.slots
        if reason:
            return self._refused(reason, free)
        if free <= 0:
            return self._refused(_no_slot(self.worker.slots_now), 0, passing=True)
        tool = self._free_tool(load)
        if tool is None:
            return self._refused(_no_tool_slot(self._tools), free, passing=True)
        return self._scored(tool, free, cached)

    def rank(self, load: Load, *, cached: bool = False) -> tuple[Rank, str, float] | None:
        """Answer (rank, tool, score) under that load, or None if it cannot be placed there now.

        The lesser rank is the better. It says what `verdict` says, without the words.
        """
        free = self.worker.slots_now - load.slots
        if free <= 0 or not self.fit:
            return None
        tool = self._free_tool(load)
        if tool is None:
            return None
        score = self._score(tool, free)
        elsewhere = self.worker.node_id != self._wanted.session_on
        return (-score, elsewhere, not cached, -free, self.worker.node_id), tool.name, score

    def _free_tool(self, load: Load) -> ToolState | None:
        for tool in self._tools:
            if not tool.slots or load.by_tool.get(tool.name, 0) < tool.slots:
                return tool
        return None

    def _score(self, tool: ToolState, free: int) -> float:
        return total_score(
            tool_score(tool.name, self._wanted.tools),
            resource_score(self.worker, free),
            FULL_SCORE,
        )

    def _scored(self, tool: ToolState, free: int, cached: bool) -> Verdict:
        return Verdict(
            node_id=self.worker.node_id,
            name=self.worker.name,
            tool=tool.name,
            tool_score=tool_score(tool.name, self._wanted.tools),
            resource_score=resource_score(self.worker, free),
            privacy_score=FULL_SCORE,
            score=self._score(tool, free),
            cached=cached,
            resumes=self.worker.node_id == self._wanted.session_on,
            free_slots=free,
        )

    def _refused(self, reason: str, free: int, *, passing: bool = False) -> Verdict:
        worker = self.worker
        return Verdict(
            worker.node_id, worker.name, reason, free_slots=max(0, free), passing=passing
        )


def candidates(
    workers: tuple[WorkerView, ...], wanted: Requirements, settings: PlanningSettings
) -> list[Candidate]:
    """Answer every worker judged for the requirements.

    A node on which the subtask failed for the node's own sake is refused as long as another could
    take it, be it only later; alone, it gets another chance, or a cluster of one would never finish
    what its restart interrupted.
    """
    judged = [Candidate(worker, wanted, settings) for worker in workers]
    fit = {candidate.worker.node_id for candidate in judged if candidate.fit}
    if fit - wanted.failed_nodes:
        for candidate in judged:
            if candidate.worker.node_id in wanted.failed_nodes and not candidate.lasting_reason:
                candidate.lasting_reason = "an earlier attempt failed here for the node's own sake"
    if wanted.avoid_tool or wanted.avoid_node:
        _prefer_others(judged, wanted)
    return judged


def _prefer_others(judged: list[Candidate], wanted: Requirements) -> None:
    """Leave out what is to be avoided: the tool where any fit worker has another, else the node."""
    tool, node_id = wanted.avoid_tool, wanted.avoid_node
    if tool and any(candidate.has_other_tool(tool) for candidate in judged):
        for candidate in judged:
            candidate.leave_out(tool, f"another tool than {tool} is to do it")
    elif node_id and any(each.fit and each.worker.node_id != node_id for each in judged):
        for candidate in judged:
            if candidate.worker.node_id == node_id and not candidate.lasting_reason:
                candidate.lasting_reason = "another node than the author's is to do it"


# --- scores ---------------------------------------------------------------------------------------


def total_score(tool: float, resources: float, privacy: float) -> float:
    """Answer the seed's weighted score, 0-10, to a thousandth."""
    weighted = tool * TOOL_WEIGHT + resources * RESOURCE_WEIGHT + privacy * PRIVACY_WEIGHT
    return round(weighted, 3)


def tool_score(tool: str, preferences: tuple[str, ...]) -> float:
    """Answer 10 for the first preference and half as much for each place further down."""
    return FULL_SCORE / (1 << preferences.index(tool))


def resource_score(worker: WorkerView, free_slots: int) -> float:
    """Answer how much of the machine is available, in whole points from 0 to 10."""
    resources = worker.resources
    cpu = min(_available(resources.cpu_percent), free_slots / max(1, worker.slots_now))
    memory = _available(resources.memory_percent)
    disk = _available(resources.disk_percent)
    share = cpu * CPU_SHARE + memory * MEMORY_SHARE + disk * DISK_SHARE
    return float(round(share * FULL_SCORE))


def _available(used_percent: float) -> float:
    return min(1.0, max(0.0, 1.0 - used_percent / 100.0))


# --- filters, in the order in which they are told -------------------------------------------------


def _absence(worker: WorkerView, settings: PlanningSettings) -> str:
    if worker.dead:
        return "offline: its process has ended"
    if worker.vitals is None:
        return "offline: not heard of since this leader took over"
    if worker.silent_ms > settings.alive_ms:
        return f"offline: silent for {worker.silent_ms / 1000:.1f} s"
    if worker.status == WorkerStatus.DRAINING:
        return "draining: it takes no new work"
    if worker.status not in FIT_WORKER:
        return f"recorded as {worker.status}"
    return ""


def _usable_tools(
    worker: WorkerView, wanted: Requirements, settings: PlanningSettings
) -> tuple[tuple[ToolState, ...], str]:
    """Answer the tools that the subtask may use there, best first, or why there are none."""
    here: Mapping[str, ToolState] = {tool.name: tool for tool in worker.tools_now}
    wished = [here[name] for name in wanted.tools if name in here]
    if not wished:
        return (), f"has none of the tools {', '.join(wanted.tools)}"
    troubles = {tool.name: _trouble(tool, worker, settings.local_tools) for tool in wished}
    healthy = [tool for tool in wished if not troubles[tool.name]]
    if not healthy:
        return (), "; ".join(f"{name}: {trouble}" for name, trouble in troubles.items())
    if wanted.privacy == Privacy.SENSITIVE:
        local = [tool for tool in healthy if tool.name in settings.local_tools]
        if not local:
            names = ", ".join(tool.name for tool in healthy)
            return (), f"sensitive work may not leave the machine, as it would with {names}"
        healthy = local
    return tuple(healthy), ""


def _trouble(tool: ToolState, worker: WorkerView, free: frozenset[str]) -> str:
    if not tool.healthy:
        return tool.reason or "not healthy"
    if throttle := worker.throttled.get(tool.name):
        return _resting(throttle)
    if worker.money and tool.name not in free:
        return worker.money
    return ""


def _resting(throttle: Throttle) -> str:
    kind = {"credit": "its provider has no credit left for it", "usage": "its allowance is used up"}
    why = kind.get(throttle.kind, "its provider's limit was reached")
    guess = " (the provider did not say until when)" if throttle.assumed else ""
    return f"throttled until {iso(throttle.until_ms)}: {why}{guess}"


def _distrust(worker: WorkerView, wanted: Requirements) -> str:
    if wanted.privacy == Privacy.SENSITIVE and not worker.trusted:
        return "not trusted with sensitive work"
    return ""


def _label_mismatch(worker: WorkerView, wanted: Requirements) -> str:
    if not wanted.labels and not wanted.not_labels:
        return ""
    here = worker.labels_now
    for key, value in wanted.not_labels:
        if here.get(key) == value:
            return f"label {key} must not be {value}, and here it is"
    for key, value in wanted.labels:
        if here.get(key) != value:
            has = f"is {here[key]}" if key in here else "is not set"
            return f"label {key} must be {value}, and here {has}"
    return ""


def _beyond_external(worker: WorkerView, wanted: Requirements) -> str:
    """Answer what a worker that is no node lacks: it is told words, and gives back words."""
    if worker.external and wanted.repository:
        return "an external worker has no copy of the repository"
    if worker.external and wanted.avoid_node:
        return "an external worker reviews nobody's work"
    return ""


def _fullness(worker: WorkerView, limits: Thresholds) -> str:
    resources = worker.resources
    used = (
        ("CPU", resources.cpu_percent, limits.cpu_percent),
        ("memory", resources.memory_percent, limits.memory_percent),
        ("disk", resources.disk_percent, limits.disk_percent),
    )
    for what, percent, limit in used:
        if percent > limit:
            return f"{what} is {percent:.0f} % used, over the limit of {limit:.0f} %"
    return ""


def _no_slot(slots: int) -> str:
    return f"all {slots} slots are taken" if slots != 1 else "its only slot is taken"


def _no_tool_slot(tools: tuple[ToolState, ...]) -> str:
    told = ", ".join(f"all {tool.slots} slots of {tool.name}" for tool in tools)
    return f"{told} are taken"
