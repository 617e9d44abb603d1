"""The commands about workers: RegisterWorker, SetWorkerStatus, ForgetWorker.

Heartbeats never enter the log; `last_heartbeat` is when a worker was last registered or judged to
be there. A wish to drain outlives an absence: a worker that goes offline while it drains, drains on
when it comes back, until somebody says `online` to it then. What a worker was given and has not
begun when it starts to drain is given to others; what it has begun it brings to an end, within the
limit of the drain if it has one.
"""

from dataclasses import asdict
from typing import Any

from paceline.errors import Conflict, InputError, NotFound
from paceline.tasks import phases
from paceline.tasks.commands import ForgetWorker, RegisterWorker, SetWorkerStatus
from paceline.tasks.effects import MAX_TIME_MS, Change, Effects, brief, json_text
from paceline.tasks.effects_subtasks import active_attempts_of
from paceline.tasks.model import AttemptStatus, MemberStatus, WorkerStatus
from paceline.tasks.reviewing import give_up

_PRESENT = frozenset({WorkerStatus.ONLINE, WorkerStatus.BUSY, WorkerStatus.DRAINING})


def register_worker(effects: Effects, command: RegisterWorker) -> bool:
    """Note what a node says of itself. Result: whether that was new. A new worker is online.

    Raise Conflict for a node that was revoked or has left.
    """
    require_not_gone(effects, command.node_id)
    told = _described(command)
    row = effects.db.execute(
        "SELECT status, machine_name, address, slots, version, labels, system_info,"
        " available_tools FROM workers WHERE worker_id = ?",
        (command.node_id,),
    ).fetchone()
    if row is not None and row[1:] == told:
        return False
    if row is None:
        _insert(effects, command.node_id, told)
    else:
        _update(effects, command.node_id, told)
    status = row[0] if row else WorkerStatus.ONLINE
    effects.log(
        "worker_changed" if row else "worker_registered",
        worker_id=command.node_id,
        details={"name": command.name, "tools": [tool.name for tool in command.tools]},
    )
    effects.changes.append(Change("worker", status, node_id=command.node_id))
    return True


def set_worker_status(effects: Effects, command: SetWorkerStatus) -> str:
    """Judge a worker. Result: the status it has now. Raise InputError, NotFound, Conflict."""
    if command.status not in phases.WORKER:
        raise InputError(f"a worker cannot be {command.status!r}: one of {', '.join(WorkerStatus)}")
    row = effects.db.execute(
        "SELECT status, drain FROM workers WHERE worker_id = ?", (command.node_id,)
    ).fetchone()
    if row is None:
        raise NotFound(f"no worker {command.node_id}")
    old, drain = row
    status = _judged(old, drain, command.status)
    if status == WorkerStatus.DRAINING and command.limit_ms is not None:
        _set_drain_limit(effects, command.node_id, command.limit_ms)
    if status == old:
        return str(old)
    phases.check("worker", old, status)
    _store_status(effects, command, status, drain=_drains(old, drain, status))
    if status == WorkerStatus.DRAINING and not drain:
        _take_back_what_is_not_begun(effects, command.node_id)
    effects.log(
        f"worker_{status}",
        worker_id=command.node_id,
        details={"from": old, "reason": brief(command.reason)},
    )
    effects.changes.append(Change("worker", status, node_id=command.node_id))
    return status


def forget_worker(effects: Effects, command: ForgetWorker) -> bool:
    """Drop a worker that left for good; what it held is lost. Result: whether there was one."""
    return drop_worker(effects, command.node_id, "its node has left")


def drop_worker(effects: Effects, node_id: str, reason: str) -> bool:
    """Forget a worker; what it holds is lost for `reason`. Answer whether there was one."""
    for held in active_attempts_of(effects, node_id):
        give_up(effects, held, reason)
    effects.db.execute("DELETE FROM external_workers WHERE worker_id = ?", (node_id,))
    gone = effects.db.execute("DELETE FROM workers WHERE worker_id = ?", (node_id,))
    if gone.rowcount == 0:
        return False
    effects.log("worker_forgotten", worker_id=node_id)
    effects.changes.append(Change("worker", "forgotten", node_id=node_id))
    return True


