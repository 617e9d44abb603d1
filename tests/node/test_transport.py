"""Messages between two transports on real sockets."""

import asyncio

import pytest
import zmq

from paceline.errors import InputError, Unavailable
from paceline.node import transport
from paceline.node.inbound import Inbound
from paceline.node.keys import new_keys
from paceline.node.transport import Transport
from paceline.node.wire import CONTROL_LIMIT_BYTES, Kind, Lane
from paceline.node.zap import ZapHandler
from tests.node.transports import LOOPBACK, Station, connected, in_two, run, stations, until


def test_a_message_arrives_with_its_senders_id() -> None:
    async def test(a: Station, b: Station) -> None:
        assert a.transport.send(b.node_id, Kind.VITALS, b"hello")
        assert await b.received() == (a.node_id, b"hello")

    in_two(test)


def test_messages_of_both_lanes_arrive() -> None:
    async def test(a: Station, b: Station) -> None:
        await until(lambda: a.transport.send(b.node_id, Kind.VITALS, b"bulk", Lane.BULK))
        assert await b.received() == (a.node_id, b"bulk")

    in_two(test)


def test_messages_of_one_turn_travel_together_and_in_order() -> None:
    async def test(a: Station, b: Station) -> None:
        for number in range(1000):
            assert a.transport.send(b.node_id, Kind.VITALS, b"%d" % number)
        bodies = [(await b.received())[1] for _ in range(1000)]
        assert bodies == [b"%d" % number for number in range(1000)]

    in_two(test)


def test_the_largest_message_arrives() -> None:
    async def test(a: Station, b: Station) -> None:
        assert a.transport.send(b.node_id, Kind.VITALS, b"small")
        assert a.transport.send(b.node_id, Kind.VITALS, bytes(CONTROL_LIMIT_BYTES))
        assert await b.received() == (a.node_id, b"small")
        assert len((await b.received())[1]) == CONTROL_LIMIT_BYTES

    in_two(test)


def test_a_message_over_the_limit_is_refused_at_the_sender() -> None:
    async def test(a: Station, b: Station) -> None:
        with pytest.raises(InputError, match="limit"):
            a.transport.send(b.node_id, Kind.VITALS, bytes(CONTROL_LIMIT_BYTES + 1))

    in_two(test)


def test_a_message_to_a_stranger_is_dropped() -> None:
    async def test() -> None:
        async with stations(1) as (a,):
            assert not a.transport.send(new_keys().node_id, Kind.VITALS, b"")

    run(test())


def test_a_message_to_a_peer_that_is_not_there_is_dropped_and_not_kept() -> None:
    async def test() -> None:
        async with stations(2) as (a, b):
            b.transport.close()
            a.add(b)
            for _ in range(1000):
                assert not a.transport.send(b.node_id, Kind.VITALS, b"stale")
            stats = a.transport.link_stats(b.node_id)
            assert stats is not None
            assert stats.dropped == 1000
            assert stats.sent_messages == 0

    run(test())


def test_a_peers_end_is_reported_and_its_return_too() -> None:
    async def test() -> None:
        async with stations(2) as (a, b):
            a.add(b)
            b.add(a)
            assert await a.link_event() == (b.node_id, True)
            ports = (b.transport.control_port, b.transport.bulk_port)
            b.transport.close()
            assert await a.link_event() == (b.node_id, False)
            assert not a.transport.connected(b.node_id)

            again = Station(b.keys, b.host, b.members)
            await again.transport.open()
            assert ports != (again.transport.control_port, again.transport.bulk_port)
            a.add(again)  # at other ports
            assert await a.link_event() == (b.node_id, True)
            assert a.transport.send(b.node_id, Kind.VITALS, b"welcome back")
            assert await again.received() == (a.node_id, b"welcome back")
            again.transport.close()

    run(test())


def test_a_port_in_use_is_a_clear_error() -> None:
    async def test() -> None:
        async with stations(1) as (a,):
            port = a.transport.control_port - 1
            second = Transport(
                keys=new_keys(), bind_host=a.host, port=port, allowed=lambda key: True
            )
            with pytest.raises(Unavailable, match="cannot listen"):
                await second.open()

    run(test())


def test_of_several_addresses_the_one_that_works_is_used() -> None:
    async def test() -> None:
        async with stations(2) as (a, b):
            b.members.add(a.keys.public)
            # On the first two nobody listens.
            a.add(b, hosts=("127.0.0.3", "127.0.0.2", b.host))
            assert await a.link_event() == (b.node_id, True)
            assert a.transport.send(b.node_id, Kind.VITALS, b"here")
            assert await b.received() == (a.node_id, b"here")
            stats = a.transport.link_stats(b.node_id)
            assert stats is not None
            assert stats.address == f"tcp://{b.host}:{b.transport.control_port}"

    run(test())


def test_a_connection_that_works_survives_a_false_address() -> None:
    async def test(a: Station, b: Station) -> None:
        a.add(b, hosts=("127.0.0.9",))
        a.transport.send(b.node_id, Kind.VITALS, b"still here")
        assert await b.received() == (a.node_id, b"still here")
        assert a.links.empty()

    in_two(test)


def test_a_proven_address_is_tried_again_after_a_false_one() -> None:
    async def test() -> None:
        async with connected(2) as (a, b):
            a.add(b, hosts=("127.0.0.9",))
            port = b.transport.control_port
            b.transport.close()
            assert await a.link_event() == (b.node_id, False)
            again = Inbound(
                context=zmq.Context.instance(),
                keys=b.keys,
                lane=Lane.CONTROL,
                senders={},
                handlers={},
                allowed=lambda key: True,
                turn_over=lambda: None,
            )
            zap = ZapHandler(context=zmq.Context.instance(), admit=lambda key: "b" * 16)
            again.open(b.host, port)
            assert await a.link_event() == (b.node_id, True)
            again.close()
            zap.close()

    run(test())


