"""Whole nodes in the hosts of a LAN, each seen through its REST interface on its own loopback.

And what is to be true of them however the network broke: `History` is fed by clients that submit
all the while, one per machine, and repeat what was not answered under the same key; `check` then
finds each acknowledged submission on every machine, once, with one outcome per subtask.
"""

import contextlib
import http.client
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paceline.client import Client, Document
from paceline.errors import PacelineError
from paceline.tasks.digest import digest
from tests.e2e.cluster import ENDED, Node, wait_for
from tests.rigs.lan import Lan

TOKEN = "a-token-of-this-test-only"
EVERYWHERE = ["--bind", "::"]
SUBMIT_TIMEOUT_S = 30.0
SUBMIT_PAUSE_S = 0.1
ON_THE_WAY_S = 0.25
CONVERGED_S = 60.0
"""How long a test waits before it gives up; what is promised is printed, not asserted."""

PLAN = """
description: {name}
subtasks:
  - name: first
    tool: command
    run: echo {name} > "$PACELINE_OUTPUT"
    max_attempts: 9
  - name: second
    needs: [first]
    tool: command
    run: cat "$PACELINE_INPUTS/first"
    max_attempts: 9
"""


class HostClient(Client):
    """A client whose connections begin in a host of the LAN."""

    def __init__(self, lan: Lan, host: int, data_dir: Path, timeout_s: float = 20.0) -> None:
        super().__init__(data_dir, timeout_s)
        self._lan = lan
        self._host = host

    def _connect(self, timeout_s: float | None) -> http.client.HTTPConnection:
        connect = super()._connect
        return self._lan.inside(self._host, lambda: connect(timeout_s))


class Machine(Node):
    """A node in a host of the LAN."""

    def __init__(self, lan: Lan, host: int, directory: Path, options: Sequence[str] = ()) -> None:
        super().__init__(
            name=f"m{host}",
            directory=directory / f"m{host}",
            options=[*EVERYWHERE, *options],
            prefix=["ip", "netns", "exec", lan.namespace(host)],
            environment={"PACELINE_TOKEN": TOKEN},
        )
        self.lan = lan
        self.host = host

    @property
    def client(self) -> Client:
        return HostClient(self.lan, self.host, self.directory)

    def seen(self, timeout_s: float = 5.0) -> Document | None:
        """Answer its status, or None if it does not say."""
        try:
            return HostClient(self.lan, self.host, self.directory, timeout_s).get("status")
        except PacelineError:
            return None

    def power_off(self) -> None:
        """End it without a word to anybody: its network goes first."""
        self.lan.unplug(self.host)
        self.kill()

    def power_on(self) -> None:
        """Plug it in and start it."""
        self.lan.replug(self.host)
        self.spawn()

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)


class Fleet:
    """The machines of one LAN."""

    def __init__(self, lan: Lan, directory: Path, options: Sequence[str] = ()) -> None:
        self.lan = lan
        self.machines = [Machine(lan, host, directory, options) for host in lan.hosts]

    def __getitem__(self, host: int) -> Machine:
        return self.machines[host - 1]

    def start(self) -> float:
        """Start all at once; answer the seconds until all were voters and followed one leader."""
        began = time.monotonic()
        for machine in self.machines:
            machine.spawn()
        self.wait_converged()
        return time.monotonic() - began

    def others(self, *machines: Machine) -> list[Machine]:
        return [machine for machine in self.machines if machine not in machines]

    def leader(self, among: Iterable[Machine] | None = None) -> Machine:
        """Answer which of these (all, if not said) leads all of them."""
        asked = list(among or self.machines)

        def find() -> Machine | None:
            seen = [machine.seen() for machine in asked]
            named = {one["leader_id"] if one and one["quorum"] else None for one in seen}
            return next((machine for machine in asked if named == {machine.node_id}), None)

        return wait_for("a leader", find, CONVERGED_S)

    def wait_converged(self, among: Iterable[Machine] | None = None) -> float:
        """Wait until these (all, if not said) agree; answer the seconds that it took."""
        asked, began = list(among or self.machines), time.monotonic()

        def agreed() -> bool:
            for machine in asked:
                assert machine.process is not None
                assert machine.process.poll() is None, f"{machine.name} has ended"
            return agree([machine.seen() for machine in asked])

        wait_for("all to agree", agreed, CONVERGED_S)
        return time.monotonic() - began

    def close(self) -> None:
        for machine in self.machines:
            with contextlib.suppress(ProcessLookupError, AssertionError):
                machine.thaw()
            machine.kill()


def agree(seen: Sequence[Document | None]) -> bool:
    """Answer whether all are of one cluster, follow one leader, and see each other online."""
    documents = [one for one in seen if one is not None]
    online = [
        {member["node_id"] for member in one["members"] if member["status"] == "online"}
        for one in documents
    ]
    return (
        len(documents) == len(seen)
        and len({one["cluster_id"] for one in documents}) == 1
        and len({one["leader_id"] for one in documents}) == 1
        and all(one["quorum"] for one in documents)
        and len({tuple(one["voters"]) for one in documents}) == 1
        and all({one["node_id"] for one in documents} <= up for up in online)
        and {one["node_id"] for one in documents} <= set(documents[0]["voters"])
    )


@contextlib.contextmanager
def fleet(lan: Lan, directory: Path, options: Sequence[str] = ()) -> Iterator[Fleet]:
    """Answer machines that are not started yet; their logs are shown if the test fails."""
    machines = Fleet(lan, directory, options)
    try:
        yield machines
    except BaseException:
        for machine in machines.machines:
            if machine.log_path.exists():
                print(f"--- {machine.name}\n{machine.log()}")
        raise
    finally:
        machines.close()


