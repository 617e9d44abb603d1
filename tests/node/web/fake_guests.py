"""External workers over plain data: what came is kept, what is to be said is put in a line."""

import asyncio
from dataclasses import asdict
from typing import Any

from paceline.errors import Conflict, NotFound
from paceline.node.guest import Line
from paceline.node.web.ports import (
    Document,
    ExternalBeat,
    ExternalLine,
    ExternalResult,
    Registration,
)

NODE_WORKER = "node-1"
"""A worker that is a node."""


class FakeGuests:
    def __init__(self) -> None:
        self.registered: dict[str, Registration] = {}
        self.beats: list[ExternalBeat] = []
        self.lines: dict[str, Line] = {}
        self.heard: list[Document] = []
        self.logged: list[tuple[str, ExternalLine]] = []
        self.results: list[tuple[str, ExternalResult]] = []
        self.gone = asyncio.Event()

    async def register(self, registration: Registration) -> Document:
        worker_id = f"w-{registration.machine_id}"
        self.registered[worker_id] = registration
        return {"worker_id": worker_id, "status": "online", **asdict(registration)}

    async def heartbeat(self, worker_id: str, beat: ExternalBeat) -> Document:
        self._require(worker_id)
        self.beats.append(beat)
        return {"worker_id": worker_id, "status": beat.status or "online", "node_id": "n"}

    async def unregister(self, worker_id: str) -> None:
        if worker_id == NODE_WORKER:
            raise Conflict(f"{worker_id} is a node")
        self._require(worker_id)
        del self.registered[worker_id]

    async def connect(self, worker_id: str) -> Line:
        self._require(worker_id)
        self.lines[worker_id] = line = Line()
        line.say("ping")
        return line

    def parted(self, worker_id: str, line: Any) -> None:
        self.gone.set()

    async def hear(self, worker_id: str, message: Document) -> None:
        self.heard.append(message)

    async def write_log(self, subtask_id: str, line: ExternalLine) -> None:
        self.logged.append((subtask_id, line))

    async def take_result(self, subtask_id: str, result: ExternalResult) -> Document:
        self.results.append((subtask_id, result))
        return {"subtask_id": subtask_id, "status": "completed", "attempt": 1, "accepted": True}

    def _require(self, worker_id: str) -> None:
        if worker_id not in self.registered:
            raise NotFound(f"no external worker has the id {worker_id}")
