"""Who does not get in. Each attacker here speaks real ZeroMQ to a real transport."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgpack
import pytest
import zmq
from zmq.utils.monitor import parse_monitor_message

from paceline.node.inbound import Inbound
from paceline.node.keys import NodeKeys, new_keys
from paceline.node.sockets import Context, Socket, secure_client
from paceline.node.wire import LIMIT_BYTES, Kind, Lane, encode_frame
from tests.node.transports import LOOPBACK, Station, connected, in_two, run, stations, until

FORGED = encode_frame([Kind.VITALS, b"forged"])


class Attacker:
    """A DEALER with options of its own that knows a transport's address and public key."""

    def __init__(self, context: Context) -> None:
        self.socket: Socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self._monitor: Socket = self.socket.get_monitor_socket()

    def connect(self, victim: Station, lane: Lane = Lane.CONTROL) -> None:
        ports = (victim.transport.control_port, victim.transport.bulk_port)
        self.socket.connect(f"tcp://{victim.host}:{ports[lane]}")

    def try_to_send(self, frame: bytes) -> None:
        """Send even without a connection, as an attacker would."""
        with suppress(zmq.Again):
            self.socket.send(frame, zmq.DONTWAIT)

    async def event(self, *wanted: int) -> int:
        """Wait until the connection meets one of these fates, and answer which."""
        async with asyncio.timeout(20):
            while True:
                while not self._monitor.poll(0):
                    await asyncio.sleep(0.005)
                event = int(parse_monitor_message(self._monitor.recv_multipart())["event"])
                if event in wanted:
                    return event

    def close(self) -> None:
        self.socket.disable_monitor()
        self._monitor.close()
        self.socket.close()


@asynccontextmanager
async def attacker() -> AsyncIterator[Attacker]:
    context: Context = zmq.Context()
    made = Attacker(context)
    try:
        yield made
    finally:
        made.close()
        context.term()


IN = zmq.EVENT_HANDSHAKE_SUCCEEDED
OUT = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
)


async def nothing_but(station: Station, friend: Station) -> None:
    """Make sure that what a member sends is the only thing that has arrived."""
    assert friend.transport.send(station.node_id, Kind.VITALS, b"honest")
    assert await station.received() == (friend.node_id, b"honest")
    assert station.inbox.empty()


@pytest.mark.parametrize("lane", Lane)
def test_a_key_that_is_no_members_is_refused(lane: Lane) -> None:
    async def test() -> None:
        async with connected(2) as (a, b), attacker() as mallory:
            secure_client(mallory.socket, new_keys(), a.keys.public)
            mallory.connect(a, lane)
            assert await mallory.event(IN, *OUT) == zmq.EVENT_HANDSHAKE_FAILED_AUTH
            mallory.try_to_send(FORGED)
            assert a.transport.stats().refused >= 1
            await nothing_but(a, b)

    run(test())


@pytest.mark.parametrize("mechanism", ["NULL", "PLAIN"])
def test_a_client_without_curve_is_refused(mechanism: str) -> None:
    async def test() -> None:
        async with connected(2) as (a, b), attacker() as mallory:
            if mechanism == "PLAIN":
                mallory.socket.setsockopt_string(zmq.PLAIN_USERNAME, b.node_id)
                mallory.socket.setsockopt_string(zmq.PLAIN_PASSWORD, "guess")
            mallory.connect(a)
            assert await mallory.event(IN, *OUT) != IN
            mallory.try_to_send(FORGED)
            await nothing_but(a, b)

    run(test())


def test_a_members_public_key_without_its_secret_does_not_help() -> None:
    async def test() -> None:
        async with connected(2) as (a, b), attacker() as mallory:
            stolen = NodeKeys(public=b.keys.public, secret=new_keys().secret)
            secure_client(mallory.socket, stolen, a.keys.public)
            mallory.connect(a)
            assert await mallory.event(IN, *OUT) != IN
            mallory.try_to_send(FORGED)
            await nothing_but(a, b)

    run(test())


