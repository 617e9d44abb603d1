"""The calls about checkpoints and evaluations."""

from starlette.responses import Response

from paceline.node.web.call import Call, Row, answer
from paceline.node.web.schemas import CheckpointsQuery, OpenBody, ResolveBody

PREFIX = "/api/v1"


async def list_checkpoints(call: Call) -> Response:
    """Answer the checkpoints in brief."""
    found = await call.service.deciding.checkpoints(call.query.status, call.query.task)
    return answer({"checkpoints": found})


async def show_checkpoint(call: Call) -> Response:
    """Answer one checkpoint with all that a person needs to decide."""
    return answer(await call.service.deciding.checkpoint(call.id))


async def resolve_checkpoint(call: Call) -> Response:
    """Decide: the first one counts."""
    return answer(await call.service.deciding.resolve(call.id, call.body.to_decision()))


async def open_checkpoint(call: Call) -> Response:
    """Have a task, or one of its subtasks, wait for a person."""
    body = call.body
    return answer(await call.service.deciding.open(call.id, body.subtask, body.reason), 201)


async def show_evaluation(call: Call) -> Response:
    """Answer how a subtask's work was judged."""
    return answer(await call.service.deciding.evaluation(call.id))


_BRIEF = "checkpoint_id, task_id, subtask_id, type, status, decision, task_status, ..."

ROWS = (
    Row(
        "GET",
        f"{PREFIX}/checkpoints",
        list_checkpoints,
        "List checkpoints",
        "checkpoints",
        query=CheckpointsQuery,
    ),
    Row(
        "GET",
        f"{PREFIX}/checkpoints/{{id}}",
        show_checkpoint,
        "Show a checkpoint; its id, or that of a task with only one that waits",
        "checkpoint_id, reason, evaluation, reviews, attempt, change, cost_usd, ...",
    ),
    Row(
        "POST",
        f"{PREFIX}/checkpoints/{{id}}/resolve",
        resolve_checkpoint,
        "Decide at a checkpoint; 409 where it was decided before",
        _BRIEF,
        body=ResolveBody,
    ),
    Row(
        "POST",
        f"{PREFIX}/tasks/{{id}}/checkpoint",
        open_checkpoint,
        "Have a task, or one subtask that has not begun, wait for a person",
        _BRIEF,
        body=OpenBody,
        status=201,
    ),
    Row(
        "GET",
        f"{PREFIX}/subtasks/{{id}}/evaluation",
        show_evaluation,
        "Show how a subtask's work was judged",
        "evaluation, evaluations",
    ),
)
