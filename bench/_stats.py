"""Numbers out of samples."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(values: Sequence[float], percent: float) -> float:
    """Answer the nearest-rank percentile; `values` need not be sorted, but must not be empty."""
    ordered = sorted(values)
    return ordered[round(percent / 100 * (len(ordered) - 1))]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some values, and the range in which they lie."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int = 0) -> str:
        if self.least == self.most:
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({self.least:,.{digits}f} to {self.most:,.{digits}f})"


def latency_summary(latencies_s: Sequence[float], elapsed_s: float) -> dict[str, float]:
    """Answer what one closed-loop run came to."""
    if not latencies_s:
        return {"ops_per_s": 0.0, "p50_ms": float("inf"), "p99_ms": float("inf")}
    return {
        "ops_per_s": len(latencies_s) / elapsed_s,
        "p50_ms": percentile(latencies_s, 50) * 1000,
        "p99_ms": percentile(latencies_s, 99) * 1000,
    }
