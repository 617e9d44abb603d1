"""What a person may do about the nodes of the cluster: drain, leave, revoke, trust.

A node is named by its id, a beginning of its id that no other has, or its name where only one bears
it. Everything is decided by the replicated state or by the leader; nothing here is believed because
this node says so.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import structlog

from paceline.errors import Conflict, InputError, NotFound, PacelineError
from paceline.ids import NodeId
from paceline.node.departures import Departure, Departures
from paceline.node.progress import AppliedProgress
from paceline.node.proposals import Proposals
from paceline.node.token import new_token
from paceline.node.web.ports import Document
from paceline.tasks import queries, queries_members
from paceline.tasks.commands import SetWorkerStatus, TrustMember
from paceline.tasks.draft import did_you_mean
from paceline.tasks.model import MemberStatus, WorkerStatus

CHECK_TIMEOUT_S: Final = 10.0
DEPART_TIMEOUT_S: Final = 30.0
UNDO_TIMEOUT_S: Final = 5.0

log = structlog.get_logger(__name__)


class Stewardship:
    """The `StewardService` of a node."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        connection: sqlite3.Connection,
        proposals: Proposals,
        departures: Departures,
        progress: AppliedProgress[Any],
        members: Callable[[], list[Document]],
        has_left: Callable[[], None],
    ) -> None:
        """Wire it: `members` answers the nodes as `status` shows them.

        `has_left` is told when this node is out, to note that and to end.
        """
        self._node_id = node_id
        self._connection = connection
        self._proposals = proposals
        self._departures = departures
        self._progress = progress
        self._members = members
        self._has_left = has_left

    async def drain(self, wanted: str, *, on: bool, timeout_s: float | None = None) -> Document:
        """Give a node no new work, or work again. Answer `node_id, name, status`.

        What still runs there after `timeout_s` goes elsewhere; None = it may take its time.

        Raise NotFound, InputError, Conflict for one that cannot be told to go on now.
        """
        node_id = self.resolve(wanted)
        status = WorkerStatus.DRAINING if on else WorkerStatus.ONLINE
        reason = "a person drains it" if on else "a person wants it back"
        limit_ms = round(timeout_s * 1000) if on and timeout_s is not None else None
        command = SetWorkerStatus(node_id, status.value, reason, limit_ms)
        found = await self._proposals.propose(command)
        if found == WorkerStatus.DRAINING and not on:
            # It was offline: the machine remembers the drain until it is back.
            found = await self._proposals.propose(SetWorkerStatus(node_id, status.value, reason))
        return {**self._named(node_id), "status": str(found)}

    async def trust(self, wanted: str, *, trusted: bool) -> Document:
        """Let a node run sensitive work, or no more. Answer `node_id, name, trusted, changed`.

        Raise Conflict where this node is not trusted itself.
        """
        node_id = self.resolve(wanted)
        changed = await self._proposals.propose(TrustMember(node_id, trusted, self._node_id))
        return {**self._named(node_id), "trusted": trusted, "changed": bool(changed)}

    async def revoke(self, wanted: str, reason: str) -> Document:
        """Throw a node out for good, with a new token. Answer `node_id, name, token_version`.

        Raise Conflict where the cluster could not go on without it, and for this node itself.
        """
        node_id = self.resolve(wanted)
        if node_id == self._node_id:
            raise Conflict(
                "this is the node itself: to take it out, use `paceline node leave`; to throw it"
                " out, revoke it on another member"
            )
        named = self._named(node_id)
        departure = Departure(node_id, new_token(), reason)
        version = await self._departures.ask(departure, timeout_s=DEPART_TIMEOUT_S)
        return {**named, "token_version": version}

    # --- leaving ----------------------------------------------------------------------------------

    async def leave(self, timeout_s: float) -> Document:
        """Take this node out of the cluster. Answer `node_id, finished`, and end soon.

        What runs here is given `timeout_s` to finish; after that it is moved, and `finished` is
        False. Raise Conflict, with the reason, where the cluster cannot do without this node; then
        it is as before.
        """
        self._require_heir_of_trust()
        await self._departures.ask(Departure(self._node_id, check=True), timeout_s=CHECK_TIMEOUT_S)
        drained = self._is_draining()
        try:
            await self._drain_myself()
            finished = await self._work_has_ended(timeout_s)
            await self._depart()
        except BaseException:
            if not drained:
                await self._undo()
            raise
        self._has_left()
        return {"node_id": self._node_id, "finished": finished}

    def _require_heir_of_trust(self) -> None:
        trusted = queries_members.trusted(self._connection)
        others = [
            member
            for member in queries_members.members(self._connection)
            if member.status is MemberStatus.MEMBER and member.node_id != self._node_id
        ]
        if trusted == {self._node_id} and others:
            raise Conflict(
                "this is the only trusted node, and only a trusted one can trust another: name its"
                " successor first, with `paceline trust NODE`"
            )

    def _is_draining(self) -> bool:
        known = {worker["node_id"]: worker for worker in queries.workers(self._connection)}
        return bool(known.get(self._node_id, {}).get("status") == WorkerStatus.DRAINING)

    async def _drain_myself(self) -> None:
        with suppress(NotFound):  # a node without a row among the workers has no work
            await self._proposals.propose(
                SetWorkerStatus(self._node_id, WorkerStatus.DRAINING.value, "it leaves")
            )

    async def _work_has_ended(self, timeout_s: float) -> bool:
        """Answer whether what this node had in its hands came to an end in time."""
        moved = asyncio.Event()
        stop = self._progress.listen(lambda changes: moved.set())
        try:
            async with asyncio.timeout(timeout_s):
                while queries.attempts_of_node(self._connection, self._node_id):
                    moved.clear()
                    await moved.wait()
        except TimeoutError:
            return False
        finally:
            stop()
        return True

    async def _depart(self) -> None:
        try:
            await self._departures.ask(Departure(self._node_id), timeout_s=DEPART_TIMEOUT_S)
        except PacelineError:
            # The answer may have been lost because we are out: our own state says so then.
            if not queries_members.has_left(self._connection, self._node_id):
                raise

    async def _undo(self) -> None:
        command = SetWorkerStatus(self._node_id, WorkerStatus.ONLINE.value, "it stays")
        try:
            await self._proposals.propose(command, timeout_s=UNDO_TIMEOUT_S)
        except PacelineError as error:
            log.warning("this node still drains: `paceline node drain --off`", reason=str(error))

    # --- names ------------------------------------------------------------------------------------

    def resolve(self, wanted: str) -> NodeId:
        """Answer the id of the node that is meant; empty = this one. Raise NotFound, InputError."""
        if not wanted:
            return self._node_id
        names = self._names()
        if wanted in names:
            return wanted
        found = [node_id for node_id, name in names.items() if name == wanted]
        found = found or [node_id for node_id in names if node_id.startswith(wanted)]
        if not found:
            near = did_you_mean(wanted, filter(None, names.values()))
            raise NotFound(f"no node {wanted!r}{near or '; `paceline nodes` lists them'}")
        if len(found) > 1:
            raise InputError(f"{wanted!r} is ambiguous: {', '.join(sorted(found))}; give the id")
        return found[0]

    def _names(self) -> dict[NodeId, str]:
        known = {
            member.node_id: member.name
            for member in queries_members.members(self._connection)
            if member.status is MemberStatus.MEMBER
        }
        return known | {each["node_id"]: each["name"] for each in self._members()}

    def _named(self, node_id: NodeId) -> Document:
        return {"node_id": node_id, "name": self._names().get(node_id, "")}
