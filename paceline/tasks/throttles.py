"""Which tools rest on which nodes because their providers say so: derived from the outcomes.

An attempt that ended with `quota` says that its tool, with its node's account, gets nothing more
for a while. That is so for all subtasks, so the tool rests on that node until then, whoever leads.
A provider that names no end is given a pause that doubles each time it refuses again.
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

WINDOW_MS: Final = 8 * 24 * 3600 * 1000
"""No limit is held against a tool for longer; the longest known are renewed weekly."""

AGAIN_MS: Final = 2 * 3600 * 1000
"""Refusals that are not further apart count as repeated."""

PAUSE_LIMIT_MS: Final = 3600 * 1000
"""What a pause of our own choice doubles up to."""

DEFAULT_PAUSE_MS: Final = 60_000
"""For outcomes that say nothing at all, as release 0.1 wrote them."""


@dataclass(frozen=True, slots=True)
class Throttle:
    """One tool on one node rests until a moment (milliseconds since 1970)."""

    node_id: str
    tool: str
    until_ms: int
    kind: str = ""
    """Of the limit (`rate`, `usage`, `credit`), where it is known."""
    assumed: bool = False
    """The provider named no end: the pause is our guess."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    finished_ms: int
    pause_ms: int
    kind: str
    assumed: bool

    @property
    def until_ms(self) -> int:
        return self.finished_ms + self.pause_ms


def throttles(connection: sqlite3.Connection, now_ms: int) -> list[Throttle]:
    """Answer the tools that rest now, by node and tool. Costs by the refusals of eight days."""
    found: dict[tuple[str, str], list[_Refusal]] = {}
    for node_id, tool, finished_ms, pause_ms, details in connection.execute(
        "SELECT node_id, tool, finished_at, retryable_after_ms, details"
        " FROM attempts INDEXED BY attempts_limited"
        " WHERE result_status = 'quota' AND finished_at > ? ORDER BY finished_at",
        (now_ms - WINDOW_MS,),
    ):
        found.setdefault((node_id, tool), []).append(_refusal(finished_ms, pause_ms, details))
    resting = (_throttle(*where, refusals) for where, refusals in sorted(found.items()))
    return [each for each in resting if each.until_ms > now_ms]


def _refusal(finished_ms: int, pause_ms: int | None, details: str | None) -> _Refusal:
    limit = _limit(details)
    assumed = pause_ms is None or bool(limit.get("assumed"))
    pause_ms = DEFAULT_PAUSE_MS if pause_ms is None else min(max(0, pause_ms), WINDOW_MS)
    return _Refusal(finished_ms, pause_ms, str(limit.get("kind", "")), assumed)


def _limit(details: str | None) -> dict[str, Any]:
    """Answer what an outcome says of its limit. Tools of others may have put anything there."""
    known = json.loads(details) if details else {}
    limit = known.get("limit") if isinstance(known, dict) else None
    return limit if isinstance(limit, dict) else {}


def _throttle(node_id: str, tool: str, refusals: list[_Refusal]) -> Throttle:
    """Answer the latest end of what was said and of what we assume."""
    said = [each for each in refusals if not each.assumed]
    guessed = [each for each in refusals if each.assumed]
    ends = [(each.until_ms, each) for each in said]
    if guessed:
        last = guessed[-1]
        pause_ms = min(last.pause_ms << (_repeated(guessed) - 1), _limit_for(last))
        ends.append((last.finished_ms + pause_ms, last))
    until_ms, why = max(ends, key=lambda end: end[0])
    return Throttle(node_id, tool, until_ms, why.kind, why.assumed)


def _limit_for(refusal: _Refusal) -> int:
    return max(refusal.pause_ms, PAUSE_LIMIT_MS)


def _repeated(refusals: Iterable[_Refusal]) -> int:
    """Answer how many there were in a row, none long after the one before; at most 12."""
    count, before_ms = 0, None
    for each in refusals:
        in_row = before_ms is not None and each.finished_ms - before_ms <= AGAIN_MS
        count = count + 1 if in_row else 1
        before_ms = each.finished_ms
    return min(count, 12)
