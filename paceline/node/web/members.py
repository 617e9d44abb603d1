"""The calls about the nodes that are in: drain, trust, revoke, and leaving.

Whom the cluster trusts is not for a browser's session: it takes this node's bearer token.
"""

from starlette.responses import Response

from paceline.node.web.call import Call, Row, answer
from paceline.node.web.schemas import DrainBody, LeaveBody, RevokeBody, TrustBody

PREFIX = "/api/v1"


async def drain(call: Call) -> Response:
    """Give a node no new work, or work again."""
    body = call.body
    return answer(await call.service.steward.drain(call.id, on=body.on, timeout_s=body.timeout_s))


async def trust(call: Call) -> Response:
    """Let a node run sensitive work, or no more."""
    return answer(await call.service.steward.trust(call.id, trusted=call.body.trusted))


async def revoke(call: Call) -> Response:
    """Throw a node out for good and change the token."""
    return answer(await call.service.steward.revoke(call.id, call.body.reason))


async def leave(call: Call) -> Response:
    """Take this node out of the cluster; answered when it is out, just before it ends."""
    return answer(await call.service.steward.leave(call.body.timeout_s))


ROWS = (
    Row(
        "POST",
        f"{PREFIX}/nodes/{{id}}/drain",
        drain,
        "Give a node no new work, or work again",
        "node_id, name, status",
        body=DrainBody,
    ),
    Row(
        "POST",
        f"{PREFIX}/nodes/{{id}}/trust",
        trust,
        "Let a node run sensitive work, or no more",
        "node_id, name, trusted, changed",
        body=TrustBody,
        bearer_only=True,
    ),
    Row(
        "POST",
        f"{PREFIX}/nodes/{{id}}/revoke",
        revoke,
        "Throw a node out for good and change the token",
        "node_id, name, token_version",
        body=RevokeBody,
    ),
    Row(
        "POST",
        f"{PREFIX}/node/leave",
        leave,
        "Take this node out of the cluster for good",
        "node_id, finished",
        body=LeaveBody,
    ),
)
