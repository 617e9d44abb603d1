"""The calls about the node and its cluster, and the two for supervisors of processes."""

from starlette.responses import Response

from paceline.node.web.call import Call, Row, answer
from paceline.node.web.ports import EventQuery
from paceline.node.web.schemas import BackupBody, EventsQuery, TemplatesQuery
from paceline.node.web.streams import NDJSON, stream

PREFIX = "/api/v1"


async def status(call: Call) -> Response:
    """Answer the cluster as this node sees it."""
    return answer(await call.service.status())


async def nodes(call: Call) -> Response:
    """Answer the members."""
    return answer({"nodes": await call.service.nodes()})


async def workers(call: Call) -> Response:
    """Answer the registered workers."""
    return answer({"workers": await call.service.workers()})


async def templates(call: Call) -> Response:
    """Answer the templates that a task's `type` may name."""
    return answer({"templates": await call.service.templates(call.query.repository)})


async def running(call: Call) -> Response:
    """Answer what runs now, on all nodes."""
    return answer({"running": await call.service.running()})


async def settings(call: Call) -> Response:
    """Answer how this node is set up."""
    return answer(await call.service.settings())


async def events(call: Call) -> Response:
    """Stream what happened in the cluster."""
    asked = call.query
    query = EventQuery(
        asked.after,
        asked.task,
        asked.follow,
        asked.newest,
        actions=frozenset(filter(None, asked.action.split(","))),
        node_id=asked.node,
    )
    return stream(call, await call.service.events(query))


async def backup(call: Call) -> Response:
    """Write a copy of everything to a file on the node's machine."""
    return answer(await call.service.backup(call.body.path), 201)


async def stop(call: Call) -> Response:
    """Ask the node to hand over and end."""
    await call.service.stop()
    return answer({"stopping": True}, 202)


async def healthz(call: Call) -> Response:
    """Answer whether restarting the process could help: 503 means that it could."""
    health = call.service.health()
    return answer({"healthy": health.healthy}, 200 if health.healthy else 503)


async def readyz(call: Call) -> Response:
    """Answer whether this node can serve; says why not, but nothing about the cluster."""
    health = call.service.health()
    return answer({"ready": health.ready, "reason": health.reason}, 200 if health.ready else 503)


ROWS = (
    Row(
        "GET", f"{PREFIX}/status", status, "The cluster as this node sees it", "node_id, role, ..."
    ),
    Row("GET", f"{PREFIX}/nodes", nodes, "The members", "nodes"),
    Row("GET", f"{PREFIX}/workers", workers, "The registered workers", "workers"),
    Row("GET", f"{PREFIX}/running", running, "What runs now, on all nodes", "running"),
    Row("GET", f"{PREFIX}/settings", settings, "How this node is set up", "groups"),
    Row(
        "POST",
        f"{PREFIX}/backup",
        backup,
        "Write a copy of the cluster's state to a file",
        "path, cluster_id, index, tasks, blobs, missing_blobs, ...",
        body=BackupBody,
        status=201,
        bearer_only=True,
    ),
    Row(
        "GET",
        f"{PREFIX}/templates",
        templates,
        "The task templates",
        "templates",
        query=TemplatesQuery,
    ),
    Row(
        "GET",
        f"{PREFIX}/events",
        events,
        "Stream what happened",
        "log_id, task_id, subtask_id, worker_id, action, details, timestamp",
        query=EventsQuery,
        media_type=NDJSON,
    ),
    Row(
        "POST",
        f"{PREFIX}/node/stop",
        stop,
        "Hand over and end",
        "stopping",
        status=202,
        bearer_only=True,
    ),
    Row("GET", "/healthz", healthz, "Is the process well", "healthy", public=True),
    Row("GET", "/readyz", readyz, "Can the node serve", "ready, reason", public=True),
)
