"""The command on a terminal of its own, with somebody who reads and presses keys."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cli.command import argv, environment

WAIT_S = 30.0


class Terminal:
    """What was shown so far, and keys to press."""

    def __init__(self, descriptor: int, process: "subprocess.Popen[bytes]") -> None:
        self._descriptor = descriptor
        self.process = process
        self.shown = ""

    def until(self, text: str) -> str:
        """Read until a text has been shown; answer all that came until then, and forget it."""
        deadline = time.monotonic() + WAIT_S
        while text not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} was never shown; this was: {self.shown!r}"
            if not select.select([self._descriptor], [], [], left)[0]:
                continue
            part = self._part()
            assert part, f"it ended before {text!r} was shown; this was: {self.shown!r}"
            self.shown += part
        before, _, self.shown = self.shown.partition(text)
        return before + text

    def _part(self) -> str:
        try:
            return os.read(self._descriptor, 65536).decode("utf-8", "replace")
        except OSError:  # Linux says EIO when the last writer has closed its side.
            return ""

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._descriptor, keys.encode())

    def ends(self) -> int:
        """Read to the end; answer the exit status."""
        while part := self._part():
            self.shown += part
        return self.process.wait(WAIT_S)


@contextmanager
def terminal(
    *arguments: str, columns: int = 120, rows: int = 40, **environ: str
) -> Iterator[Terminal]:
    """Start the command on a terminal of that size; at the end it is gone."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        argv(*arguments),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment(TERM="xterm-256color", PYTHONIOENCODING="utf-8", **environ),
        start_new_session=True,
    )
    os.close(follower)
    try:
        yield Terminal(leader, process)
    finally:
        process.kill()
        process.wait(WAIT_S)
        os.close(leader)
