"""The cluster's token as this node knows it: given at the start, then whatever the log says.

A newcomer has the token that a person gave it. From the moment at which the log's record of the
cluster is here, that record rules: a token that was rotated away admits nobody any more, and a node
that restarts needs none. A founder writes the record; its token is the one given, or a random one.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from paceline.errors import PacelineError
from paceline.node.progress import AppliedProgress
from paceline.node.proposals import Proposals
from paceline.node.replica_loop import ReplicaLoop
from paceline.node.token import TokenKeys, derive_in_thread, new_token
from paceline.tasks import queries_members
from paceline.tasks.commands import FoundCluster
from paceline.tasks.effects import Change
from paceline.tasks.queries_members import ClusterRecord

RETRY_S = 0.5

log = structlog.get_logger(__name__)


class Credentials:
    """Knows the token in force and the keys derived from it."""

    def __init__(self, *, given: str | None = None) -> None:
        """`given` is what a person said at the start, in its one spelling."""
        self._given = given
        self._kept: str | None = None
        self._token = ""
        self._listeners: list[Callable[[TokenKeys], None]] = []
        self._hearers: list[Callable[[str], None]] = []
        self._moved = asyncio.Event()
        self.keys: TokenKeys | None = None
        """None while there is no token, or while the keys of a new one are being derived."""

    @property
    def token(self) -> str:
        """Answer the token in force; empty before there is one."""
        return self._token

    def on_change(self, listener: Callable[[TokenKeys], None]) -> None:
        """Have `listener(keys)` called when a token has come into force."""
        self._listeners.append(listener)

    def on_token(self, hearer: Callable[[str], None]) -> None:
        """Have `hearer(token)` called with each token, this one too: it is to be kept secret."""
        self._hearers.append(hearer)
        if self._token:
            hearer(self._token)

    async def begin(self, kept: str | None = None) -> None:
        """Take the token that this node has `kept` on its disk, else the one that was given."""
        self._kept = kept
        token = kept or self._given
        if token is not None:
            await self.use(token)

    async def use(self, token: str) -> None:
        """Take a token. Until its keys are derived there are none: the old one is void at once."""
        if token == self._token:
            return
        self._token, self.keys = token, None
        for hear in self._hearers:
            hear(token)
        keys = await derive_in_thread(token)
        if self._token == token:
            self.keys = keys
            for listener in self._listeners:
                listener(keys)

    # --- the log ----------------------------------------------------------------------------------

    async def follow(self, connection: sqlite3.Connection, progress: AppliedProgress[Any]) -> None:
        """Take whatever token the log says, until cancelled."""
        stop = progress.listen(self._on_changes)
        try:
            while True:
                self._moved.clear()
                record = queries_members.cluster(connection)
                if record is not None:
                    self._heed(record)
                    await self.use(record.token)
                await self._moved.wait()
        finally:
            stop()

    def _on_changes(self, changes: Sequence[Change]) -> None:
        if any(change.kind in {"cluster", "everything"} for change in changes):
            self._moved.set()

    def _heed(self, record: ClusterRecord) -> None:
        if self._given is not None and self._given != record.token:
            log.warning("the token given at the start is not the cluster's; it is not used")
        self._given = None

    async def found(
        self,
        *,
        connection: sqlite3.Connection,
        proposals: Proposals,
        replicas: ReplicaLoop,
        cluster_id: str,
        node_id: str,
        public_key: bytes,
        name: str,
        approve: bool,
    ) -> ClusterRecord:
        """Answer the cluster's record, and write it if this node leads a cluster without one.

        Such is a cluster of this moment, or of a founder that died before it had written it, or of
        a release that had no such record.
        """
        token = self._given or self._kept or new_token()
        command = FoundCluster(cluster_id, token, node_id, public_key, name, approve)
        while True:
            record = queries_members.cluster(connection)
            if record is not None:
                return record
            if replicas.leads:
                await self._propose(proposals, command)
            else:
                await self._wait_to_lead(replicas)

    async def _propose(self, proposals: Proposals, command: FoundCluster) -> None:
        try:
            await proposals.propose(command)
        except PacelineError as error:  # or another node was quicker: then the record is there
            log.info("the cluster's record was not written", reason=str(error))
            await asyncio.sleep(RETRY_S)

    async def _wait_to_lead(self, replicas: ReplicaLoop) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S):
                await replicas.leader_change()
