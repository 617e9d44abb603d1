"""Bulk data over a slow line: what it costs the heartbeats, and the sender's memory."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from paceline.ids import NodeId
from paceline.node.keys import NodeKeys, new_keys
from paceline.node.transport import Transport
from paceline.node.wire import Kind, Lane
from tests.rigs.fixtures import MakeLan, make_lan
from tests.rigs.lan import Lan

__all__ = ["make_lan"]

pytestmark = pytest.mark.netns

PORT = 7700
CHUNK = bytes(256 * 1024)
MEGABITS = 100
BEATS = 60
BEAT_S = 0.05
PATIENCE_S = 60.0
LATE_MS = 1000
"""A fifth of what sharing one socket was measured to cost (5.6 s at the median), and more than a
busy machine adds. Two lanes cost some 10 ms."""


@contextlib.asynccontextmanager
async def transport(own: NodeKeys, other: NodeKeys, host: str) -> AsyncIterator[Transport]:
    """Answer an open transport with one peer, at the other end of the line."""
    made = Transport(keys=own, port=PORT, allowed=lambda key: key == other.public)
    await made.open()
    try:
        made.add_peer(other.node_id, other.public, [host], PORT + 1, PORT + 2)
        yield made
    finally:
        made.close()


async def pour_and_beat(own: NodeKeys, other: NodeKeys, host: str) -> int:
    """Send as much bulk as goes, and beats, until the other end hangs up; answer the bytes."""
    sent = 0
    async with asyncio.timeout(2 * PATIENCE_S), transport(own, other, host) as line:
        while not line.connected(other.node_id):
            await asyncio.sleep(0.01)

        async def beat() -> None:
            while line.connected(other.node_id):
                line.send(other.node_id, Kind.VITALS, b"%d" % time.monotonic_ns())
                await asyncio.sleep(BEAT_S)

        beating = asyncio.create_task(beat())
        while line.connected(other.node_id):
            sent += line.send(other.node_id, Kind.BLOB, CHUNK, Lane.BULK) * len(CHUNK)
            await asyncio.sleep(0.005)
        await beating
    return sent


async def take(own: NodeKeys, other: NodeKeys, host: str) -> tuple[list[float], int]:
    """Answer the ages (ms) of the beats that came once bulk was flowing, and its bytes."""
    ages: list[float] = []
    bulk = [0]
    done = asyncio.Event()

    def on_beat(sender: NodeId, body: bytes) -> None:
        if bulk[0] > 8 * len(CHUNK):
            ages.append((time.monotonic_ns() - int(body)) / 1e6)
        if len(ages) >= BEATS:
            done.set()

    def on_chunk(sender: NodeId, body: bytes) -> None:
        bulk[0] += len(body)

    async with transport(own, other, host) as line:
        line.on(Kind.VITALS, on_beat)
        line.on(Kind.BLOB, on_chunk)
        async with asyncio.timeout(PATIENCE_S):
            await done.wait()
    return ages, bulk[0]


def measure(lan: Lan) -> tuple[list[float], int, int]:
    one, other = new_keys(), new_keys()
    with ThreadPoolExecutor(2) as ends:
        taking = ends.submit(lan.inside, 2, lambda: asyncio.run(take(other, one, lan.address(1))))
        pouring = ends.submit(
            lan.inside, 1, lambda: asyncio.run(pour_and_beat(one, other, lan.address(2)))
        )
        ages, received = taking.result()
        return ages, received, pouring.result()


def test_heartbeats_pass_a_line_that_is_full_of_bulk_data(make_lan: MakeLan) -> None:
    lan = make_lan(2)
    lan.limit_rate(2, MEGABITS)
    ages, received, sent = measure(lan)
    print(
        f"measured: beats under bulk: median {statistics.median(ages):.1f} ms, "
        f"longest {max(ages):.1f} ms, {received / 2**20:.0f} MiB received"
    )
    assert received > 16 * len(CHUNK)  # the line was full all the while
    assert statistics.median(ages) < LATE_MS
    # What is under way is bounded: both sockets' queues, and the kernel's.
    assert sent - received < 64 * len(CHUNK)
