"""How fast the disk is right now: it bounds everybody, and it changes from minute to minute."""

import os
import tempfile
import time
from pathlib import Path

from bench._stats import percentile


def probe(directory: Path, seconds: float = 1.0) -> dict[str, float]:
    """Append and sync 4 KiB again and again; answer syncs/s and milliseconds."""
    block = os.urandom(4096)
    latencies = []
    with tempfile.NamedTemporaryFile(dir=directory, buffering=0) as file:
        end = time.monotonic() + seconds
        while (start := time.monotonic()) < end:
            file.write(block)
            os.fdatasync(file.fileno())
            latencies.append(time.monotonic() - start)
    return {
        "syncs_per_s": len(latencies) / seconds,
        "p50_ms": percentile(latencies, 50) * 1000,
        "p99_ms": percentile(latencies, 99) * 1000,
    }
