"""The demo's course: start, submit, wait for the right moment, kill, measure, count."""

import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from paceline.cli.demo_cluster import Cluster, Node
from paceline.cli.demo_probe import Probe
from paceline.cli.demo_report import Report, duplicated_results, lost_results, restarted
from paceline.cli.demo_stop import Interrupted, Stop, noting_signals
from paceline.cli.demo_view import View
from paceline.cli.demo_work import make_repository, plan
from paceline.cli.failures import FAILED
from paceline.cli.format import print_json
from paceline.client import Document, ended
from paceline.errors import PacelineError, TimedOut

PAUSE_S = 0.03
TASK_S = 60.0
ENOUGH_DONE = 1 / 3
LATE = 2 / 3
"""From here on the leader is killed even if it runs nothing itself."""

_RUNNING = ("allocated", "in_progress")


def run(repository: Path | None, view: View, *, as_json: bool) -> int:
    """Run the demo and answer the exit status; leaves no process and no file."""
    with noting_signals() as stop:
        try:
            with _directory() as directory, _cluster(directory, stop) as cluster, view:
                report = _course(cluster, _work_on(repository, directory), view, stop)
        except Interrupted as interruption:
            return interruption.exit_status
    if as_json:
        print_json(report.document())
    else:
        view.report(report)
    return 0 if report.good else FAILED


@contextmanager
def _directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="paceline-demo-"))
    try:
        yield directory
    finally:
        # Git's objects are read-only, which hinders nobody who owns the directory they are in.
        shutil.rmtree(directory, ignore_errors=True)
        if directory.exists():
            print(f"could not remove {directory}", file=sys.stderr)


@contextmanager
def _cluster(directory: Path, stop: Stop) -> Iterator[Cluster]:
    cluster = Cluster(directory, stop)
    try:
        yield cluster
    finally:
        cluster.close()


def _work_on(repository: Path | None, directory: Path) -> Path:
    if repository is not None:
        return repository
    made = directory / "peloton"
    make_repository(made)
    return made


def _course(cluster: Cluster, repository: Path, view: View, stop: Stop) -> Report:
    begun = time.monotonic()
    view.say("starting three nodes on this machine")
    cluster.start()
    names = {node.node_id: node.settings.name for node in cluster.nodes}
    view.names = names
    task_id = _submit(cluster, repository)
    leader = _leader(cluster)
    view.say(f"{leader.settings.name} leads; submitted task {task_id}")
    _watch(cluster, task_id, view, stop, until=lambda seen: is_ripe(seen, leader.node_id))
    view.say(f"{leader.settings.name}, the leader, is killed with -9")
    probe = Probe(cluster.survivors, killed_s=cluster.kill(leader))
    task = _watch(cluster, task_id, view, stop, until=ended)
    failover_ms = probe.result(stop)
    after = cluster.until(lambda status: bool(status["leader_id"]), "no new leader was found")
    return Report(
        task=task,
        leader_before=leader.node_id,
        leader_after=after["leader_id"],
        failover_ms=failover_ms,
        restarts=restarted(task, names, leader.node_id),
        lost_results=lost_results(task),
        duplicated_results=duplicated_results(task),
        duration_ms=round((time.monotonic() - begun) * 1000),
        nodes=names,
    )


def _submit(cluster: Cluster, repository: Path) -> str:
    accepted = cluster.nodes[0].client.post(
        "tasks",
        {
            "plan": plan(),
            "format": "yaml",
            "repository": {"path": str(repository), "ref": "HEAD"},
            "dirty": "leave",
            "idempotency_key": str(uuid.uuid4()),
        },
    )
    return str(accepted["task_id"])


def _leader(cluster: Cluster) -> Node:
    status = cluster.until(lambda found: bool(found["leader_id"]), "no leader was elected")
    return next(node for node in cluster.nodes if node.node_id == status["leader_id"])


def is_ripe(task: Document, leader_id: str) -> bool:
    """Answer whether this is the moment to kill the leader.

    A third is done, a survivor runs something, and so does the leader, if that can be had in time.
    Raise PacelineError if the task ended before such a moment came.
    """
    if ended(task):
        raise PacelineError(f"the task was {task['status']} before the leader could be killed")
    subtasks = task["subtasks"]
    done = sum(subtask["status"] == "completed" for subtask in subtasks) / len(subtasks)
    busy = {subtask["node_id"] for subtask in subtasks if subtask["status"] in _RUNNING}
    survivor_busy = bool(busy - {leader_id, None})
    return done >= ENOUGH_DONE and survivor_busy and (leader_id in busy or done >= LATE)


def _watch(
    cluster: Cluster, task_id: str, view: View, stop: Stop, *, until: Callable[[Document], bool]
) -> Document:
    """Show the task until it fits, and answer it. Raise TimedOut with the logs' ends."""
    deadline = time.monotonic() + TASK_S
    while time.monotonic() < deadline:
        task = cluster.ask(f"tasks/{task_id}")
        if task is not None:
            view.show(task)
            if until(task):
                return task
        stop.pause(PAUSE_S)
    raise TimedOut(f"the task did not end within {TASK_S:g} s.\n{cluster.logs()}")
