"""The calls about what tasks came to: a document, and files to take away."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from paceline.node.web.call import Call, Row, answer
from paceline.node.web.ports import Download
from paceline.node.web.schemas import BundleQuery, ResultQuery

TASK = "/api/v1/tasks/{id}/result"
BINARY = "application/octet-stream"
PATCH = "text/x-diff"
READ_BYTES = 256 * 1024


async def result(call: Call) -> Response:
    """Answer what a task came to."""
    return answer(await call.service.results.document(call.id, call.query.subtask))


async def patch(call: Call) -> Response:
    """Send it as a patch."""
    return _send(await call.service.results.patch(call.id, call.query.subtask))


async def bundle(call: Call) -> Response:
    """Send it as a git bundle."""
    found = await call.service.results.bundle(call.id, call.query.subtask, call.query.since)
    return _send(found)


async def output(call: Call) -> Response:
    """Send what a subtask gave out."""
    return _send(await call.service.results.output(call.id))


def _send(found: Download) -> Response:
    """Answer a response that sends the file as it is read: memory does not grow with its size."""
    headers = {
        "Content-Length": str(found.size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.name, safe='')}",
    }
    if found.commit:
        headers |= {"X-Paceline-Commit": found.commit, "X-Paceline-Ref": found.ref}
    return StreamingResponse(_chunks(found), headers=headers, media_type=found.media_type)


async def _chunks(found: Download) -> AsyncIterator[bytes]:
    with found.file as file:
        while chunk := await asyncio.to_thread(file.read, READ_BYTES):
            yield chunk


ROWS = (
    Row("GET", TASK, result, "Tell a result", "commit, files, subtasks, ...", query=ResultQuery),
    Row(
        "GET",
        f"{TASK}/patch",
        patch,
        "Take the changes as a patch",
        "what `git apply` takes",
        query=ResultQuery,
        media_type=PATCH,
    ),
    Row(
        "GET",
        f"{TASK}/bundle",
        bundle,
        "Take the commits as a git bundle",
        "what `git fetch` takes",
        query=BundleQuery,
        media_type=BINARY,
    ),
    Row(
        "GET",
        "/api/v1/subtasks/{id}/output",
        output,
        "Take what a subtask gave out",
        "its bytes",
        media_type=BINARY,
    ),
)
