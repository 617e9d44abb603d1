"""The calls about tools and money."""

from datetime import datetime

from starlette.responses import Response

from paceline.errors import InputError
from paceline.node.web.call import Call, Row, answer
from paceline.node.web.ports import UsageQuery
from paceline.node.web.schemas import BudgetBody, SumsQuery

PREFIX = "/api/v1"


async def tools(call: Call) -> Response:
    """Answer the tools of all workers."""
    return answer({"tools": await call.service.toolbox.tools()})


async def check_tools(call: Call) -> Response:
    """Have all nodes look at their tools anew, and answer what they found."""
    return answer(await call.service.toolbox.check())


async def usage(call: Call) -> Response:
    """Answer what the work has used and cost."""
    query = UsageQuery(call.query.by, _moment(call.query.since))
    return answer(await call.service.toolbox.usage(query))


async def set_budget(call: Call) -> Response:
    """Change what a task may cost."""
    return answer(await call.service.toolbox.set_budget(call.id, call.body.budget_usd))


def _moment(since: str) -> int:
    """Answer a day or moment of ISO 8601 (UTC unless it says otherwise) in milliseconds."""
    if not since:
        return 0
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        raise InputError(f"since must be a day or moment as in ISO 8601, not {since!r}") from None
    if moment.tzinfo is None:
        moment = datetime.fromisoformat(f"{moment.isoformat()}+00:00")
    return max(0, int(moment.timestamp() * 1000))


ROWS = (
    Row(
        "GET",
        f"{PREFIX}/tools",
        tools,
        "The tools of all workers, with their limits, isolation and costs",
        "tools",
    ),
    Row(
        "POST",
        f"{PREFIX}/tools/check",
        check_tools,
        "Look at all tools anew",
        "tools, unanswered",
    ),
    Row(
        "GET",
        f"{PREFIX}/usage",
        usage,
        "What the work has used and cost, by task, node, tool or day",
        "by, since, rows, more, total",
        query=SumsQuery,
    ),
    Row(
        "POST",
        f"{PREFIX}/tasks/{{id}}/budget",
        set_budget,
        "Change what a task may cost; null = no bound",
        "task_id, budget_usd, changed",
        body=BudgetBody,
    ),
)
