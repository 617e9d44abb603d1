"""What a node says of itself to those who look for it. Pure.

A contact is a hint. Its node id is the fingerprint of its public key, so it cannot name a key that
is not the node's; its addresses may be stale or a lie, and then the CURVE handshake fails. Nothing
else in it is to be believed before the node has proven itself.

In mDNS a contact is a service instance named after the node id, so that two nodes never fight for a
name, with a TXT record (RFC 6763) of less than 400 bytes; addresses are in A and AAAA records.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from paceline.errors import InputError, ProtocolError
from paceline.ids import NodeId, fingerprint

SERVICE_TYPE: Final = "_paceline._tcp.local."
TXT_VERSION: Final = "1"
TXT_LIMIT_BYTES: Final = 400
HOSTS_LIMIT: Final = 8
NAME_LIMIT: Final = 64
"""Characters; a TXT record carries fewer of a name in a large alphabet."""
NAME_LIMIT_BYTES: Final = 96
HINT_LIMIT: Final = 64
VERSION_LIMIT: Final = 32
KEY_BYTES: Final = 32
PORTS_END: Final = 65536

_PLAIN = re.compile(r"[A-Za-z0-9._+:@-]*")


@dataclass(frozen=True, slots=True)
class Contact:
    """Where a node is, and what it says it is."""

    node_id: NodeId
    public_key: bytes
    """32 bytes of its CURVE key."""
    hosts: tuple[str, ...]
    """IP addresses, best first, at most eight. Never a name."""
    join_port: int
    control_port: int
    bulk_port: int
    cluster_hint: str = ""
    """Tells clusters apart without telling who they are; empty = in none yet."""
    name: str = ""
    """For people; not unique."""
    version: str = ""
    founded: bool = False
    """It belongs to a cluster that exists, rather than still looking for one."""
    stamp_ms: int = 0
    """When the node made this, by its own clock: compared only with its own other contacts."""

    @property
    def joins(self) -> tuple[str, ...]:
        """Answer its greeting sockets' addresses as HOST:PORT."""
        return tuple(join_address(host, self.join_port) for host in self.hosts)


def join_address(host: str, port: int) -> str:
    """Answer `HOST:PORT`, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """Read `HOST:PORT` or `[IPv6]:PORT`. Raise InputError if it is neither."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit():
        raise InputError(f"{address!r} is not HOST:PORT")
    if not 0 < int(port) < PORTS_END:
        raise InputError(f"{address!r} has an impossible port")
    return host, int(port)


def checked(contact: Contact) -> Contact:
    """Answer a contact that came from outside, if it could be a node's; drop hosts that are not.

    Raise ProtocolError for anything that no correct node says of itself.
    """
    if len(contact.public_key) != KEY_BYTES or fingerprint(contact.public_key) != contact.node_id:
        raise ProtocolError("a contact whose node id is not its key's")
    for port in (contact.join_port, contact.control_port, contact.bulk_port):
        _port(port)
    _limited(contact.cluster_hint, HINT_LIMIT)
    _limited(contact.version, VERSION_LIMIT)
    if len(contact.name) > NAME_LIMIT or not contact.name.isprintable():
        raise ProtocolError("a contact with an impossible name")
    if not 0 <= contact.stamp_ms < 2**53:
        raise ProtocolError("a contact from no time at all")
    return replace(contact, hosts=usable_hosts(contact.hosts))


def usable_hosts(hosts: Iterable[str]) -> tuple[str, ...]:
    """Answer the valid unicast IP addresses among `hosts`, without duplicates, at most eight.

    Routable IPv4 comes first, then routable IPv6, then link-local ones. A link-local IPv6 address
    without a scope leads nowhere and is dropped.
    """
    found: dict[str, tuple[bool, int]] = {}
    for host in hosts:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            continue
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if not (address.is_multicast or address.is_unspecified or _lacks_scope(address)):
            found[str(address)] = (address.is_link_local, address.version)
    return tuple(sorted(found, key=lambda host: found[host]))[:HOSTS_LIMIT]


def _lacks_scope(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.version == 6 and address.is_link_local and address.scope_id is None


def heard(contact: Contact) -> Contact:
    """Answer a contact that another machine sent, if it could be a node's; see `checked`.

    Scopes in it are that machine's names for its own interfaces.
    """
    return without_scoped(checked(contact))


def without_scoped(contact: Contact) -> Contact:
    """Answer the contact for others: a scope (`%eth0`) means something on this machine only."""
    return replace(contact, hosts=tuple(host for host in contact.hosts if "%" not in host))


def to_txt(contact: Contact) -> dict[str, bytes]:
    """Answer the TXT record's properties; together less than TXT_LIMIT_BYTES."""
    ports = f"{contact.join_port},{contact.control_port},{contact.bulk_port}"
    return {
        "v": TXT_VERSION.encode(),
        "k": base64.b64encode(contact.public_key),
        "p": ports.encode(),
        "c": contact.cluster_hint.encode(),
        "n": _cut(contact.name, NAME_LIMIT_BYTES),
        "w": contact.version.encode(),
        "f": b"1" if contact.founded else b"0",
        "t": str(contact.stamp_ms).encode(),
    }


def from_txt(
    instance: str, properties: Mapping[bytes, bytes | None], hosts: Iterable[str]
) -> Contact:
    """Read what a service instance says. Raise ProtocolError if no correct node says that."""
    if sum(len(key) + len(value or b"") + 2 for key, value in properties.items()) > TXT_LIMIT_BYTES:
        raise ProtocolError("a TXT record that is too long")
    texts = {key: _text(properties.get(key)) for key in (b"v", b"p", b"c", b"n", b"w", b"f", b"t")}
    if texts[b"v"] != TXT_VERSION:
        raise ProtocolError(f"a TXT record of version {texts[b'v']!r}")
    ports = [_number(part) for part in texts[b"p"].split(",")]
    if len(ports) != 3:
        raise ProtocolError("a TXT record without the three ports")
    contact = Contact(
        node_id=instance,
        public_key=_key(properties.get(b"k")),
        hosts=tuple(hosts),
        join_port=ports[0],
        control_port=ports[1],
        bulk_port=ports[2],
        cluster_hint=texts[b"c"],
        name=texts[b"n"],
        version=texts[b"w"],
        founded=texts[b"f"] == "1",
        stamp_ms=_number(texts[b"t"]),
    )
    return checked(contact)


def _port(port: int) -> int:
    if not 0 < port < PORTS_END:
        raise ProtocolError(f"{port} is not a port")
    return port


def _limited(text: str, limit: int) -> None:
    if len(text) > limit or not _PLAIN.fullmatch(text):
        raise ProtocolError("a contact with an impossible field")


def _cut(text: str, limit_bytes: int) -> bytes:
    """Answer the text in UTF-8, cut between characters."""
    return text.encode()[:limit_bytes].decode(errors="ignore").encode()


def _text(value: bytes | None) -> str:
    try:
        return (value or b"").decode()
    except UnicodeDecodeError as error:
        raise ProtocolError("a TXT record that is not UTF-8") from error


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 16:
        raise ProtocolError(f"{text[:20]!r} is not a number")
    return int(text)


def _key(value: bytes | None) -> bytes:
    try:
        return base64.b64decode(value or b"", validate=True)
    except binascii.Error as error:
        raise ProtocolError("a TXT record without a key") from error
