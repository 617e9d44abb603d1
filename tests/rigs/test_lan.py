"""The rig itself: its faults do what they say."""

import subprocess

import pytest

from tests.rigs.fixtures import MakeLan
from tests.rigs.lan import Lan

pytestmark = pytest.mark.netns


def reaches(lan: Lan, sender: int, receiver: int, net: int = 0) -> bool:
    """Send a datagram by one process and await it in another."""
    address = lan.address(receiver, net)
    # What was sent waits in the socket, so the listener starts its clock only afterwards.
    listen = (
        "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1);"
        f"s.bind(('{address}', 9999)); print('ready', flush=True); sys.stdin.read();"
        "s.recv(9); print('got it')"
    )
    talk = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        f"s.sendto(b'x', ('{address}', 9999))"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with lan.popen(receiver, "python3", "-c", listen, text=True, **pipes) as listener:
        assert listener.stdout is not None
        assert listener.stdin is not None
        listener.stdout.readline()
        lan.run(sender, "python3", "-c", talk)
        listener.stdin.close()
        return "got it" in listener.stdout.read()


def test_hosts_reach_each_other_and_a_cut_parts_them(make_lan: MakeLan) -> None:
    lan = make_lan(3)
    assert reaches(lan, 1, 2)
    lan.partition([1], [2, 3])
    assert not reaches(lan, 1, 2)
    assert reaches(lan, 2, 3)
    lan.heal()
    assert reaches(lan, 1, 2)


def test_one_direction_can_be_lost(make_lan: MakeLan) -> None:
    lan = make_lan(2)
    lan.oneway(1, 2)
    assert not reaches(lan, 1, 2)
    assert reaches(lan, 2, 1)
    lan.heal()
    assert reaches(lan, 1, 2)


def test_an_unplugged_host_is_alone(make_lan: MakeLan) -> None:
    lan = make_lan(2, networks=2)
    lan.unplug(2)
    assert not reaches(lan, 1, 2)
    lan.replug(2)
    assert reaches(lan, 1, 2, net=1)


def test_an_address_can_change(make_lan: MakeLan) -> None:
    lan = make_lan(2)
    lan.set_address(2, "10.77.0.42")
    assert lan.address(2) == "10.77.0.42"
    assert reaches(lan, 1, 2)


def test_processes_of_a_host_are_killed(make_lan: MakeLan) -> None:
    lan = make_lan(1)
    process = lan.popen(1, "sleep", "1000")
    lan.kill(1, power=True)
    assert process.wait(timeout=20) == -9
