"""Finds proof that a node's process is gone, which silence is not.

When the connection to a member drops, its port is tried: a machine that answers "connection
refused" says that no process listens there any more. Only then may its work be given away before
its lease has ended (see `vitals`). A machine that is silent proves nothing.
"""

import asyncio
from collections.abc import Callable

import structlog

from paceline.ids import NodeId
from paceline.node.transport import Transport

TRIES = 20
PAUSE_S = 0.1
QUEUE_LIMIT = 1024

log = structlog.get_logger(__name__)


class DeathWatch:
    """Looks after dropped connections."""

    def __init__(self, *, transport: Transport, on_death: Callable[[NodeId], None]) -> None:
        self._transport = transport
        self._on_death = on_death
        self._dropped: asyncio.Queue[NodeId] = asyncio.Queue(QUEUE_LIMIT)
        self._watching: set[NodeId] = set()
        transport.on_link(self._on_link)

    async def run(self) -> None:
        """Watch for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                node_id = await self._dropped.get()
                group.create_task(self._find_proof(node_id))

    def _on_link(self, node_id: NodeId, up: bool) -> None:
        if not up and node_id not in self._watching and not self._dropped.full():
            self._watching.add(node_id)
            self._dropped.put_nowait(node_id)

    async def _find_proof(self, node_id: NodeId) -> None:
        try:
            for _ in range(TRIES):
                if self._transport.connected(node_id):
                    return
                if await self._transport.probe_refused(node_id):
                    log.info("its process is gone", node_id=node_id)
                    self._on_death(node_id)
                    return
                await asyncio.sleep(PAUSE_S)
        finally:
            self._watching.discard(node_id)
