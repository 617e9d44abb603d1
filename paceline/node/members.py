"""Who is in this cluster, where they are, and how others come in.

The replicated membership says which node ids belong; this object knows their contacts (keys and
addresses), keeps the transport connected to exactly those, and admits newcomers:

    newcomer -> any member's greeting socket: JoinRequest
    member   -> the leader (a call, when it is not the leader itself): learner added through the log
    newcomer <- JoinAnswer: the cluster's id and the contacts of its members

Contacts spread by flooding: whoever learns something newer of a member tells those it is connected
to; the stamp in a contact, made by its owner, ends that.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from paceline.codec import decode, encode, from_plain, to_plain
from paceline.consensus.replica import ReplicaStatus
from paceline.discovery.record import Contact, checked, without_scoped
from paceline.errors import Conflict, NotLeader, PacelineError, Unavailable
from paceline.ids import NodeId, fingerprint
from paceline.node.calls import Calls
from paceline.node.hello import Hello, HelloReply
from paceline.node.replica_loop import ReplicaLoop
from paceline.node.transport import Transport
from paceline.node.wire import Kind

ADMIT = "admit"
ADMIT_TIMEOUT_S = 10.0
ADMIT_PAUSE_S = 0.05
CONTACTS_LIMIT = 128
STRANGERS_LIMIT = 64

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A newcomer asks to be a member. `hint` tells clusters apart (see `founding`)."""

    contact: Contact
    hint: str


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """`accepted`, or the reason why not, for a person."""

    accepted: bool
    reason: str = ""
    cluster_id: str = ""
    members: tuple[Contact, ...] = ()


@dataclass(frozen=True, slots=True)
class _Contacts:
    """What is flooded."""

    contacts: tuple[Contact, ...]


