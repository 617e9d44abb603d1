"""Who is in this cluster, where they are, and how others come in.

The replicated membership says which node ids belong; discovery knows where nodes are. This object
keeps the transport connected to exactly the members, and admits newcomers:

    newcomer -> any member's greeting socket: JoinRequest
    member   -> the leader (a call, when it is not the leader itself): learner added by the log
    newcomer <- JoinAnswer: the cluster's id and the contacts of its members

Contacts spread by flooding: whoever learns something new of a member tells those it is connected
to; the stamp in a contact, made by its owner, ends that.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from paceline.codec import decode, encode, from_plain, to_plain
from paceline.consensus.replica import ReplicaStatus
from paceline.discovery.discovery import Discovery
from paceline.discovery.gossip import decode_contacts, encode_contacts
from paceline.discovery.peers import Source
from paceline.discovery.record import Contact, checked, without_scoped
from paceline.errors import Conflict, NotLeader, PacelineError, TimedOut, Unavailable
from paceline.ids import NodeId, fingerprint
from paceline.node.calls import Calls
from paceline.node.hello import Hello, HelloReply
from paceline.node.replica_loop import ReplicaLoop
from paceline.node.transport import Transport
from paceline.node.wire import Kind

ADMIT = "admit"
ADMIT_TIMEOUT_S = 10.0
ADMIT_PAUSE_S = 0.05

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


class Members:
    """One node's view of its cluster."""

    def __init__(
        self, *, node_id: NodeId, transport: Transport, calls: Calls, discovery: Discovery
    ) -> None:
        self._node_id = node_id
        self._transport = transport
        self._calls = calls
        self._discovery = discovery
        self._replicas: ReplicaLoop | None = None
        self._ids: frozenset[NodeId] = frozenset()
        self._admitting = asyncio.Lock()
        self.cluster_id = ""
        transport.on(Kind.GOSSIP, self._on_gossip)
        transport.on_link(self._on_link)
        discovery.on_contact(self._on_contact)
        calls.serve(ADMIT, self._serve_admit)

    # --- who --------------------------------------------------------------------------------------

    @property
    def ids(self) -> frozenset[NodeId]:
        """Answer the members: those of the log, or before it is here those that let us in."""
        return self._ids

    def allowed(self, public_key: bytes) -> bool:
        """Answer whether the owner of that key may talk to this node as a member."""
        return fingerprint(public_key) in self._ids

    def contact(self, node_id: NodeId) -> Contact | None:
        """Answer where a node is, as far as it is known."""
        own = self._discovery.own
        return own if node_id == self._node_id else self._discovery.get(node_id)

    def contacts(self) -> tuple[Contact, ...]:
        """Answer the contacts of all members, this node's own first."""
        others = (each for each in self._discovery.contacts if each.node_id in self._ids)
        return (self._discovery.own, *others)

    def belong(self, cluster_id: str, members: Iterable[NodeId]) -> None:
        """Take up membership of a cluster: `members` are who let us in, or who is remembered."""
        self.cluster_id = cluster_id
        self._ids = frozenset((*members, self._node_id))
        self._sync()

    def attach(self, replicas: ReplicaLoop) -> None:
        """Take the replica, whose membership rules from now on."""
        self._replicas = replicas
        replicas.on_membership(self._take_membership)
        self._take_membership(replicas.status)

    def _take_membership(self, status: ReplicaStatus) -> None:
        if status.membership.members:  # a newcomer's log is empty at first
            self._ids = frozenset(status.membership.members)
        self._sync()

    # --- where ------------------------------------------------------------------------------------

    def _sync(self) -> None:
        """Make the transport's peers those members whose contacts are known."""
        self._discovery.keep(self._ids)
        for node_id in self._transport.peers:
            if node_id not in self._ids:
                self._transport.remove_peer(node_id)
        for contact in self.contacts()[1:]:
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
        if contact.node_id in self._ids:
            self._connect(contact)
            self._tell_all((contact,))

    def _tell_all(self, contacts: tuple[Contact, ...]) -> None:
        body = encode_contacts(contacts)
        for node_id in self._transport.peers:
            self._transport.send(node_id, Kind.GOSSIP, body)

    def _on_link(self, node_id: NodeId, up: bool) -> None:
        if up:
            self._transport.send(node_id, Kind.GOSSIP, encode_contacts(self.contacts()))

    def _on_gossip(self, sender: NodeId, body: bytes) -> None:
        for contact in decode_contacts(body):
            direct = contact.node_id == sender
            self._discovery.learn(contact, Source.GREETING if direct else Source.GOSSIP)

    # --- strangers --------------------------------------------------------------------------------

    def answer(self, hello: Hello) -> HelloReply:
        """Answer a stranger's hello with what anybody may know."""
        self._discovery.learn(hello.contact, Source.GREETING)
        members = self.contacts()[1:] if self.cluster_id else ()
        own = without_scoped(self._discovery.own)
        return HelloReply(Hello(own, self.cluster_id), tuple(map(without_scoped, members)))

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
        if request.hint != self._discovery.own.cluster_hint:
            raise Conflict("this node belongs to a cluster with another token")
        try:
            async with asyncio.timeout(ADMIT_TIMEOUT_S):
                leader = await self._replicas.leader()
        except TimeoutError:
            raise Unavailable("the cluster has no leader now; try again in a moment") from None
        self._discovery.learn(request.contact, Source.GREETING)
        if leader == self._node_id:
            return await self._admit(request.contact)
        plain = await self._calls.call(leader, ADMIT, to_plain(request), timeout_s=ADMIT_TIMEOUT_S)
        return from_plain(JoinAnswer, plain)

    async def _serve_admit(self, sender: NodeId, body: Any) -> Any:
        request = from_plain(JoinRequest, body)
        return to_plain(await self._admit(checked(request.contact)))

    async def _admit(self, contact: Contact) -> JoinAnswer:
        """Make the newcomer a learner; one at a time, as membership changes one step at a time."""
        if self._replicas is None:
            raise NotLeader(None)
        self._discovery.learn(contact, Source.GREETING)
        try:
            async with self._admitting, asyncio.timeout(ADMIT_TIMEOUT_S):
                while contact.node_id not in self._ids:
                    await self._add_learner(self._replicas, contact.node_id)
        except TimeoutError:
            raise TimedOut("the cluster could not take in a member; is a majority up?") from None
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
