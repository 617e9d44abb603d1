"""Strangers at the greeting socket, polite and otherwise."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgpack
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from paceline import codec
from paceline.discovery.record import Contact
from paceline.errors import InputError, NodeUnreachable, ProtocolError, TimedOut, Unavailable
from paceline.node.greeting import Greeting, Hello, HelloReply, RateLimit, greet, join
from paceline.node.hello import REPLY_LIMIT_BYTES, REQUEST_LIMIT_BYTES, decode_greeting
from paceline.node.keys import new_keys
from tests.node.transports import LOOPBACK, run, until


def contact(name: str = "somebody", **changes: Any) -> Contact:
    keys = new_keys()
    plain = Contact(keys.node_id, keys.public, ("10.0.0.1",), 1, 2, 3, name=name)
    return replace(plain, **changes)


HOST = contact("host")
GUEST = Hello(contact("guest"), cluster_id="c1", claims={"index": "17"})


@asynccontextmanager
async def greeting(
    answer: Callable[[Hello], HelloReply] | None = None, **options: Any
) -> AsyncIterator[Greeting]:
    """Open a greeting socket on the loopback interface that serves joins as well."""
    polite = answer or (lambda hello: HelloReply(Hello(HOST), (hello.contact,)))
    made = Greeting(bind_host=LOOPBACK, answer=polite, **options)
    await made.open()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.run())
        await asyncio.sleep(0)
        try:
            yield made
        finally:
            running.cancel()
            made.close()


def at(made: Greeting) -> str:
    return f"{LOOPBACK}:{made.port}"


def test_a_hello_is_answered() -> None:
    async def test() -> None:
        heard: list[Hello] = []

        def answer(hello: Hello) -> HelloReply:
            heard.append(hello)
            return HelloReply(Hello(HOST, "c2"), (GUEST.contact,))

        async with greeting(answer) as made:
            reply = await greet(at(made), GUEST, 20)
            assert heard == [GUEST]
            assert reply == HelloReply(Hello(HOST, "c2"), (GUEST.contact,))
            assert made.stats.hellos == 1

    run(test())


def test_host_names_are_resolved() -> None:
    async def test() -> None:
        async with greeting() as made:
            assert (await greet(f"localhost:{made.port}", GUEST, 20)).hello.contact == HOST

    run(test())


def test_a_join_is_worked_on_and_answered() -> None:
    async def test() -> None:
        async def admit(body: bytes, address: str) -> bytes:
            await asyncio.sleep(0.01)
            return body[::-1] + address.encode()

        async with greeting(join=admit) as made:
            assert await join(at(made), b"abc", 20) == b"cba127.0.0.1"
            assert made.stats.joins == 1

    run(test())


def test_a_join_where_nobody_serves_any_is_not_answered() -> None:
    async def test() -> None:
        async with greeting() as made:
            with pytest.raises(TimedOut):
                await join(at(made), b"", 0.3)

    run(test())


def test_a_join_that_fails_is_not_answered_and_hurts_nobody() -> None:
    async def test() -> None:
        async def admit(body: bytes, address: str) -> bytes:
            if body == b"bad":
                raise ProtocolError("no proof")
            if body == b"bug":
                raise KeyError("a mistake here")
            return b"welcome"

        async with greeting(join=admit) as made:
            for body in (b"bad", b"bug"):
                with pytest.raises(TimedOut):
                    await join(at(made), body, 0.3)
            assert await join(at(made), b"good", 20) == b"welcome"

    run(test())


def test_joins_at_once_are_bounded() -> None:
    async def test() -> None:
        never = asyncio.Event()

        async def admit(body: bytes, address: str) -> bytes:
            await never.wait()
            return b""

        async with greeting(join=admit) as made:
            asking = [asyncio.create_task(join(at(made), b"", 20)) for _ in range(20)]
            await until(lambda: made.stats.joins + made.stats.over_rate == 20)
            assert made.stats.joins == 16
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    run(test())


def test_nobody_there_is_said_in_time() -> None:
    async def test() -> None:
        async with greeting() as made:
            gone = at(made)
        with pytest.raises(TimedOut, match="nobody answered"):
            await greet(gone, GUEST, 0.3)

    run(test())


def test_a_host_that_comes_up_while_asked_is_heard() -> None:
    async def test() -> None:
        async with greeting() as made:
            address, port = at(made), made.port
        asking = asyncio.create_task(greet(address, GUEST, 20))
        await asyncio.sleep(0.3)
        async with greeting(port=port):
            assert (await asking).hello.contact == HOST

    run(test())


@pytest.mark.parametrize(
    "address", ["", "host", "host:", ":1", "host:0", "host:65536", "host:x", "[::1]"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InputError):
        run(greet(address, GUEST, 1))


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "[::1%nosuchdevice]"])
def test_an_impossible_host_is_unreachable(host: str) -> None:
    with pytest.raises(NodeUnreachable, match="not known"):
        run(greet(f"{host}:7700", GUEST, 20))


def test_a_hello_that_is_too_large_is_not_sent() -> None:
    with pytest.raises(InputError, match="too large"):
        run(greet("127.0.0.1:1", Hello(HOST, claims={"x": "y" * REQUEST_LIMIT_BYTES}), 1))


def test_a_taken_port_is_a_clear_error() -> None:
    async def test() -> None:
        async with greeting() as made:
            second = Greeting(bind_host=LOOPBACK, port=made.port, answer=HelloReply)
            with pytest.raises(Unavailable, match="cannot listen"):
                await second.open()

    run(test())


def test_a_reply_holds_as_many_members_as_fit() -> None:
    async def test() -> None:
        many = tuple(contact("x" * 64, hosts=("2001:db8::1234",) * 8) for _ in range(500))
        async with greeting(lambda hello: HelloReply(Hello(HOST), many)) as made:
            reply = await greet(at(made), GUEST, 20)
            assert 100 <= len(reply.members) <= 128

    run(test())


# --- hostile --------------------------------------------------------------------------------------


async def after(frames: list[list[bytes]], made: Greeting) -> None:
    """Send frames as a stranger would, then see that the socket still answers."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(f"tcp://{at(made)}")
    for frame in frames:
        socket.send_multipart(frame)
    await until(lambda: made.stats.malformed >= len(frames))
    assert (await greet(at(made), GUEST, 20)).hello.contact == HOST
    assert not socket.poll(0)
    context.destroy(linger=0)


