"""From what a tool answered to the outcome that goes into the log.

`details` tell what the outcome's own fields do not, where there is something to tell:

    limit       {"kind", "assumed"}: which limit of the provider was hit; `assumed`: the provider
                did not say when it ends, and the pause is this node's guess
    cost_basis  how far `cost_usd` can be believed (`reported`, `computed`)
    denials     what the agent was not allowed to do
"""

from typing import Any, Final

from paceline.codec import decode, encode
from paceline.errors import ProtocolError, ToolError
from paceline.node.transcript import Transcript
from paceline.tasks.model import Outcome, ResultStatus
from paceline.tools.contract import BaseTool
from paceline.tools.events import CostBasis, Limit, LimitKind, ToolResult

OUTCOME_LIMIT_BYTES: Final = 64 * 1024
"""Of a tool's result, encoded, without its output."""

DENIAL_LENGTH: Final = 200

ASSUMED_PAUSE_MS: Final = {
    LimitKind.RATE: 60_000,
    LimitKind.OVERLOAD: 60_000,
    LimitKind.USAGE: 15 * 60_000,
    LimitKind.CREDIT: 60 * 60_000,
}
"""How long a limit is taken to last that does not say; repeated ones last longer, see
`tasks.throttles`."""


def conclude(transcript: Transcript, tool: BaseTool) -> Outcome:
    """Answer the outcome, without its output. Raise ToolError if there is none that can be sent."""
    result = transcript.result
    if result is None:
        raise ToolError(f"the tool {tool.name} ended without a result")
    limit = _limit(result)
    outcome = Outcome(
        result.status,
        transcript.text,
        exit_code=result.exit_code,
        usage=transcript.usage,
        cost_usd=result.cost_usd,
        session=result.session,
        retryable_after_ms=limit.reset_after_ms if limit else result.retryable_after_ms,
        details={**result.details, **_details(result)},
    )
    try:  # what cannot be sent must not get as far as the outbox
        data = encode(outcome)
        if len(data) <= OUTCOME_LIMIT_BYTES:
            return decode(Outcome, data)
        reason = f"it has {len(data)} bytes"
    except (TypeError, ValueError, OverflowError, ProtocolError) as error:
        reason = str(error)
    raise ToolError(f"the result of the tool {tool.name} cannot be taken: {reason}")


def _limit(result: ToolResult) -> Limit | None:
    """Answer the limit that was hit, with a pause in any case; None where none was."""
    if result.status is not ResultStatus.QUOTA:
        return None
    limit = result.limit or Limit(LimitKind.RATE)
    said = limit.reset_after_ms if limit.reset_after_ms is not None else result.retryable_after_ms
    return Limit(limit.kind, ASSUMED_PAUSE_MS[limit.kind] if said is None else max(0, said))


def _details(result: ToolResult) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if result.status is ResultStatus.QUOTA:
        kind = result.limit.kind if result.limit else LimitKind.RATE
        said = result.limit.reset_after_ms if result.limit else None
        assumed = said is None and result.retryable_after_ms is None
        details["limit"] = {"kind": kind.value, "assumed": assumed}
    if result.cost_basis is not CostBasis.NONE:
        details["cost_basis"] = result.cost_basis.value
    if result.denials:
        details["denials"] = [each[:DENIAL_LENGTH] for each in result.denials]
    return details
