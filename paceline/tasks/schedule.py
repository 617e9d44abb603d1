"""The planner: one picture of the cluster in, the commands that it calls for out.

`plan` is pure and level-triggered: it does not matter what has happened, only what is so. Planning
twice from the same view gives the same commands, and once they are applied there is nothing left to
do. Source: the seed's "Task Scheduler"; order of work:

* The task with the higher priority goes first. Waiting lifts a subtask, a point per `ageing_ms`, as
  far as to the highest priority among those that wait and never above it: an old one comes to share
  with the urgent, so that nothing starves, and does not push them aside.
* Between tasks of one priority slots are dealt in turn, to the task that has the fewest running
  (max-min fairness); among equals, to the one that was served longest ago.
* Within a task the subtask with the higher priority goes first, then the one written first.

A subtask that nobody can take does not hold up those behind it. Each is placed on the best worker
that is left, see `allocate`; slots count down while placing. Subtasks with the same requirements
share one heap of workers. A worker's rank only ever falls while slots fill, so that the top of a
heap is the best as soon as its own rank is up to date (a lazy priority queue): a plan costs about
the number of placements, not subtasks times workers.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from heapq import heapify, heappop, heapreplace
from operator import itemgetter

from paceline.tasks.allocate import (
    Candidate,
    Rank,
    Requirements,
    Verdict,
    candidates,
    load_of,
    requirements,
)
from paceline.tasks.commands import (
    Allocate,
    AttemptRef,
    Command,
    EndOverdue,
    LoseAttempts,
    Placement,
    RecallAttempts,
    SetWorkerStatus,
)
from paceline.tasks.model import WorkerStatus
from paceline.tasks.phases import FIT_WORKER
from paceline.tasks.reconcile import Decision, reconcile
from paceline.tasks.view import (
    ActiveAttempt,
    PlanningSettings,
    PlanningView,
    ReadySubtask,
    Thresholds,
    WorkerView,
    by_node,
)

__all__ = [
    "ActiveAttempt",
    "PlanningSettings",
    "PlanningView",
    "ReadySubtask",
    "Thresholds",
    "Verdict",
    "WorkerView",
    "in_order",
    "next_wakeup_ms",
    "plan",
    "why",
]


DRAINED = "its node drains, and the time for that is over"


def plan(view: PlanningView) -> list[Command]:
    """Answer what to propose now, in this order: losses, statuses, ends, one Allocate."""
    placements = _place(view)
    allocation = [Allocate(placements)] if placements else []
    return [*_losses(view), *_recalls(view), *_statuses(view), *_overdue(view), *allocation]


def why(view: PlanningView, ready: ReadySubtask) -> list[Verdict]:
    """Answer what each worker is worth to a subtask now: the best first, then those refused."""
    held = by_node(view.active)
    holders = _holders(view).get(ready.commit, set())
    verdicts = []
    for candidate in candidates(view.workers, requirements(ready), view.settings):
        node_id = candidate.worker.node_id
        load = load_of(held.get(node_id, []))
        verdicts.append(candidate.verdict(load, cached=node_id in holders))
    return sorted(verdicts, key=_verdict_order)


def in_order(view: PlanningView) -> list[str]:
    """Answer the ids of the subtasks that may be placed now, the most deserving first."""
    return [subtask.subtask_id for subtask in _in_order(view)]


def next_wakeup_ms(view: PlanningView) -> int | None:
    """Answer when, by the clock of `now_ms`, time alone will call for a new plan; None = never.

    That is when a back-off or a provider's limit ends, when a silent worker begins to count as
    offline, when what it holds may be given to others, and when a deadline passes. Heartbeats and
    changes of the state call for one by themselves.
    """
    moments = [] if view.times_up.next_ms is None else [view.times_up.next_ms]
    moments += [moment for s in view.ready for moment in _subtask_moments(s, view.now_ms)]
    holders = {attempt.node_id for attempt in view.active}
    for worker in view.workers:
        moments += _worker_moments(worker, worker.node_id in holders, view)
    return min(moments, default=None)


def _verdict_order(verdict: Verdict) -> tuple[bool, float, bool, bool, int, str]:
    eligible = verdict.eligible
    score, free = (-verdict.score, -verdict.free_slots) if eligible else (0.0, 0)
    return not eligible, score, not verdict.resumes, not verdict.cached, free, verdict.node_id


def _subtask_moments(subtask: ReadySubtask, now_ms: int) -> Iterable[int]:
    if subtask.not_before_ms > now_ms:
        yield subtask.not_before_ms


def _worker_moments(worker: WorkerView, holds: bool, view: PlanningView) -> Iterable[int]:
    settings = view.settings
    yield from (each.until_ms for each in worker.throttled.values() if each.until_ms > view.now_ms)
    if not worker.dead:
        offline_in = settings.alive_ms + 1 - worker.silent_ms
        if offline_in > 0 and worker.status != WorkerStatus.OFFLINE:
            yield view.now_ms + offline_in
        if holds and worker.drain_until_ms is not None and worker.drain_until_ms > view.now_ms:
            yield worker.drain_until_ms
        gone_in = settings.lease_ms + settings.grace_ms - worker.silent_ms
        if holds and gone_in > 0:
            yield view.now_ms + gone_in


# --- attempts to give up --------------------------------------------------------------------------


def _losses(view: PlanningView) -> list[LoseAttempts]:
    """Answer one command per reason, none with more attempts than `batch_limit`."""
    lost: dict[str, list[AttemptRef]] = {}
    for finding in reconcile(view):
        if finding.decision is Decision.LOSE:
            held = finding.attempt
            ref = AttemptRef(held.subtask_id, held.attempt, held.token)
            lost.setdefault(finding.reason, []).append(ref)
    size = view.settings.batch_limit
    return [
        LoseAttempts(tuple(refs[start : start + size]), reason)
        for reason, refs in lost.items()
        for start in range(0, len(refs), size)
    ]


def _overdue(view: PlanningView) -> list[EndOverdue]:
    up = view.times_up
    return [EndOverdue(up.tasks, up.subtasks)] if up.tasks or up.subtasks else []


def _recalls(view: PlanningView) -> list[RecallAttempts]:
    """Answer what is to be given back by workers that drain and whose time for that is over."""
    late = {
        worker.node_id
        for worker in view.workers
        if worker.status == WorkerStatus.DRAINING
        and worker.drain_until_ms is not None
        and view.now_ms >= worker.drain_until_ms
    }
    refs = [
        AttemptRef(each.subtask_id, each.attempt, each.token)
        for each in view.active
        if each.node_id in late and not each.recalled
    ]
    wanted = tuple(refs[: view.settings.batch_limit])
    return [RecallAttempts(wanted, DRAINED)] if wanted else []


# --- statuses of workers --------------------------------------------------------------------------


def _statuses(view: PlanningView) -> list[SetWorkerStatus]:
    held = by_node(view.active)
    commands = []
    for worker in view.workers:
        status, reason = _judged_status(worker, held.get(worker.node_id, []), view)
        if status != worker.status:
            commands.append(SetWorkerStatus(worker.node_id, status.value, reason))
    return commands


def _judged_status(
    worker: WorkerView, held: list[ActiveAttempt], view: PlanningView
) -> tuple[WorkerStatus, str]:
    """Answer the status that a worker should have. One that drains does so until it is gone."""
    if worker.dead:
        return WorkerStatus.OFFLINE, "its process has ended"
    if worker.silent_ms > view.settings.alive_ms:
        return WorkerStatus.OFFLINE, "no heartbeat comes from it"
    if worker.vitals is None or worker.status == WorkerStatus.DRAINING:
        return worker.status, ""
    if worker.tools_now and not any(tool.healthy for tool in worker.tools_now):
        return WorkerStatus.ERROR, "none of its tools works"
    full = 0 < worker.slots_now <= len(held)
    if full and worker.status in (WorkerStatus.ONLINE, WorkerStatus.BUSY):
        # Each change is a log entry. A worker that fills and frees its slots a hundred times a
        # second is not worth two hundred: only one that stays full is told to be busy.
        settled = view.now_ms - max(a.allocated_at_ms for a in held) >= view.settings.busy_after_ms
        return (WorkerStatus.BUSY, "all its slots are taken") if settled else (worker.status, "")
    return WorkerStatus.ONLINE, ""


# --- placing --------------------------------------------------------------------------------------

_HeapItem = tuple[Rank, int, str, float, Candidate]
"""Rank, the load for which it holds, tool, score, and whose rank it is. Node ids differ, so that
comparing never gets beyond the rank."""


def _place(view: PlanningView) -> tuple[Placement, ...]:
    board = _Board(view)
    placements: list[Placement] = []
    if board.free_slots <= 0:
        return ()
    for subtask in _in_order(view):
        if board.free_slots <= 0 or len(placements) >= view.settings.batch_limit:
            break
        placement = board.place(subtask)
        if placement:
            placements.append(placement)
    return tuple(placements)


def _holders(view: PlanningView) -> dict[str, set[str]]:
    """Answer which nodes have the data of each commit that any of them has."""
    holders: dict[str, set[str]] = {}
    for worker in view.workers:
        for commit in worker.vitals.caches if worker.vitals else ():
            holders.setdefault(commit, set()).add(worker.node_id)
    return holders


class _Board:
    """The workers' slots while one plan is made."""

    def __init__(self, view: PlanningView) -> None:
        self._view = view
        held = by_node(view.active)
        self._loads = {w.node_id: load_of(held.get(w.node_id, [])) for w in view.workers}
        self._holders = _holders(view)
        self._fit: dict[Requirements, list[Candidate]] = {}
        self._heaps: dict[tuple[Requirements, str], list[_HeapItem]] = {}
        self.free_slots = sum(
            max(0, worker.slots_now - self._loads[worker.node_id].slots)
            for worker in view.workers
            if worker.alive(view.settings) and worker.status in FIT_WORKER
        )

    def place(self, subtask: ReadySubtask) -> Placement | None:
        """Take a slot of the best worker for the subtask, or answer None if there is none."""
        # A commit that nobody has sets no two subtasks apart.
        commit = subtask.commit if subtask.commit in self._holders else ""
        heap = self._heap(requirements(subtask), commit)
        item = self._best(heap, commit)
        if item is None:
            return None
        _, _, tool, score, candidate = item
        node_id = candidate.worker.node_id
        self._loads[node_id].take(tool)
        self.free_slots -= 1
        return Placement(subtask.subtask_id, subtask.attempt, node_id, tool, score)

    def _heap(self, wanted: Requirements, commit: str) -> list[_HeapItem]:
        heap = self._heaps.get((wanted, commit))
        if heap is None:
            ranked = (self._item(candidate, commit) for candidate in self._candidates(wanted))
            heap = [item for item in ranked if item]
            heapify(heap)
            self._heaps[wanted, commit] = heap
        return heap

    def _candidates(self, wanted: Requirements) -> list[Candidate]:
        fit = self._fit.get(wanted)
        if fit is None:
            judged = candidates(self._view.workers, wanted, self._view.settings)
            fit = self._fit[wanted] = [candidate for candidate in judged if candidate.fit]
        return fit

    def _item(self, candidate: Candidate, commit: str) -> _HeapItem | None:
        node_id = candidate.worker.node_id
        load = self._loads[node_id]
        ranked = candidate.rank(load, cached=node_id in self._holders.get(commit, ()))
        if ranked is None:
            return None
        rank, tool, score = ranked
        return rank, load.slots, tool, score, candidate

    def _best(self, heap: list[_HeapItem], commit: str) -> _HeapItem | None:
        """Answer the best worker: bring the top up to date until it is still the top."""
        while heap:
            top = heap[0]
            candidate = top[4]
            if top[1] == self._loads[candidate.worker.node_id].slots:
                return top
            fresh = self._item(candidate, commit)
            if fresh is None:
                heappop(heap)
            else:
                heapreplace(heap, fresh)
        return None


