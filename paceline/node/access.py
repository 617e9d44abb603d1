"""What a person may ask about who gets in: the token, and newcomers that wait for approval."""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

from paceline.errors import PacelineError, Unavailable
from paceline.node.admitting import Admitting
from paceline.node.proposals import Proposals
from paceline.node.token import new_token
from paceline.node.web.ports import Document
from paceline.tasks import queries_members
from paceline.tasks.commands import RotateToken
from paceline.tasks.queries_members import ClusterRecord

WARNINGS_TIMEOUT_S = 1.0


class Access:
    """The `AccessService` of a node."""

    def __init__(
        self,
        *,
        node_id: str,
        connection: sqlite3.Connection,
        proposals: Proposals,
        admitting: Admitting,
        address: Callable[[], str],
        apart: Callable[[], list[str]],
    ) -> None:
        """Wire it: `address` answers this node's own, as HOST:PORT for `--join`.

        `apart` answers the warnings about other clusters of this token.
        """
        self._apart = apart
        self._node_id = node_id
        self._connection = connection
        self._proposals = proposals
        self._admitting = admitting
        self._address = address

    async def token(self) -> Document:
        """Answer the token in force, and the command that adds a machine."""
        record = self._record()
        join = self._address()
        return {
            "token": record.token,
            "version": record.token_version,
            "cluster_id": record.cluster_id,
            "approve": record.approve,
            "join": join,
            "command": f"paceline node start --token {record.token} --join {join}",
        }

    async def rotate_token(self) -> Document:
        """Change the token and answer the new one; the old one admits nobody any more."""
        self._record()
        await self._proposals.propose(RotateToken(new_token(), self._node_id))
        return await self.token()

    async def pending(self) -> list[Document]:
        """Answer the newcomers that wait for a person."""
        return await self._admitting.pending()

    async def approve(self, newcomer: str) -> Document:
        """Let a newcomer in, by its code, id or name."""
        return await self._admitting.approve(newcomer)

    async def warnings(self) -> list[str]:
        """Answer, for the status, whom a person should decide about. Never waits for long."""
        return [*self._apart(), *await self._waiting()]

    async def _waiting(self) -> list[str]:
        record = queries_members.cluster(self._connection)
        if record is None or not record.approve:
            return []
        try:
            async with asyncio.timeout(WARNINGS_TIMEOUT_S):
                waiting = await self._admitting.pending()
        except (PacelineError, TimeoutError):
            return []  # without a leader nobody can be admitted; the status says that by itself
        return [_waits(newcomer) for newcomer in waiting]

    def _record(self) -> ClusterRecord:
        record = queries_members.cluster(self._connection)
        if record is None:
            raise Unavailable("the cluster's token has not reached this node yet; try again soon")
        return record


def _waits(newcomer: dict[str, Any]) -> str:
    return (
        f"{newcomer['name'] or newcomer['node_id']} at {newcomer['address']} asks to join; if it "
        f"shows the code {newcomer['code']}, run `paceline approve {newcomer['code']}`"
    )