def require_not_gone(effects: Effects, node_id: str) -> None:
    """Refuse a node that introduces itself once more on its way out: it must not come back."""
    row = effects.db.execute("SELECT status FROM members WHERE node_id = ?", (node_id,)).fetchone()
    if row is not None and row[0] != MemberStatus.MEMBER:
        raise Conflict(f"{node_id} is no member of this cluster any more ({row[0]})")


# --- what it says of itself -----------------------------------------------------------------------


def _described(command: RegisterWorker) -> tuple[Any, ...]:
    """Answer the columns that the worker itself decides, in the order of the statements here."""
    return (
        command.name,
        command.address,
        command.slots,
        command.version,
        json_text(command.labels),
        json_text(command.system_info),
        json_text([asdict(tool) for tool in command.tools]),
    )


def _insert(effects: Effects, node_id: str, told: tuple[Any, ...]) -> None:
    now_ms = effects.now_ms
    effects.db.execute(
        "INSERT INTO workers (machine_name, address, slots, version, labels, system_info,"
        " available_tools, worker_id, machine_id, status, registered_at, updated_at,"
        " last_heartbeat) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'online', ?, ?, ?)",
        (*told, node_id, node_id, now_ms, now_ms, now_ms),
    )


def _update(effects: Effects, node_id: str, told: tuple[Any, ...]) -> None:
    effects.db.execute(
        "UPDATE workers SET machine_name = ?, address = ?, slots = ?, version = ?, labels = ?,"
        " system_info = ?, available_tools = ?, updated_at = ?, last_heartbeat = ?"
        " WHERE worker_id = ?",
        (*told, effects.now_ms, effects.now_ms, node_id),
    )


# --- what others say of it ------------------------------------------------------------------------


def _judged(old: str, drain: int, wanted: str) -> str:
    """Answer the status that a judgement comes to: one who drains drains on when it is back."""
    if (
        drain
        and wanted == WorkerStatus.ONLINE
        and old in (WorkerStatus.OFFLINE, WorkerStatus.ERROR)
    ):
        return WorkerStatus.DRAINING.value
    return wanted


def _take_back_what_is_not_begun(effects: Effects, node_id: str) -> None:
    """Give to others what the worker has in its hands but has not started.

    This is done here and not by a plan: a start that comes later in the log is void then, and one
    that came before counts. A plan would be made without knowing of either.
    """
    for held in active_attempts_of(effects, node_id):
        if held.attempt_status == AttemptStatus.ALLOCATED:
            give_up(effects, held, "its node drains")


def _set_drain_limit(effects: Effects, node_id: str, limit_ms: int) -> None:
    until_ms = min(effects.now_ms + max(0, limit_ms), MAX_TIME_MS)
    effects.db.execute(
        "UPDATE workers SET drain_until = ? WHERE worker_id = ?", (until_ms, node_id)
    )
    effects.changes.append(Change("worker", WorkerStatus.DRAINING, node_id=node_id))


def _drains(old: str, drain: int, status: str) -> bool:
    if status == WorkerStatus.DRAINING:
        return True
    return bool(drain) and status in (WorkerStatus.OFFLINE, WorkerStatus.ERROR)


def _store_status(effects: Effects, command: SetWorkerStatus, status: str, *, drain: bool) -> None:
    now_ms = effects.now_ms
    effects.db.execute(
        "UPDATE workers SET status = ?, drain = ?, reason = ?, updated_at = ?,"
        " drain_until = CASE WHEN ? THEN drain_until END,"
        " last_heartbeat = CASE WHEN ? THEN ? ELSE last_heartbeat END WHERE worker_id = ?",
        (status, drain, command.reason, now_ms, drain, status in _PRESENT, now_ms, command.node_id),
    )
