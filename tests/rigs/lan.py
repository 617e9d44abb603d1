"""A throw-away LAN made of network namespaces. Needs Linux, root and iproute2.

Hosts are numbered from 1. Each is a network namespace with one `eth<net>` per network, plugged into
a switch that lives in a namespace of its own, so that nothing appears in the machine's own network
and taking the LAN down means deleting namespaces. Host h has the address `10.77.<net>.<h>`.

The switch has one bridge per network and group. Group 0 is the healthy LAN; a partition moves ports
to other bridges. So a cut is silent, as it is when a switch or an access point fails: frames
vanish, but the link stays up at both ends and no packet says that anybody is gone.

    with Lan(3) as lan:
        process = lan.popen(1, sys.executable, "-m", "something")
        lan.partition([1], [2, 3])
        lan.heal()
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

PREFIX = "pclan"
NOWHERE = "02:00:00:00:00:01"
"""A hardware address that no host has."""


def unavailable() -> str | None:
    """Answer why there can be no LAN here, or None if there can be one."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    missing = [tool for tool in ("ip", "bridge") if shutil.which(tool) is None]
    if missing:
        return f"needs iproute2 ({', '.join(missing)})"
    probe = subprocess.run(["ip", "netns", "list"], capture_output=True, check=False)
    return None if probe.returncode == 0 else "this kernel gives no network namespaces"


