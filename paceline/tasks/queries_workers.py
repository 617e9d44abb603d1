"""What the coordinator reads of the registered workers."""

import json
import sqlite3
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

from paceline.tasks.model import ToolState, WorkerStatus

WORKERS_CACHED = 512


@dataclass(frozen=True, slots=True)
class RegisteredWorker:
    """A worker as it registered itself and as the leader judged it."""

    node_id: str
    name: str
    status: WorkerStatus
    slots: int
    labels: dict[str, str]
    tools: tuple[ToolState, ...]
    system_info: dict[str, str] = field(default_factory=dict)


def registered_workers(connection: sqlite3.Connection) -> list[RegisteredWorker]:
    """Answer all registered workers, by id."""
    found = connection.execute(
        "SELECT worker_id, machine_name, status, slots, labels, available_tools, system_info"
        " FROM workers ORDER BY worker_id"
    )
    return list(map(_registered, found))


@lru_cache(maxsize=WORKERS_CACHED)
def _registered(row: tuple[Any, ...]) -> RegisteredWorker:
    """Read a row; whoever gets the worker must not change its dicts: it is the same each time."""
    node_id, name, status, slots, labels, tools, info = row
    return RegisteredWorker(
        node_id,
        name,
        WorkerStatus(status),
        slots,
        json.loads(labels),
        tuple(_tool(tool) for tool in json.loads(tools)),
        json.loads(info),
    )


_TOOL_FIELDS = frozenset(field.name for field in fields(ToolState))


def _tool(stored: dict[str, Any]) -> ToolState:
    return ToolState(**{key: value for key, value in stored.items() if key in _TOOL_FIELDS})
