"""Strangers at this node's door: what they are told, and how they become members.

    newcomer -> any member's greeting socket: the exchange of `admission`
    member   -> the leader (a call, when it is not the leader itself)
    leader   -> the log: AdmitMember, then the newcomer among the learners
    newcomer <- the verdict: the cluster's id and the contacts of its members

A stranger's hello is answered with what multicast tells anybody too, and nothing about others.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from paceline.clock import Clock
from paceline.codec import from_plain, to_plain
from paceline.consensus.replica import ReplicaStatus
from paceline.discovery.discovery import Discovery
from paceline.discovery.peers import Source
from paceline.discovery.record import Contact, checked, without_scoped
from paceline.errors import (
    Conflict,
    NotLeader,
    PacelineError,
    ProtocolError,
    TimedOut,
    Unavailable,
)
from paceline.ids import NodeId
from paceline.node.admission import (
    MESSAGES,
    Doorkeeper,
    JoinAnswer,
    Message,
    Opening,
    Proof,
    Proven,
    Refusal,
    WhoIsThere,
    WrongToken,
    decode_message,
    tag,
)
from paceline.node.approval import Approvals, Pending, approval_code
from paceline.node.calls import Calls
from paceline.node.credentials import Credentials
from paceline.node.hello import Hello, HelloReply
from paceline.node.members import Members
from paceline.node.proposals import Proposals
from paceline.node.replica_loop import ReplicaLoop
from paceline.node.token import TokenKeys
from paceline.node.twins import Identity
from paceline.tasks import queries_members
from paceline.tasks.commands import OLDEST_LEVEL, AdmitMember
from paceline.tasks.model import MemberStatus

ADMIT = "admit"
PENDING = "pending newcomers"
APPROVE = "approve a newcomer"
ADMIT_TIMEOUT_S = 10.0
ADMIT_PAUSE_S = 0.05
CALL_TIMEOUT_S = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AdmitRequest:
    """A member asks the leader to let somebody in that has proven to know the token."""

    contact: Contact
    transcript: bytes
    address: str


class Admitting:
    """Answers strangers. Before `attach` there is no cluster here to be admitted to."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        discovery: Discovery,
        members: Members,
        calls: Calls,
        credentials: Credentials,
        identity: Identity,
        clock: Clock,
    ) -> None:
        self._identity = identity
        self._node_id = node_id
        self._discovery = discovery
        self._members = members
        self._calls = calls
        self._credentials = credentials
        self._clock = clock
        self._door = Doorkeeper(own=lambda: discovery.own, clock=clock)
        self._approvals = Approvals(clock=clock)
        self._one_at_a_time = asyncio.Lock()
        self._replicas: ReplicaLoop | None = None
        self._proposals: Proposals
        self._connection: sqlite3.Connection
        self._level: Callable[[], int]
        calls.serve(ADMIT, self._serve_admit)
        calls.serve(PENDING, self._serve_pending)
        calls.serve(APPROVE, self._serve_approve)

    def attach(
        self,
        replicas: ReplicaLoop,
        proposals: Proposals,
        connection: sqlite3.Connection,
        level: Callable[[], int] = lambda: OLDEST_LEVEL,
    ) -> None:
        """Take what decisions need; from now on newcomers can be admitted.

        `level` answers the cluster's format level: who does not know it would stop at the log.
        """
        self._proposals, self._connection, self._level = proposals, connection, level
        self._replicas = replicas

    # --- at the door ------------------------------------------------------------------------------

    def answer(self, hello: Hello) -> HelloReply:
        """Answer a stranger's hello with what anybody may know."""
        self._discovery.learn(hello.contact, Source.GREETING)
        return HelloReply(Hello(without_scoped(self._discovery.own)))

    async def handle(self, body: bytes, address: str) -> bytes:
        """Answer one message of an admission. Raise ProtocolError to stay silent."""
        try:
            answer = await self._handle(decode_message(body), address)
        except (ProtocolError, TimeoutError):
            raise
        except PacelineError as error:
            log.info("not admitted", address=address, reason=str(error))
            answer = Refusal(str(error))
        return MESSAGES.encode(answer)

    async def _handle(self, message: Message, address: str) -> Message:
        if isinstance(message, WhoIsThere):
            return self._identity.answer(message)
        keys = self._keys()
        cluster_id = self._members.cluster_id
        if isinstance(message, Opening):
            has_work = queries_members.has_work(self._connection)
            return self._door.challenge(message, keys, cluster_id=cluster_id, has_work=has_work)
        if not isinstance(message, Proof):
            raise ProtocolError("only openings and proofs are put to a member")
        try:
            proven = self._door.verify(message, keys, cluster_id=cluster_id)
        except WrongToken:
            log.warning("somebody tried to join with a wrong token", address=address)
            raise
        return proven.verdict(await self._judge(proven, address))

    def _keys(self) -> TokenKeys:
        if self._replicas is None or self._credentials.keys is None:
            raise Unavailable("the node there is in no cluster yet; try again in a moment")
        return self._credentials.keys

    async def _judge(self, proven: Proven, address: str) -> JoinAnswer:
        newcomer = proven.standing.contact
        try:
            answer = await self._decide(proven, address)
        except PacelineError as error:
            answer = JoinAnswer(False, str(error))
        say = log.debug if proven.standing.cluster_id else log.info  # members look in often
        say("join", node_id=newcomer.node_id, address=address, accepted=answer.accepted)
        return answer

    async def _decide(self, proven: Proven, address: str) -> JoinAnswer:
        assert self._replicas is not None
        newcomer, its_cluster = proven.standing.contact, proven.standing.cluster_id
        self._require_not_revoked(newcomer.node_id)
        if its_cluster == self._members.cluster_id and self._is_member(newcomer.node_id):
            return self._welcome()  # it looks in after a restart
        if its_cluster:
            raise Conflict("the newcomer belongs to another cluster already")
        if proven.standing.level < self._level():
            raise Conflict(
                f"this cluster works at format level {self._level()}, and the newcomer's program "
                f"knows {proven.standing.level}: update Paceline there, then join"
            )
        leader = await self._leader(self._replicas)
        request = AdmitRequest(newcomer, proven.transcript, address)
        if leader == self._node_id:
            return await self._admit(request, self._node_id)
        plain = await self._calls.call(leader, ADMIT, to_plain(request), timeout_s=ADMIT_TIMEOUT_S)
        return from_plain(JoinAnswer, plain)

    async def _leader(self, replicas: ReplicaLoop) -> NodeId:
        try:
            async with asyncio.timeout(ADMIT_TIMEOUT_S):
                return await replicas.leader()
        except TimeoutError:
            raise Unavailable("the cluster has no leader now; try again in a moment") from None

    def _require_not_revoked(self, node_id: NodeId) -> None:
        if queries_members.is_revoked(self._connection, node_id):
            raise Conflict(
                "this node was revoked and cannot come back; to use the machine again, start it "
                "with an empty data directory, as a new node, and the cluster's present token"
            )

    def _welcome(self) -> JoinAnswer:
        members = tuple(map(without_scoped, self._members.contacts()))
        return JoinAnswer(True, "", self._members.cluster_id, members)

    # --- on the leader ----------------------------------------------------------------------------

    async def _serve_admit(self, sender: NodeId, body: Any) -> Any:
        request = from_plain(AdmitRequest, body)
        known = AdmitRequest(checked(request.contact), request.transcript, request.address)
        return to_plain(await self._admit(known, sender))

    def _leading(self) -> ReplicaLoop:
        if self._replicas is None or not self._replicas.leads:
            raise NotLeader(self._replicas.status.leader_id or None if self._replicas else None)
        return self._replicas

    async def _admit(self, request: AdmitRequest, admitted_by: NodeId) -> JoinAnswer:
        replicas = self._leading()
        newcomer = request.contact
        self._require_not_revoked(newcomer.node_id)
        record = queries_members.cluster(self._connection)
        if self._is_member(newcomer.node_id):
            _require_fresh(replicas.status, newcomer.node_id)
        elif record is not None and record.approve:
            return await self._ask_a_person(request, admitted_by)
        await self._let_in(replicas, newcomer, admitted_by)
        return self._welcome()

    def _is_member(self, node_id: NodeId) -> bool:
        return any(
            member.node_id == node_id and member.status == MemberStatus.MEMBER
            for member in queries_members.members(self._connection)
        )

    async def _ask_a_person(self, request: AdmitRequest, admitted_by: NodeId) -> JoinAnswer:
        listed = self._approvals.seen(request.contact.node_id)
        if listed is None:
            listed = await self._list(request, admitted_by)
        reason = "a person must confirm it: `paceline approve` on any member"
        return JoinAnswer(False, reason, self._members.cluster_id, pending=True, listed=listed.tag)

    async def _list(self, request: AdmitRequest, admitted_by: NodeId) -> Pending:
        newcomer, heard = request.contact, request.transcript
        code = await approval_code(heard)
        log.warning("a newcomer waits for approval", node_id=newcomer.node_id, code=code)
        pending = Pending(newcomer, code, request.address, admitted_by, tag(heard))
        return self._approvals.add(pending)

    async def _let_in(self, replicas: ReplicaLoop, newcomer: Contact, admitted_by: NodeId) -> None:
        """Write it into the log, then make it a learner; membership changes one step at a time.

        One that left before, and is still on its way out, must be out first: its log is another's.
        """
        self._discovery.learn(newcomer, Source.GREETING)
        node_id = newcomer.node_id
        try:
            async with asyncio.timeout(ADMIT_TIMEOUT_S), self._one_at_a_time:
                while not self._is_member(node_id) and _listed(  # noqa: ASYNC110 - it is not ours
                    replicas, node_id
                ):
                    await asyncio.sleep(ADMIT_PAUSE_S)
                command = AdmitMember(node_id, newcomer.public_key, newcomer.name, admitted_by)
                await self._proposals.propose(command, timeout_s=ADMIT_TIMEOUT_S)
                while not _listed(replicas, node_id):
                    await self._add_learner(replicas, node_id)
        except TimeoutError:
            raise TimedOut("the cluster could not take in a member; is a majority up?") from None

    async def _add_learner(self, replicas: ReplicaLoop, node_id: NodeId) -> None:
        replicas.refresh()  # or a change of this moment would be taken back
        membership = replicas.status.membership
        try:
            await replicas.change_membership(
                membership.voters, tuple(sorted({*membership.learners, node_id}))
            )
        except NotLeader:
            raise
        except (Conflict, Unavailable):
            await asyncio.sleep(ADMIT_PAUSE_S)  # another change is under way

    # --- approval ---------------------------------------------------------------------------------

    async def pending(self) -> list[dict[str, Any]]:
        """Answer the newcomers that wait for a person, as the leader knows them.

        Raise Unavailable if there is no leader.
        """
        replicas = self._attached()
        leader = replicas.status.leader_id
        if not leader:
            raise Unavailable("the cluster has no leader now; try again in a moment")
        if leader == self._node_id:
            return self._approvals.documents()
        found = await self._calls.call(leader, PENDING, timeout_s=CALL_TIMEOUT_S)
        return list(found)

    async def approve(self, wanted: str) -> dict[str, Any]:
        """Let in the newcomer with that code, id or name. Raise NotFound, InputError."""
        leader = await self._leader(self._attached())
        if leader == self._node_id:
            return await self._approve(wanted)
        answer = await self._calls.call(leader, APPROVE, wanted, timeout_s=ADMIT_TIMEOUT_S)
        return dict(answer)

    async def _serve_pending(self, sender: NodeId, body: Any) -> Any:
        self._leading()
        return self._approvals.documents()

    async def _serve_approve(self, sender: NodeId, body: Any) -> Any:
        return await self._approve(str(body))

    async def _approve(self, wanted: str) -> dict[str, Any]:
        replicas = self._leading()
        pending = self._approvals.find(wanted)
        await self._let_in(replicas, pending.contact, pending.admitted_by)
        self._approvals.remove(pending.contact.node_id)
        return pending.document()

    def _attached(self) -> ReplicaLoop:
        if self._replicas is None:
            raise Unavailable("this node is in no cluster yet; try again in a moment")
        return self._replicas


def _listed(replicas: ReplicaLoop, node_id: NodeId) -> bool:
    return node_id in replicas.status.membership.members


def _require_fresh(status: ReplicaStatus, node_id: NodeId) -> None:
    """Raise Conflict for a member that asks to join as if it were new, and is not.

    Its verdict may have been lost on the way; then it has confirmed no entry yet. One that has, or
    that votes, must not come back with an empty log: it would deny what it has voted for.
    """
    match = max((peer.match for peer in status.peers if peer.node_id == node_id), default=0)
    if node_id in status.membership.voters or match:
        raise Conflict(
            f"{node_id} is a member already. If this machine has lost its data, or has a copy of "
            "another one's key, start it as a new node with `paceline node start --anew`; the lost "
            "one is removed with `paceline revoke`"
        )
