"""The calls that look closer: what ails the cluster, and whether all nodes hold the same state."""

from starlette.responses import Response

from paceline.node.web.call import Call, Row, answer

PREFIX = "/api/v1"
_COMPARED = "index, equal, decided, compared, differing, missing, names, warnings"


async def checksum(call: Call) -> Response:
    """Compare the state of all nodes now."""
    return answer(await call.service.inspection.compare())


async def doctor(call: Call) -> Response:
    """Examine the cluster, from every node of it."""
    return answer({"findings": await call.service.inspection.findings()})


ROWS = (
    Row("GET", f"{PREFIX}/doctor", doctor, "Examine the cluster", "findings"),
    Row("POST", f"{PREFIX}/checksum", checksum, "Compare the state of all nodes", _COMPARED),
)