def test_a_wrong_address_is_corrected() -> None:
    async def test() -> None:
        async with stations(2) as (a, b):
            b.members.add(a.keys.public)
            a.add(b, hosts=("127.0.0.9",))
            assert not a.transport.connected(b.node_id)
            a.add(b)
            assert await a.link_event() == (b.node_id, True)

    run(test())


def test_a_removed_peer_is_hung_up_on() -> None:
    async def test(a: Station, b: Station) -> None:
        a.transport.remove_peer(b.node_id)
        assert await a.link_event() == (b.node_id, False)
        assert not a.transport.send(b.node_id, Kind.VITALS, b"")
        assert a.transport.peers == ()

    in_two(test)


def test_a_peer_whose_id_is_not_its_keys_is_refused() -> None:
    async def test() -> None:
        async with stations(1) as (a,):
            with pytest.raises(InputError):
                a.transport.add_peer("a" * 16, new_keys().public, [LOOPBACK], 1, 2)
            with pytest.raises(InputError):
                a.transport.add_peer(a.node_id, a.keys.public, [LOOPBACK], 1, 2)

    run(test())


def test_host_names_are_refused() -> None:
    async def test() -> None:
        async with stations(1) as (a,):
            keys = new_keys()
            with pytest.raises(InputError, match="IP address"):
                a.transport.add_peer(keys.node_id, keys.public, ["localhost"], 1, 2)

    run(test())


def test_the_end_of_a_process_is_proven_by_a_refused_connection() -> None:
    async def test() -> None:
        async with stations(2) as (a, b):
            b.members.add(a.keys.public)
            a.add(b)
            assert not await a.transport.probe_refused(b.node_id)  # nothing proven yet
            assert await a.link_event() == (b.node_id, True)
            assert not await a.transport.probe_refused(b.node_id)  # alive
            b.transport.close()
            assert await a.link_event() == (b.node_id, False)
            assert await a.transport.probe_refused(b.node_id)

    run(test())


def test_an_address_that_was_lost_long_ago_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(a: Station, b: Station) -> None:
        b.transport.close()
        assert await a.link_event() == (b.node_id, False)
        monkeypatch.setattr(transport, "PROOF_S", -1.0)
        assert not await a.transport.probe_refused(b.node_id)

    in_two(test)


def test_a_handler_may_remove_a_peer_that_was_just_lost() -> None:
    async def test(a: Station, b: Station) -> None:
        a.transport.on_link(lambda node_id, up: a.transport.remove_peer(node_id))
        b.transport.close()
        assert await a.link_event() == (b.node_id, False)
        await asyncio.sleep(0.6)  # longer than the pause before an address is dialled anew
        assert a.transport.peers == ()

    in_two(test)


def test_an_unproven_address_proves_nothing() -> None:
    async def test() -> None:
        async with stations(2) as (a, b):
            b.transport.close()
            a.add(b)
            assert not await a.transport.probe_refused(b.node_id)
            assert not await a.transport.probe_refused(new_keys().node_id)

    run(test())


def test_a_handler_that_fails_does_not_stop_the_others() -> None:
    async def test(a: Station, b: Station) -> None:
        def fail(sender: str, body: bytes) -> None:
            raise RuntimeError("planted")

        b.transport.on(Kind.GOSSIP, fail)
        a.transport.send(b.node_id, Kind.GOSSIP, b"")
        a.transport.send(b.node_id, Kind.BLOB, b"nobody's")
        a.transport.send(b.node_id, Kind.VITALS, b"after")
        assert await b.received() == (a.node_id, b"after")
        assert b.transport.stats().failed == 1
        assert b.transport.stats().unhandled == 1

    in_two(test)


def test_a_kind_has_one_handler() -> None:
    async def test() -> None:
        async with stations(1) as (a,):
            with pytest.raises(ValueError, match="handler"):
                a.transport.on(Kind.VITALS, lambda sender, body: None)

    run(test())


def test_what_was_sent_and_heard_is_counted() -> None:
    async def test(a: Station, b: Station) -> None:
        assert b.transport.last_heard_ms(a.node_id) is None
        a.transport.send(b.node_id, Kind.VITALS, b"12345")
        await b.received()
        sent, heard = a.transport.link_stats(b.node_id), b.transport.link_stats(a.node_id)
        assert sent is not None
        assert heard is not None
        assert (sent.sent_messages, heard.received_messages) == (1, 1)
        assert heard.received_bytes >= 5
        assert b.transport.last_heard_ms(a.node_id) == heard.last_heard_ms is not None

    in_two(test)


def test_a_closed_transport_may_be_closed_again() -> None:
    async def test() -> None:
        async with stations(1) as (a,):
            a.transport.close()
            a.transport.close()

    run(test())


def test_a_handler_may_close_the_transport() -> None:
    async def test(a: Station, b: Station) -> None:
        closed = asyncio.Event()

        def close(sender: str, body: bytes) -> None:
            b.transport.close()
            closed.set()

        b.transport.on(Kind.GOSSIP, close)
        a.transport.send(b.node_id, Kind.GOSSIP, b"")
        a.transport.send(b.node_id, Kind.VITALS, b"never read")
        await closed.wait()
        assert await a.link_event() == (b.node_id, False)

    in_two(test)
