"""All means together, in one process, without multicast."""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from paceline.clock import SystemClock
from paceline.discovery.addresses import local_hosts
from paceline.discovery.discovery import Discovery
from paceline.discovery.fixed import with_proven_host
from paceline.discovery.peers import Source
from paceline.discovery.record import Contact
from paceline.discovery.remembered import write_remembered
from paceline.errors import TimedOut
from tests.discovery.contacts import contact

ME = contact(0)


async def nobody(address: str) -> Sequence[Contact]:
    raise TimedOut("nobody there")


def discovery(data_dir: Path, **options: Any) -> Discovery:
    defaults: dict[str, Any] = {
        "own": ME,
        "greet": nobody,
        "connected": lambda node_id: False,
        "clock": SystemClock(),
        "random": Random(1),
        "bind_host": "127.0.0.1",
        "mdns": False,
    }
    return Discovery(data_dir=data_dir, **(defaults | options))


def test_own_addresses_are_those_it_is_bound_to(tmp_path: Path) -> None:
    async def test() -> None:
        found = discovery(tmp_path)
        assert found.own.hosts == ("127.0.0.1",)
        assert found.own.node_id == ME.node_id
        assert found.status == "multicast is switched off"

    asyncio.run(test())


def test_announcing_fills_in_hosts_and_a_higher_stamp(tmp_path: Path) -> None:
    async def test() -> None:
        found = discovery(tmp_path)
        before = found.own.stamp_ms
        told: list[Contact] = []
        found.on_own_contact(told.append)
        found.announce(replace(ME, hosts=(), founded=True, cluster_hint="abc"))
        assert told == [found.own]
        assert found.own.founded
        assert found.own.hosts == ("127.0.0.1",)
        assert found.own.stamp_ms > before

    asyncio.run(test())


def test_what_is_news_is_told_and_what_is_not_is_not(tmp_path: Path) -> None:
    async def test() -> None:
        told: list[Contact] = []
        found = discovery(tmp_path)
        found.on_contact(told.append)
        found.learn(contact(1))
        found.learn(contact(1))
        found.learn(found.own)
        assert told == [contact(1)]
        assert found.contacts == (contact(1),)

    asyncio.run(test())


def test_a_later_record_of_oneself_is_outbid_but_not_in_a_loop(tmp_path: Path) -> None:
    async def test() -> None:
        found = discovery(tmp_path)
        past = replace(found.own, stamp_ms=found.own.stamp_ms + 10**9, join_port=9)
        found.learn(past, Source.GOSSIP)
        assert found.own.stamp_ms == past.stamp_ms + 1
        assert found.own.join_port == ME.join_port
        again = replace(past, stamp_ms=past.stamp_ms + 10**9)
        found.learn(again, Source.GOSSIP)
        assert found.own.stamp_ms < again.stamp_ms  # not before some seconds have passed

    asyncio.run(test())


def test_another_process_with_the_same_key_is_noticed(tmp_path: Path) -> None:
    async def test() -> None:
        found = discovery(tmp_path)
        found.learn(found.own, Source.MDNS)
        assert found.twin is None
        twin = replace(found.own, join_port=9, stamp_ms=found.own.stamp_ms + 1)
        found.learn(twin, Source.MDNS)
        assert found.twin == twin
        assert found.own.stamp_ms < twin.stamp_ms

    asyncio.run(test())


def test_fixed_addresses_are_greeted_and_what_they_tell_is_learnt(tmp_path: Path) -> None:
    async def test() -> None:
        learnt = asyncio.Event()

        async def greet(address: str) -> Sequence[Contact]:
            if address == "192.0.2.7:7700":
                return [contact(1), contact(2), ME]
            raise TimedOut("nobody there")

        found = discovery(tmp_path, greet=greet, join=["192.0.2.7:7700", "nowhere:1"])
        found.on_contact(lambda one: learnt.set() if one.node_id == contact(2).node_id else None)
        running = asyncio.create_task(found.run())
        async with asyncio.timeout(20):
            await learnt.wait()
            while not found.unanswered:
                await asyncio.sleep(0)
        assert found.unanswered == {"nowhere:1": "nobody there"}
        first = found.get(contact(1).node_id)
        assert first is not None
        assert first.hosts == ("192.0.2.7", *contact(1).hosts)  # where it was just reached
        assert found.book.source_of(contact(1).node_id) is Source.GREETING
        assert found.book.source_of(contact(2).node_id) is Source.GOSSIP
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(test())


def test_remembered_nodes_are_known_and_greeted_at_the_next_start(tmp_path: Path) -> None:
    write_remembered(tmp_path, [contact(1), ME])

    async def test() -> None:
        greeted: asyncio.Queue[str] = asyncio.Queue()

        async def greet(address: str) -> Sequence[Contact]:
            greeted.put_nowait(address)
            return [contact(1)]

        found = discovery(tmp_path, greet=greet)
        assert found.contacts == (contact(1),)
        running = asyncio.create_task(found.run())
        async with asyncio.timeout(20):
            assert await greeted.get() == contact(1).joins[0]
        assert greeted.empty()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(test())


def test_addresses_added_later_are_greeted_too(tmp_path: Path) -> None:
    async def test() -> None:
        greeted = asyncio.Event()

        async def greet(address: str) -> Sequence[Contact]:
            greeted.set()
            return [contact(1)]

        found = discovery(tmp_path, greet=greet)
        running = asyncio.create_task(found.run())
        await asyncio.sleep(0)
        found.join(["10.0.0.9:7700"])
        async with asyncio.timeout(20):
            await greeted.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(test())


def test_what_was_learnt_last_is_remembered_at_the_end(tmp_path: Path) -> None:
    async def test() -> None:
        found = discovery(tmp_path)
        running = asyncio.create_task(found.run())
        await asyncio.sleep(0)
        found.learn(contact(1))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        again = discovery(tmp_path)
        assert again.contacts == (contact(1),)

    asyncio.run(test())


def test_a_directory_that_cannot_be_written_does_not_stop_discovery(tmp_path: Path) -> None:
    async def test() -> None:
        found = discovery(tmp_path / "missing")
        running = asyncio.create_task(found.run())
        found.learn(contact(1))
        await asyncio.sleep(0.05)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(test())


def test_a_proven_address_is_added_only_where_it_says_something() -> None:
    one = contact(1)
    assert with_proven_host(one, "10.9.9.9:7700").hosts[0] == "10.9.9.9"
    assert with_proven_host(one, "10.9.9.9:1") == one  # forwarded from elsewhere
    assert with_proven_host(one, "name:7700") == one
    assert with_proven_host(one, f"{one.hosts[0]}:7700") == one


def test_local_addresses_are_this_machines() -> None:
    hosts = local_hosts()
    assert hosts
    for host in hosts:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(socket.getaddrinfo(host, 0, family, socket.SOCK_DGRAM)[0][4])
    assert local_hosts("127.0.0.1") == ("127.0.0.1",)
