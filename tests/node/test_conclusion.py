"""What of a tool's result the log gets to know: limits with a pause, money with its basis."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from paceline.clock import SystemClock
from paceline.node.conclusion import conclude
from paceline.node.logs import LogKey, LogStore
from paceline.node.redaction import Redactor
from paceline.node.transcript import Transcript
from paceline.tasks.model import Outcome, ResultStatus
from paceline.tools.command import Command
from paceline.tools.events import CostBasis, Final, Limit, LimitKind, ToolResult

QUOTA = ResultStatus.QUOTA


def concluded(directory: Path, result: ToolResult) -> Outcome:
    redactor = Redactor([])
    store = LogStore(directory=directory, clock=SystemClock(), redactor=redactor)
    with closing(store.open(LogKey("s", 1, 1))) as writer:
        transcript = Transcript(writer, redactor)
        transcript.take(Final(result))
        return conclude(transcript, Command({}))


@pytest.mark.parametrize(
    ("result", "pause_ms", "limit"),
    [
        (ToolResult(QUOTA), 60_000, {"kind": "rate", "assumed": True}),
        (ToolResult(QUOTA, retryable_after_ms=9), 9, {"kind": "rate", "assumed": False}),
        (
            ToolResult(QUOTA, limit=Limit(LimitKind.USAGE, 7_200_000)),
            7_200_000,
            {"kind": "usage", "assumed": False},
        ),
        (
            ToolResult(QUOTA, limit=Limit(LimitKind.CREDIT)),
            3_600_000,
            {"kind": "credit", "assumed": True},
        ),
        (ToolResult(ResultStatus.ERROR, limit=Limit(LimitKind.OVERLOAD)), None, None),
    ],
)
def test_a_limit_always_has_a_pause(
    tmp_path: Path, result: ToolResult, pause_ms: int | None, limit: dict[str, Any] | None
) -> None:
    outcome = concluded(tmp_path, result)
    assert outcome.retryable_after_ms == pause_ms
    assert outcome.details.get("limit") == limit


def test_the_basis_of_a_cost_and_denials_are_kept(tmp_path: Path) -> None:
    result = ToolResult(
        ResultStatus.DENIED,
        cost_usd=0.5,
        cost_basis=CostBasis.COMPUTED,
        denials=("Bash", "W" * 999),
        details={"own": 1},
    )
    outcome = concluded(tmp_path, result)
    assert outcome.cost_usd == 0.5
    assert outcome.details == {"own": 1, "cost_basis": "computed", "denials": ["Bash", "W" * 200]}
