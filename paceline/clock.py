"""Time, passed in wherever it is needed so that tests and simulations can own it."""

import time
from typing import Protocol


class Clock(Protocol):
    """What the time is. Wall time goes into commands; monotonic time measures durations."""

    def now_ms(self) -> int:
        """Answer milliseconds since 1970 (UTC)."""
        ...

    def monotonic_ms(self) -> int:
        """Answer milliseconds that never jump back."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Answer milliseconds since 1970 (UTC)."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Answer milliseconds since some fixed moment."""
        return time.monotonic_ns() // 1_000_000
