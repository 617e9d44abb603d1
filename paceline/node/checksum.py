"""Compares the state of all nodes, now and then and on request: they must be the same to the byte.

    leader -> every member: watch(mark)      "look at your state just behind the entry with this"
    leader -> the log: a command that changes nothing and holds the mark
    leader -> every member: take(mark)       <- index, and a digest of each table
    leader -> every member: verdict          so that each can warn, and the odd one can step back

The entry is applied by each node in its turn, under whatever load, so what they look at is the same
point of the log; each looks at it on a connection of its own, in a thread, while work goes on (1 to
2 s for 100,000 subtasks). A node that is away or slow is left out, and said to be. A difference is
loud: an error in every log, warnings in every status, a node that is not ready, and a file beside
its data that says so after a restart. Nothing is repaired here: whether to trust a machine that
keeps other bytes than were written is for a person to say.
"""

import asyncio
import contextlib
import secrets
import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any, Final

import structlog

from paceline.clock import Clock
from paceline.codec import from_plain, pack, to_plain, unpack
from paceline.errors import NoQuorum, NotFound, NotLeader, PacelineError, TimedOut, Unavailable
from paceline.ids import NodeId
from paceline.node.calls import Calls
from paceline.node.data_dir import DataDir
from paceline.node.proposals import Proposals
from paceline.node.replica_loop import ReplicaLoop
from paceline.node.verdict import REMEDY, Taken, Verdict, judge, warnings
from paceline.tasks.commands import LoseAttempts
from paceline.tasks.digest import table_digests
from paceline.tasks.machine import TaskMachine

WATCH, TAKE, VERDICT, COMPARE = (
    "checksum.watch",
    "checksum.take",
    "checksum.verdict",
    "checksum.compare",
)
EVERY_S: Final = 300.0
WATCH_TIMEOUT_S: Final = 3.0
REACH_TIMEOUT_S: Final = 20.0
"""A node that has not applied the marked entry by then is left out."""
TAKE_TIMEOUT_S: Final = 120.0
COMPARE_TIMEOUT_S: Final = 150.0
NOTE: Final = "diverged.json"
"""In the data directory of a node that was found to differ."""

log = structlog.get_logger(__name__)

_View = tuple[int, sqlite3.Connection]


class Views:
    """This node's looks at its own state that were asked for. Each is taken or dropped in time."""

    def __init__(self, machine: TaskMachine) -> None:
        self._machine = machine
        self._views: dict[str, asyncio.Future[_View]] = {}

    def watch(self, mark: str) -> None:
        """Look behind the next entry that holds the mark. Raise Busy for too many looks at once."""
        loop = asyncio.get_running_loop()
        view: asyncio.Future[_View] = loop.create_future()
        stop = self._machine.see(mark.encode(), partial(_seen, view))
        self._views[mark] = view
        loop.call_later(TAKE_TIMEOUT_S, self._drop, mark, stop)

    async def take(self, mark: str) -> Taken:
        """Answer the digests of the state there. Raise NotFound, TimedOut."""
        view = self._views.get(mark)
        if view is None:
            raise NotFound("this node was not told to look there, or not in time")
        try:
            async with asyncio.timeout(REACH_TIMEOUT_S):
                index, connection = await asyncio.shield(view)
        except TimeoutError:
            raise TimedOut("this node has not applied the marked entry yet") from None
        del self._views[mark]
        return await asyncio.to_thread(_digests, index, connection)

    def _drop(self, mark: str, stop: Callable[[], None]) -> None:
        stop()
        view = self._views.pop(mark, None)
        if view is not None and view.done():
            view.result()[1].close()


def _seen(view: "asyncio.Future[_View]", index: int, connection: sqlite3.Connection) -> None:
    if view.done():
        connection.close()
    else:
        view.set_result((index, connection))


def _digests(index: int, connection: sqlite3.Connection) -> Taken:
    began_s = time.monotonic()
    with contextlib.closing(connection):
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        tables = table_digests(connection)
    return Taken(index, schema, tables, int((time.monotonic() - began_s) * 1000))


