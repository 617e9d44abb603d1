"""Load in a closed loop: so many operations under way, each followed by the next."""

import asyncio
import os
import time
from collections.abc import Callable

from bench._stats import latency_summary

Done = Callable[[bool], None]
Issue = Callable[[bytes, Done], None]

GRACE_S = 10.0
RETRY_S = 0.001


class ClosedLoop:
    """Keeps `outstanding` operations under way for `seconds`."""

    def __init__(self, issue: Issue, outstanding: int, size: int, seconds: float) -> None:
        self._issue = issue
        self._outstanding = outstanding
        self._data = os.urandom(size)
        self._seconds = seconds
        self._latencies: list[float] = []
        self._errors = 0
        self._left = outstanding
        self._over = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def run(self) -> dict[str, float]:
        start = time.monotonic()
        self._stop = start + self._seconds
        for _ in range(self._outstanding):
            self._next()
        async with asyncio.timeout(self._seconds + GRACE_S):
            await self._over.wait()
        summary = latency_summary(self._latencies, time.monotonic() - start)
        return {**summary, "errors": self._errors}

    def _next(self) -> None:
        start = time.monotonic()

        def done(ok: bool) -> None:
            now = time.monotonic()
            if ok:
                self._latencies.append(now - start)
            else:
                self._errors += 1
            if now >= self._stop:
                self._end_one()
            elif ok:
                self._next()
            else:
                self._loop.call_later(RETRY_S, self._next)

        self._issue(self._data, done)

    def _end_one(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._over.set()
