"""How long the disk takes to make a few bytes durable: every commit waits for that."""

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from paceline.node.doctor.finding import Finding, ok, problem, warning

SYNCS: Final = 16
BLOCK: Final = bytes(4096)
SLOW_MS: Final = 20.0
UNUSABLE_MS: Final = 250.0


def sync_times_ms(directory: Path, count: int = SYNCS) -> list[float]:
    """Answer how long each of some small synced writes took. Raise OSError."""
    times = []
    with tempfile.NamedTemporaryFile(prefix=".doctor-", dir=directory) as file:
        for _ in range(count):
            began = time.perf_counter()
            os.pwrite(file.fileno(), BLOCK, 0)
            os.fsync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return times


def examine(directory: Path) -> list[Finding]:
    """Answer how fast the disk under a directory is; nothing if there is no such directory."""
    if not directory.is_dir():
        return []
    try:
        times = sync_times_ms(directory)
    except OSError as error:
        reason = error.strerror or str(error)
        return [problem("disk", f"cannot write to {directory}: {reason}", "see to the disk")]
    return [judge(statistics.median(times), max(times))]


def judge(median_ms: float, max_ms: float) -> Finding:
    """Answer what such times mean for the cluster."""
    text = f"a synced write takes {median_ms:.1f} ms (longest {max_ms:.1f} ms)"
    if median_ms > UNUSABLE_MS:
        return problem("disk", text, "use another disk: elections time out while this one writes")
    if median_ms > SLOW_MS:
        return warning("disk", text, "every commit waits for that; an SSD takes 1 ms or less")
    return ok("disk", text)
