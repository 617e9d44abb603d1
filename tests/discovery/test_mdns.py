"""Nodes find each other by multicast: on the loopback interface, and on LANs of real processes."""

import asyncio
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest

from paceline.discovery.mdns import Mdns
from tests.discovery.contacts import contact
from tests.discovery.finder import Finder
from tests.rigs.fixtures import MakeLan

Start = Callable[..., Finder]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Answer a function that starts a finder with the data directory of that name."""
    with ExitStack() as stack:
        yield lambda name, *options, **where: stack.enter_context(
            Finder(tmp_path / name, *options, **where)
        )


def all_find_each_other(finders: list[Finder]) -> None:
    for finder in finders:
        for other in finders:
            if finder is not other:
                assert finder.find(other)["port"] == other.port


def test_two_processes_on_the_loopback_interface_find_each_other(start: Start) -> None:
    finders = [start(name, "--bind", "127.0.0.1") for name in ("a", "b")]
    all_find_each_other(finders)
    assert finders[0].find(finders[1])["hosts"] == ["127.0.0.1"]


def test_what_a_node_says_later_is_heard(start: Start) -> None:
    a, b = (start(name, "--bind", "127.0.0.1") for name in ("a", "b"))
    assert not a.find(b)["founded"]
    b.process.send_signal(signal.SIGUSR1)
    a.find(b, lambda contact: contact["founded"])


def test_a_node_that_is_told_to_end_ends(start: Start) -> None:
    a = start("a", "--bind", "127.0.0.1")
    b = start("b", "--bind", "127.0.0.1")
    a.find(b)
    assert a.stop() == 0


def test_an_interface_that_is_not_there_is_told_and_not_fatal() -> None:
    async def test() -> None:
        mdns = Mdns(
            contact=contact(1),
            learn=lambda one: None,
            connected=lambda node_id: False,
            random=Random(1),
            bind_host="203.0.113.9",
        )
        running = asyncio.create_task(mdns.run())
        async with asyncio.timeout(20):
            while not mdns.status.startswith("no multicast"):
                await asyncio.sleep(0.01)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(test())


@pytest.mark.netns
def test_a_machine_without_any_network_waits_for_one(make_lan: MakeLan, start: Start) -> None:
    lan = make_lan(2)
    for device in ("lo", "eth0"):
        lan.run(2, "ip", "link", "set", device, "down")
    lan.remove_address(2)
    first, second = (start(f"h{host}", lan=lan, host=host) for host in lan.hosts)
    for device in ("lo", "eth0"):
        lan.run(2, "ip", "link", "set", device, "up")
    lan.add_address(2)
    all_find_each_other([first, second])
    first.find(second, lambda one: lan.address(2) in one["hosts"])


@pytest.mark.netns
def test_three_nodes_find_each_other_by_multicast_alone(make_lan: MakeLan, start: Start) -> None:
    lan = make_lan(3)
    finders = [start(f"h{host}", lan=lan, host=host) for host in lan.hosts]
    all_find_each_other(finders)
    assert lan.address(2) in finders[0].find(finders[1])["hosts"]


@pytest.mark.netns
def test_a_late_joiner_is_found_and_finds(make_lan: MakeLan, start: Start) -> None:
    lan = make_lan(3)
    early = [start(f"h{host}", lan=lan, host=host) for host in (1, 2)]
    all_find_each_other(early)
    time.sleep(3)  # past the first announcements, so that the joiner has to ask
    all_find_each_other([*early, start("h3", lan=lan, host=3)])


@pytest.mark.netns
def test_where_there_is_no_multicast_one_address_is_enough(make_lan: MakeLan, start: Start) -> None:
    lan = make_lan(3)
    lan.multicast(on=False)
    first = start("h1", lan=lan, host=1)
    address = f"{lan.address(1)}:{first.port}"
    others = [start(f"h{host}", "--join", address, lan=lan, host=host) for host in (2, 3)]
    for other in others:
        assert other.find(first)["port"] == first.port
        assert first.find(other)["port"] == other.port
    # Each of them learns of the other from the first; at the latest when it greets again.
    late = start("late", "--join", address, lan=lan, host=2)
    for other in others:
        assert late.find(other)["port"] == other.port


@pytest.mark.netns
def test_the_address_to_join_may_come_up_later(make_lan: MakeLan, start: Start) -> None:
    lan = make_lan(2)
    lan.multicast(on=False)
    second = start("h2", "--join", f"{lan.address(1)}:7700", lan=lan, host=2)
    time.sleep(2)  # several attempts fail
    first = start("h1", "--port", "7700", lan=lan, host=1)
    assert second.find(first)["port"] == 7700


@pytest.mark.netns
def test_a_remembered_address_serves_the_next_start(
    make_lan: MakeLan, start: Start, tmp_path: Path
) -> None:
    lan = make_lan(2)
    lan.multicast(on=False)
    first = start("h1", "--port", "7700", lan=lan, host=1)
    before = start("h2", "--join", f"{lan.address(1)}:7700", lan=lan, host=2)
    before.find(first)
    before.stop()
    remembered = json.loads((tmp_path / "h2" / "peers.json").read_bytes())
    assert [contact["node_id"] for contact in remembered["contacts"]] == [first.node_id]
    after = start("h2", lan=lan, host=2)
    assert after.node_id == before.node_id
    first.find(after, lambda contact: contact["port"] == after.port)


@pytest.mark.netns
def test_halves_that_started_apart_find_each_other_once_joined(
    make_lan: MakeLan, start: Start
) -> None:
    lan = make_lan(3)
    lan.partition([1], [2, 3])
    finders = [start(f"h{host}", lan=lan, host=host) for host in lan.hosts]
    all_find_each_other(finders[1:])
    time.sleep(16)  # the library itself asks for the last time after 14 s
    assert not finders[0].knows(finders[1])
    lan.heal()
    all_find_each_other(finders)


@pytest.mark.netns
def test_a_node_that_moved_to_another_port_during_a_cut_is_found_there(
    make_lan: MakeLan, start: Start
) -> None:
    lan = make_lan(2)
    first, second = (start(f"h{host}", lan=lan, host=host) for host in lan.hosts)
    all_find_each_other([first, second])
    lan.partition([1], [2])
    second.kill()
    again = start("h2", lan=lan, host=2)
    time.sleep(2)  # its announcements are over
    lan.heal()
    assert first.find(again, lambda contact: contact["port"] == again.port)


@pytest.mark.netns
def test_an_address_that_changes_is_announced(make_lan: MakeLan, start: Start) -> None:
    lan = make_lan(2)
    first, second = (start(f"h{host}", lan=lan, host=host) for host in lan.hosts)
    all_find_each_other([first, second])
    lan.set_address(2, "10.77.0.99")
    first.find(second, lambda contact: "10.77.0.99" in contact["hosts"])


@pytest.mark.netns
def test_an_address_that_comes_late_is_announced(make_lan: MakeLan, start: Start) -> None:
    lan = make_lan(2)
    lan.remove_address(2)
    first, second = (start(f"h{host}", lan=lan, host=host) for host in lan.hosts)
    lan.add_address(2)
    first.find(second, lambda contact: lan.address(2) in contact["hosts"])
    second.find(first, lambda contact: lan.address(1) in contact["hosts"])


@pytest.mark.netns
def test_ipv6_link_local_addresses_are_enough(make_lan: MakeLan, start: Start) -> None:
    lan = make_lan(2, ipv4=False)
    first, second = (start(f"h{host}", lan=lan, host=host) for host in lan.hosts)
    all_find_each_other([first, second])

    def scoped(contact: dict[str, Any]) -> bool:
        return any(host.startswith("fe80:") and "%" in host for host in contact["hosts"])

    assert first.find(second, scoped)


@pytest.mark.netns
def test_a_node_on_two_networks_tells_both_addresses(make_lan: MakeLan, start: Start) -> None:
    lan = make_lan(2, networks=2)
    first, second = (start(f"h{host}", lan=lan, host=host) for host in lan.hosts)
    both = {lan.address(2, 0), lan.address(2, 1)}
    assert first.find(second, lambda contact: both <= set(contact["hosts"]))


@pytest.mark.netns
def test_several_nodes_on_one_host_find_each_other_and_others(
    make_lan: MakeLan, start: Start
) -> None:
    lan = make_lan(2)
    finders = [start(f"n{number}", lan=lan, host=1) for number in range(3)]
    all_find_each_other([*finders, start("other", lan=lan, host=2)])
