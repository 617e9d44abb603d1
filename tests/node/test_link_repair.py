"""A connection that looks well and is not: the link finds out, and makes another."""

import asyncio
import socket
from contextlib import closing

import pytest

from paceline.node import link
from paceline.node.keys import new_keys
from paceline.node.link import Link
from paceline.node.wire import Kind, Lane
from tests.node.member_process import Member, addresses
from tests.node.transports import Station, connected, run
from tests.rigs.fixtures import MakeLan, make_lan
from tests.rigs.lan import Lan

__all__ = ["make_lan"]


def link_of(station: Station, other: Station, lane: Lane) -> Link:
    return station.transport._peers[other.node_id].links[lane]


@pytest.mark.parametrize("lane", Lane)
def test_a_connection_that_vanished_without_a_word_is_made_anew(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "BLOCKED_S", 0.3)

    async def test() -> None:
        async with connected(2) as (a, b):
            way = link_of(a, b, lane)
            while not way.up:
                await asyncio.sleep(0.01)
            assert way.endpoint is not None
            way._socket.disconnect(way.endpoint)  # no event tells of this one
            while b.inbox.empty():
                a.transport.send(b.node_id, Kind.VITALS, b"x", lane)
                await asyncio.sleep(0.01)
            assert way.up

    run(test())


@pytest.mark.netns
def test_two_spellings_of_one_address_are_one_connection(make_lan: MakeLan) -> None:
    lan = make_lan(2, ipv4=False)
    one, other = new_keys(), new_keys()
    for _ in range(3):
        first = Member(lan, 1, one, other.public, spellings(lan, 2))
        second = Member(lan, 2, other, one.public, spellings(lan, 1))
        with closing(first), closing(second):
            for member in (first, second):
                member.link(up=True)
                member.beats(20)


def spellings(lan: Lan, host: int) -> list[str]:
    """Answer a host's address as the other may use it, with the interface's name and number."""
    (named,) = addresses(lan, host)
    number = lan.inside(3 - host, lambda: socket.if_nametoindex("eth0"))
    return [named, f"{named.partition('%')[0]}%{number}"]
