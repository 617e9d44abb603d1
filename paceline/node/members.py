"""Who is in this cluster, and where they are.

The replicated membership says which node ids belong, except for those that were revoked: these are
out from the moment at which their revocation is applied here, even before the membership follows.
Discovery knows where nodes are. This object keeps the transport connected to exactly the members.
How others come in is in `admitting`.

Contacts spread by flooding: whoever learns something new of a member tells those it is connected
to; the stamp in a contact, made by its owner, ends that.

A node whose log is behind does not know who came in meanwhile, and one of these may be the leader,
from whom alone the log can come: refusing it would lock the node out for good. (Raft's servers must
listen to leaders that are not in their configuration: Ongaro's dissertation, section 4.1.) So whom
a member tells of is let in, too, as long as that member is one; it counts as a member only when the
log says so. A member could lie, but no more than it can with the token that it knows.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import structlog

from paceline.consensus.replica import ReplicaStatus
from paceline.discovery.discovery import Discovery
from paceline.discovery.gossip import decode_contacts, encode_contacts
from paceline.discovery.peers import Source
from paceline.discovery.record import Contact
from paceline.errors import PacelineError
from paceline.ids import NodeId, fingerprint
from paceline.node.progress import AppliedProgress
from paceline.node.replica_loop import ReplicaLoop
from paceline.node.transport import Transport
from paceline.node.wire import Kind
from paceline.tasks import queries_members
from paceline.tasks.effects import Change

log = structlog.get_logger(__name__)

INTRODUCED_LIMIT = 64
"""Nodes that members have told of and the log has not."""

FORMER_LIMIT = 1024
"""Nodes that the log has taken off the list: nobody can introduce them."""


class Members:
    """One node's view of its cluster."""

    def __init__(self, *, node_id: NodeId, transport: Transport, discovery: Discovery) -> None:
        self._node_id = node_id
        self._transport = transport
        self._discovery = discovery
        self._listed: frozenset[NodeId] = frozenset()
        self._revoked: frozenset[NodeId] = frozenset()
        self._ids: frozenset[NodeId] = frozenset()
        self._introduced: dict[NodeId, set[NodeId]] = {}
        """Who is not on the list yet, and the members that told of it."""
        self._former: dict[NodeId, None] = {}
        self.cluster_id = ""
        transport.on(Kind.GOSSIP, self._on_gossip)
        transport.on_link(self._on_link)
        discovery.on_contact(self._on_contact)
        discovery.on_own_contact(lambda own: self._tell_all((own,)))

    # --- who --------------------------------------------------------------------------------------

    @property
    def ids(self) -> frozenset[NodeId]:
        """Answer the members: those of the log, or before it is here those that let us in."""
        return self._ids

    def allowed(self, public_key: bytes) -> bool:
        """Answer whether the owner of that key may talk to this node as a member."""
        return self._is_welcome(fingerprint(public_key))

    def contact(self, node_id: NodeId) -> Contact | None:
        """Answer where a node is, as far as it is known."""
        own = self._discovery.own
        return own if node_id == self._node_id else self._discovery.get(node_id)

    def name_of(self, node_id: NodeId) -> str:
        """Answer what people call a node; its id where that is not known."""
        contact = self.contact(node_id)
        return (contact.name if contact else "") or node_id

    def contacts(self) -> tuple[Contact, ...]:
        """Answer the contacts of all members, this node's own first."""
        others = (each for each in self._discovery.contacts if each.node_id in self._ids)
        return (self._discovery.own, *others)

    def belong(self, cluster_id: str, members: Iterable[NodeId]) -> None:
        """Take up membership of a cluster: `members` are who let us in, or who is remembered."""
        self.cluster_id = cluster_id
        self._list((*members, self._node_id))

    def attach(self, replicas: ReplicaLoop) -> None:
        """Take the replica, whose membership rules from now on."""
        replicas.on_membership(self._take_membership)
        self._take_membership(replicas.status)

    def revoke(self, revoked: frozenset[NodeId]) -> None:
        """Take these, all who were ever thrown out, for strangers from this moment on."""
        if revoked != self._revoked:
            self._revoked = revoked
            self._list(self._listed)

    def _take_membership(self, status: ReplicaStatus) -> None:
        # A newcomer's log is empty at first: those who let it in are whom it knows.
        self._list(status.membership.members or self._listed)

    def _list(self, listed: Iterable[NodeId]) -> None:
        former, self._listed = self._listed, frozenset(listed)
        self._ids = self._listed - self._revoked
        self._remember_former(former - self._listed)
        for node_id, sponsors in list(self._introduced.items()):
            sponsors.intersection_update(self._ids)
            if not sponsors or not self._may_be_introduced(node_id):
                del self._introduced[node_id]
        self._sync()

    def _remember_former(self, gone: Iterable[NodeId]) -> None:
        for node_id in gone:
            self._former.pop(node_id, None)
            self._former[node_id] = None
        while len(self._former) > FORMER_LIMIT:
            del self._former[next(iter(self._former))]

    def _is_welcome(self, node_id: NodeId) -> bool:
        return node_id in self._ids or node_id in self._introduced

    def _may_be_introduced(self, node_id: NodeId) -> bool:
        """Answer whether a node is news to this one's log, and not one that it has seen go."""
        known = node_id in self._listed or node_id == self._node_id
        return not known and node_id not in self._revoked and node_id not in self._former

    def _introduce(self, sponsor: NodeId, contacts: Iterable[Contact]) -> None:
        """Let in whom a member tells of, as long as the sponsor itself is one."""
        if sponsor not in self._ids:
            return
        before = len(self._introduced)
        for node_id in (contact.node_id for contact in contacts):
            if not self._may_be_introduced(node_id):
                continue
            if node_id in self._introduced or len(self._introduced) < INTRODUCED_LIMIT:
                self._introduced.setdefault(node_id, set()).add(sponsor)
        if len(self._introduced) > before:
            self._sync()

    # --- where ------------------------------------------------------------------------------------

    def _sync(self) -> None:
        """Make the transport's peers those who are welcome and whose contacts are known."""
        self._discovery.keep(self._ids | self._introduced.keys())
        for node_id in self._transport.peers:
            if not self._is_welcome(node_id):
                self._transport.remove_peer(node_id)
        for contact in self._discovery.contacts:
            if self._is_welcome(contact.node_id):
                self._connect(contact)

    def _connect(self, contact: Contact) -> None:
        try:
            self._transport.add_peer(
                contact.node_id,
                contact.public_key,
                contact.hosts,
                contact.control_port,
                contact.bulk_port,
            )
        except PacelineError as error:
            log.warning("cannot connect", node_id=contact.node_id, reason=str(error))

    def _on_contact(self, contact: Contact) -> None:
        """Connect to a member that has been found, or has moved, and tell the others."""
        if self._is_welcome(contact.node_id):
            self._connect(contact)
        if contact.node_id in self._ids:
            self._tell_all((contact,))

    def _tell_all(self, contacts: tuple[Contact, ...]) -> None:
        body = encode_contacts(contacts)
        for node_id in self._transport.peers:
            self._transport.send(node_id, Kind.GOSSIP, body)

    def _on_link(self, node_id: NodeId, up: bool) -> None:
        if up:
            self._transport.send(node_id, Kind.GOSSIP, encode_contacts(self.contacts()))

    def _on_gossip(self, sender: NodeId, body: bytes) -> None:
        contacts = decode_contacts(body)
        for contact in contacts:
            direct = contact.node_id == sender
            self._discovery.learn(contact, Source.GREETING if direct else Source.GOSSIP)
        self._introduce(sender, contacts)


def follow_members(
    members: Members, connection: sqlite3.Connection, progress: AppliedProgress[Any]
) -> None:
    """Keep revocations and the cluster's id as the log has them, from now on."""

    def take() -> None:
        record = queries_members.cluster(connection)
        if record is not None:
            members.cluster_id = record.cluster_id
        members.revoke(queries_members.revoked(connection))

    def on_changes(changes: Sequence[Change]) -> None:
        if any(change.kind in {"member", "cluster", "everything"} for change in changes):
            take()

    take()
    progress.listen(on_changes)
