"""The rig itself: its faults do what they say, no more and no less."""

import contextlib
import socket
import statistics
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from tests.rigs.faults import Faults
from tests.rigs.fixtures import MakeLan
from tests.rigs.lan import Lan

pytestmark = pytest.mark.netns

PORT = 9999
PATIENCE_S = 20.0
SILENCE_S = 0.2
"""Long enough for a datagram on a cable without delay, fifty times over."""
GROUP = "224.0.0.251"
TRIES = 50

Reach = Callable[..., bool]


@contextlib.contextmanager
def receiver_on(lan: Lan, host: int, family: int = socket.AF_INET) -> Iterator[socket.socket]:
    """Answer a socket of the host that receives what is sent to PORT."""

    def opened() -> socket.socket:
        receiver = socket.socket(family, socket.SOCK_DGRAM)
        receiver.bind(("", PORT))
        if family == socket.AF_INET:
            join = socket.inet_aton(GROUP) + struct.pack("=I", 0)
            with contextlib.suppress(OSError):  # a host without an address has no group either
                receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, join)
        return receiver

    with lan.inside(host, opened) as receiver:
        yield receiver


def send(lan: Lan, host: int, address: str, body: bytes = b"x", times: int = 1) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with lan.inside(host, lambda: socket.socket(family, socket.SOCK_DGRAM)) as sender:
        target = socket.getaddrinfo(address, PORT, family, socket.SOCK_DGRAM)[0][4]
        for _ in range(times):
            sender.sendto(body, target)


def heard(receiver: socket.socket) -> bool:
    receiver.settimeout(SILENCE_S)
    try:
        receiver.recv(100)
    except TimeoutError:
        return False
    return True