class StateChecksum:
    """Compares states, and knows what the last comparison came to. `run` does it regularly."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        machine: TaskMachine,
        replicas: ReplicaLoop,
        calls: Calls,
        proposals: Proposals,
        data_dir: DataDir,
        clock: Clock,
        members: Callable[[], Collection[NodeId]],
        name_of: Callable[[NodeId], str],
        hand_over: Callable[[], Awaitable[None]],
        every_s: float = EVERY_S,
    ) -> None:
        """Wire it: `hand_over` has another node lead, if there is one."""
        self._node_id = node_id
        self._views = Views(machine)
        self._replicas = replicas
        self._calls = calls
        self._proposals = proposals
        self._data_dir = data_dir
        self._clock = clock
        self._members = members
        self._name_of = name_of
        self._hand_over = hand_over
        self._every_s = every_s
        self._comparing = asyncio.Lock()
        self._known_to_differ = data_dir.read_json(NOTE) is not None
        self.verdict: Verdict | None = None
        """Of the last comparison that this node took part in, since it was started."""
        calls.serve(WATCH, self._serve_watch)
        calls.serve(TAKE, self._serve_take)
        calls.serve(VERDICT, self._serve_verdict)
        calls.serve(COMPARE, self._serve_compare)

    async def run(self) -> None:
        """Compare now and then, while this node leads."""
        while True:
            await asyncio.sleep(self._every_s)
            if not self._replicas.leads:
                continue
            try:
                await self._compare()
            except PacelineError as error:
                log.warning("the states were not compared", reason=str(error))

    async def compare(self) -> Verdict:
        """Have the leader compare all nodes now. Raise Unavailable where that cannot be done."""
        try:
            async with asyncio.timeout(WATCH_TIMEOUT_S):
                leader = await self._replicas.leader()
        except TimeoutError:
            raise NoQuorum("nobody leads the cluster now: states cannot be compared") from None
        if leader == self._node_id:
            return await self._compare()
        return from_plain(
            Verdict, await self._calls.call(leader, COMPARE, timeout_s=COMPARE_TIMEOUT_S)
        )

    @property
    def unfit(self) -> str:
        """Answer why this node should not be relied on; empty if nothing is known against it."""
        if not self._known_to_differ:
            return ""
        return f"the state of this node differs from the others': {REMEDY}"

    def warnings(self) -> list[str]:
        """Answer what a person should know of the last comparison."""
        if self.verdict is not None:
            return warnings(self.verdict, self._name_of)
        return [self.unfit] if self.unfit else []

    # --- leading ----------------------------------------------------------------------------------

    async def _compare(self) -> Verdict:
        """Compare all nodes; a second request waits for its turn."""
        async with self._comparing:
            mark = f"state checksum {secrets.token_hex(16)}"
            missing: dict[NodeId, str] = {}
            told = await self._ask_all(self._members(), WATCH, mark, WATCH_TIMEOUT_S, missing)
            await self._proposals.propose(LoseAttempts((), mark))
            answers = await self._ask_all(told, TAKE, mark, TAKE_TIMEOUT_S, missing)
            taken = {node_id: from_plain(Taken, plain) for node_id, plain in answers.items()}
            verdict = judge(taken, missing, self._clock.now_ms())
            await self._ask_all(taken, VERDICT, to_plain(verdict), WATCH_TIMEOUT_S, {})
        if self._node_id in verdict.differing and verdict.decided:
            await self._hand_over()
        return verdict

    async def _ask_all(
        self,
        nodes: Collection[NodeId],
        method: str,
        body: Any,
        timeout_s: float,
        missing: dict[NodeId, str],
    ) -> dict[NodeId, Any]:
        """Answer what each node said; those that said nothing are added to `missing`, with why."""
        asked = sorted(nodes)
        said = await asyncio.gather(
            *(self._ask(node_id, method, body, timeout_s) for node_id in asked),
            return_exceptions=True,
        )
        answers = {}
        for node_id, answer in zip(asked, said, strict=True):
            if isinstance(answer, PacelineError):
                missing[node_id] = str(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                answers[node_id] = answer
        return answers

    async def _ask(self, node_id: NodeId, method: str, body: Any, timeout_s: float) -> Any:
        if node_id == self._node_id:
            return await self._own[method](self, node_id, unpack(pack(body)))
        return await self._calls.call(node_id, method, body, timeout_s=timeout_s)

    # --- taking part ------------------------------------------------------------------------------

    async def _serve_watch(self, sender: NodeId, body: Any) -> Any:
        self._views.watch(_mark(body))
        return True

    async def _serve_take(self, sender: NodeId, body: Any) -> Any:
        return to_plain(await self._views.take(_mark(body)))

    async def _serve_compare(self, sender: NodeId, body: Any) -> Any:
        if not self._replicas.leads:
            raise NotLeader(self._replicas.status.leader_id or None)
        return to_plain(await self._compare())

    async def _serve_verdict(self, sender: NodeId, body: Any) -> Any:
        """Believe the leader, and nobody else, about who differs."""
        if sender != self._replicas.status.leader_id:
            raise Unavailable("only the leader compares states")
        self._take(from_plain(Verdict, body))
        return True

    def _take(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self._remember(differs=verdict.decided and self._node_id in verdict.differing)
        for warning in self.warnings():
            log.error("the states of the nodes differ", finding=warning, index=verdict.index)
        if verdict.equal:
            log.info("the states were compared", index=verdict.index, nodes=len(verdict.compared))

    def _remember(self, *, differs: bool) -> None:
        if differs == self._known_to_differ:
            return
        self._known_to_differ = differs
        try:
            if differs:
                assert self.verdict is not None
                what = list(self.verdict.differing[self._node_id])
                self._data_dir.write_json(NOTE, {"index": self.verdict.index, "differs_in": what})
            else:
                (self._data_dir.path / NOTE).unlink(missing_ok=True)
        except OSError as error:
            log.warning("the finding was not kept", reason=str(error))

    _own: Final = {WATCH: _serve_watch, TAKE: _serve_take, VERDICT: _serve_verdict}


def _mark(body: Any) -> str:
    return from_plain(str, body)