def test_without_zap_nobody_at_all_is_let_in() -> None:
    """The trap that an enforced domain avoids: libzmq would otherwise let everybody in."""

    async def test() -> None:
        context: Context = zmq.Context()
        keys = new_keys()
        inbound = Inbound(
            context=context,
            keys=keys,
            lane=Lane.CONTROL,
            senders={},
            handlers={},
            allowed=lambda key: True,
            turn_over=lambda: None,
        )
        port = inbound.open(LOOPBACK, 0)  # and no ZapHandler in this context
        async with attacker() as mallory:
            secure_client(mallory.socket, new_keys(), keys.public)
            mallory.socket.connect(f"tcp://{LOOPBACK}:{port}")
            assert await mallory.event(IN, *OUT) != IN
        inbound.close()
        context.term()

    run(test())


def test_an_impostor_at_a_peers_address_hears_nothing() -> None:
    async def test() -> None:
        async with stations(2) as (a, impostor):
            impostor.members.add(a.keys.public)
            peer = new_keys()
            ports = (impostor.transport.control_port, impostor.transport.bulk_port)
            a.transport.add_peer(peer.node_id, peer.public, [impostor.host], *ports)
            await asyncio.sleep(0.5)  # several handshakes fail
            assert not a.transport.send(peer.node_id, Kind.VITALS, b"for the peer alone")
            assert a.links.empty()
            assert impostor.inbox.empty()

    run(test())


def test_who_is_thrown_out_is_not_heard_on_its_live_connection() -> None:
    async def test() -> None:
        async with connected(3) as (a, b, c):
            assert b.transport.send(a.node_id, Kind.VITALS, b"as a member")
            assert await a.received() == (b.node_id, b"as a member")
            a.members.discard(b.keys.public)
            a.transport.remove_peer(b.node_id)
            assert b.transport.connected(a.node_id)  # libzmq itself cannot close it
            assert b.transport.send(a.node_id, Kind.VITALS, b"too late")
            await until(lambda: a.transport.stats().refused_frames == 1)
            await until(lambda: not b.transport.connected(a.node_id))
            await until(lambda: a.transport.stats().refused >= 1)  # and it is not let in again
            assert not b.transport.send(a.node_id, Kind.VITALS, b"far too late")
            await nothing_but(a, c)

    run(test())


def test_membership_alone_decides_even_if_the_peer_is_still_known() -> None:
    async def test() -> None:
        async with connected(3) as (a, b, c):
            a.members.discard(b.keys.public)
            assert b.transport.send(a.node_id, Kind.VITALS, b"too late")
            await until(lambda: a.transport.stats().refused_frames == 1)
            await nothing_but(a, c)

    run(test())


def test_a_removed_peer_is_not_heard_even_if_its_key_is_still_allowed() -> None:
    async def test() -> None:
        async with connected(3) as (a, b, c):
            a.transport.remove_peer(b.node_id)
            assert b.transport.send(a.node_id, Kind.VITALS, b"too late")
            await until(lambda: a.transport.stats().refused_frames == 1)
            await nothing_but(a, c)

    run(test())


def test_who_is_thrown_out_cannot_come_back() -> None:
    async def test(a: Station, b: Station) -> None:
        a.members.discard(b.keys.public)
        a.transport.remove_peer(b.node_id)
        again = Station(b.keys, b.host, b.members)
        await again.transport.open()
        again.add(a)
        await until(lambda: a.transport.stats().refused >= 1)
        assert not again.transport.connected(a.node_id)
        again.transport.close()

    in_two(test)


def test_a_new_member_gets_in_although_it_was_refused_before() -> None:
    """After a refusal libzmq gives up for good; the link must not."""

    async def test() -> None:
        async with stations(2) as (a, b):
            a.add(b)  # b does not know a yet
            await until(lambda: b.transport.stats().refused >= 2)
            b.members.add(a.keys.public)
            assert await a.link_event() == (b.node_id, True)
            stats = a.transport.link_stats(b.node_id)
            assert stats is not None
            assert stats.refusals >= 1

    run(test())


def test_the_sender_is_the_keys_owner_whatever_the_routing_id_says() -> None:
    async def test() -> None:
        async with connected(3) as (a, b, c), attacker() as insider:
            secure_client(insider.socket, c.keys, a.keys.public)  # a member that lies
            insider.socket.setsockopt(zmq.ROUTING_ID, b.node_id.encode())
            insider.connect(a)
            assert await insider.event(IN, *OUT) == IN
            insider.socket.send(encode_frame([Kind.VITALS, b"I am b"]))
            assert await a.received() == (c.node_id, b"I am b")

    run(test())


