"""Clients of a `kv_cluster`, each a thread with one operation under way, and what they were told.

A command keeps its request number through all repetitions, at whichever node. When a client gives
up on one its outcome is unknown (`ok` null), and it goes on under a new name, so that the old
request, should it come late, is nobody's. A read is asked anew each time.

Keys live for a few seconds: then all clients go on to new ones, so that neither the lists nor the
search for an order become long. An operation still belongs to the keys of when it was called.
"""

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.kv_cluster import Line
from tests.linearizability import Operation

OPS = ("read", "append", "write", "cas")
KEYS_S = 4.0
LISTS, REGISTERS = ("list a", "list b"), ("register a", "register b")
GIVE_UP_S = 5.0
PATIENCE_S = (0.3, 1.5)
BACK_OFF_S = (0.01, 0.15)
PAUSE_S = (0.0, 0.02)


def is_list(key: str) -> bool:
    """Answer whether a key holds a list."""
    return key.startswith("list")


@dataclass(frozen=True, slots=True)
class _Task:
    """One operation, and how a node is asked for it."""

    op: str
    key: str
    value: Any
    question: dict[str, Any]
    called_ns: int


class Client(threading.Thread):
    """Works until `stop` is set; then `operations` is its history.

    What else goes wrong is in `failure`: an answer that no correct node gives.
    """

    def __init__(
        self,
        *,
        name: str,
        seed: str,
        sockets: Sequence[Path],
        start_s: float,
        stop: threading.Event,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.operations: list[Operation] = []
        self.failure: BaseException | None = None
        self._random = random.Random(f"{seed} {name}")
        self._sockets = sockets
        self._start_s = start_s
        self._stop_asked = stop
        self._lines: dict[int, Line] = {}
        self._leader: int | None = None
        self._life = self._request = self._value = 0
        self._seen: dict[str, Any] = {}

    def run(self) -> None:
        """Do one operation after the other."""
        try:
            while not self._stop_asked.is_set():
                self._perform(self._next(), GIVE_UP_S)
                self._stop_asked.wait(self._random.uniform(*PAUSE_S))
        except BaseException as error:
            self.failure = error
        finally:
            self.close()

    def read(self, key: str, give_up_s: float) -> None:
        """Read a key, outside of `run`. Raise TimeoutError if nobody answers in time."""
        task = _Task("read", key, None, {"do": "read", "key": key}, time.monotonic_ns())
        if not self._perform(task, give_up_s):
            raise TimeoutError(f"nobody answered a read of {key!r} for {give_up_s:g} s")

    def close(self) -> None:
        """Hang up."""
        for number in tuple(self._lines):
            self._hang_up(number)

    # --- what to do -------------------------------------------------------------------------------

    def _next(self) -> _Task:
        op = self._random.choices(OPS, (5, 3, 2, 2))[0]
        keys = {"append": LISTS, "read": LISTS + REGISTERS}.get(op, REGISTERS)
        age = int((time.monotonic() - self._start_s) / KEYS_S)
        return self._task(op, f"{self._random.choice(keys)} {age}")

    def _task(self, op: str, key: str) -> _Task:
        self._value += 1
        value: Any = f"{self.name}:{self._value}"
        if op == "cas":
            value = [self._seen.get(key), value]
        question: dict[str, Any] = {"do": "read", "key": key}
        if op != "read":
            self._request += 1
            command = [f"{self.name}.{self._life}", self._request, op, key, value]
            question = {"do": "command", "command": command}
        return _Task(op, key, value, question, time.monotonic_ns())

    def _perform(self, task: _Task, give_up_s: float) -> bool:
        """Ask until somebody answers; note what came of it, and answer whether somebody did."""
        while time.monotonic_ns() - task.called_ns < give_up_s * 1e9:
            answer = self._attempt(task)
            if answer is not None and "result" in answer:
                self._note(task, answer["result"])
                return True
            self._leader = answer["leader"] if answer else None
            time.sleep(self._random.uniform(*BACK_OFF_S))
        self._record(task, task.value, None)
        self._life += 1
        return False

    # --- one attempt ------------------------------------------------------------------------------

    def _attempt(self, task: _Task) -> dict[str, Any] | None:
        number = self._choose(task.op)
        try:
            if number not in self._lines:
                self._lines[number] = Line(self._sockets[number], PATIENCE_S[1])
            line = self._lines[number]
            line.patience(self._random.uniform(*PATIENCE_S))
            return line.ask(task.question)
        except OSError:
            self._hang_up(number)
            return None

    def _choose(self, op: str) -> int:
        if self._leader is None or (op == "read" and self._random.random() < 0.6):
            return self._random.randrange(len(self._sockets))
        return self._leader

    def _hang_up(self, number: int) -> None:
        line = self._lines.pop(number, None)
        if line is not None:
            line.close()

    # --- what came of it --------------------------------------------------------------------------

    def _note(self, task: _Task, result: Any) -> None:
        if result == "superseded":
            raise AssertionError(f"{task} was overtaken by a later request of this client")
        if task.op == "read":
            result = [] if result is None and is_list(task.key) else result
            if not is_list(task.key):
                self._seen[task.key] = result
            self._record(task, result, True)
        else:
            self._record(task, task.value, result is not False)

    def _record(self, task: _Task, value: Any, ok: bool | None) -> None:
        end_ns = None if ok is None else time.monotonic_ns()
        operation = Operation(self.name, task.op, task.key, value, task.called_ns, end_ns, ok)
        self.operations.append(operation)
