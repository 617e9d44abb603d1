"""What the state says is running, compared with what the workers say they run.

The state knows who was given what; a worker's heartbeat knows what is so. Where the two differ,
time decides which of them is behind. An attempt is given up only on a proof: the worker's process
is gone, its lease has ended (it has then stopped its agents by itself), it came back as a new
process, or a heartbeat that is new enough to know of the attempt does not mention it. A worker is
told to let go of what the state does not give it; it would find that out by itself, from its own
replica, but perhaps later.

Nothing is decided by comparing clocks of two machines.
"""

from dataclasses import dataclass
from enum import StrEnum

from paceline.tasks.model import AttemptStatus, Running
from paceline.tasks.view import ActiveAttempt, PlanningView, WorkerView, by_node


class Decision(StrEnum):
    """What to do about an attempt.

    `keep`: state and worker agree. `adopt`: the worker has it in hand, its start is not recorded
    yet. `wait`: nothing is known either way yet. `lose`: give it up. There is a fifth, for attempts
    that only the worker knows of: stop them, see `stops`.
    """

    KEEP = "keep"
    ADOPT = "adopt"
    WAIT = "wait"
    LOSE = "lose"


@dataclass(frozen=True, slots=True)
class Finding:
    """The decision about one active attempt; `reason` is there for `lose`."""

    attempt: ActiveAttempt
    decision: Decision
    reason: str = ""


def reconcile(view: PlanningView) -> list[Finding]:
    """Answer a decision for each active attempt of the state, in its order."""
    workers = {worker.node_id: worker for worker in view.workers}
    reports = {worker.node_id: _reported(worker) for worker in view.workers}
    return [
        _judge(attempt, workers.get(attempt.node_id), reports.get(attempt.node_id, set()), view)
        for attempt in view.active
    ]


def stops(view: PlanningView) -> dict[str, tuple[Running, ...]]:
    """Answer what each worker says it holds though the state does not give it to that worker.

    What is younger than the state in the view is left alone: the view cannot know of it.
    """
    given = {node_id: set(map(_key, held)) for node_id, held in by_node(view.active).items()}
    found = {}
    for worker in view.workers:
        known = given.get(worker.node_id, set())
        surplus = tuple(
            running
            for running in (worker.vitals.running if worker.vitals else ())
            if running.token <= view.applied_index and _key(running) not in known
        )
        if surplus:
            found[worker.node_id] = surplus
    return found


_Key = tuple[str, int, int]


def _key(attempt: ActiveAttempt | Running) -> _Key:
    return attempt.subtask_id, attempt.attempt, attempt.token


def _reported(worker: WorkerView) -> set[_Key]:
    return set(map(_key, worker.vitals.running)) if worker.vitals else set()


def _judge(
    attempt: ActiveAttempt, worker: WorkerView | None, reported: set[_Key], view: PlanningView
) -> Finding:
    if worker is None:
        return Finding(attempt, Decision.LOSE, "its worker is not registered any more")
    if worker.gone(view.settings):
        return Finding(attempt, Decision.LOSE, _gone_words(worker))
    if _key(attempt) in reported:
        started = attempt.status == AttemptStatus.RUNNING
        return Finding(attempt, Decision.KEEP if started else Decision.ADOPT)
    reason = _unreported_reason(attempt, worker, view)
    return Finding(attempt, Decision.LOSE if reason else Decision.WAIT, reason)


def _gone_words(worker: WorkerView) -> str:
    if worker.dead:
        return "its worker's process has ended"
    return f"its worker's lease has ended: silent for {worker.silent_ms / 1000:.1f} s"


def _unreported_reason(attempt: ActiveAttempt, worker: WorkerView, view: PlanningView) -> str:
    """Answer why an attempt that its worker does not mention is lost, or nothing while it may be.

    `heard_ms` is when the heartbeat came, by the clock that the state's times are from: a report
    from before the worker could know proves nothing, however long ago that is by now.
    """
    settings = view.settings
    if worker.vitals is None:
        return ""
    if attempt.token <= worker.restart_index:
        return "its worker was started anew"
    heard_ms = view.now_ms - worker.silent_ms
    if worker.vitals.applied_index < attempt.token:
        late = heard_ms - attempt.allocated_at_ms >= settings.start_limit_ms
        return "its worker is too far behind to take it up" if late else ""
    if heard_ms - attempt.since_ms >= settings.report_grace_ms:
        return "its worker does not know of it"
    return ""