def test_a_giant_frame_ends_its_connection_and_nothing_else() -> None:
    async def test() -> None:
        async with connected(3) as (a, b, c), attacker() as insider:
            secure_client(insider.socket, c.keys, a.keys.public)
            insider.connect(a)
            assert await insider.event(IN) == IN
            insider.socket.send(bytes(LIMIT_BYTES[Lane.CONTROL] + 1))
            assert await insider.event(zmq.EVENT_DISCONNECTED)
            await nothing_but(a, b)

    run(test())


@pytest.mark.parametrize(
    "frame",
    [
        [b""],
        [b"\xc1"],
        [bytes(100_000)],
        [msgpack.packb([1, [1, msgpack.ExtType(1, b"x")]])],
        [encode_frame([Kind.VITALS, b"one"]), b"and a second part"],
        [encode_frame([99, b"a kind of the future"])],
    ],
)
def test_malformed_frames_of_a_member_are_dropped(frame: list[bytes]) -> None:
    async def test() -> None:
        async with connected(2) as (a, b), attacker() as insider:
            secure_client(insider.socket, b.keys, a.keys.public)
            insider.connect(a)
            assert await insider.event(IN) == IN
            insider.socket.send_multipart(frame)
            insider.socket.send(encode_frame([Kind.VITALS, b"well-formed"]))
            assert await a.received() == (b.node_id, b"well-formed")
            stats = a.transport.link_stats(b.node_id)
            assert stats is not None
            assert stats.malformed + a.transport.stats().unhandled == 1

    run(test())


def test_a_server_that_is_not_zeromq_does_no_harm_and_is_left_in_time() -> None:
    """A link that met garbage recovers when the peer itself comes to that port."""

    async def test() -> None:
        async with stations(2) as (a, b):
            b.members.add(a.keys.public)
            port = b.transport.control_port
            b.transport.close()
            server = await asyncio.start_server(_talk_http, b.host, port)
            a.add(b)
            await asyncio.sleep(1)  # several handshakes fail
            assert not a.transport.connected(b.node_id)
            server.close()
            await server.wait_closed()
            again = Station(b.keys, b.host, b.members)
            again.transport = type(b.transport)(
                keys=b.keys,
                bind_host=b.host,
                port=port - 1,
                allowed=lambda key: key in b.members,
            )
            await again.transport.open()
            assert await a.link_event() == (b.node_id, True)
            again.transport.close()

    run(test())


async def _talk_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(100))
    await writer.drain()
    writer.close()


def test_keys_may_not_be_seen_by_whoever_listens() -> None:
    """Both long-term keys stay inside the encrypted part of the handshake."""

    async def test() -> None:
        async with stations(2) as (a, b):
            b.members.add(a.keys.public)
            async with wiretap(b.host, b.transport.control_port) as (port, seen):
                a.transport.add_peer(b.node_id, b.keys.public, [LOOPBACK], port, port)
                assert await a.link_event() == (b.node_id, True)
                a.transport.send(b.node_id, Kind.VITALS, b"nobody may read this")
                assert await b.received() == (a.node_id, b"nobody may read this")
                assert b"CURVE" in seen
                for secret in (b"nobody may", a.keys.public, b.keys.public):
                    assert secret not in seen
                    assert secret.hex().encode() not in seen
                a.transport.close()
                b.transport.close()

    run(test())


@asynccontextmanager
async def wiretap(host: str, port: int) -> AsyncIterator[tuple[int, bytearray]]:
    """Relay to a port, and remember all bytes of both directions."""
    seen = bytearray()
    relays: list[asyncio.Task[None]] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                seen.extend(data)
                writer.write(data)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_connection(host, port)
        await asyncio.gather(copy(reader, to_there), copy(there, writer))

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relays.append(asyncio.get_running_loop().create_task(relay(reader, writer)))

    server = await asyncio.start_server(accepted, LOOPBACK, 0)
    async with server:
        yield server.sockets[0].getsockname()[1], seen
    await asyncio.gather(*relays)
