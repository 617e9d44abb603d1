"""Reads of the state that may take long, off the event loop."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import aiosqlite

from paceline.tasks.schema import open_reader

T = TypeVar("T")


class StateReader:
    """A read-only connection in aiosqlite's thread.

    A query hops there once and runs as a whole. aiosqlite's public calls hop once for each
    statement (100 µs each, measured), and a document takes several; so its queue is used directly.
    """

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, path: Path) -> "StateReader":
        """Open the existing state."""
        return cls(await aiosqlite.Connection(lambda: open_reader(path), iter_chunk_size=64))

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Answer what the query answers."""
        execute = cast(Any, self._connection)._execute
        return cast(T, await execute(query, self._connection._conn))

    async def close(self) -> None:
        """End the thread."""
        await self._connection.close()
