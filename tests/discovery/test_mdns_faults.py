"""Multicast that is lossy, blocked for a while, or on an interface that comes later."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.discovery.finder import Finder
from tests.rigs.fixtures import MakeLan

pytestmark = pytest.mark.netns

Start = Callable[..., Finder]

START_UP_S = 16.0
"""The library by itself asks for the last time 14 s after its start."""


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


def test_nodes_find_each_other_on_a_lan_that_loses_every_fifth_frame(
    make_lan: MakeLan, start: Start
) -> None:
    lan = make_lan(4, wires=True)
    lan.impair(delay_ms=50, jitter_ms=10, loss=0.2)
    all_find_each_other([start(f"h{host}", lan=lan, host=host) for host in lan.hosts])


@pytest.mark.slow
def test_a_host_is_found_when_its_multicast_is_let_through_at_last(
    make_lan: MakeLan, start: Start
) -> None:
    lan = make_lan(3)
    lan.multicast(on=False, hosts=[3])
    finders = [start(f"h{host}", lan=lan, host=host) for host in lan.hosts]
    all_find_each_other(finders[:2])
    time.sleep(START_UP_S)
    assert not any(finder.knows(finders[2]) for finder in finders[:2])
    assert not any(finders[2].knows(finder) for finder in finders[:2])
    lan.multicast(on=True)
    all_find_each_other(finders)


def test_an_address_that_changed_while_multicast_was_blocked_is_heard_afterwards(
    make_lan: MakeLan, start: Start
) -> None:
    lan = make_lan(2)
    first, second = (start(f"h{host}", lan=lan, host=host) for host in lan.hosts)
    all_find_each_other([first, second])
    lan.multicast(on=False)
    lan.set_address(2, "10.77.0.99")
    time.sleep(5)  # it has noticed and announced by now, to nobody
    lan.multicast(on=True)
    assert first.find(second, lambda one: "10.77.0.99" in one["hosts"])


def test_an_interface_that_comes_up_later_is_used_and_announced(
    make_lan: MakeLan, start: Start
) -> None:
    lan = make_lan(3, networks=2)
    lan.carrier(2, up=False)
    lan.run(3, "ip", "link", "set", "eth0", "down")  # host 3 lives on the second network alone
    lan.run(1, "ip", "link", "set", "eth1", "down")
    first, third = start("h1", lan=lan, host=1), start("h3", lan=lan, host=3)
    second = start("h2", lan=lan, host=2)
    lan.carrier(2, up=True)
    all_find_each_other([first, second])
    all_find_each_other([second, third])
    assert not first.knows(third)  # nothing connects them but what the one between may tell
    lan.run(1, "ip", "link", "set", "eth1", "up")
    both = {lan.address(1, 0), lan.address(1, 1)}
    third.find(first, lambda one: lan.address(1, 1) in one["hosts"])
    second.find(first, lambda one: both <= set(one["hosts"]))


def test_a_node_that_crashed_is_not_forgotten_and_is_found_again_elsewhere(
    make_lan: MakeLan, start: Start
) -> None:
    lan = make_lan(3)
    first, second = (start(f"h{host}", lan=lan, host=host) for host in (1, 2))
    all_find_each_other([first, second])
    second.kill()  # no goodbye; its records live on in every cache
    lan.set_address(2, "10.77.0.99")
    again = start("h2", lan=lan, host=2)
    assert again.node_id == second.node_id

    def moved(one: dict[str, object]) -> bool:
        return one["port"] == again.port and "10.77.0.99" in str(one["hosts"])

    first.find(again, moved)
    # A newcomer hears of it where it is now, and nothing of where it was.
    newcomer = start("h3", lan=lan, host=3)
    assert "10.77.0.99" in newcomer.find(again, moved)["hosts"]
