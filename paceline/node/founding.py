"""A node's first minutes: found a cluster, or find one to join.

A node with nothing to go by (no token, no `--join`) founds a cluster at once. Any other asks
around: it greets the addresses it was given and the nodes that discovery finds with its own cluster
hint.

* Somebody has a cluster of that hint: ask to be let in.
* Everybody found is as new as this node: after a while in which all have had time to be found, the
  one with the lowest node id founds, and the others join it. An address given with `--join` that
  does not answer forbids founding: behind it may be the cluster that is meant.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from paceline.clock import Clock
from paceline.codec import decode, encode
from paceline.discovery.fixed import with_proven_host
from paceline.discovery.record import Contact, without_scoped
from paceline.errors import PacelineError
from paceline.ids import NodeId, new_id
from paceline.node.greeting import greet, join
from paceline.node.hello import Hello, HelloReply
from paceline.node.members import JoinAnswer, JoinRequest

SETTLE_MS = 2_500
"""So long a node looks for others of its token before it may found: mDNS needs 1.3 s."""
PAUSE_S = 0.2
GREET_TIMEOUT_S = 1.0
JOIN_TIMEOUT_S = 12.0
FRESH_MS = 10_000
"""A node not heard of for longer does not count as still looking."""
OPEN_HINT = "open"
"""The hint of clusters without a preset token."""

log = structlog.get_logger(__name__)


def cluster_hint(token: str | None) -> str:
    """Answer what tells clusters apart on the network without telling the token."""
    if not token:
        return OPEN_HINT
    return hashlib.sha256(b"paceline cluster hint\0" + token.encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of it. `founded`: this node is the first; else `members` let it in."""

    cluster_id: str
    founded: bool
    members: tuple[Contact, ...] = ()


@dataclass(slots=True)
class Surroundings:
    """What is known of the others so far."""

    unanswered: set[str] = field(default_factory=set)
    """Addresses given with `--join` behind which nobody of this hint has answered."""
    looking: dict[NodeId, int] = field(default_factory=dict)
    """Nodes of this hint without a cluster, and when (monotonic ms) they were last heard of."""

    def may_found(self, own_id: NodeId, waited_ms: int, now_ms: int) -> bool:
        """Answer whether this node should be the founder, as far as it can see."""
        if waited_ms < SETTLE_MS or self.unanswered:
            return False
        fresh = [node_id for node_id, at_ms in self.looking.items() if now_ms - at_ms < FRESH_MS]
        return all(own_id < node_id for node_id in fresh)


class Founding:
    """Runs until this node belongs to a cluster."""

    def __init__(
        self,
        *,
        own: Callable[[], Contact],
        addresses: Iterable[str],
        known: Callable[[], Iterable[Contact]],
        learn: Callable[[Contact], None],
        clock: Clock,
    ) -> None:
        """Wire it: `known` answers what discovery has found, `learn` tells it what greetings bring.

        `addresses` are those given with `--join`.
        """
        self._own = own
        self._addresses = tuple(address for address in addresses if address not in own().joins)
        self._known = known
        self._learn = learn
        self._clock = clock
        self._around = Surroundings(unanswered=set(self._addresses))
        self._told: dict[str, str] = {}

    @staticmethod
    def alone() -> Settled:
        """Answer a new cluster, without asking around."""
        return Settled(new_id(), founded=True)

    async def settle(self) -> Settled:
        """Answer which cluster this node belongs to now; asks for as long as it takes."""
        began_ms = self._clock.monotonic_ms()
        while True:
            for address in await self._with_clusters():
                if settled := await self._join(address):
                    return settled
            now_ms = self._clock.monotonic_ms()
            if self._around.may_found(self._own().node_id, now_ms - began_ms, now_ms):
                return self.alone()
            await asyncio.sleep(PAUSE_S)

    async def _with_clusters(self) -> list[str]:
        """Greet everybody known, all at once; answer where somebody is in a cluster of ours."""
        addresses = self._to_greet()
        replies = await asyncio.gather(*(self._greet(address) for address in addresses))
        return [
            address
            for address, reply in zip(addresses, replies, strict=True)
            if reply is not None and self._has_cluster(address, reply)
        ]

    def _to_greet(self) -> list[str]:
        """Answer the given addresses, and one of each node that discovery has found."""
        own = self._own()
        alike = [each for each in self._known() if each.cluster_hint == own.cluster_hint]
        found = [each.joins[0] for each in alike if each.joins and each.node_id != own.node_id]
        return list(dict.fromkeys((*self._addresses, *found)))

    async def _greet(self, address: str) -> HelloReply | None:
        try:
            reply = await greet(address, Hello(self._own()), GREET_TIMEOUT_S)
        except PacelineError as error:
            if address in self._addresses:
                self._around.unanswered.add(address)
                self._tell(address, str(error))
            return None
        self._around.unanswered.discard(address)
        for contact in (with_proven_host(reply.hello.contact, address), *reply.members):
            self._learn(contact)
        return reply

    def _has_cluster(self, address: str, reply: HelloReply) -> bool:
        other, own = reply.hello.contact, self._own()
        if other.node_id == own.node_id:
            return False
        if other.cluster_hint != own.cluster_hint:
            self._around.unanswered.add(address)
            self._tell(address, "the node there has another token; check --token")
            return False
        if not reply.hello.cluster_id:
            self._around.looking[other.node_id] = self._clock.monotonic_ms()
            return False
        return True

    async def _join(self, address: str) -> Settled | None:
        own = self._own()
        request = encode(JoinRequest(without_scoped(own), own.cluster_hint))
        try:
            answer = decode(JoinAnswer, await join(address, request, JOIN_TIMEOUT_S))
        except PacelineError as error:
            self._tell(address, str(error))
            return None
        if not answer.accepted:
            self._tell(address, answer.reason)
            return None
        return Settled(answer.cluster_id, founded=False, members=answer.members)

    def _tell(self, address: str, reason: str) -> None:
        """Say once per address and reason why we are still waiting."""
        if self._told.get(address) != reason:
            self._told[address] = reason
            log.warning("not joined yet, trying again", address=address, reason=reason)
