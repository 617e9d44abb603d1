"""Transports for tests: real sockets on the loopback interface, in this process."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import randrange
from typing import Any, TypeVar

from paceline.ids import NodeId
from paceline.node.keys import NodeKeys, new_keys
from paceline.node.transport import Transport
from paceline.node.wire import Kind

T = TypeVar("T")

LOOPBACK = "127.0.0.1"
PATIENCE_S = 20.0
"""Far beyond anything that is waited for."""


def own_loopback() -> str:
    """Answer a loopback address that nobody else uses, so that a port can be left and had again."""
    if sys.platform != "linux":
        return LOOPBACK
    return f"127.{randrange(1, 255)}.{randrange(256)}.{randrange(1, 255)}"


def run(test: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine; it fails if it takes for ever."""

    async def bounded() -> T:
        async with asyncio.timeout(3 * PATIENCE_S):
            return await test

    return asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that has no event of its own."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass(eq=False)
class Station:
    """A transport that remembers what it received, and whose members are a plain set."""

    keys: NodeKeys
    host: str = field(default_factory=own_loopback)
    members: set[bytes] = field(default_factory=set)
    inbox: asyncio.Queue[tuple[NodeId, bytes]] = field(default_factory=asyncio.Queue)
    links: asyncio.Queue[tuple[NodeId, bool]] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.transport = Transport(
            keys=self.keys, bind_host=self.host, allowed=lambda key: key in self.members
        )
        self.transport.on(Kind.VITALS, lambda sender, body: self.inbox.put_nowait((sender, body)))
        self.transport.on_link(lambda node_id, up: self.links.put_nowait((node_id, up)))

    @property
    def node_id(self) -> NodeId:
        return self.keys.node_id

    def add(self, other: "Station", hosts: tuple[str, ...] | None = None) -> None:
        """Know the other's address and let it in."""
        self.members.add(other.keys.public)
        self.transport.add_peer(
            other.node_id,
            other.keys.public,
            hosts or (other.host,),
            other.transport.control_port,
            other.transport.bulk_port,
        )

    async def received(self) -> tuple[NodeId, bytes]:
        async with asyncio.timeout(PATIENCE_S):
            return await self.inbox.get()

    async def link_event(self) -> tuple[NodeId, bool]:
        async with asyncio.timeout(PATIENCE_S):
            return await self.links.get()


@asynccontextmanager
async def stations(count: int) -> AsyncIterator[list[Station]]:
    """Open that many transports that do not know of each other."""
    made = [Station(new_keys()) for _ in range(count)]
    try:
        for station in made:
            await station.transport.open()
        yield made
    finally:
        for station in made:
            station.transport.close()


@asynccontextmanager
async def connected(count: int) -> AsyncIterator[list[Station]]:
    """Open that many transports, all connected with each other."""
    async with stations(count) as made:
        for one in made:
            for other in made:
                if one is not other:
                    one.add(other)
        for one in made:
            for _ in range(count - 1):
                assert (await one.link_event())[1]
        yield made


def in_two(test: Callable[[Station, Station], Awaitable[None]]) -> None:
    """Run a test with two connected stations."""

    async def body() -> None:
        async with connected(2) as (a, b):
            await test(a, b)

    run(body())
