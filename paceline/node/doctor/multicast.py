"""Whether multicast works, by doing it: mDNS questions are sent and listened for on each interface.

A question that does not even come back to its own machine is dropped by it: by a firewall, or for
want of a route. One that comes back proves no more than that; answers of other machines prove the
network between. Protocol: RFC 6762, at its own port, since that is what firewalls know.
"""

import contextlib
import secrets
import selectors
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from paceline.discovery.record import SERVICE_TYPE
from paceline.node.doctor.finding import Finding, ok, warning

PORT: Final = 5353
GROUP_4: Final = "224.0.0.251"
GROUP_6: Final = "ff02::fb"
LISTEN_S: Final = 1.2
ANSWER: Final = 0x8000
_MULTICAST_ALL: Final = 49
"""IP_MULTICAST_ALL of Linux, which the socket module does not name; IPV6_MULTICAST_ALL is 29."""
_MULTICAST_ALL_6: Final = 29
ADVICE: Final = (
    "let UDP port 5353 pass in this machine's firewall, or name an address of another node with "
    "`paceline node start --join HOST:PORT`"
)


@dataclass(slots=True)
class Probe:
    """What came of asking on one interface, with one version of IP."""

    interface: str
    version: int
    heard_itself: bool = False
    answered: set[str] = field(default_factory=set)
    """Addresses of others that answered."""
    error: str = ""


def probe(interfaces: Iterable[tuple[str, int, str]]) -> list[Probe]:
    """Ask on each `(interface, IP version, own address)` at once, and listen for a second."""
    probes, sockets = [], []
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for interface, version, address in interfaces:
            found = Probe(interface, version)
            probes.append(found)
            try:
                opened = stack.enter_context(_socket(interface, version, address))
                question = _question()
                opened.sendto(question, (GROUP_4 if version == 4 else GROUP_6, PORT))
            except OSError as error:
                found.error = error.strerror or str(error)
                continue
            sockets.append(opened)
            selector.register(opened, selectors.EVENT_READ, (found, question, address))
        if sockets:
            _listen(selector)
    return probes


def judge(probes: Iterable[Probe]) -> list[Finding]:
    """Answer what the probes mean. Without multicast a node works, once it knows an address."""
    probes = list(probes)
    if not probes:
        return [warning("multicast", "no network interface to use it on", ADVICE)]
    by_interface: dict[str, list[Probe]] = {}
    for each in probes:
        by_interface.setdefault(each.interface, []).append(each)
    return [_of_interface(name, found) for name, found in sorted(by_interface.items())]


def _of_interface(name: str, found: list[Probe]) -> Finding:
    working = [each for each in found if each.heard_itself]
    if not working:
        why = next((each.error for each in found if each.error), "what is sent does not come back")
        return warning("multicast", f"blocked, or none: {why}", ADVICE, subject=name)
    versions = " and ".join(f"IPv{each.version}" for each in working)
    others = len(set().union(*(each.answered for each in working)))
    said = (
        f"{others} address{'es' * (others != 1)} of nodes answered"
        if others
        else ("no other node answered")
    )
    return ok("multicast", f"works on this machine ({versions}); {said}", subject=name)


def _listen(selector: selectors.BaseSelector) -> None:
    until = time.monotonic() + LISTEN_S
    while (left := until - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            found, question, own = key.data
            with contextlib.suppress(OSError):
                data, sender = key.fileobj.recvfrom(9000)  # type: ignore[union-attr]
                _take(found, question, own, data, sender[0])


def _take(found: Probe, question: bytes, own: str, data: bytes, sender: str) -> None:
    if data == question:
        found.heard_itself = True
    elif sender != own and len(data) > 12 and _is_ours(data):
        found.answered.add(sender)


def _is_ours(data: bytes) -> bool:
    (flags,) = struct.unpack_from(">H", data, 2)
    return bool(flags & ANSWER) and b"\x09_paceline" in data


def _question() -> bytes:
    """Answer a question for Paceline's service, with a random id to know it again."""
    labels = SERVICE_TYPE.rstrip(".").split(".")
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
    return secrets.token_bytes(2) + struct.pack(">5H", 0, 1, 0, 0, 0) + name + b"\0\x0c\0\x01"


@contextlib.contextmanager
def _socket(interface: str, version: int, address: str) -> Iterator[socket.socket]:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if version == 4:
            _join_4(opened, address)
        else:
            _join_6(opened, socket.if_nametoindex(interface))
        yield opened


def _join_4(opened: socket.socket, address: str) -> None:
    own = socket.inet_aton(address)
    with contextlib.suppress(OSError):  # other systems than Linux have no such option
        opened.setsockopt(socket.IPPROTO_IP, _MULTICAST_ALL, 0)
    opened.bind(("", PORT))
    group = socket.inet_aton(GROUP_4) + own
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)


def _join_6(opened: socket.socket, index: int) -> None:
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    with contextlib.suppress(OSError):
        opened.setsockopt(socket.IPPROTO_IPV6, _MULTICAST_ALL_6, 0)
    opened.bind(("::", PORT))
    group = socket.inet_pton(socket.AF_INET6, GROUP_6) + struct.pack("@I", index)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