def arrives(lan: Lan, sender: int, receiver: int, address: str, tries: int) -> bool:
    """Send until something arrives: the question who has an address is repeated once a second."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with receiver_on(lan, receiver, family) as listening:
        for _ in range(tries):
            with contextlib.suppress(OSError):  # the last question was not answered
                send(lan, sender, address)
            if heard(listening):
                return True
    return False


def reaches(lan: Lan, sender: int, receiver: int, net: int = 0, tries: int = TRIES) -> bool:
    return arrives(lan, sender, receiver, lan.address(receiver, net), tries)


def reaches_by_multicast(lan: Lan, sender: int, receiver: int, tries: int = TRIES) -> bool:
    return arrives(lan, sender, receiver, GROUP, tries)


def reaches_link_local(lan: Lan, sender: int, receiver: int, tries: int = TRIES) -> bool:
    # The scope is a number in the sender's namespace, where names resolve.
    index = lan.inside(sender, lambda: socket.if_nametoindex("eth0"))
    return arrives(lan, sender, receiver, f"{lan.link_local(receiver)}%{index}", tries)


def round_trip_ms(lan: Lan, one: int, other: int) -> float:
    """Send a datagram there and back. Raise TimeoutError if it is lost."""
    with receiver_on(lan, other) as there, receiver_on(lan, one) as here:
        for each in (there, here):
            each.settimeout(PATIENCE_S)
        began = time.monotonic()
        here.sendto(b"x", (lan.address(other), PORT))
        _, sender = there.recvfrom(100)
        there.sendto(b"y", sender)
        here.recv(100)
        return (time.monotonic() - began) * 1000


# --- cuts -----------------------------------------------------------------------------------------


def test_hosts_reach_each_other_and_a_cut_parts_them(make_lan: MakeLan) -> None:
    lan = make_lan(3)
    assert reaches(lan, 1, 2)
    lan.partition([1], [2, 3])
    assert not reaches(lan, 1, 2, tries=1)
    assert not reaches(lan, 2, 1, tries=1)
    assert reaches(lan, 2, 3)
    lan.heal()
    assert reaches(lan, 1, 2)


def test_a_bridge_hears_both_who_do_not_hear_each_other(make_lan: MakeLan) -> None:
    lan = make_lan(3)
    lan.partition([1], [3])
    assert not reaches(lan, 1, 3, tries=1)
    assert not reaches_by_multicast(lan, 3, 1, tries=1)
    for end in (1, 3):
        assert reaches(lan, 2, end)
        assert reaches(lan, end, 2)
    lan.heal()
    assert reaches(lan, 1, 3)


@pytest.mark.parametrize("reach", [reaches, reaches_link_local], ids=["IPv4", "IPv6"])
def test_one_direction_can_be_lost_alone(make_lan: MakeLan, reach: Reach) -> None:
    lan = make_lan(3)
    lan.oneway(1, 2)
    assert not reach(lan, 1, 2, tries=1)
    assert reach(lan, 2, 1)
    assert reach(lan, 1, 3)
    assert not reaches_by_multicast(lan, 1, 2, tries=1)
    lan.heal()
    assert reach(lan, 1, 2)


def test_an_unplugged_host_is_alone_on_all_its_networks(make_lan: MakeLan) -> None:
    lan = make_lan(2, networks=2)
    lan.unplug(2)
    assert not reaches(lan, 1, 2, tries=1)
    assert not reaches(lan, 1, 2, net=1, tries=1)
    lan.replug(2)
    assert reaches(lan, 1, 2, net=1)


def test_multicast_can_be_blocked_for_one_host_or_all(make_lan: MakeLan) -> None:
    lan = make_lan(3)
    assert reaches_by_multicast(lan, 1, 2)
    lan.multicast(on=False, hosts=[1])
    assert not reaches_by_multicast(lan, 1, 2, tries=1)
    assert not reaches_by_multicast(lan, 2, 1, tries=1)
    assert reaches_by_multicast(lan, 2, 3)
    assert reaches(lan, 1, 2)
    lan.multicast(on=False)
    assert not reaches_by_multicast(lan, 2, 3, tries=1)
    lan.multicast(on=True)
    assert reaches_by_multicast(lan, 1, 3)


def test_the_rules_of_no_faults_lose_nothing() -> None:
    assert "drop" not in Faults().rules([0, 1])


# --- cables ---------------------------------------------------------------------------------------


def test_a_slow_cable_delays_what_its_host_sends_and_nothing_else(make_lan: MakeLan) -> None:
    lan = make_lan(3, wires=True)
    before = min(round_trip_ms(lan, 1, 2) for _ in range(5))
    lan.impair(2, delay_ms=100)
    assert all(round_trip_ms(lan, 1, 2) >= 100 for _ in range(3))
    lan.impair(delay_ms=100)
    assert all(round_trip_ms(lan, 1, 2) >= 200 for _ in range(3))
    lan.impair()
    assert min(round_trip_ms(lan, 1, 2) for _ in range(5)) < before + 100


def test_jitter_spreads_the_delays(make_lan: MakeLan) -> None:
    lan = make_lan(2, wires=True)
    lan.impair(1, delay_ms=50, jitter_ms=50)
    trips = [round_trip_ms(lan, 1, 2) for _ in range(20)]
    assert statistics.pstdev(trips) > 5


def test_a_lossy_cable_loses_its_share(make_lan: MakeLan) -> None:
    lan = make_lan(2, wires=True)
    assert reaches(lan, 1, 2)  # so that the address is known: that question may be lost as well
    lan.impair(1, loss=0.5)
    with receiver_on(lan, 2) as receiver:
        send(lan, 1, lan.address(2), times=400)
        came = sum(1 for _ in iter(lambda: heard(receiver), False))
    assert 120 < came < 280  # eight standard deviations
    lan.impair(1, loss=1.0)
    assert not reaches(lan, 1, 2, tries=1)


def test_wires_part_and_heal_like_any_cable(make_lan: MakeLan) -> None:
    lan = make_lan(2, wires=True, networks=2)
    lan.unplug(1)
    assert not reaches(lan, 1, 2, tries=1)
    lan.heal()
    assert reaches(lan, 2, 1, net=1)


def test_a_rate_can_be_limited(make_lan: MakeLan) -> None:
    lan = make_lan(2)
    lan.limit_rate(2, megabits=1)
    with receiver_on(lan, 2) as receiver:
        began = time.monotonic()
        send(lan, 1, lan.address(2), bytes(1000), times=16)  # the burst that is let through
        send(lan, 1, lan.address(2), bytes(1000), times=60)
        while heard(receiver):
            pass
        assert time.monotonic() - began - SILENCE_S > 0.02


# --- hosts ----------------------------------------------------------------------------------------


def test_hosts_without_ipv4_reach_each_other_by_link_local_addresses(make_lan: MakeLan) -> None:
    lan = make_lan(2, ipv4=False)
    assert reaches_link_local(lan, 1, 2)
    lan.partition([1], [2])
    assert not reaches_link_local(lan, 1, 2, tries=1)


def test_an_address_can_change(make_lan: MakeLan) -> None:
    lan = make_lan(2)
    lan.set_address(2, "10.77.0.42")
    assert lan.address(2) == "10.77.0.42"
    assert reaches(lan, 1, 2)
    assert "default" in lan.run(2, "ip", "route")


def test_a_pulled_cable_takes_the_link_down(make_lan: MakeLan) -> None:
    lan = make_lan(2)
    lan.carrier(2, up=False)
    assert "NO-CARRIER" in lan.run(2, "ip", "link", "show", "eth0")
    lan.carrier(2, up=True)
    assert "NO-CARRIER" not in lan.run(2, "ip", "link", "show", "eth0")


def test_processes_of_a_host_are_killed(make_lan: MakeLan) -> None:
    lan = make_lan(1)
    process = lan.popen(1, "sleep", "1000")
    lan.kill(1, power=True)
    assert process.wait(timeout=20) == -9