# --- the order of work ----------------------------------------------------------------------------


def _in_order(view: PlanningView) -> list[ReadySubtask]:
    """Answer the subtasks that may be placed now, the most deserving first, none twice."""
    active = {attempt.subtask_id for attempt in view.active}
    waiting = {
        subtask.subtask_id: subtask
        for subtask in view.ready
        if subtask.not_before_ms <= view.now_ms
        and subtask.subtask_id not in active
        and not subtask.held
    }
    levels = sorted({subtask.task_priority for subtask in waiting.values()})
    queues: dict[tuple[int, str], list[ReadySubtask]] = {}
    for subtask in waiting.values():
        level = _level(subtask, levels, view)
        queues.setdefault((level, subtask.task_id), []).append(subtask)
    running = Counter(attempt.task_id for attempt in view.active)
    dealt = []
    for place, ((level, task_id), queue) in enumerate(queues.items()):
        queue.sort(key=_order_in_task)
        served = view.served.get(task_id, 0)
        for turn, subtask in enumerate(queue, start=running[task_id]):
            dealt.append(((-level, turn, served, place), subtask))
    dealt.sort(key=itemgetter(0))
    return [subtask for _, subtask in dealt]


def _level(subtask: ReadySubtask, levels: list[int], view: PlanningView) -> int:
    """Answer the highest priority among those present that waiting has lifted the subtask to."""
    if subtask.waiting_since_ms is None:
        return subtask.task_priority
    waited_ms = max(0, view.now_ms - subtask.waiting_since_ms)
    lifted = subtask.task_priority + waited_ms // view.settings.ageing_ms
    return levels[bisect_right(levels, lifted) - 1]


def _order_in_task(subtask: ReadySubtask) -> tuple[int, int]:
    return -subtask.priority, subtask.position
