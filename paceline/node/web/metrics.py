"""What Prometheus scrapes. Needs the bearer token, as everything that tells of the cluster does."""

from starlette.responses import Response

from paceline.node.web.call import Call, Row

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def metrics(call: Call) -> Response:
    """Answer this node's metrics."""
    return Response(await call.service.metrics(), headers={"Content-Type": CONTENT_TYPE})


ROWS = (
    Row(
        "GET",
        "/metrics",
        metrics,
        "This node's metrics for Prometheus",
        "text",
        media_type="text/plain",
    ),
)
