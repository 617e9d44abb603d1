"""Keeps what this node stores within bounds: blobs, caches and homes that nothing needs, old logs.

Nothing that a task in the state refers to is deleted. What is younger than an hour is spared too:
an outcome that refers to it may be on its way into the log.
"""

import asyncio
import sqlite3

import structlog

from paceline.errors import PacelineError
from paceline.node.blobs import BlobStore
from paceline.node.logs import LogStore
from paceline.node.remotes import Remotes
from paceline.node.repository import Repositories
from paceline.node.sessions import Sessions
from paceline.node.state_reader import StateReader
from paceline.tasks import queries_storage

FIRST_S = 60.0
EVERY_S = 3600.0
LOGS_LIMIT_BYTES = 2 * 1024**3

log = structlog.get_logger(__name__)


class Janitor:
    """Cleans up once an hour."""

    def __init__(
        self,
        *,
        reader: StateReader,
        blobs: BlobStore,
        repositories: Repositories,
        remotes: Remotes,
        logs: LogStore,
        sessions: Sessions,
    ) -> None:
        self._reader = reader
        self._blobs = blobs
        self._repositories = repositories
        self._remotes = remotes
        self._logs = logs
        self._sessions = sessions

    async def run(self) -> None:
        """Clean up for ever."""
        await asyncio.sleep(FIRST_S)
        while True:
            try:
                await self.clean()
            except (PacelineError, OSError, sqlite3.Error) as error:
                log.warning("cleaning up failed, trying again later", reason=str(error))
            await asyncio.sleep(EVERY_S)

    async def clean(self) -> int:
        """Delete what is not needed; answer the bytes of blobs and logs that were freed."""
        live = await self._reader.read(queries_storage.live_storage)
        freed = await self._blobs.collect(live.blobs)
        freed += await self._logs.collect(LOGS_LIMIT_BYTES)
        await self._repositories.collect(live.commits)
        await asyncio.to_thread(self._remotes.collect)
        kept = await self._sessions.subtasks()
        is_open = await self._reader.read(lambda db: queries_storage.still_open(db, kept))
        await self._sessions.collect(is_open)
        if freed:
            log.info("cleaned up", freed_bytes=freed)
        return freed
