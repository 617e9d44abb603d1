"""Single keys of a terminal, without Enter."""

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

END = "\x04"
"""What Ctrl-D sends, and what stands for a terminal that is gone."""


class Keys:
    """Called with seconds (None = for ever), answers the key pressed meanwhile, or nothing."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, wait_s: float | None = None) -> str:
        """Wait for a key."""
        ready, _, _ = select.select([self._descriptor], [], [], wait_s)
        if not ready:
            return ""
        return os.read(self._descriptor, 1).decode("ascii", "replace") or END


@contextmanager
def keys() -> Iterator[Keys]:
    """Have single keys read while this lasts. What was typed before is not thrown away."""
    import termios  # noqa: PLC0415 - not on every system
    import tty  # noqa: PLC0415

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor, termios.TCSADRAIN)
        yield Keys(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
