"""A throw-away LAN made of network namespaces. Needs Linux, root, iproute2 and nftables.

Hosts are numbered from 1. Each is a network namespace with one `eth<net>` per network, plugged into
a switch that lives in a namespace of its own, so that nothing appears in the machine's own network
and taking the LAN down means deleting namespaces. Host h has the address `10.77.<net>.<h>`.

The switch has one bridge per network. Its packet filter (`tests.rigs.faults`) loses what is to be
lost, so a cut is silent, as it is when a switch or an access point fails: frames vanish, but the
link stays up at both ends and no packet says that anybody is gone. With `wires`, the cables are
those of `tests.rigs.wire`, which can be slow and lose frames at random.

    with Lan(3) as lan:
        process = lan.popen(1, sys.executable, "-m", "something")
        lan.partition([1], [2, 3])
        lan.heal()
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.rigs.faults import Faults, port_name
from tests.rigs.leftovers import is_left, mark
from tests.rigs.wire import Impairment, Wire

T = TypeVar("T")

PREFIX = "pclan"
CLONE_NEWNET = 0x40000000
"""Number of Linux's sched.h."""
THREADS_PER_HOST = 8


def unavailable() -> str | None:
    """Answer why there can be no LAN here, or None if there can be one."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    missing = [tool for tool in ("ip", "bridge", "nft") if shutil.which(tool) is None]
    if missing:
        return f"needs iproute2 and nftables ({', '.join(missing)})"
    probe = subprocess.run(["ip", "netns", "list"], capture_output=True, check=False)
    return None if probe.returncode == 0 else "this kernel gives no network namespaces"


class Lan:
    """`hosts` hosts on `networks` networks, up while its `with` block lasts."""

    def __init__(
        self, hosts: int, *, networks: int = 1, ipv4: bool = True, wires: bool = False
    ) -> None:
        self.hosts = range(1, hosts + 1)
        self.networks = range(networks)
        self.ipv4 = ipv4
        self.faults = Faults()
        self._id = f"{mark(PREFIX)}{id(self) & 0xFFFF:x}"
        self._hub = f"{self._id}hub"
        self._addresses = {
            (host, net): f"10.77.{net}.{host}" for host in self.hosts for net in self.networks
        }
        self._processes: list[subprocess.Popen[Any]] = []
        self._threads: dict[int, ThreadPoolExecutor] = {}
        self._with_wires = wires
        self._wire: Wire | None = None

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
        for threads in self._threads.values():
            threads.shutdown(cancel_futures=True)
        if self._wire is not None:
            self._wire.close()
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

    def link_local(self, host: int, net: int = 0) -> str:
        """Answer a host's link-local IPv6 address, without a scope."""
        shown = self.run(host, "ip", "-6", "-j", "addr", "show", "dev", f"eth{net}")
        return str(json.loads(shown)[0]["addr_info"][0]["local"])

    def inside(self, host: int, call: Callable[[], T]) -> T:
        """Answer what `call` answers in a thread that lives in a host: its sockets are there.

        A socket stays where it was made, whichever thread uses it later.
        """
        if host not in self._threads:
            self._threads[host] = ThreadPoolExecutor(
                THREADS_PER_HOST, initializer=_move_thread, initargs=(self.namespace(host),)
            )
        return self._threads[host].submit(call).result()

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
        self.take_address(host, address, net)

    def take_address(self, host: int, address: str, net: int = 0) -> None:
        """Give a host that has no IPv4 address this one."""
        self._addresses[host, net] = address
        self.add_address(host, net)

    def remove_address(self, host: int, net: int = 0) -> None:
        """Take a host's IPv4 address away."""
        self.run(host, "ip", "addr", "del", f"{self.address(host, net)}/24", "dev", f"eth{net}")

    def add_address(self, host: int, net: int = 0) -> None:
        """Give a host its IPv4 address (back)."""
        self.run(host, "ip", "addr", "add", f"{self.address(host, net)}/24", "dev", f"eth{net}")
        if net == 0:  # it went with the last address
            self.run(host, "ip", "route", "replace", "default", "dev", "eth0")

    # --- faults -----------------------------------------------------------------------------------

    def partition(self, *groups: Iterable[int]) -> None:
        """Cut the LAN silently: of the hosts in groups, only those of one group hear each other.

        Groups may share hosts: `partition([1, 2], [3])` leaves 1 and 2 together, while a bridge
        (2 hears both 1 and 3, who do not hear each other) is `partition([1], [3])`.
        """
        self.faults.part(groups)
        self._break()

    def heal(self) -> None:
        """Undo all cuts, one-way losses and multicast blocks. Bad cables stay bad."""
        self.faults = Faults()
        self._break()

    def unplug(self, host: int) -> None:
        """Have a host hear nobody and nobody hear it; its link stays up."""
        self.partition([host], [other for other in self.hosts if other != host])

    def replug(self, host: int) -> None:
        """Undo `unplug`, and whatever else keeps this host from single others."""
        self.faults.join(host)
        self._break()

    def carrier(self, host: int, *, up: bool) -> None:
        """Pull a host's cables out of the switch, or put them back: the link really goes down."""
        for net in self.networks:
            self._switch("ip", "link", "set", port_name(host, net), "up" if up else "down")

    def oneway(self, sender: int, receiver: int) -> None:
        """Lose every packet from `sender` to `receiver`; the other direction works."""
        self.faults.deaf.add((sender, receiver))
        self._break()

    def multicast(self, *, on: bool, hosts: Iterable[int] | None = None) -> None:
        """Carry IP multicast to and from these hosts (all by default) or not."""
        chosen = set(self.hosts if hosts is None else hosts)
        self.faults.quiet = self.faults.quiet - chosen if on else self.faults.quiet | chosen
        self._break()

    def impair(
        self, *hosts: int, delay_ms: float = 0.0, jitter_ms: float = 0.0, loss: float = 0.0
    ) -> None:
        """Delay and lose (with that probability) what these hosts send; none named = all hosts."""
        assert self._wire is not None, "only a LAN with wires can be slow"
        for host in hosts or self.hosts:
            for net in self.networks:
                impairment = Impairment(delay_ms, jitter_ms, loss)
                self._wire.impair(_tap_name(host, net), impairment)

    def limit_rate(self, host: int, megabits: int) -> None:
        """Let at most so much per second through to a host."""
        shape = ("tbf", "rate", f"{megabits}mbit", "burst", "64kb", "latency", "50ms")
        for net in self.networks:
            self._switch("tc", "qdisc", "replace", "dev", port_name(host, net), "root", *shape)

    # --- inside -----------------------------------------------------------------------------------

    def _build_switch(self) -> None:
        _run("ip", "netns", "add", self._hub)
        for net in self.networks:
            options = ("forward_delay", 0, "stp_state", 0, "mcast_snooping", 0)
            self._switch("ip", "link", "add", f"br{net}", "type", "bridge", *options)
            self._switch("ip", "link", "set", f"br{net}", "up")
        if self._with_wires:
            ends = [(host, net) for host in self.hosts for net in self.networks]
            pairs = [(port_name(*end), _tap_name(*end)) for end in ends]
            self._wire = Wire(["ip", "netns", "exec", self._hub], pairs)

    def _build_host(self, host: int) -> None:
        name = self.namespace(host)
        _run("ip", "netns", "add", name)
        self.run(host, "ip", "link", "set", "lo", "up")
        for net in self.networks:
            port, device = port_name(host, net), f"eth{net}"
            self._build_cable(host, net)
            self._switch("ip", "link", "set", port, "master", f"br{net}")
            self._switch("ip", "link", "set", port, "up")
            # Without it an IPv6 address could not be used in its first second.
            self.run(host, "sysctl", "-qw", f"net.ipv6.conf.{device}.accept_dad=0", check=False)
            self.run(host, "ip", "link", "set", device, "up")
            if self.ipv4:
                self.add_address(host, net)

    def _build_cable(self, host: int, net: int) -> None:
        port, device, name = port_name(host, net), f"eth{net}", self.namespace(host)
        if self._wire is None:
            peer = ("peer", "name", device, "netns", name)
            self._switch("ip", "link", "add", port, "type", "veth", *peer)
        else:
            self._switch("ip", "link", "set", _tap_name(host, net), "netns", name)
            self.run(host, "ip", "link", "set", _tap_name(host, net), "name", device)

    def _break(self) -> None:
        """Have the switch lose what is to be lost from now on."""
        self._switch("nft", "-f", "-", stdin=self.faults.rules(self.networks))

    def _switch(self, *command: object, stdin: str | None = None) -> str:
        return _run("ip", "netns", "exec", self._hub, *command, stdin=stdin)


def _tap_name(host: int, net: int) -> str:
    """Answer what a host's end of a wire is called before it is in the host."""
    return f"t{host}n{net}"


def _move_thread(namespace: str) -> None:
    """Move the calling thread, and no other, into a namespace."""
    library = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}") as file:
        if library.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")


def _run(*command: object, check: bool = True, stdin: str | None = None) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, input=stdin)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _delete_leftovers() -> None:
    """Delete what a killed test run left: LANs whose process is gone."""
    for line in _run("ip", "netns", "list", check=False).splitlines():
        name = line.split()[0]
        if is_left(PREFIX, name):
            _run("ip", "netns", "del", name, check=False)
