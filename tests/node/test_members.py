"""Who is heard: those of the log, and whom they tell of while the log is behind."""

from collections.abc import Iterable
from typing import Any

from paceline.discovery.gossip import encode_contacts
from paceline.discovery.peers import Source
from paceline.discovery.record import Contact
from paceline.node.members import INTRODUCED_LIMIT, Members
from paceline.node.wire import Kind
from tests.discovery.contacts import contact

ME, ANN, BO, NEW, OTHER = (contact(number) for number in range(5))


class Wires:
    """A transport that only keeps its list of peers."""

    def __init__(self) -> None:
        self.peers: tuple[str, ...] = ()
        self.handlers: dict[Kind, Any] = {}

    def on(self, kind: Kind, handler: Any) -> None:
        self.handlers[kind] = handler

    def on_link(self, handler: Any) -> None:
        pass

    def send(self, node_id: str, kind: Kind, body: bytes) -> None:
        pass

    def add_peer(self, node_id: str, *address: Any) -> None:
        if node_id not in self.peers:
            self.peers += (node_id,)

    def remove_peer(self, node_id: str) -> None:
        self.peers = tuple(each for each in self.peers if each != node_id)


class Book:
    """A discovery that believes everything."""

    own = ME

    def __init__(self) -> None:
        self.contacts: tuple[Contact, ...] = ()

    def on_contact(self, handler: Any) -> None:
        pass

    def on_own_contact(self, handler: Any) -> None:
        pass

    def keep(self, node_ids: Iterable[str]) -> None:
        pass

    def learn(self, contact: Contact, source: Source) -> None:
        if contact not in self.contacts:
            self.contacts += (contact,)


class Place:
    """One node's view of who is in, and what it is told."""

    def __init__(self) -> None:
        self.wires, self.book = Wires(), Book()
        self.members: Members = Members(
            node_id=ME.node_id,
            transport=self.wires,  # type: ignore[arg-type]
            discovery=self.book,  # type: ignore[arg-type]
        )
        self.listed(ANN, BO)

    def listed(self, *contacts: Contact) -> None:
        """The log says that these are the members, besides this node."""
        self.members.belong("cluster", [each.node_id for each in contacts])

    def told(self, by: Contact, *contacts: Contact) -> None:
        self.wires.handlers[Kind.GOSSIP](by.node_id, encode_contacts((by, *contacts)))

    def hears(self, contact: Contact) -> bool:
        welcome = self.members.allowed(contact.public_key)
        assert welcome == (contact.node_id in self.wires.peers) or contact not in self.book.contacts
        return welcome


def test_a_member_introduces_who_came_in_meanwhile() -> None:
    place = Place()
    assert not place.hears(NEW)
    place.told(ANN, NEW)
    assert place.hears(NEW)
    assert NEW.node_id not in place.members.ids, "the log has not said so"
    place.listed(ANN, BO, NEW)
    assert place.hears(NEW)


def test_nobody_else_introduces_anybody() -> None:
    place = Place()
    place.told(OTHER, NEW)
    assert not place.hears(NEW)
    place.told(ANN, NEW)
    place.told(NEW, OTHER)
    assert not place.hears(OTHER), "who was only introduced does not introduce others"


def test_with_its_sponsor_goes_who_was_introduced() -> None:
    place = Place()
    place.told(ANN, NEW)
    place.told(ANN, OTHER)
    place.told(BO, OTHER)
    place.members.revoke(frozenset({ANN.node_id}))
    assert not place.hears(NEW)
    assert place.hears(OTHER), "another member told of it, too"
    place.told(ANN, NEW)
    assert not place.hears(NEW)


def test_who_has_gone_is_not_introduced() -> None:
    place = Place()
    place.listed(ANN, BO, NEW, OTHER)
    place.members.revoke(frozenset({OTHER.node_id}))
    place.listed(ANN, BO)
    place.told(ANN, NEW, OTHER)
    assert not place.hears(NEW), "it was on the list before, and left"
    assert not place.hears(OTHER), "it was revoked"
    place.listed(ANN, BO, NEW)
    assert place.hears(NEW), "the log has let it in again"


def test_introductions_are_bounded() -> None:
    place = Place()
    strangers = [contact(number) for number in range(100, 120 + INTRODUCED_LIMIT)]
    for stranger in strangers:
        place.told(ANN, stranger)
    assert sum(place.hears(stranger) for stranger in strangers) == INTRODUCED_LIMIT
