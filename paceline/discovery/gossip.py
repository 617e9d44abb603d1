"""What nodes tell each other about third ones, and which of two contacts is newer. Pure.

Every contact carries a stamp that only its own node sets, so the newest stamp wins wherever two
contacts of one node meet, in whatever order and however often they arrive: merging is idempotent,
commutative and associative but for the order of addresses. A node that hears of itself with a stamp
that it has not used (its clock was set back) takes a higher one (`next_stamp`), as in SWIM
(Das, Gupta, Motivala 2002, section 4.2).

Addresses are kept beyond the contact that named them: an old address costs an attempt to connect,
while forgetting the only one that works costs the peer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from paceline import codec
from paceline.discovery.record import Contact, heard, usable_hosts, without_scoped

CONTACTS_LIMIT: Final = 256
"""Contacts in one message."""
GOSSIP_LIMIT_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Gossip:
    contacts: tuple[Contact, ...] = ()


def merge(known: Contact | None, said: Contact, *, direct: bool = False) -> Contact:
    """Answer what to believe when `said` arrives; `direct` means that the node said it itself."""
    if known is None:
        return said
    newer = said.stamp_ms > known.stamp_ms or (direct and said.stamp_ms == known.stamp_ms)
    first, second = (said, known) if newer else (known, said)
    hosts = usable_hosts(first.hosts + second.hosts)
    if set(hosts) == set(known.hosts):
        hosts = known.hosts  # another order alone is no news
    return replace(first, hosts=hosts)


def merge_all(known: Sequence[Contact], said: Iterable[Contact]) -> tuple[Contact, ...]:
    """Answer one contact per node, sorted by node id."""
    merged = {contact.node_id: contact for contact in known}
    for contact in said:
        merged[contact.node_id] = merge(merged.get(contact.node_id), contact)
    return tuple(merged[node_id] for node_id in sorted(merged))


def next_stamp(own_ms: int, heard_ms: int, now_ms: int) -> int:
    """Answer a stamp above every one that this node has used or heard of itself."""
    return max(now_ms, own_ms + 1, heard_ms + 1)


def encode_contacts(contacts: Iterable[Contact]) -> bytes:
    """Answer the body of a GOSSIP message, without addresses that mean something only here."""
    told = [without_scoped(contact) for contact in contacts][:CONTACTS_LIMIT]
    return codec.encode(_Gossip(tuple(told)))


def decode_contacts(data: bytes) -> tuple[Contact, ...]:
    """Read what `encode_contacts` made. Raise ProtocolError for anything else."""
    gossip = codec.decode(_Gossip, data, GOSSIP_LIMIT_BYTES)
    return tuple(heard(contact) for contact in gossip.contacts[:CONTACTS_LIMIT])
