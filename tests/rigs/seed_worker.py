"""A worker agent written from the seed's text alone: what it says is what stands there.

Source: the seed's "ConnectionManager" (register, send_heartbeat, connect_websocket,
upload_subtask_result, stream_execution_log), "WebSocket Protocol" and "Log Streaming". All that it
knows of Paceline is where the nodes are and how they are opened: a list of (port, token), of which
it takes the next one whenever one does not answer.
"""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.rigs.web_socket import Closed, Refused, WebSocket

HEARTBEAT_S = 1.0
PAUSE_S = 0.1
TIMEOUT_S = 20.0

Execute = Callable[["SeedWorker", dict[str, Any]], dict[str, Any]]
"""Does what a `task_assignment` says, and answers the result."""


class HTTPError(Exception):
    """The backend refused."""

    def __init__(self, status: int, document: Any) -> None:
        super().__init__(f"{status}: {document}")
        self.status = status


@dataclass
class SeedWorker:
    """Runs in threads, as many as it has tasks; `stop` ends them, `vanish` does so at once."""

    machine_id: str
    backends: Sequence[tuple[int, str]]
    execute: Execute
    tools: tuple[str, ...] = ("ollama",)
    assigned: list[dict[str, Any]] = field(default_factory=list)
    cancelled: list[dict[str, Any]] = field(default_factory=list)
    closings: list[str] = field(default_factory=list)
    rejecting: str = ""
    """While it says something, assignments are rejected for that reason."""
    worker_id: str = ""

    def __post_init__(self) -> None:
        self._at = 0
        self._stopping = threading.Event()
        self._busy = 0
        self._line: WebSocket | None = None
        self._threads: list[threading.Thread] = []

    # --- the agent --------------------------------------------------------------------------------

    def start(self) -> None:
        """Register with the backend, begin the loops."""
        self._patiently(self.register)
        for loop in (self._heartbeat_loop, self._websocket_loop):
            self._spawn(loop)

    def vanish(self) -> None:
        """End without a word."""
        self._stopping.set()
        if self._line is not None:
            self._line.close()
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    def _spawn(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _heartbeat_loop(self) -> None:
        while not self._stopping.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError, http.client.HTTPException, HTTPError):
                self.send_heartbeat()

    def _websocket_loop(self) -> None:
        while not self._stopping.is_set():
            try:
                self._line = self.connect_websocket()
                while True:
                    self._handle(self._line.receive())
            except (OSError, Closed, Refused) as error:
                self.closings.append(str(error))
                self._next_backend()
                self._stopping.wait(PAUSE_S)

    def _handle(self, message: dict[str, Any]) -> None:
        assert self._line is not None
        match message["type"]:
            case "ping":
                self._line.send({"type": "pong", "worker_id": self.worker_id})
            case "task_cancel":
                self.cancelled.append(message["data"])
            case "task_assignment" if self.rejecting:
                self._line.send(
                    {
                        "type": "task_rejected",
                        "worker_id": self.worker_id,
                        "reason": self.rejecting,
                        "subtask_id": message["data"]["subtask_id"],
                    }
                )
            case "task_assignment":
                self.assigned.append(message["data"])
                self._spawn(self._handle_task_assignment, message["data"])

    def _handle_task_assignment(self, task: dict[str, Any]) -> None:
        self._busy += 1
        try:
            result = self.execute(self, task)
            self._patiently(lambda: self.upload_subtask_result(task["subtask_id"], result))
        finally:
            self._busy -= 1

    # --- the connection manager -------------------------------------------------------------------

    def register(self) -> None:
        answer = self.call(
            "POST",
            "/workers",
            {
                "machine_id": self.machine_id,
                "machine_name": f"machine {self.machine_id}",
                "system_info": {"cpu": 8, "memory": "16 GB", "os": "Linux"},
                "available_tools": list(self.tools),
            },
        )
        self.worker_id = answer["worker_id"]

    def send_heartbeat(self) -> None:
        body = {
            "status": "busy" if self._busy else "online",
            "resources": {"cpu_percent": 10.0, "memory_percent": 20.5, "disk_percent": 30},
        }
        self.call("POST", f"/workers/{self.worker_id}/heartbeat", body)

    def connect_websocket(self) -> WebSocket:
        port, token = self._backend
        path = f"/api/v1/ws/worker/{self.worker_id}"
        return WebSocket(port, path, {"Authorization": f"Bearer {token}"}, TIMEOUT_S)

    def upload_subtask_result(self, subtask_id: str, result: dict[str, Any]) -> None:
        self.call("POST", f"/subtasks/{subtask_id}/result", result)

    def stream_execution_log(self, subtask_id: str, line: str, level: str = "info") -> None:
        body = {"log_line": line, "log_level": level, "timestamp": "2025-12-08T15:30:00Z"}
        self.call("POST", f"/subtasks/{subtask_id}/logs", body)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Speak to the backend. Raise HTTPError, OSError."""
        port, token = self._backend
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, f"/api/v1{path}", data, headers)
            response = connection.getresponse()
            document = json.loads(response.read() or b"null")
        finally:
            connection.close()
        if response.status >= 400:
            raise HTTPError(response.status, document)
        return document

    @property
    def _backend(self) -> tuple[int, str]:
        return self.backends[self._at % len(self.backends)]

    def _next_backend(self) -> None:
        self._at += 1

    def _patiently(self, work: Callable[[], None]) -> None:
        """Repeat what a backend could not do just now, with the next one."""
        while not self._stopping.is_set():
            try:
                return work()
            except HTTPError as error:
                if error.status < 500 and error.status != 429:
                    return None  # it is somebody else's by now
            except (OSError, http.client.HTTPException):
                self._next_backend()
            time.sleep(PAUSE_S)
        return None
