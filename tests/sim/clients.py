"""Clients who write and read, repeat what may have been lost, and remember what they were told.

A client has one operation under way. A write keeps its request number through all repetitions, at
whichever node; a read is asked anew. When a client gives up on a write, its outcome is unknown, and
it goes on under a new name (so that the old request, should it come late, is nobody's).
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from paceline.consensus.replica import Decision
from paceline.errors import NotLeader, PacelineError
from tests.linearizability import Operation
from tests.sim.invariants import Observer
from tests.sim.machine import NOBODY, Command, KvState, encode_command
from tests.sim.world import MILLISECOND, SECOND, World

GIVE_UP_US = 4 * SECOND
KEYS = ("register", "list", "another list")


class Server(Protocol):
    """What a client sees of a process."""

    name: str

    @property
    def leads(self) -> bool:
        """Answer whether it says that it leads."""
        ...

    @property
    def state(self) -> KvState:
        """Answer the applied state."""
        ...

    def propose(self, data: bytes, done: Callable[[Decision], None]) -> bool:
        """Hand in a write; answer False if nobody is there."""
        ...

    def read(self, done: Callable[[PacelineError | None], None]) -> bool:
        """Ask for a linearizable read; answer False if nobody is there."""
        ...


@dataclass(slots=True)
class History:
    """What all clients of one seed did and were told."""

    operations: list[Operation] = field(default_factory=list)
    acknowledged: dict[tuple[str, int], int] = field(default_factory=dict)
    """For each acknowledged request, the index at which it was said to be."""
    acknowledged_index: int = 0
    """The largest index that any client knows to be committed."""


@dataclass(slots=True)
class _Task:
    """The operation under way."""

    command: Command
    invoked_us: int
    attempts: int = 0
    over: bool = False


class Client:
    """One client. `servers` answers whom it may ask now, in a fixed order."""

    def __init__(
        self,
        *,
        world: World,
        observer: Observer,
        name: str,
        history: History,
        servers: Callable[[], Sequence[Server]],
        pause_ms: int,
    ) -> None:
        self.idle = True
        self._world = world
        self._observer = observer
        self._name = name
        self._history = history
        self._servers = servers
        self._pause_ms = pause_ms
        self._random: random.Random = world.random(f"client {name}")
        self._life = 0
        self._request = 0
        self._value = 0
        self._leader: str | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin to work."""
        self._rest()

    def stop(self) -> None:
        """Finish the operation under way, then do no more."""
        self._stopped = True

    def _rest(self) -> None:
        pause_us = self._random.randint(1, 2 * self._pause_ms * MILLISECOND)
        self._world.after(pause_us, lambda: None if self._stopped else self._work())

    def _work(self) -> None:
        kind = self._random.choice(("append", "append", "write", "cas", "read", "read"))
        key = "register" if kind in ("write", "cas") else self._random.choice(KEYS)
        key = self._random.choice(KEYS[1:]) if kind == "append" else key
        self.begin(kind, key)

    def begin(self, kind: str, key: str) -> None:
        """Start an operation of that kind on that key."""
        self.idle = False
        client = f"{self._name}.{self._life}"
        if kind != "read":
            self._request += 1
        self._value += 1
        value: Any = f"{self._name} {self._value}"
        if kind == "cas":
            value = [self._guess(), value]
        task = _Task(Command(client, self._request, kind, key, value), self._world.now_us)
        self._attempt(task)

    def _guess(self) -> Any:
        """Answer what the register may well be: what some server has."""
        servers = self._servers()
        return self._random.choice(servers).state.keys.get("register") if servers else None

    # --- one attempt ------------------------------------------------------------------------------

    def _attempt(self, task: _Task) -> None:
        if task.over:
            return
        if self._world.now_us - task.invoked_us > GIVE_UP_US:
            self._finish(task, task.command.value, ok=None)
            return
        if task.attempts:
            self._world.count("repeated requests")
        task.attempts += 1
        number = task.attempts
        server = self._choose(task)
        if server is not None:
            self._world.after(self._travel_us(), lambda: self._ask(task, server, number))
        patience_us = self._random.randint(300, 1500) * MILLISECOND
        self._world.after(patience_us, lambda: self._lose_patience(task, number))

    def _choose(self, task: _Task) -> Server | None:
        servers = self._servers()
        if not servers:
            return None
        if task.command.op != "read" or self._random.random() < 0.5:
            for server in servers:
                if server.name == self._leader:
                    return server
        return self._random.choice(servers)

    def _ask(self, task: _Task, server: Server, number: int) -> None:
        if task.over:
            return
        if task.command.op == "read":
            least = self._history.acknowledged_index
            here = server.read(lambda error: self._may_read(task, server, number, least, error))
        else:
            data = encode_command(task.command)
            here = server.propose(
                data, lambda decision: self._decided(task, data, number, decision)
            )
        if not here:
            self._world.after(self._travel_us(), lambda: self._again(task, number))

    def _lose_patience(self, task: _Task, number: int) -> None:
        if not task.over and task.attempts == number:
            self._leader = None
            self._attempt(task)

    def _again(self, task: _Task, number: int) -> None:
        """Try once more after a moment, unless a newer attempt is under way."""
        backoff_us = self._random.randint(20, 200) * MILLISECOND
        self._world.after(backoff_us, lambda: self._lose_patience(task, number))

    def _travel_us(self) -> int:
        return 200 + self._random.randrange(800)

    # --- answers ----------------------------------------------------------------------------------

    def _decided(self, task: _Task, data: bytes, number: int, decision: Decision) -> None:
        if decision.error is None:
            self._observer.answered(decision.index, decision.term, data)
        self._world.after(self._travel_us(), lambda: self._hear(task, number, decision))

    def _hear(self, task: _Task, number: int, decision: Decision) -> None:
        if task.over:
            return
        if decision.error is not None:
            self._refused(task, number, decision.error)
            return
        history, command = self._history, task.command
        history.acknowledged[command.client, command.request] = decision.index
        history.acknowledged_index = max(history.acknowledged_index, decision.index)
        if decision.result == "superseded":
            self._world.fail("exactly once", f"{command} was overtaken by a later request")
        self._finish(task, command.value, ok=decision.result is not False)

    def _refused(self, task: _Task, number: int, error: PacelineError) -> None:
        if task.attempts == number:
            self._leader = error.leader_id if isinstance(error, NotLeader) else None
            self._again(task, number)

    def _may_read(
        self, task: _Task, server: Server, number: int, least: int, error: PacelineError | None
    ) -> None:
        if error is not None:
            self._world.after(self._travel_us(), lambda: self._refused(task, number, error))
            return
        _check_read(self._world, server, least)
        value = server.state.keys.get(task.command.key, None if task.command.key == KEYS[0] else [])
        self._world.after(self._travel_us(), lambda: self._finish(task, value, ok=True))

    def _finish(self, task: _Task, value: Any, *, ok: bool | None) -> None:
        if task.over:
            return
        task.over = self.idle = True
        command = task.command
        self._world.tell("client", command.client, command.op, command.key, repr(value)[-40:], ok)
        self._history.operations.append(
            Operation(
                command.client,
                command.op,
                command.key,
                value,
                task.invoked_us,
                None if ok is None else self._world.now_us,
                ok,
            )
        )
        if ok is None:
            self._life, self._request = self._life + 1, 0
        if not self._stopped:
            self._rest()


