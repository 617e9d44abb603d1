"""Machines that change addresses, lose power two at a time, or live where multicast does not."""

import time
from pathlib import Path

import pytest

from tests.e2e.machines import (
    Fleet,
    History,
    Machine,
    check,
    first_commit,
    fleet,
    say,
    submitting,
    wait_until,
)
from tests.rigs.fixtures import MakeLan

pytestmark = [pytest.mark.e2e, pytest.mark.netns, pytest.mark.timeout(300)]

JOIN_PORT = 7433


def test_any_two_of_five_may_lose_power(make_lan: MakeLan, tmp_path: Path) -> None:
    with fleet(make_lan(5), tmp_path) as machines:
        machines.start()
        with submitting(machines.machines, "power", pause_s=0.5) as history:
            for host in machines.lan.hosts:
                two_lose_power(machines, history, [machines[host], machines[host % 5 + 1]])
        check(machines, history)


def two_lose_power(machines: Fleet, history: History, pair: list[Machine]) -> None:
    others = machines.others(*pair)
    leader = machines.leader()
    for machine in pair:
        machine.power_off()
    off_s = time.monotonic()
    served = first_commit(history, off_s, others[0])
    say(f"first commit after {'the leader and another' if leader in pair else 'two'} died", served)
    for machine in pair:
        machine.power_on()
    say("started again and all agree", machines.wait_converged())


def test_machines_whose_addresses_change_find_each_other_again(
    make_lan: MakeLan, tmp_path: Path
) -> None:
    lan = make_lan(5)
    # Without IPv6, whose link-local addresses would carry the connections through every move.
    with fleet(lan, tmp_path, ["--bind", "0.0.0.0"]) as machines:
        machines.start()
        with submitting(machines.machines, "move", pause_s=0.5) as history:
            moves(machines, history, machines.others(machines.leader())[0], "10.77.0.101")
            moves(machines, history, machines.leader(), "10.77.0.102")
            lan.multicast(on=False)  # from here on the one that moves has to tell the others itself
            moves(machines, history, machines.leader(), "10.77.0.103")
            two_swap_addresses(machines, history)
        check(machines, history)


def moves(machines: Fleet, history: History, machine: Machine, address: str) -> None:
    machines.lan.set_address(machine.host, address)
    moved_s = time.monotonic()
    say("first commit of one that moved", first_commit(history, moved_s, machine))
    say("all agree after the move", machines.wait_converged())
    other = machines.others(machine)[0]

    def known() -> bool:
        seen = other.seen()
        return seen is not None and address in addresses(seen, machine.node_id)

    wait_until(f"{other.name} to know the new address", known)


def addresses(seen: dict[str, object], node_id: str) -> str:
    members = seen["members"]
    assert isinstance(members, list)
    return str(next(each["address"] for each in members if each["node_id"] == node_id))


def two_swap_addresses(machines: Fleet, history: History) -> None:
    """What a DHCP server may do to them; where one was, another now answers with another key."""
    one, other = machines.others(machines.leader())[:2]
    lan = machines.lan
    first, second = lan.address(one.host), lan.address(other.host)
    lan.remove_address(one.host)
    lan.set_address(other.host, first)
    lan.take_address(one.host, second)
    swapped_s = time.monotonic()
    for machine in (one, other):
        say("first commit after a swap", first_commit(history, swapped_s, machine))
    say("all agree after the swap", machines.wait_converged())


def test_without_multicast_one_address_is_enough(make_lan: MakeLan, tmp_path: Path) -> None:
    lan = make_lan(5)
    lan.multicast(on=False)
    with fleet(lan, tmp_path) as machines:
        first, second, third, *late = machines.machines
        for machine in machines.machines:
            machine.options = [*machine.options, "--port", str(JOIN_PORT)]
        for machine in (second, third):
            machine.options = [*machine.options, "--join", f"{lan.address(1)}:{JOIN_PORT}"]
        for machine in late:
            machine.options = [*machine.options, "--join", f"{lan.address(2)}:{JOIN_PORT}"]
        say("five machines without multicast", machines.start())
        with submitting(machines.machines, "quiet", pause_s=0.5) as history:
            # The address that all was built on goes; the rest remember each other's.
            first.power_off()
            third.kill()
            third.options = [option for option in third.options if ":" not in option[2:]]
            third.options.remove("--join")
            third.spawn()
            say("all but the first agree", machines.wait_converged(machines.others(first)))
            first.power_on()
            say("all agree", machines.wait_converged())
        check(machines, history)


def test_link_local_ipv6_is_enough(make_lan: MakeLan, tmp_path: Path) -> None:
    lan = make_lan(3, ipv4=False)
    with fleet(lan, tmp_path) as machines:
        say("three machines without IPv4", machines.start())
        with submitting(machines.machines, "six", pause_s=0.3) as history:
            leader = machines.leader()
            survivor = machines.others(leader)[0]
            lan.unplug(leader.host)
            cut_s = time.monotonic()
            say("first commit after the leader's loss", first_commit(history, cut_s, survivor))
            lan.heal()
            say("all agree", machines.wait_converged())
        check(machines, history)
