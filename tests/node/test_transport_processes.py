"""Two processes: what one notices of the other's end, silence and flood."""

import asyncio
import os
import resource
import signal
import statistics
import time
from contextlib import suppress

from paceline.node.wire import Kind, Lane
from tests.node.echo_process import Echo, echo
from tests.node.transports import Station, run, stations, until

CHUNK = bytes(256 * 1024)


async def wired(station: Station, other: Echo) -> None:
    """Connect both directions: wait until the echo comes back."""
    other.add_to(station)
    assert await station.link_event() == (other.node_id, True)
    while True:
        station.transport.send(other.node_id, Kind.VITALS, b"are you there?")
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await station.inbox.get()
                break
    await asyncio.sleep(0.3)  # late echoes of the attempts before
    while not station.inbox.empty():
        station.inbox.get_nowait()


async def round_trip_ms(station: Station, other: Echo) -> float:
    start = time.perf_counter()
    assert station.transport.send(other.node_id, Kind.VITALS, b"ping")
    assert await station.received() == (other.node_id, b"ping")
    return (time.perf_counter() - start) * 1000


def test_a_message_goes_to_another_process_and_back() -> None:
    async def test() -> None:
        async with stations(1) as (a,):
            with echo(a) as other:
                await wired(a, other)
                assert await round_trip_ms(a, other) > 0

    run(test())


def test_a_killed_process_is_reported_at_once_and_its_port_refuses() -> None:
    async def test() -> None:
        async with stations(1) as (a,):
            with echo(a) as other:
                await wired(a, other)
                start = time.monotonic()
                other.process.kill()
                assert await a.link_event() == (other.node_id, False)
                # Some milliseconds in fact; a heartbeat's timeout would take 1500.
                assert time.monotonic() - start < 1.0
                # On a busy machine a killed process may hold its port for a while: no proof yet.
                while not await a.transport.probe_refused(other.node_id):
                    await asyncio.sleep(0.05)
                assert not a.transport.send(other.node_id, Kind.VITALS, b"")

    run(test())


def test_a_frozen_process_is_noticed_and_what_waits_for_it_is_bounded() -> None:
    async def test() -> None:
        async with stations(1) as (a,):
            with echo(a) as other:
                await wired(a, other)
                before = memory_bytes()
                os.kill(other.process.pid, signal.SIGSTOP)
                body, accepted = bytes(16 * 1024), 0
                while a.transport.connected(other.node_id):
                    accepted += a.transport.send(other.node_id, Kind.VITALS, body)
                    await asyncio.sleep(0)
                assert accepted * len(body) < 256 * 2**20
                assert memory_bytes() - before < 128 * 2**20
                assert await a.link_event() == (other.node_id, False)
                assert not await a.transport.probe_refused(other.node_id)  # it is not dead
                os.kill(other.process.pid, signal.SIGCONT)
                assert await a.link_event() == (other.node_id, True)

    run(test())


def memory_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_a_flood_of_bulk_data_hardly_delays_control_messages() -> None:
    async def test() -> None:
        async with stations(1) as (a,):
            with echo(a) as other:
                await wired(a, other)
                idle = statistics.median([await round_trip_ms(a, other) for _ in range(50)])
                flood = asyncio.create_task(pour(a, other))
                await until(lambda: sent_bytes(a, other) > 8 * 2**20)
                busy: list[float] = []
                while len(busy) < 100 or sent_bytes(a, other) < 32 * 2**20:
                    busy.append(await round_trip_ms(a, other))
                assert not flood.done()
                flood.cancel()
                # Sharing a socket with the bulk data would cost hundreds of milliseconds.
                assert statistics.median(busy) < max(100.0, 100 * idle)

    run(test())


async def pour(station: Station, other: Echo) -> None:
    while True:
        await station.transport.send_when_room(other.node_id, Kind.BLOB, CHUNK, timeout_s=20)
        await asyncio.sleep(0)


def sent_bytes(station: Station, other: Echo) -> int:
    stats = station.transport.link_stats(other.node_id)
    assert stats is not None
    return stats.sent_bytes


def test_bulk_data_to_a_slow_receiver_is_refused_at_once_not_kept() -> None:
    async def test() -> None:
        async with stations(1) as (a,):
            with echo(a) as other:
                await wired(a, other)
                await until(lambda: a.transport.send(other.node_id, Kind.BLOB, CHUNK, Lane.BULK))
                os.kill(other.process.pid, signal.SIGSTOP)
                results = [
                    a.transport.send(other.node_id, Kind.BLOB, CHUNK, Lane.BULK) for _ in range(200)
                ]
                assert not results[-1]
                assert sum(results) < 100
                os.kill(other.process.pid, signal.SIGCONT)

    run(test())


def test_many_messages_arrive_in_order() -> None:
    async def test() -> None:
        async with stations(1) as (a,):
            with echo(a) as other:
                await wired(a, other)
                for turn in range(100):
                    bodies = [b"%d-%d" % (turn, number) for number in range(200)]
                    for body in bodies:
                        assert a.transport.send(other.node_id, Kind.VITALS, body)
                    assert [(await a.received())[1] for _ in bodies] == bodies

    run(test())