class Noise:
    """Writes and reads at whoever says that it leads, many at once, never repeated.

    Leaders that are cut off get long tails that way, which is what logs diverge by; and a read at a
    leader that is none any more is asked often enough to be caught.
    """

    def __init__(
        self,
        *,
        world: World,
        observer: Observer,
        history: History,
        servers: Callable[[], Sequence[Server]],
        every_ms: int,
    ) -> None:
        self._world = world
        self._observer = observer
        self._history = history
        self._servers = servers
        self._every_ms = every_ms
        self._random: random.Random = world.random("noise")
        self._count = 0
        self._stopped = False

    def start(self) -> None:
        """Begin."""
        self._next()

    def stop(self) -> None:
        """Ask for no more."""
        self._stopped = True

    def _next(self) -> None:
        pause_us = self._random.randint(1, 2 * self._every_ms * MILLISECOND)
        self._world.after(pause_us, self._burst)

    def _burst(self) -> None:
        if self._stopped:
            return
        for server in self._servers():
            if server.leads:
                for _ in range(self._random.randint(1, 3)):
                    self._write(server)
                self._read(server)
            elif self._random.random() < 0.1:
                self._read(server)
        self._next()

    def _write(self, server: Server) -> None:
        self._count += 1
        data = encode_command(Command(NOBODY, 0, "write", "noise", self._count))

        def decided(decision: Decision) -> None:
            if decision.error is None:
                self._observer.answered(decision.index, decision.term, data)
                known = self._history.acknowledged_index
                self._history.acknowledged_index = max(known, decision.index)

        server.propose(data, decided)

    def _read(self, server: Server) -> None:
        least = self._history.acknowledged_index

        def may_read(error: PacelineError | None) -> None:
            if error is None:
                _check_read(self._world, server, least)

        server.read(may_read)


def _check_read(world: World, server: Server, least: int) -> None:
    """Check a served read against what a client knew to be committed before it was asked."""
    world.count("reads")
    if server.state.index < least:
        world.fail(
            "reads are linearizable",
            f"{server.name} serves a read at {server.state.index}; before it was asked,"
            f" a client knew that {least} is committed",
        )
