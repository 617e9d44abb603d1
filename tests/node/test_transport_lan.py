"""Silence: what two members on a LAN notice when packets vanish and nobody says so."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.node.member_process import Member, pair_of_members
from tests.rigs.fixtures import MakeLan, make_lan
from tests.rigs.lan import Lan

__all__ = ["make_lan"]

pytestmark = pytest.mark.netns

STALE_MS = 2500
"""Older than anything that is only late on a busy machine; a cut below lasts longer."""

Pair = tuple[Lan, Member, Member]


ONE: dict[str, Any] = {"networks": 1}
TWO: dict[str, Any] = {"networks": 2}
LINK_LOCAL: dict[str, Any] = {"ipv4": False}


@pytest.fixture(params=[ONE, TWO], ids=["one network", "two networks"])
def pair(make_lan: MakeLan, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Answer a LAN and two members on it that hear each other."""
    lan = make_lan(2, **request.param)
    first, second = pair_of_members(lan)
    for member in (first, second):
        member.link(up=True)
        member.beats(1)
    yield lan, first, second
    first.close()
    second.close()


def test_a_silent_cut_is_noticed_by_both_and_nothing_stale_comes_after_it(pair: Pair) -> None:
    lan, first, second = pair
    lan.partition([1], [2])
    cut = time.monotonic()
    for member in (first, second):
        member.link(up=False)
    time.sleep(max(0.0, cut + 1.5 * STALE_MS / 1000 - time.monotonic()))
    lan.heal()
    for member in (first, second):
        member.link(up=True)
        member.beats(20)
        assert max(member.ages_ms) < STALE_MS


def test_a_member_whose_power_fails_is_noticed(pair: Pair) -> None:
    lan, first, _ = pair
    lan.kill(2, power=True)
    first.link(up=False)


def test_a_member_that_is_killed_is_noticed(pair: Pair) -> None:
    lan, first, _ = pair
    lan.kill(2)
    first.link(up=False)


def test_a_cut_in_one_direction_is_noticed_by_both(pair: Pair) -> None:
    lan, first, second = pair
    lan.oneway(1, 2)
    for member in (first, second):
        member.link(up=False)
    lan.heal()
    for member in (first, second):
        member.link(up=True)
        member.beats(3)


def test_a_member_that_loses_its_link_comes_back(pair: Pair) -> None:
    lan, first, second = pair
    lan.carrier(2, up=False)
    first.link(up=False)
    lan.carrier(2, up=True)
    for member in (first, second):
        member.link(up=True)
        member.beats(3)


@pytest.mark.parametrize("pair", [TWO], ids=["two networks"], indirect=True)
def test_a_member_that_loses_one_of_two_networks_goes_on_over_the_other(pair: Pair) -> None:
    lan, first, second = pair
    lan.run(2, "ip", "link", "set", "eth0", "down")
    for member in (first, second):
        member.beats(1)  # at once, or after the link was down for two seconds
        member.beats(60)  # three seconds' worth: longer than a lost link can stay unnoticed


@pytest.mark.parametrize("pair", [LINK_LOCAL], ids=["link-local IPv6"], indirect=True)
def test_link_local_ipv6_addresses_serve_as_well(pair: Pair) -> None:
    lan, first, second = pair
    lan.unplug(2)
    for member in (first, second):
        member.link(up=False)
    lan.replug(2)
    for member in (first, second):
        member.link(up=True)
        member.beats(3)
