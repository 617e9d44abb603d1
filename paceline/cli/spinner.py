"""A sign of life on standard error for whatever takes longer than half a second.

Only where standard error is a terminal; elsewhere nothing is started and nothing is written.
"""

import os
import sys
import threading
import time
from typing import Final

FIRST_S: Final = 0.5
FRAME_S: Final = 0.1
FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
PLAIN_FRAMES: Final = "|/-\\"


class Spinner:
    """A context manager; cheap until half a second has passed."""

    def __init__(self, words: str = "waiting for the node") -> None:
        self._words = words
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            self._thread = threading.Thread(target=self._turn, daemon=True)
            self._thread.start()

    def __exit__(self, *failure: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _turn(self) -> None:
        begun_s = time.monotonic()
        if self._ended.wait(FIRST_S):
            return
        utf8 = (sys.stderr.encoding or "").lower().replace("-", "") == "utf8"
        frames = FRAMES if utf8 else PLAIN_FRAMES
        number = 0
        while not self._ended.wait(FRAME_S):
            frame, waited = frames[number % len(frames)], time.monotonic() - begun_s
            sys.stderr.write(f"\r{frame} {self._words}, {waited:.0f} s\x1b[K")
            sys.stderr.flush()
            number += 1
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