class Lan:
    """`hosts` hosts on `networks` networks, up while its `with` block lasts."""

    def __init__(self, hosts: int, *, networks: int = 1, ipv4: bool = True) -> None:
        self.hosts = range(1, hosts + 1)
        self.networks = range(networks)
        self.ipv4 = ipv4
        self._id = f"{PREFIX}{os.getpid()}x{id(self) & 0xFFFF:x}"
        self._hub = f"{self._id}hub"
        self._addresses = {
            (host, net): f"10.77.{net}.{host}" for host in self.hosts for net in self.networks
        }
        self._processes: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> Self:
        _delete_leftovers()
        try:
            self._build_switch()
            for host in self.hosts:
                self._build_host(host)
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.down()

    def down(self) -> None:
        """Kill what runs in the hosts and delete everything."""
        for host in self.hosts:
            self.kill(host)
        for process in self._processes:
            process.wait()
        for name in [self.namespace(host) for host in self.hosts] + [self._hub]:
            _run("ip", "netns", "del", name, check=False)

    # --- hosts ------------------------------------------------------------------------------------

    def namespace(self, host: int) -> str:
        """Answer the name of a host's namespace."""
        return f"{self._id}h{host}"

    def address(self, host: int, net: int = 0) -> str:
        """Answer a host's IPv4 address."""
        return self._addresses[host, net]

    def popen(self, host: int, *command: object, **options: Any) -> subprocess.Popen[Any]:
        """Start a program in a host; it is killed when the LAN goes down."""
        inside = ["ip", "netns", "exec", self.namespace(host), *map(str, command)]
        process = subprocess.Popen(inside, **options)
        self._processes.append(process)
        return process

    def run(self, host: int, *command: object, check: bool = True) -> str:
        """Run a short command in a host and answer what it wrote."""
        return _run("ip", "netns", "exec", self.namespace(host), *command, check=check)

    def kill(self, host: int, *, power: bool = False) -> None:
        """Kill -9 all processes of a host. With `power`, its network goes first: no goodbye."""
        if power:
            self.unplug(host)
        pids = _run("ip", "netns", "pids", self.namespace(host), check=False).split()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def set_address(self, host: int, address: str, net: int = 0) -> None:
        """Change a host's IPv4 address, as a DHCP server might."""
        self.remove_address(host, net)
        self._addresses[host, net] = address
        self.add_address(host, net)

    def remove_address(self, host: int, net: int = 0) -> None:
        """Take a host's IPv4 address away."""
        self.run(host, "ip", "addr", "del", f"{self.address(host, net)}/24", "dev", f"eth{net}")

    def add_address(self, host: int, net: int = 0) -> None:
        """Give a host its IPv4 address (back)."""
        self.run(host, "ip", "addr", "add", f"{self.address(host, net)}/24", "dev", f"eth{net}")

    # --- faults -----------------------------------------------------------------------------------

    def partition(self, *groups: Iterable[int]) -> None:
        """Cut the LAN silently: only hosts of one group still hear each other."""
        for number, group in enumerate(groups):
            for host in group:
                self._plug(host, number)

    def heal(self) -> None:
        """Undo all cuts, one-way losses and multicast blocks."""
        for host in self.hosts:
            self._plug(host, 0)
            for other in self.hosts:
                if other != host:
                    self._forget_neighbour(host, other)
        self.multicast(on=True)

    def unplug(self, host: int) -> None:
        """Put a host alone on a switch; its link stays up."""
        self._plug(host, host)

    def replug(self, host: int) -> None:
        """Undo `unplug`."""
        self._plug(host, 0)

    def carrier(self, host: int, *, up: bool) -> None:
        """Pull a host's cables out of the switch, or put them back: the link really goes down."""
        for net in self.networks:
            self._switch("ip", "link", "set", f"p{host}n{net}", "up" if up else "down")

    def oneway(self, sender: int, receiver: int) -> None:
        """Lose what `sender` sends to `receiver` by IPv4 unicast; the other direction works."""
        for net in self.networks:
            address, device = self.address(receiver, net), f"eth{net}"
            entry = (address, "lladdr", NOWHERE, "nud", "permanent", "dev", device)
            self.run(sender, "ip", "neigh", "replace", *entry)

    def multicast(self, *, on: bool) -> None:
        """Have the switch carry multicast or not, as guest networks do; broadcast still passes."""
        for host in self.hosts:
            for net in self.networks:
                flood = "on" if on else "off"
                self._switch("bridge", "link", "set", "dev", f"p{host}n{net}", "mcast_flood", flood)

    # --- inside -----------------------------------------------------------------------------------

    def _build_switch(self) -> None:
        _run("ip", "netns", "add", self._hub)
        for net in self.networks:
            for group in range(len(self.hosts) + 1):
                bridge = f"br{net}g{group}"
                options = ("forward_delay", 0, "stp_state", 0, "mcast_snooping", 0)
                self._switch("ip", "link", "add", bridge, "type", "bridge", *options)
                self._switch("ip", "link", "set", bridge, "up")

    def _build_host(self, host: int) -> None:
        name = self.namespace(host)
        _run("ip", "netns", "add", name)
        self.run(host, "ip", "link", "set", "lo", "up")
        for net in self.networks:
            port, device = f"p{host}n{net}", f"eth{net}"
            peer = ("peer", "name", device, "netns", name)
            self._switch("ip", "link", "add", port, "type", "veth", *peer)
            self._plug(host, 0)
            self._switch("ip", "link", "set", port, "up")
            # Without it an IPv6 address could not be used in its first second.
            self.run(host, "sysctl", "-qw", f"net.ipv6.conf.{device}.accept_dad=0", check=False)
            if self.ipv4:
                self.add_address(host, net)
            self.run(host, "ip", "link", "set", device, "up")
        if self.ipv4:
            self.run(host, "ip", "route", "add", "default", "dev", "eth0")

    def _plug(self, host: int, group: int) -> None:
        for net in self.networks:
            port = f"p{host}n{net}"
            self._switch("ip", "link", "set", port, "master", f"br{net}g{group}", check=False)

    def _forget_neighbour(self, host: int, other: int) -> None:
        for net in self.networks:
            entry = (self.address(other, net), "dev", f"eth{net}")
            self.run(host, "ip", "neigh", "del", *entry, check=False)

    def _switch(self, *command: object, check: bool = True) -> str:
        return _run("ip", "netns", "exec", self._hub, *command, check=check)


def _run(*command: object, check: bool = True) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _delete_leftovers() -> None:
    """Delete what a killed test run left: LANs whose process is gone."""
    for line in _run("ip", "netns", "list", check=False).splitlines():
        name = line.split()[0]
        pid = name.removeprefix(PREFIX).partition("x")[0]
        if name.startswith(PREFIX) and pid.isdigit() and not _alive(int(pid)):
            _run("ip", "netns", "del", name, check=False)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
