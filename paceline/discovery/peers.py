"""Who is known where, and which fixed address to greet next. Pure: the time is passed in."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from random import Random
from typing import Final

from paceline.discovery.gossip import merge
from paceline.discovery.record import Contact
from paceline.ids import NodeId

PEERS_LIMIT: Final = 1024
FIRST_RETRY_MS: Final = 250
LAST_RETRY_MS: Final = 10_000
REFRESH_MS: Final = 30_000
"""An address that answered is greeted again after this: somebody else may live there now."""
ADDRESSES_LIMIT: Final = 256
IN_FLIGHT_LIMIT: Final = 16


class Source(IntEnum):
    """How a contact came to be known; the larger, the fresher it can be taken to be."""

    REMEMBERED = 1
    """From the file that an earlier run of this node wrote."""
    GOSSIP = 2
    """From a third node."""
    GREETING = 3
    """From the node itself, at its greeting socket."""
    MDNS = 4
    """From the node itself, by multicast."""

    @property
    def direct(self) -> bool:
        """Answer whether the node said it itself."""
        return self >= Source.GREETING


@dataclass(slots=True)
class _Known:
    contact: Contact
    source: Source
    heard_ms: int


class PeerBook:
    """All contacts but the node's own, bounded. The least recently heard of give way first.

    Nodes that are `kept` (members) never give way, so strangers cannot push members out.
    """

    def __init__(self, *, limit: int = PEERS_LIMIT) -> None:
        self._limit = limit
        self._known: dict[NodeId, _Known] = {}
        self._kept: frozenset[NodeId] = frozenset()

    def learn(self, contact: Contact, source: Source, now_ms: int) -> Contact | None:
        """Take note of a (checked) contact. Answer what is believed now if that is news."""
        known = self._known.get(contact.node_id)
        if known is None:
            self._known[contact.node_id] = _Known(contact, source, now_ms)
            self._make_room(contact.node_id)
            return contact
        merged = merge(known.contact, contact, direct=source.direct)
        if source.direct:
            known.source, known.heard_ms = source, now_ms
        if merged == known.contact:
            return None
        known.contact = merged
        return merged

    def keep(self, node_ids: Iterable[NodeId]) -> None:
        """Let these, and only these, never give way."""
        self._kept = frozenset(node_ids)

    def get(self, node_id: NodeId) -> Contact | None:
        """Answer what is believed of a node."""
        known = self._known.get(node_id)
        return known.contact if known is not None else None

    def source_of(self, node_id: NodeId) -> Source | None:
        """Answer how a node was last heard of."""
        known = self._known.get(node_id)
        return known.source if known is not None else None

    def heard_ms(self, node_id: NodeId) -> int | None:
        """Answer when a node was last heard of, on the clock that `learn` was given."""
        known = self._known.get(node_id)
        return known.heard_ms if known is not None else None

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """Answer all contacts, sorted by node id."""
        return tuple(self._known[node_id].contact for node_id in sorted(self._known))

    def worth_remembering(self, limit: int) -> tuple[Contact, ...]:
        """Answer at most `limit` contacts for the next start: members, then the latest heard of."""

        def rank(known: _Known) -> tuple[bool, int, str]:
            node_id = known.contact.node_id
            return node_id not in self._kept, -known.heard_ms, node_id

        ranked = sorted(self._known.values(), key=rank)
        return tuple(known.contact for known in ranked[:limit])

    def _make_room(self, newest: NodeId) -> None:
        if len(self._known) <= self._limit:
            return
        candidates = [known for node_id, known in self._known.items() if node_id not in self._kept]
        if candidates:
            oldest = min(candidates, key=lambda known: known.heard_ms)
            del self._known[oldest.contact.node_id]
        else:
            del self._known[newest]


@dataclass(slots=True)
class _Target:
    due_ms: int
    failures: int = 0
    in_flight: bool = False


class GreetingSchedule:
    """When to greet which fixed address: soon at first, then ever less often, but for ever.

    A node that was started before the one that it should join finds it within LAST_RETRY_MS of
    that one's start, a day later as well. `random` spreads the attempts of many nodes.
    """

    def __init__(self, *, random: Random) -> None:
        self._random = random
        self._targets: dict[str, _Target] = {}

    def want(self, addresses: Iterable[str], now_ms: int) -> None:
        """Greet these as well, from now on; beyond ADDRESSES_LIMIT they are ignored."""
        for address in addresses:
            if address not in self._targets and len(self._targets) < ADDRESSES_LIMIT:
                self._targets[address] = _Target(now_ms)

    def drop(self, address: str) -> None:
        """Greet this one no more."""
        self._targets.pop(address, None)

    def due(self, now_ms: int) -> tuple[str, ...]:
        """Answer the addresses to greet now, and take them as being greeted."""
        free = IN_FLIGHT_LIMIT - sum(target.in_flight for target in self._targets.values())
        due = [
            address
            for address, target in self._targets.items()
            if target.due_ms <= now_ms and not target.in_flight
        ][: max(0, free)]
        for address in due:
            self._targets[address].in_flight = True
        return tuple(due)

    def answered(self, address: str, now_ms: int) -> None:
        """Take note of an answer."""
        self._rest(address, now_ms, REFRESH_MS, failures=0)

    def failed(self, address: str, now_ms: int) -> None:
        """Take note that nobody answered."""
        target = self._targets.get(address)
        failures = target.failures if target is not None else 0
        delay_ms = min(LAST_RETRY_MS, FIRST_RETRY_MS << min(failures, 10))
        self._rest(address, now_ms, delay_ms, failures=failures + 1)

    def hurry(self, now_ms: int) -> None:
        """Greet all of them soon: the network has changed."""
        for target in self._targets.values():
            target.failures = 0
            target.due_ms = min(target.due_ms, now_ms)

    def wait_ms(self, now_ms: int) -> int | None:
        """Answer how long there is nothing to do, or None if nothing but an answer changes that."""
        idle = [target.due_ms for target in self._targets.values() if not target.in_flight]
        return max(0, min(idle) - now_ms) if idle else None

    def _rest(self, address: str, now_ms: int, delay_ms: int, *, failures: int) -> None:
        target = self._targets.get(address)
        if target is None:
            return
        target.in_flight = False
        target.failures = failures
        target.due_ms = now_ms + int(delay_ms * self._random.uniform(0.8, 1.2))
