"""Bounds on connections, with real TCP connections to real sockets."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from paceline.node import greeting as greeting_module
from paceline.node import guard as guard_module
from paceline.node.greeting import Greeting, Hello, HelloReply, greet
from paceline.node.guard import affordable, hang_up, peer_of
from paceline.node.inbound import CONNECTIONS_LIMIT
from paceline.node.wire import Kind
from tests.node.test_greeting import GUEST, HOST
from tests.node.transports import LOOPBACK, connected, run, until

SOURCES = 8
"""Addresses of the loopback network that the crowd comes from."""


async def crowd(host: str, port: int, count: int) -> list[socket.socket]:
    """Open that many connections that say nothing, from several addresses."""
    loop = asyncio.get_running_loop()
    made = []
    for number in range(count):
        one = socket.socket()
        one.setblocking(False)
        one.bind((f"127.77.0.{1 + number % SOURCES}", 0))
        await loop.sock_connect(one, (host, port))
        made.append(one)
    return made


async def closed(one: socket.socket) -> bool:
    """Answer once the other side has hung up."""
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(one, 4096):
            pass
    except ConnectionError:
        pass
    return True


@asynccontextmanager
async def greeting() -> AsyncIterator[Greeting]:
    made = Greeting(bind_host=LOOPBACK, answer=lambda hello: HelloReply(Hello(HOST)))
    await made.open()
    try:
        yield made
    finally:
        made.close()


def test_of_too_many_from_one_address_the_newest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greeting_module, "CONNECTIONS_PER_ADDRESS", 3)

    async def test() -> None:
        async with greeting() as made:
            guests = await crowd(LOOPBACK, made.port, 4 * SOURCES)
            async with asyncio.timeout(20):
                for late in guests[3 * SOURCES :]:
                    assert await closed(late)
            assert made.guard.connections == 3 * SOURCES
            assert made.guard.shut == SOURCES
            assert (await greet(f"{LOOPBACK}:{made.port}", GUEST, 20)).hello.contact == HOST
            for guest in guests:
                guest.close()

    run(test())


def test_of_too_many_strangers_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greeting_module, "CONNECTIONS_LIMIT", 32)

    async def test() -> None:
        async with greeting() as made:
            guests = await crowd(LOOPBACK, made.port, 40)
            async with asyncio.timeout(20):
                for early in guests[:8]:
                    assert await closed(early)
            assert made.guard.connections == 32
            assert (await greet(f"{LOOPBACK}:{made.port}", GUEST, 20)).hello.contact == HOST
            for guest in guests:
                guest.close()

    run(test())


def test_a_stranger_that_stays_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greeting_module, "CONNECTION_LIFE_S", 0.2)
    monkeypatch.setattr(guard_module, "SWEEP_S", 0.1)

    async def test() -> None:
        async with greeting() as made:
            (guest,) = await crowd(LOOPBACK, made.port, 1)
            async with asyncio.timeout(20):
                assert await closed(guest)
            await until(lambda: made.guard.connections == 0)
            guest.close()

    run(test())


def test_a_crowd_at_the_members_door_leaves_the_members_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More connections than may be, for longer than a handshake may take."""
    monkeypatch.setattr("paceline.node.inbound.CONNECTIONS_LIMIT", 16)
    monkeypatch.setattr(guard_module, "PROVEN_S", 0.5)

    async def test() -> None:
        async with connected(2) as (a, b):
            await asyncio.sleep(0.6)  # now b's connection has lasted
            port = a.transport.control_port
            guests = await crowd(a.host, port, 48)
            async with asyncio.timeout(20):
                for early in guests[:30]:
                    assert await closed(early)
            assert b.transport.connected(a.node_id)
            assert b.transport.send(a.node_id, Kind.VITALS, b"still here")
            assert await a.received() == (b.node_id, b"still here")
            for guest in guests:
                guest.close()

    run(test())


def test_the_bound_follows_the_process_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        assert affordable(CONNECTIONS_LIMIT) == 64
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert affordable(10) == 10


def test_only_the_same_peer_is_hung_up_on() -> None:
    one, other = socket.create_server((LOOPBACK, 0)), socket.socket()
    other.connect(one.getsockname())
    accepted, _ = one.accept()
    peer = peer_of(accepted.fileno())
    assert peer == other.getsockname()
    assert not hang_up(accepted.fileno(), (LOOPBACK, 1))
    assert hang_up(accepted.fileno(), peer)
    assert other.recv(1) == b""
    for each in (one, other, accepted):
        each.close()
    assert peer_of(accepted.fileno()) is None
    assert not hang_up(-1)
