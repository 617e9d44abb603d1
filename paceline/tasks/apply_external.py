"""The command AttachWorker: workers that are no nodes, and the node that speaks for each.

Such a worker speaks the seed's protocol with one node, which brings its words into the log. In the
state it is a worker like any other, with a row of its own beside it that says who speaks for it
(`via`). When that node dies the worker goes to another, which attaches it anew: what it held, it
goes on holding, unless its lease has ended meanwhile.
"""

from paceline.errors import Conflict, InputError
from paceline.tasks.apply_workers import register_worker, require_not_gone
from paceline.tasks.commands import AttachWorker, RegisterWorker
from paceline.tasks.effects import Effects

WORKERS_LIMIT = 256
"""So many external workers one cluster remembers; each costs a heartbeat to every member."""


def attach_worker(effects: Effects, command: AttachWorker) -> int:
    """Let a node speak for an external worker from now on. Result: this entry's index.

    Raise InputError for a worker without an id, Conflict for the id of a node, for a node that is
    no member any more, one worker too many, and a machine that has another worker.
    """
    if not command.worker_id:
        raise InputError("an external worker needs an id")
    require_not_gone(effects, command.via)
    _require_no_node(effects, command.worker_id)
    machine_id = command.machine_id or command.worker_id
    _require_own_machine(effects, command.worker_id, machine_id)
    if not _knows(effects, command.worker_id):
        _require_room(effects)
    register_worker(
        effects,
        RegisterWorker(
            node_id=command.worker_id,
            name=command.name,
            address="",
            slots=command.slots,
            tools=command.tools,
            system_info=command.system_info,
            version=command.version,
        ),
    )
    effects.db.execute(
        "UPDATE workers SET machine_id = ? WHERE worker_id = ?",
        (machine_id, command.worker_id),
    )
    effects.db.execute(
        "INSERT OR REPLACE INTO external_workers (worker_id, via, attached_index) VALUES (?, ?, ?)",
        (command.worker_id, command.via, effects.index),
    )
    effects.log("worker_attached", worker_id=command.worker_id, details={"via": command.via})
    return effects.index


def _knows(effects: Effects, worker_id: str) -> bool:
    return _exists(effects, "external_workers", "worker_id", worker_id)


def _require_no_node(effects: Effects, worker_id: str) -> None:
    """Nobody may take over the row of a node by calling a worker like it."""
    is_node = _exists(effects, "members", "node_id", worker_id)
    is_worker = _exists(effects, "workers", "worker_id", worker_id)
    if is_node or (is_worker and not _knows(effects, worker_id)):
        raise Conflict(f"{worker_id} is a node of this cluster, no external worker")


def _require_own_machine(effects: Effects, worker_id: str, machine_id: str) -> None:
    row = effects.db.execute(
        "SELECT worker_id FROM workers WHERE machine_id = ? AND worker_id != ?",
        (machine_id, worker_id),
    ).fetchone()
    if row is not None:
        raise Conflict(f"the machine {machine_id} has a worker already: {row[0]}")


def _require_room(effects: Effects) -> None:
    (count,) = effects.db.execute("SELECT count(*) FROM external_workers").fetchone()
    if count >= WORKERS_LIMIT:
        raise Conflict(
            f"the cluster knows {WORKERS_LIMIT} external workers already: unregister those that "
            "will not come back (DELETE /api/v1/workers/ID)"
        )


def _exists(effects: Effects, table: str, column: str, value: str) -> bool:
    row = effects.db.execute(f"SELECT 1 FROM {table} WHERE {column} = ?", (value,)).fetchone()
    return row is not None