class Members:
    """One node's view of its cluster."""

    def __init__(
        self,
        *,
        own: Contact,
        transport: Transport,
        calls: Calls,
        remember: Callable[[tuple[Contact, ...]], None],
    ) -> None:
        """`remember` keeps contacts for the next start."""
        self._own = own
        self._transport = transport
        self._calls = calls
        self._remember = remember
        self._replicas: ReplicaLoop | None = None
        self._contacts: dict[NodeId, Contact] = {}
        self._ids: frozenset[NodeId] = frozenset()
        self._admitting = asyncio.Lock()
        self.cluster_id = ""
        self.strangers: dict[NodeId, Contact] = {}
        transport.on(Kind.GOSSIP, self._on_gossip)
        transport.on_link(self._on_link)
        calls.serve(ADMIT, self._serve_admit)

    # --- who --------------------------------------------------------------------------------------

    @property
    def own(self) -> Contact:
        """Answer this node's contact."""
        return self._own

    @property
    def ids(self) -> frozenset[NodeId]:
        """Answer the members: those of the log, or before it is here those that let us in."""
        return self._ids

    def allowed(self, public_key: bytes) -> bool:
        """Answer whether the owner of that key may talk to this node as a member."""
        return fingerprint(public_key) in self.ids

    def contact(self, node_id: NodeId) -> Contact | None:
        """Answer where a member is, as far as it is known."""
        return self._own if node_id == self._own.node_id else self._contacts.get(node_id)

    def contacts(self) -> tuple[Contact, ...]:
        """Answer the contacts of all members, this node's own first."""
        ids = self.ids
        others = (each for each in self._contacts.values() if each.node_id in ids)
        return (self._own, *others)

    def belong(self, cluster_id: str, members: Iterable[Contact]) -> None:
        """Take up membership of a cluster: `members` are who let us in, or who is remembered."""
        self.cluster_id = cluster_id
        known = {each.node_id: each for each in members if each.node_id != self._own.node_id}
        self._ids = frozenset(known) | {self._own.node_id}
        self._contacts.update(known)
        self.sync()

    def attach(self, replicas: ReplicaLoop) -> None:
        """Take the replica, whose membership rules from now on."""
        self._replicas = replicas
        replicas.on_membership(self._take_membership)
        self._take_membership(replicas.status)

    def _take_membership(self, status: ReplicaStatus) -> None:
        if status.membership.members:  # a newcomer's log is empty at first
            self._ids = frozenset(status.membership.members)
        self.sync()

    def renew_own(self, contact: Contact) -> None:
        """Note that this node's own addresses have changed, and tell the others."""
        self._own = contact
        self._flood((contact,))

    # --- where ------------------------------------------------------------------------------------

    def learn(self, contact: Contact) -> None:
        """Take note of a contact, from wherever it came; newer ones of members are passed on."""
        node_id = contact.node_id
        if node_id == self._own.node_id:
            return
        if node_id not in self.ids:
            self._note_stranger(contact)
            return
        known = self._contacts.get(node_id)
        if known is not None and contact.stamp_ms <= known.stamp_ms:
            return
        self._contacts[node_id] = contact
        self.sync()
        self._flood((contact,))

    def sync(self) -> None:
        """Make the transport's peers those members whose contacts are known."""
        ids = self.ids - {self._own.node_id}
        for node_id in self._transport.peers:
            if node_id not in ids:
                self._transport.remove_peer(node_id)
        for node_id in sorted(ids):
            contact = self._contacts.get(node_id) or self.strangers.pop(node_id, None)
            if contact is not None:
                self._contacts[node_id] = contact
                self._connect(contact)
        self._remember(self.contacts())

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

    def _note_stranger(self, contact: Contact) -> None:
        if len(self.strangers) >= STRANGERS_LIMIT and contact.node_id not in self.strangers:
            self.strangers.pop(next(iter(self.strangers)))
        self.strangers[contact.node_id] = contact

    def _flood(self, contacts: tuple[Contact, ...]) -> None:
        body = encode(_Contacts(tuple(map(without_scoped, contacts))))
        for node_id in self._transport.peers:
            self._transport.send(node_id, Kind.GOSSIP, body)

    def _on_link(self, node_id: NodeId, up: bool) -> None:
        if up:
            contacts = tuple(map(without_scoped, self.contacts()))[:CONTACTS_LIMIT]
            self._transport.send(node_id, Kind.GOSSIP, encode(_Contacts(contacts)))

    def _on_gossip(self, sender: NodeId, body: bytes) -> None:
        for contact in decode(_Contacts, body).contacts[:CONTACTS_LIMIT]:
            self.learn(checked(contact))

    # --- strangers --------------------------------------------------------------------------------

    def answer(self, hello: Hello) -> HelloReply:
        """Answer a stranger's hello with what anybody may know."""
        self.learn(hello.contact)
        members = self.contacts()[1:] if self.cluster_id else ()
        return HelloReply(Hello(self._own, self.cluster_id), tuple(map(without_scoped, members)))

    async def handle_join(self, body: bytes, address: str) -> bytes:
        """Answer a newcomer's request, deciding it through the leader."""
        request = decode(JoinRequest, body)
        try:
            answer = await self._decide(JoinRequest(checked(request.contact), request.hint))
        except PacelineError as error:
            answer = JoinAnswer(False, str(error))
        log.info("join", node_id=request.contact.node_id, address=address, answer=answer.accepted)
        return encode(answer)

    async def _decide(self, request: JoinRequest) -> JoinAnswer:
        if self._replicas is None or not self.cluster_id:
            raise Unavailable("this node is in no cluster yet; try again in a moment")
        if request.hint != self._own.cluster_hint:
            raise Conflict("this node belongs to a cluster with another token")
        async with asyncio.timeout(ADMIT_TIMEOUT_S):
            leader = await self._replicas.leader()
        if leader == self._own.node_id:
            return await self._admit(request.contact)
        plain = await self._calls.call(leader, ADMIT, to_plain(request), timeout_s=ADMIT_TIMEOUT_S)
        self.learn(request.contact)
        return from_plain(JoinAnswer, plain)

    async def _serve_admit(self, sender: NodeId, body: Any) -> Any:
        request = from_plain(JoinRequest, body)
        return to_plain(await self._admit(checked(request.contact)))

    async def _admit(self, contact: Contact) -> JoinAnswer:
        """Make the newcomer a learner; one at a time, as membership changes one step at a time."""
        if self._replicas is None:
            raise NotLeader(None)
        self._note_stranger(contact)
        async with self._admitting, asyncio.timeout(ADMIT_TIMEOUT_S):
            while contact.node_id not in self.ids:
                await self._add_learner(self._replicas, contact.node_id)
        self.learn(contact)
        self.sync()
        members = tuple(map(without_scoped, self.contacts()))
        return JoinAnswer(True, "", self.cluster_id, members)

    async def _add_learner(self, replicas: ReplicaLoop, node_id: NodeId) -> None:
        membership = replicas.status.membership
        try:
            await replicas.change_membership(
                membership.voters, tuple(sorted({*membership.learners, node_id}))
            )
        except NotLeader:
            raise
        except (Conflict, Unavailable):
            await asyncio.sleep(ADMIT_PAUSE_S)  # another change is under way
