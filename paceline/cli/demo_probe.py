"""How long the network could commit nothing: measured the way a person would feel it.

From the moment of the kill a small task is submitted through a survivor, again and again under one
idempotency key, until the answer says that a quorum has it on disk. Nothing else is as honest: a
commit index may still move on messages that the dead leader had sent before.
"""

import contextlib
import threading
import time
import uuid
from collections.abc import Sequence
from itertools import cycle

from paceline.cli.demo_cluster import Node
from paceline.cli.demo_stop import Stop
from paceline.cli.demo_work import PROBE
from paceline.errors import PacelineError, TimedOut

LIMIT_S = 20.0
PAUSE_S = 0.005


class Probe:
    """Measures in a thread of its own, which ends with its result, the limit or the nodes."""

    def __init__(self, survivors: Sequence[Node], *, killed_s: float) -> None:
        self._survivors = survivors
        self._killed_s = killed_s
        self._failover_ms: int | None = None
        # A daemon: an interrupted demo waits for nobody.
        self._thread = threading.Thread(target=self._measure, name="probe", daemon=True)
        self._thread.start()

    def result(self, stop: Stop) -> int:
        """Answer the milliseconds from the kill to the next commit. Raise TimedOut."""
        while self._thread.is_alive():
            stop.pause(PAUSE_S)
        if self._failover_ms is None:
            raise TimedOut(f"nothing was committed within {LIMIT_S:g} s of the leader's death")
        return self._failover_ms

    def _measure(self) -> None:
        body = {"plan": PROBE, "format": "yaml", "idempotency_key": str(uuid.uuid4())}
        for node in cycle(self._survivors):
            with contextlib.suppress(PacelineError):
                node.client.post("tasks", body)
                self._failover_ms = round((time.monotonic() - self._killed_s) * 1000)
                return
            if time.monotonic() - self._killed_s > LIMIT_S:
                return
            time.sleep(PAUSE_S)
