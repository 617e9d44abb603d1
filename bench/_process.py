"""Child processes that are spoken to in lines of JSON."""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(tempfile.gettempdir()) / "paceline-bench"
"""Built and installed peers are kept here; it may be deleted at any time."""

LEAVE_S = 15.0


class Missing(Exception):
    """A peer to compare with is not installed; the text says how to get it."""


class Child:
    """One process; `ask` writes a line and reads the answer."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path = ROOT,
        wait_s: float = 60.0,
        quiet: bool = False,
    ) -> None:
        self._wait_s = wait_s
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            bufsize=0,
        )
        self._rest = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, question: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")

    def hear(self) -> Any:
        """Answer the next line. Raise RuntimeError if the process ends or is silent too long."""
        deadline = time.monotonic() + self._wait_s
        while b"\n" not in self._rest:
            self._rest += self._read(deadline)
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def ask(self, question: object) -> Any:
        self.tell(question)
        return self.hear()

    def cpu_s(self) -> float:
        """Answer the processor time used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def leave(self) -> None:
        """Say nothing more, let it end by itself, and wait; kill it if it does not."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(LEAVE_S)
        self.kill()

    def kill(self) -> None:
        """End it as a crash would, and wait."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _read(self, deadline: float) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise RuntimeError(f"process {self.pid} says nothing")
        data = os.read(descriptor, 1 << 16)
        if not data:
            raise RuntimeError(f"process {self.pid} ended with {self._process.wait()}")
        return data


def python(module: str, *arguments: str) -> list[str]:
    """Answer the command line of a module of ours."""
    return [sys.executable, "-m", module, *arguments]


def free_ports(count: int) -> list[int]:
    """Answer ports that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


@contextlib.contextmanager
def scratch(base: Path) -> Iterator[Path]:
    """Give a directory on the disk that is measured, and delete it."""
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=base))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
