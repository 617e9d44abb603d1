"""Why a subtask runs, or does not yet: what `paceline explain` tells.

Everything here is read off the same picture that the planner gets (`view`), through the planner's
own judgement (`schedule.why`), so that the explanation cannot differ from what is done. Each
subtask gets one word for what it waits for, one sentence for a person, and, where nodes were
judged, one verdict per node:

    ended         it has completed, failed or was cancelled
    running       a node works on it, or was given it
    needs         other subtasks must complete first
    back_off      an earlier attempt failed; the next is not before some moment
    quorum        no majority of the voters answers: nothing is given out
    turn          a node could take it; others go first, or the next plan is about to place it
    slot          nodes could take it when something there has ended
    node          no node can take it as things are
    budget        its task has cost what it may cost
    review        another agent looks at its work, or is to
    person        it, or its task, waits for a decision
    paused        a person has paused its task
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from paceline.tasks import phases, queries
from paceline.tasks.allocate import Verdict
from paceline.tasks.model import SubtaskStatus
from paceline.tasks.schedule import in_order, why
from paceline.tasks.view import PlanningView, ReadySubtask, WorkerView

Document = dict[str, Any]

NODES_TOLD: Final = 3
"""A sentence names so many nodes; the verdicts have them all."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one subtask waits for: a word of the module's list, and a sentence."""

    waits_for: str
    reason: str
    verdicts: tuple[Verdict, ...] = ()


class Explainer:
    """Explains subtasks at one moment: that of the view."""

    def __init__(self, view: PlanningView, *, quorum: bool) -> None:
        self._view = view
        self._quorum = quorum
        self._places = {subtask_id: at for at, subtask_id in enumerate(in_order(view))}
        self._workers = {worker.node_id: worker for worker in view.workers}

    def subtask(self, subtask: Document, task: Document, ready: ReadySubtask | None) -> Answer:
        """Answer why a subtask (its document, its task's, and itself if ready) is where it is."""
        status = subtask["status"]
        if status not in phases.OPEN_SUBTASK:
            return Answer("ended", subtask["reason"] or f"it is {status}")
        if status in phases.HELD_SUBTASK:
            return self._running(subtask)
        unmet = [need for need in subtask["dependencies"] if not need["met"]]
        if unmet:
            return Answer("needs", f"it needs {_listed(map(_need, unmet))}")
        waiting = _checkpoint(subtask, task)
        if waiting:
            return Answer("person", waiting)
        if task.get("paused"):
            return Answer("paused", "its task is paused: `paceline resume` lets it go on")
        if status == SubtaskStatus.REVIEW:
            return self._review(subtask, ready)
        if ready is None:
            return Answer("person", f"its task is {task['status']}: a decision is waited for")
        return self._waiting(ready)

    def _running(self, subtask: Document) -> Answer:
        worker = self._workers.get(subtask["node_id"] or "")
        name = _name(worker) if worker else "a node that is not registered any more"
        if worker is None or worker.alive(self._view.settings):
            doing = "works on it" if subtask["status"] == SubtaskStatus.IN_PROGRESS else "has it"
            return Answer("running", f"{name} {doing}")
        settings = self._view.settings
        limit_s = (settings.lease_ms + settings.grace_ms) / 1000
        silence = f"{name} has it, and has been silent for {worker.silent_ms / 1000:.0f} s"
        return Answer("running", f"{silence}; after {limit_s:.0f} s it goes elsewhere")

    def _review(self, subtask: Document, ready: ReadySubtask | None) -> Answer:
        """Answer for one whose work another agent looks at, now or soon."""
        last = subtask["attempts"][-1] if subtask["attempts"] else {}
        if last.get("kind") == "review" and not last.get("finished_at"):
            worker = self._workers.get(last["node_id"])
            return Answer("review", f"{_name(worker) if worker else 'a node'} reviews it")
        if ready is None:
            return Answer("review", "it is done, and waits for another agent to review it")
        answer = self._waiting(ready)
        return Answer(
            "review", f"it is done, and is to be reviewed: {answer.reason}", answer.verdicts
        )

    def _waiting(self, ready: ReadySubtask) -> Answer:
        verdicts = tuple(why(self._view, ready))
        delay_ms = ready.not_before_ms - self._view.now_ms
        if not self._quorum:
            reason = "no majority of the voters answers: nothing is given out until one does"
            return Answer("quorum", reason, verdicts)
        if ready.held:
            return Answer("budget", ready.held, verdicts)
        if delay_ms > 0:
            again = f"attempt {ready.attempt} begins in {delay_ms / 1000:.1f} s at the earliest"
            return Answer("back_off", f"an earlier attempt failed; {again}", verdicts)
        return self._judged(ready, verdicts)

    def _judged(self, ready: ReadySubtask, verdicts: tuple[Verdict, ...]) -> Answer:
        able = [verdict for verdict in verdicts if verdict.eligible]
        if able:
            return Answer("turn", self._turn(ready, able[0]), verdicts)
        full = [verdict.name or verdict.node_id for verdict in verdicts if verdict.passing]
        if full:
            ahead = self._places.get(ready.subtask_id, 0)
            behind = f"; {_ahead(ahead)}" if ahead else ""
            return Answer("slot", f"it waits for a free slot on {_listed(full)}{behind}", verdicts)
        return Answer("node", nobody(verdicts), verdicts)

    def _turn(self, ready: ReadySubtask, best: Verdict) -> str:
        where = f"{best.name or best.node_id} ({best.tool}, score {best.score:g})"
        ahead = self._places.get(ready.subtask_id, 0)
        if ahead:
            return f"{where} could take it; {_ahead(ahead)}"
        return f"it goes to {where} with the next plan"


