"""The calls about tasks: submit, list, show, cancel, retry, logs."""

from starlette.responses import Response

from paceline.node.web.call import Call, Row, answer
from paceline.node.web.ports import LogQuery
from paceline.node.web.schemas import (
    CancelBody,
    LogsQuery,
    RetryBody,
    SubmitQuery,
    TaskBody,
    TaskChangeBody,
    TasksQuery,
)
from paceline.node.web.streams import NDJSON, stream

PREFIX = "/api/v1/tasks"


async def submit(call: Call) -> Response:
    """Accept a task: 201 when it is new, 200 when its idempotency key was known."""
    if call.query.dry_run:
        return answer(await call.service.dry_run(call.body.to_request()))
    accepted = await call.service.submit(call.body.to_request())
    response = answer(accepted, 201 if accepted["created"] else 200)
    response.headers["Location"] = f"{PREFIX}/{accepted['task_id']}"
    return response


async def check(call: Call) -> Response:
    """Answer what a submission would become, and submit nothing."""
    return answer(await call.service.check(call.body.to_request()))


async def list_tasks(call: Call) -> Response:
    """Answer a page of tasks."""
    return answer(await call.service.tasks(call.query.to_query()))


async def show(call: Call) -> Response:
    """Answer one task with all that belongs to it."""
    return answer(await call.service.task(call.id))


async def subtasks(call: Call) -> Response:
    """Answer one task's subtasks."""
    return answer({"subtasks": await call.service.subtasks(call.id)})


async def explain(call: Call) -> Response:
    """Answer what each subtask of a task waits for."""
    return answer(await call.service.explain(call.id))


async def cancel(call: Call) -> Response:
    """Ask for an end; running subtasks follow."""
    body = call.body
    return answer(await call.service.cancel(call.id, body.reason, body.subtask_id), 202)


async def change(call: Call) -> Response:
    """Pause, resume, hurry or end a task."""
    return answer(await call.service.change(call.id, call.body.to_change()))


async def retry(call: Call) -> Response:
    """Ask for failed subtasks to be tried again."""
    return answer(await call.service.retry(call.id, call.body.subtask_id), 202)


async def logs(call: Call) -> Response:
    """Stream what the attempts of a task wrote."""
    query = LogQuery(task_id=call.id, **call.query.model_dump())
    return stream(call, await call.service.logs(query))


_ENDED = "task_id, status"

ROWS = (
    Row(
        "POST",
        PREFIX,
        submit,
        "Submit a task; 200 where the idempotency key was known, or with `dry_run`",
        "task_id, status, created",
        body=TaskBody,
        query=SubmitQuery,
        status=201,
    ),
    Row(
        "POST",
        f"{PREFIX}/check",
        check,
        "Check a submission without making it",
        "type, description, privacy, subtasks, layers, ...",
        body=TaskBody,
    ),
    Row("GET", PREFIX, list_tasks, "List tasks", "tasks, next_cursor", query=TasksQuery),
    Row("GET", f"{PREFIX}/{{id}}", show, "Show a task", "task_id, type, status, subtasks, ..."),
    Row(
        "PATCH",
        f"{PREFIX}/{{id}}",
        change,
        "Pause, resume, hurry or cancel a task",
        "task_id, status, paused, priority, deadline, changed",
        body=TaskChangeBody,
    ),
    Row("GET", f"{PREFIX}/{{id}}/subtasks", subtasks, "List a task's subtasks", "subtasks"),
    Row("GET", f"{PREFIX}/{{id}}/explain", explain, "Tell why work waits", "subtasks, ..."),
    Row("POST", f"{PREFIX}/{{id}}/cancel", cancel, "Cancel", _ENDED, body=CancelBody, status=202),
    Row("POST", f"{PREFIX}/{{id}}/retry", retry, "Try again", _ENDED, body=RetryBody, status=202),
    Row(
        "GET",
        f"{PREFIX}/{{id}}/logs",
        logs,
        "Stream a task's log lines",
        "subtask_id, name, attempt, node_id, time_ms, stream, line",
        query=LogsQuery,
        media_type=NDJSON,
    ),
)