def hello_with(**changes: Any) -> bytes:
    """Answer a hello frame whose contact has been tampered with."""
    names = list(Contact.__slots__)
    plain = codec.to_plain(GUEST)
    for name, value in changes.items():
        plain[0][names.index(name)] = value
    return codec.pack([1, 1, b"12345678", codec.pack(plain)])


def test_whatever_is_not_a_greeting_is_dropped_and_counted() -> None:
    async def test() -> None:
        frames = [
            [b""],
            [b"\xc1"],
            [codec.pack(None)],
            [codec.pack([1, 1, b"id"])],
            [codec.pack([2, 1, b"id", b""])],
            [codec.pack([1, 9, b"id", b""])],
            [codec.pack([1, 2, b"id", b""])],
            [codec.pack([1, 1, b"i" * 17, b""])],
            [codec.pack([1, 1, b"id", b"\xc1"])],
            [codec.pack([1, 1, b"id", codec.pack([])])],
            [msgpack.packb([1, 1, b"id", msgpack.ExtType(1, b"x")])],
            [hello_with()[:-1]],
            [hello_with(), b"another part"],
        ]
        async with greeting() as made:
            await after(frames, made)
            assert made.stats.malformed == len(frames)

    run(test())


@pytest.mark.parametrize(
    "changes",
    [
        {"node_id": "a" * 16},
        {"public_key": b"short"},
        {"join_port": 0},
        {"control_port": 65536},
        {"bulk_port": -1},
        {"cluster_hint": "x" * 65},
        {"cluster_hint": "<script>"},
        {"name": "x" * 65},
        {"name": "line\nbreak"},
        {"name": "\x1b[31m"},
        {"version": "x" * 33},
        {"stamp_ms": -1},
        {"stamp_ms": 2**60},
        {"hosts": "10.0.0.1"},
        {"founded": 1},
    ],
)
def test_an_impossible_contact_is_dropped(changes: dict[str, Any]) -> None:
    async def test() -> None:
        async with greeting() as made:
            await after([[hello_with(**changes)]], made)

    run(test())


def test_a_frame_that_is_too_large_ends_its_connection_and_nothing_else() -> None:
    async def test() -> None:
        async with greeting() as made:
            context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
            socket = context.socket(zmq.DEALER)
            socket.connect(f"tcp://{at(made)}")
            socket.send(bytes(REQUEST_LIMIT_BYTES + 1))
            assert (await greet(at(made), GUEST, 20)).hello.contact == HOST
            assert made.stats.hellos == 1
            context.destroy(linger=0)

    run(test())


def test_one_strangers_flood_is_cut_down() -> None:
    async def test() -> None:
        async with greeting() as made:
            context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
            socket = context.socket(zmq.DEALER)
            socket.connect(f"tcp://{at(made)}")
            for _ in range(500):
                socket.send(hello_with())
            await until(lambda: made.stats.hellos + made.stats.over_rate == 500)
            assert made.stats.over_rate > 300
            context.destroy(linger=0)

    run(test())


def test_a_false_reply_is_a_protocol_error() -> None:
    async def test() -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = context.socket(zmq.ROUTER)
        port = socket.bind_to_random_port(f"tcp://{LOOPBACK}")
        for body in (b"\xc1", codec.pack([]), codec.encode(HelloReply(Hello(HOST)))[:-9]):
            asking = asyncio.create_task(greet(f"{LOOPBACK}:{port}", GUEST, 20))
            await until(lambda: socket.poll(0) > 0)
            route, frame = socket.recv_multipart()
            _, request_id, _ = decode_greeting(frame, REQUEST_LIMIT_BYTES)
            socket.send_multipart([route, codec.pack([1, 2, b"another", body])])  # not for it
            socket.send_multipart([route, codec.pack([1, 2, request_id, body])])
            with pytest.raises(ProtocolError):
                await asking
        context.destroy(linger=0)

    run(test())


@given(st.binary(max_size=300))
def test_any_bytes_are_a_greeting_or_a_protocol_error(data: bytes) -> None:
    try:
        decode_greeting(data, REPLY_LIMIT_BYTES)
    except ProtocolError:
        return


# --- rate -----------------------------------------------------------------------------------------


def test_a_rate_limit_lets_a_burst_through_and_then_the_rate() -> None:
    limit = RateLimit(10)
    assert [limit.take("a", 0.0) for _ in range(11)] == [True] * 10 + [False]
    assert limit.take("b", 0.0)
    assert [limit.take("a", 0.2) for _ in range(3)] == [True, True, False]
    assert [limit.take("a", 1000.0) for _ in range(11)] == [True] * 10 + [False]


def test_a_rate_limits_memory_is_bounded() -> None:
    limit = RateLimit(1, addresses_limit=10)
    for number in range(1000):
        limit.take(str(number), 0.0)
    assert len(limit._buckets) == 10