def document(
    connection: sqlite3.Connection,
    explainer: Explainer,
    identifier: str,
    ready: dict[str, ReadySubtask],
) -> Document:
    """Answer `explain --json` of a task: each subtask, what it waits for, and what nodes said.

    `ready` has the task's subtasks whose needs are met, by id. Raise NotFound, InputError.
    """
    task = queries.task(connection, identifier)
    statuses = {each["name"]: each["status"] for each in task["subtasks"]}
    return {
        "task_id": task["task_id"],
        "status": task["status"],
        "reason": task["details"]["reason"],
        "subtasks": [
            _explained(explainer, subtask, task, statuses, ready.get(subtask["subtask_id"]))
            for subtask in task["subtasks"]
        ],
    }


def _explained(
    explainer: Explainer,
    subtask: Document,
    task: Document,
    statuses: dict[str, str],
    ready: ReadySubtask | None,
) -> Document:
    needs = [
        {"name": name, "status": statuses[name], "met": statuses[name] == SubtaskStatus.COMPLETED}
        for name in subtask["dependencies"]
    ]
    answer = explainer.subtask({**subtask, "dependencies": needs}, task, ready)
    return {
        "subtask_id": subtask["subtask_id"],
        "name": subtask["name"],
        "status": subtask["status"],
        "waits_for": answer.waits_for,
        "reason": answer.reason,
        "needs": needs,
        "nodes": [verdict_document(verdict) for verdict in answer.verdicts],
    }


def verdict_document(verdict: Verdict) -> Document:
    """Answer one node's word on one subtask."""
    return asdict(verdict) | {"eligible": verdict.eligible}


def _ahead(count: int) -> str:
    return "another goes first" if count == 1 else f"{count} others go first"


def _checkpoint(subtask: Document, task: Document) -> str:
    """Answer which decision it waits for, or nothing."""
    for checkpoint in task.get("checkpoints") or ():
        if checkpoint["status"] == "pending" and checkpoint["subtask_id"] in (
            None,
            subtask["subtask_id"],
        ):
            return f"a person is to decide ({checkpoint['checkpoint_id']}): {checkpoint['reason']}"
    return ""


def _need(need: Document) -> str:
    return f"{need['name']} ({need['status']})"


def _name(worker: WorkerView) -> str:
    return worker.name or worker.node_id


def nobody(verdicts: Sequence[Verdict]) -> str:
    """Answer in a sentence why none of these nodes can take it."""
    if not verdicts:
        return "no node has registered as a worker yet"
    counts = Counter(verdict.reason for verdict in verdicts)
    if len(counts) == 1:
        (reason,) = counts
        return f"no node can take it: {reason}"
    told = (f"{verdict.name or verdict.node_id}: {verdict.reason}" for verdict in verdicts)
    return f"no node can take it ({_listed(told, separator='; ')})"


def _listed(parts: Iterable[str], separator: str = ", ") -> str:
    """Answer the first few, and how many more there are."""
    found = list(parts)
    more = len(found) - NODES_TOLD
    shown = separator.join(found[:NODES_TOLD])
    return f"{shown}{separator}and {more} more" if more > 0 else shown
