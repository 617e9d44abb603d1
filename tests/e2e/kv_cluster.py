"""Processes of `kv_node`, their network and their disks, and everything that may befall them.

With `isolated`, each node lives in a network namespace of its own (`tests.rigs.lan`) and its files
on a small file system in memory, so that it can be cut off and its disk can be filled. That needs
Linux and root. Without, all nodes share the loopback interface and the disk; they can be killed and
paused there.

Everything that is made carries the number of this process in its name. The next run deletes what a
killed one has left; a run that ends in any other way leaves nothing.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Container, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from paceline.node.keys import load_or_create_keys
from tests.rigs.lan import Lan, unavailable
from tests.rigs.leftovers import is_left, mark

PREFIX = "pckv"
DISK_BYTES = 24 * 1024 * 1024
BALLAST = "ballast"
BLOCK_BYTES = 64 * 1024
PORT = 7000
STATUS_S = 0.5
PATIENT_S = 5.0
"""For questions that nobody is in a hurry about, to nodes that may be slow."""


class Line:
    """A connection to a node's client socket: one question, one answer."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        """Connect. Raise OSError if nobody is there."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._answers: IO[bytes] = self._socket.makefile("rb")

    def patience(self, timeout_s: float) -> None:
        """Wait so long for the next answers."""
        self._socket.settimeout(timeout_s)

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answer what the node answers. Raise OSError (TimeoutError too); then `close` it."""
        self._socket.sendall(json.dumps(question).encode() + b"\n")
        line = self._answers.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the node hung up")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


class KvCluster:
    """`size` nodes, numbered from 0, up while the `with` block lasts."""

    def __init__(self, size: int, *, isolated: bool) -> None:
        self.numbers = range(size)
        self.restarts = 0
        self.exits: list[int] = []
        """Exit statuses of nodes that ended by themselves."""
        self._isolated = isolated
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._paused: set[int] = set()
        self._stack = ExitStack()
        self._lan: Lan | None = None

    def __enter__(self) -> Self:
        _delete_leftovers()
        with ExitStack() as stack:
            self._directory = Path(tempfile.mkdtemp(prefix=mark(PREFIX)))
            stack.callback(shutil.rmtree, self._directory)
            if self._isolated:
                self._lan = stack.enter_context(Lan(len(self.numbers)))
            for number in self.numbers:
                self._prepare(number, stack)
            self._write_cluster_file()
            stack.callback(self._end_all)
            for number in self.numbers:
                self.start(number)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    # --- looking ----------------------------------------------------------------------------------

    def socket(self, number: int) -> Path:
        """Answer where clients reach a node."""
        return self._directory / f"{number}.sock"

    def pids(self) -> list[int]:
        """Answer the processes that run."""
        return [process.pid for process in self._processes.values() if process.poll() is None]

    def status(self, number: int, timeout_s: float = STATUS_S) -> dict[str, Any] | None:
        """Answer what a node says of itself; None if it says nothing."""
        try:
            line = Line(self.socket(number), timeout_s)
        except OSError:
            return None
        with contextlib.closing(line), contextlib.suppress(OSError):
            found: dict[str, Any] = line.ask({"do": "status"})["result"]
            return found
        return None

    def leader(self, timeout_s: float = STATUS_S) -> int | None:
        """Answer the node that says so, in the newest term if there are several."""
        found = [(number, self.status(number, timeout_s)) for number in self.numbers]
        terms = [(s["term"], number) for number, s in found if s and s["role"] == "leader"]
        return max(terms)[1] if terms else None

    def wait_for_leader(self, timeout_s: float) -> int:
        """Answer the leader once there is one."""
        deadline = time.monotonic() + timeout_s
        while (leader := self.leader(PATIENT_S)) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no leader within {timeout_s:g} s\n{self.errors()}")
            time.sleep(0.05)
        return leader

    def wait_until_equal(self, timeout_s: float) -> None:
        """Return when all nodes have applied the same entries to the same state."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.revive()
            found = [self.status(number, PATIENT_S) for number in self.numbers]
            if None not in found and len({s["digest"] for s in found if s}) == 1:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"not equal within {timeout_s:g} s: {found}\n{self.errors()}")
            time.sleep(0.1)

    def errors(self) -> str:
        """Answer the last that the nodes have written to their standard error."""
        texts = [self._error_file(number).read_text()[-2000:] for number in self.numbers]
        return "\n".join(f"node {n}: {text}" for n, text in zip(self.numbers, texts, strict=True))

    # --- processes --------------------------------------------------------------------------------

    def start(self, number: int) -> None:
        """Start a node that does not run."""
        command = [sys.executable, "-m", "tests.e2e.kv_node", self._cluster_file(), str(number)]
        if self._lan is not None:
            command = ["ip", "netns", "exec", self._lan.namespace(number + 1), *command]
        with self._error_file(number).open("ab") as errors:
            self._processes[number] = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=Path(__file__).parents[2],
            )
        self._directory.joinpath(f"{number}.pid").write_text(str(self._processes[number].pid))

    def kill(self, number: int) -> None:
        """End a node as a crash would."""
        process = self._processes[number]
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
        self._paused.discard(number)

    def restart(self, number: int) -> None:
        """Start a node again, unless it runs."""
        process = self._processes[number]
        if process.poll() is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        self.restarts += 1
        self.start(number)

    def revive(self, down: Container[int] = ()) -> None:
        """Start again whoever has ended, as a supervisor of services does; not those of `down`."""
        for number, process in tuple(self._processes.items()):
            status = process.poll()
            if status is not None and number not in down:
                if status >= 0:
                    self.exits.append(status)
                self.restart(number)

    def pause(self, number: int) -> None:
        """Stop a process in its tracks; its connections stay open."""
        if self._processes[number].poll() is None:
            self._processes[number].send_signal(signal.SIGSTOP)
            self._paused.add(number)

    def resume(self, number: int) -> None:
        """Let it go on, not knowing that time has passed."""
        if number in self._paused:
            self._paused.discard(number)
            self._processes[number].send_signal(signal.SIGCONT)

    # --- network and disks ------------------------------------------------------------------------

    def partition(self, *groups: list[int]) -> None:
        """Cut the network; see `Lan.partition`."""
        self._need_lan().partition(*([number + 1 for number in group] for group in groups))

    def one_way(self, sender: int, receiver: int) -> None:
        """Lose what one node sends to another; see `Lan.oneway`."""
        self._need_lan().oneway(sender + 1, receiver + 1)

    def heal(self) -> None:
        """Undo all cuts."""
        self._need_lan().heal()

    def fill_disk(self, number: int) -> None:
        """Take all the room that is left on a node's disk."""
        block = bytes(BLOCK_BYTES)
        with (
            contextlib.suppress(OSError),
            (self._data(number) / BALLAST).open("ab", buffering=0) as ballast,
        ):
            while ballast.write(block):
                pass

    def empty_disk(self, number: int) -> None:
        """Give the room back."""
        (self._data(number) / BALLAST).unlink(missing_ok=True)

    # --- inside -----------------------------------------------------------------------------------

    def _need_lan(self) -> Lan:
        assert self._lan is not None, "only an isolated cluster has a network to cut"
        return self._lan

    def _data(self, number: int) -> Path:
        return self._directory / f"data{number}"

    def _error_file(self, number: int) -> Path:
        return self._directory / f"{number}.err"

    def _cluster_file(self) -> str:
        return str(self._directory / "cluster.json")

    def _prepare(self, number: int, stack: ExitStack) -> None:
        data = self._data(number)
        data.mkdir()
        self._error_file(number).touch()
        if self._isolated:
            options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", f"{PREFIX}{number}"]
            subprocess.run(["mount", *options, str(data)], check=True)
            stack.callback(subprocess.run, ["umount", "-l", str(data)], check=True)

    def _write_cluster_file(self) -> None:
        ports = _free_ports()
        members = []
        for number in self.numbers:
            directory = self._directory / f"keys{number}"
            members.append(
                {
                    "key": load_or_create_keys(directory).public.hex(),
                    "host": self._lan.address(number + 1) if self._lan else "127.0.0.1",
                    "port": PORT if self._lan else next(ports),
                    "directory": str(directory),
                    "data": str(self._data(number)),
                    "socket": str(self.socket(number)),
                }
            )
        Path(self._cluster_file()).write_text(json.dumps(members))

    def _end_all(self) -> None:
        for number in self._processes:
            self.kill(number)


def _free_ports() -> Iterator[int]:
    """Give numbers of which the two after them are free ports, as the transport needs them."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    for candidate in range(20_000 + port % 10_000, 60_000, 3):
        if all(_is_free(candidate + offset) for offset in (1, 2)):
            yield candidate


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def isolation_missing() -> str | None:
    """Answer why nodes cannot be isolated here, or None if they can."""
    return unavailable() or (None if shutil.which("mount") else "needs mount")


def _delete_leftovers() -> None:
    """Delete what killed runs left: paused nodes (others have ended), mounts and directories."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*x*"):
        if not is_left(PREFIX, path.name):
            continue
        for file in path.glob("*.pid"):
            _kill_node(int(file.read_text()), path)
        for data in path.glob("data*"):
            if data.is_mount():
                subprocess.run(["umount", "-l", str(data)], check=False)
        shutil.rmtree(path, ignore_errors=True)


def _kill_node(pid: int, directory: Path) -> None:
    """Kill a process if it is still the node of that directory."""
    with contextlib.suppress(OSError):
        if str(directory) in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGKILL)