# --- what was promised ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A submission that a client was told is safe."""

    name: str
    task_id: str
    began_s: float
    at_s: float
    """When the answer came, on the monotonic clock."""


@dataclass(slots=True)
class History:
    """All that was acknowledged; threads append to it."""

    acknowledged: list[Acknowledged] = field(default_factory=list)

    def since(self, at_s: float) -> list[Acknowledged]:
        return [each for each in self.acknowledged if each.at_s >= at_s]


class Submitter(threading.Thread):
    """A client of one machine that submits one task after the other until it is told to stop."""

    def __init__(self, machine: Machine, history: History, label: str, pause_s: float) -> None:
        super().__init__(daemon=True)
        self._client = HostClient(machine.lan, machine.host, machine.directory, SUBMIT_TIMEOUT_S)
        self._history = history
        self._label = label
        self._pause_s = pause_s
        self._ending = threading.Event()
        self._give_up = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._ending.wait(self._pause_s):
            self._submit(f"{self._label}-{number}")
            number += 1

    def finish(self, timeout_s: float = 2 * SUBMIT_TIMEOUT_S) -> None:
        """Let the last submission come to its answer, for so long at most."""
        self._ending.set()
        self.join(timeout_s)
        self._give_up.set()
        self.join()

    def _submit(self, name: str) -> None:
        body = {"plan": PLAN.format(name=name), "format": "yaml", "idempotency_key": name}
        began_s = time.monotonic()
        while not self._give_up.is_set():
            with contextlib.suppress(PacelineError, OSError, ValueError):
                task_id = str(self._client.post("tasks", body)["task_id"])
                done = Acknowledged(name, task_id, began_s, time.monotonic())
                self._history.acknowledged.append(done)
                return
            self._give_up.wait(SUBMIT_PAUSE_S)


@contextlib.contextmanager
def submitting(machines: Iterable[Machine], label: str, pause_s: float = 0.5) -> Iterator[History]:
    """Submit at each of these machines while the block lasts."""
    history = History()
    clients = [Submitter(m, history, f"{label}-{m.name}", pause_s) for m in machines]
    for client in clients:
        client.start()
    try:
        yield history
    finally:
        for client in clients:
            client.finish()


def first_commit(history: History, after_s: float, at: Machine, timeout_s: float = 30.0) -> float:
    """Answer the seconds from then until something new was acknowledged to a machine's client.

    What was begun before may have been decided before, and only its answer been on the way.
    """

    def found() -> list[float]:
        return [
            each.at_s - after_s
            for each in history.since(after_s)
            if each.name.split("-")[1] == at.name
            and (each.began_s >= after_s or each.at_s > after_s + ON_THE_WAY_S)
        ]

    wait_until(f"a commit at {at.name}", found, timeout_s)
    return min(found())


def say(what: str, seconds: float) -> None:
    """Print what was measured; it is not asserted, for the machine may be busy."""
    print(f"measured: {what}: {seconds:.2f} s", flush=True)


def hosts(machines: Iterable[Machine]) -> list[int]:
    return [machine.host for machine in machines]


def powerless(machine: Machine) -> bool:
    """Answer whether it says that it has no quorum."""
    seen = machine.seen()
    return seen is not None and not seen["quorum"]


def check(machines: Fleet, history: History, timeout_s: float = 120.0) -> None:
    """Every machine has everything that was acknowledged, once, and all have the same state."""
    assert history.acknowledged
    first = machines.machines[0]
    wait_for("all tasks to end", lambda: all_ended(first), timeout_s)
    states = wait_for("one state", lambda: same_state(machines.machines), CONVERGED_S)
    assert len(states) == len(machines.machines)
    for machine in machines.machines:
        found: dict[str, list[str]] = {}
        for task in all_tasks(machine):
            found.setdefault(str(task["description"]), []).append(str(task["task_id"]))
        for each in history.acknowledged:
            assert found.get(each.name) == [each.task_id], (machine.name, each)
        assert all(len(task_ids) == 1 for task_ids in found.values())
    for each in history.acknowledged:
        check_outcomes(first.task(each.task_id))


def check_outcomes(task: Document) -> None:
    assert task["status"] == "completed", task
    for subtask in task["subtasks"]:
        accepted = [each for each in subtask["attempts"] if each["status"] == "succeeded"]
        assert len(accepted) == 1, subtask


def all_ended(machine: Machine) -> bool:
    return all(task["status"] in ENDED for task in all_tasks(machine))


def all_tasks(machine: Machine) -> list[Document]:
    found: list[Document] = []
    cursor: str | None = None
    while True:
        page = machine.client.get("tasks", limit=100, cursor=cursor)
        found += page["tasks"]
        if (cursor := page["next_cursor"]) is None:
            return found


def same_state(machines: Sequence[Machine]) -> list[bytes] | None:
    """Answer the digests of all states if they are of one index; they must be equal then."""
    states = [read_state(machine) for machine in machines]
    if len({index for index, _ in states}) > 1:
        return None
    assert len({total for _, total in states}) == 1, "the states differ at one index"
    return [total for _, total in states]


def read_state(machine: Machine) -> tuple[int, bytes]:
    """Answer the applied index and the digest of a state, as of one moment."""
    path = machine.directory / "state.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.execute("BEGIN")
        index = connection.execute("SELECT applied_index FROM meta").fetchone()[0]
        return int(index), digest(connection)


def wait_until(what: str, probe: Callable[[], object], timeout_s: float = CONVERGED_S) -> float:
    """Answer the seconds until `probe` held."""
    began = time.monotonic()
    wait_for(what, lambda: bool(probe()), timeout_s)
    return time.monotonic() - began
