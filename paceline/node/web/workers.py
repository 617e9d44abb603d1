"""The seed's calls for external workers: register, heartbeat, logs, results, and the WebSocket.

Source: the seed's "REST API", "WebSocket Protocol" and "Log Streaming". Workers of the seed are
taken as they are: members of a body that nobody here knows are passed over, not refused.
"""

import asyncio
import json

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from paceline.errors import PacelineError
from paceline.node.web import errors
from paceline.node.web.auth import Guard
from paceline.node.web.call import Call, Row, answer
from paceline.node.web.ports import Document, NodeService, WorkerLine
from paceline.node.web.worker_schemas import BeatBody, LogBody, RegisterBody, ResultBody

PREFIX = "/api/v1"
LINE_PATH = f"{PREFIX}/ws/worker/{{worker_id}}"
MESSAGE_LIMIT_BYTES = 64 * 1024
GOING_AWAY = 1001
UNSUPPORTED = 1003


async def register_worker(call: Call) -> Response:
    """Attach an external worker to this node; the same machine is always the same worker."""
    worker = await call.service.guests.register(call.body.to_registration())
    response = answer(worker, 201)
    response.headers["Location"] = f"{PREFIX}/workers/{worker['worker_id']}"
    return response


async def heartbeat(call: Call) -> Response:
    """Note that an external worker lives, and what its machine has left."""
    return answer(await call.service.guests.heartbeat(call.id, call.body.to_beat()))


async def unregister_worker(call: Call) -> Response:
    """Forget an external worker; what it has in hand goes elsewhere."""
    await call.service.guests.unregister(call.id)
    return answer({"worker_id": call.id, "status": "offline"})


async def upload_result(call: Call) -> Response:
    """Take an external worker's result; answered once it counts."""
    return answer(await call.service.guests.take_result(call.id, call.body.to_result()))


async def append_log(call: Call) -> Response:
    """Append a line to the log of what an external worker does."""
    await call.service.guests.write_log(call.id, call.body.to_line())
    return answer({"subtask_id": call.id, "accepted": True}, 201)


ROWS = (
    Row(
        "POST",
        f"{PREFIX}/workers",
        register_worker,
        "Attach an external worker to this node",
        "worker_id, node_id, via, machine_id, name, status, slots, tools, ...",
        body=RegisterBody,
        status=201,
        bearer_only=True,
    ),
    Row(
        "POST",
        f"{PREFIX}/workers/{{id}}/heartbeat",
        heartbeat,
        "Heartbeat of an external worker; 404 = register first",
        "worker_id, status, node_id",
        body=BeatBody,
        bearer_only=True,
    ),
    Row(
        "DELETE",
        f"{PREFIX}/workers/{{id}}",
        unregister_worker,
        "Unregister an external worker",
        "worker_id, status",
        bearer_only=True,
    ),
    Row(
        "POST",
        f"{PREFIX}/subtasks/{{id}}/result",
        upload_result,
        "Upload a subtask's result; 409 = it is somebody else's by now",
        "subtask_id, status, attempt, accepted",
        body=ResultBody,
        bearer_only=True,
    ),
    Row(
        "POST",
        f"{PREFIX}/subtasks/{{id}}/logs",
        append_log,
        "Append a line to a subtask's log",
        "subtask_id, accepted",
        body=LogBody,
        status=201,
        bearer_only=True,
    ),
)


async def line(socket: WebSocket, service: NodeService, guard: Guard) -> None:
    """Serve a worker's WebSocket until either side has enough of it."""
    worker_id = socket.path_params["worker_id"]
    try:
        guard.check_bearer(socket)
        opened = await service.guests.connect(worker_id)
    except PacelineError as error:
        await socket.send_denial_response(errors.response(error))
        return
    try:
        await socket.accept()
        await _talk(socket, opened, service, worker_id)
    finally:
        service.guests.parted(worker_id, opened)


async def _talk(
    socket: WebSocket, opened: WorkerLine, service: NodeService, worker_id: str
) -> None:
    """Send and hear at once; the first of both that ends, ends the other."""
    closing = socket.app.state.closing
    parts = {
        asyncio.create_task(_send(socket, opened)),
        asyncio.create_task(_hear(socket, service, worker_id)),
        asyncio.create_task(closing.wait()),
    }
    try:
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        for part in done:
            part.result()
    except WebSocketDisconnect:
        return
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
    await _close(socket, GOING_AWAY, opened.reason or "the node is stopping")


async def _send(socket: WebSocket, opened: WorkerLine) -> None:
    while (message := await opened.next()) is not None:
        await socket.send_text(json.dumps(message, ensure_ascii=False))


async def _hear(socket: WebSocket, service: NodeService, worker_id: str) -> None:
    while True:
        message = _message(await socket.receive_text())
        if message is None:
            await _close(socket, UNSUPPORTED, "a message is a JSON object with a `type`")
            return
        await service.guests.hear(worker_id, message)


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    try:
        await socket.close(code, reason[:100])
    except (RuntimeError, WebSocketDisconnect):  # the other side was quicker
        return


def _message(text: str) -> Document | None:
    try:
        message = json.loads(text)
    except ValueError:
        return None
    return message if isinstance(message, dict) and isinstance(message.get("type"), str) else None
