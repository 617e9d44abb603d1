"""The tools of the whole network: how they are, where they rest, and what their work has cost."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

from paceline.clock import Clock
from paceline.errors import PacelineError
from paceline.ids import NodeId
from paceline.node.calls import Calls
from paceline.node.proposals import Proposals
from paceline.node.state_reader import StateReader
from paceline.node.vitals import VitalsTable
from paceline.node.walls import ISOLATION_KEY
from paceline.node.web.ports import Document, UsageQuery
from paceline.tasks import queries, queries_usage
from paceline.tasks.commands import SetBudget
from paceline.tasks.documents import iso
from paceline.tasks.queries_usage import DAY_MS
from paceline.tasks.throttles import Throttle, throttles

CHECK: Final = "tools.check"
CHECK_TIMEOUT_S: Final = 30.0
PROPOSE_TIMEOUT_S: Final = 10.0


class Toolbox:
    """What the outside may ask about tools and money."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        connection: sqlite3.Connection,
        reader: StateReader,
        vitals: VitalsTable,
        calls: Calls,
        proposals: Proposals,
        clock: Clock,
        members: Callable[[], Collection[NodeId]],
        look: Callable[[], Awaitable[None]],
    ) -> None:
        """Wire it: `look` looks at the tools of this node anew."""
        self._node_id = node_id
        self._connection = connection
        self._reader = reader
        self._vitals = vitals
        self._calls = calls
        self._proposals = proposals
        self._clock = clock
        self._members = members
        self._look = look
        calls.serve(CHECK, self._serve_check)

    async def tools(self) -> list[Document]:
        """Answer every tool of every worker, with its limits, walls and costs."""
        now_ms = self._clock.now_ms()
        workers = await self._reader.read(queries.workers)
        spent = await self._reader.read(_costs)
        today = await self._reader.read(lambda db: _costs(db, now_ms - now_ms % DAY_MS))
        resting = {(t.node_id, t.tool): t for t in throttles(self._connection, now_ms)}
        return [
            {
                **tool,
                "node_id": worker["node_id"],
                "node": worker["name"],
                "isolation": _isolation(worker, tool["name"]),
                **_rest(resting.get((worker["node_id"], tool["name"]))),
                "running": sum(each["tool"] == tool["name"] for each in worker["running"]),
                "cost_usd": spent.get((worker["node_id"], tool["name"]), 0.0),
                "cost_today_usd": today.get((worker["node_id"], tool["name"]), 0.0),
            }
            for worker in workers
            for tool in self._tools_of(worker)
        ]

    def _tools_of(self, worker: Document) -> list[Document]:
        """Answer its tools by its own latest word, which registration follows in a moment."""
        heard = self._vitals.get(worker["node_id"])
        if heard is None or not self._vitals.alive(worker["node_id"]):
            return list(worker["tools"])
        return [
            {
                "name": tool.name,
                "healthy": tool.healthy,
                "version": tool.version,
                "reason": tool.reason,
                "slots": tool.slots or heard.vitals.slots,
            }
            for tool in heard.vitals.tools
        ]

    async def check(self) -> Document:
        """Have every node that is there look at its tools anew; answer `tools`, `unanswered`."""
        asked = sorted(self._members())
        failures = await asyncio.gather(*(self._ask(node_id) for node_id in asked))
        unanswered = {
            node_id: why for node_id, why in zip(asked, failures, strict=True) if why is not None
        }
        return {"tools": await self.tools(), "unanswered": unanswered}

    async def _ask(self, node_id: NodeId) -> str | None:
        """Answer why a node did not look, or None if it has."""
        try:
            if node_id == self._node_id:
                await self._look()
            else:
                await self._calls.call(node_id, CHECK, timeout_s=CHECK_TIMEOUT_S)
        except PacelineError as error:
            return str(error)
        return None

    async def _serve_check(self, sender: NodeId, body: Any) -> Any:
        await self._look()
        return None

    async def usage(self, query: UsageQuery) -> Document:
        """Answer sums of what the work used and cost; see `queries_usage.usage`."""
        return await self._reader.read(
            lambda db: queries_usage.usage(db, by=query.by, since_ms=query.since_ms)
        )

    async def set_budget(self, task_id: str, budget_usd: float | None) -> Document:
        """Change what a task may cost. Answer `task_id, budget_usd, changed`."""
        found = queries.resolve_task_id(self._connection, task_id)
        command = SetBudget(found, budget_usd, by=self._node_id)
        changed = await self._proposals.propose(command, timeout_s=PROPOSE_TIMEOUT_S)
        return {"task_id": found, "budget_usd": budget_usd, "changed": bool(changed)}


def _costs(db: sqlite3.Connection, since_ms: int = 0) -> dict[tuple[str, str], float]:
    """Answer what the attempts cost that have ended since then, by node and tool."""
    found = db.execute(
        "SELECT node_id, tool, sum(cost_usd) FROM attempts INDEXED BY attempts_by_cost"
        " WHERE cost_usd IS NOT NULL AND finished_at >= ? GROUP BY node_id, tool",
        (since_ms,),
    )
    return {(node_id, tool): float(usd) for node_id, tool, usd in found}


def _rest(throttle: Throttle | None) -> Document:
    if throttle is None:
        return {"throttled_until": None, "throttled_by": ""}
    return {"throttled_until": iso(throttle.until_ms), "throttled_by": throttle.kind or "rate"}


def _isolation(worker: Document, tool: str) -> str:
    """Answer how what that tool starts is kept apart; nothing where its node does not say."""
    told = worker["system_info"].get(f"{ISOLATION_KEY}.{tool}")
    return str(told or worker["system_info"].get(ISOLATION_KEY, ""))
