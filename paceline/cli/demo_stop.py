"""Being interrupted, at any moment, without leaving anything behind.

A handler that raises may strike between a fork and the line that remembers the child. This one
only takes note; the demo looks whenever it waits, and all its waits are short. While it cleans up
further signals change nothing any more.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SLICE_S = 0.05


class Interrupted(Exception):
    """A signal asked the demo to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


class Stop:
    """Whether somebody asked the demo to end."""

    def __init__(self) -> None:
        self._number = 0

    def note(self, number: int, frame: object) -> None:
        """Remember a signal; the first one counts."""
        self._number = self._number or number

    def check(self) -> None:
        """Raise Interrupted if there was one."""
        if self._number:
            raise Interrupted(self._number)

    def pause(self, seconds: float) -> None:
        """Sleep in slices; raise Interrupted as soon as there was a signal."""
        end = time.monotonic() + seconds
        while True:
            self.check()
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, SLICE_S))


@contextmanager
def noting_signals() -> Iterator[Stop]:
    """Take note of the signals that would end the process, for as long as the block runs.

    One that is ignored stays so: `nohup` and shells set that up for their background jobs.
    """
    stop = Stop()
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop.note) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
