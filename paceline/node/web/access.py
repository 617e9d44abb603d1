"""The calls about who gets in: the join token, and newcomers that wait for approval.

The token opens the cluster to other machines. It is told to who holds this node's bearer token and
never to a browser's session.
"""

from starlette.responses import Response

from paceline.node.web.call import Call, Row, answer
from paceline.node.web.schemas import ApproveBody

PREFIX = "/api/v1"
_TOKEN = "token, version, cluster_id, approve, join, command"


async def token(call: Call) -> Response:
    """Answer the cluster's token."""
    return answer(await call.service.access.token())


async def rotate(call: Call) -> Response:
    """Change the cluster's token."""
    return answer(await call.service.access.rotate_token())


async def newcomers(call: Call) -> Response:
    """Answer the newcomers that wait."""
    return answer({"newcomers": await call.service.access.pending()})


async def approve(call: Call) -> Response:
    """Let one of them in."""
    return answer(await call.service.access.approve(call.body.newcomer))


ROWS = (
    Row("GET", f"{PREFIX}/token", token, "The cluster's join token", _TOKEN, bearer_only=True),
    Row(
        "POST",
        f"{PREFIX}/token/rotate",
        rotate,
        "Change the join token",
        _TOKEN,
        bearer_only=True,
    ),
    Row("GET", f"{PREFIX}/newcomers", newcomers, "Who waits for approval", "newcomers"),
    Row(
        "POST",
        f"{PREFIX}/newcomers/approve",
        approve,
        "Let a newcomer in",
        "node_id, name, address, code",
        body=ApproveBody,
    ),
)
