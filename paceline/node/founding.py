"""A node's first minutes: found a cluster, or find one to join.

A node without a token founds a cluster at once. Any other asks around: it greets the addresses it
was given and the nodes that discovery finds with its own cluster hint.

* Somebody has a cluster of that hint: ask to be let in (see `admission`), for as long as it takes.
* Everybody found is as new as this node: after a while in which all have had time to be found, the
  one with the lowest node id founds, and the others join it. An address given with `--join` that
  does not answer forbids founding: behind it may be the cluster that is meant.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from paceline.clock import Clock
from paceline.discovery.fixed import with_proven_host
from paceline.discovery.record import Contact, without_scoped
from paceline.errors import PacelineError
from paceline.ids import NodeId, new_id
from paceline.node.admission import (
    MESSAGES,
    JoinAnswer,
    Message,
    Met,
    Visit,
    WrongToken,
    decode_message,
    tag,
)
from paceline.node.approval import approval_code
from paceline.node.greeting import greet, join
from paceline.node.hello import Hello, HelloReply
from paceline.node.token import TokenKeys

SETTLE_MS = 2_500
"""So long a node looks for others of its token before it may found: mDNS needs 1.3 s."""
PAUSE_S = 0.2
GREET_TIMEOUT_S = 1.0
CHALLENGE_TIMEOUT_S = 3.0
JOIN_TIMEOUT_S = 12.0
EXCHANGES_LIMIT = 1024
"""So many of its own exchanges a newcomer remembers while it waits for a person."""
FRESH_MS = 10_000
"""A node not heard of for longer does not count as still looking."""
log = structlog.get_logger(__name__)


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

    cluster_ms: int | None = None
    """When a member of a cluster of this token last proved that there is one."""

    def may_found(self, own_id: NodeId, waited_ms: int, now_ms: int) -> bool:
        """Answer whether this node should be the founder, as far as it can see."""
        if waited_ms < SETTLE_MS or self.unanswered:
            return False
        if self.cluster_ms is not None and now_ms - self.cluster_ms < FRESH_MS:
            return False  # it only has no leader now, or a person has not said yes yet
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
        keys: TokenKeys,
        clock: Clock,
        gave_up: str = "",
    ) -> None:
        """Wire it: `known` answers what discovery has found, `learn` tells it what greetings bring.

        `addresses` are those given with `--join`, `keys` those of the token. `gave_up` is a cluster
        that this node has left for another; it does not go back there.
        """
        self._gave_up = gave_up
        self._own = own
        self._keys = keys
        self._addresses = tuple(address for address in addresses if address not in own().joins)
        self._known = known
        self._learn = learn
        self._clock = clock
        self._around = Surroundings(unanswered=set(self._addresses))
        self._told: dict[str, str] = {}
        self._exchanges: OrderedDict[bytes, bytes] = OrderedDict()
        self._shown = b""

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
        self._learn(with_proven_host(reply.hello.contact, address))
        return reply

    def _has_cluster(self, address: str, reply: HelloReply) -> bool:
        other, own = reply.hello.contact, self._own()
        if other.node_id == own.node_id:
            return False
        if other.cluster_hint != own.cluster_hint:
            self._around.unanswered.add(address)
            self._tell(address, "the node there has another token; check --token")
            return False
        if not other.founded:
            self._around.looking[other.node_id] = self._clock.monotonic_ms()
            return False
        return True

    async def _join(self, address: str) -> Settled | None:
        visit = Visit(without_scoped(self._own()), self._keys)
        try:
            met = visit.meet(await ask(address, visit.opening, CHALLENGE_TIMEOUT_S))
            if self._gave_up and met.standing.cluster_id == self._gave_up:
                return None
            self._around.cluster_ms = self._clock.monotonic_ms()
            self._remember(met)
            answer = visit.judge(met, await ask(address, met.proof, JOIN_TIMEOUT_S))
        except PacelineError as error:
            if isinstance(error, WrongToken) and address in self._addresses:
                self._around.unanswered.add(address)
            self._tell(address, str(error))
            return None
        if not answer.accepted:
            await self._wait_for(address, answer)
            return None
        return Settled(answer.cluster_id, founded=False, members=answer.members)

    def _remember(self, met: Met) -> None:
        self._exchanges[tag(met.transcript)] = met.transcript
        if len(self._exchanges) > EXCHANGES_LIMIT:
            self._exchanges.popitem(last=False)

    async def _wait_for(self, address: str, answer: JoinAnswer) -> None:
        """Say why we are not in, and which code a person has to compare."""
        heard = self._exchanges.get(answer.listed)
        if answer.pending and heard is not None and answer.listed != self._shown:
            self._shown = answer.listed
            code = await approval_code(heard)
            self._tell(
                "",
                f"a person must confirm this node: `paceline approve {code}` on any "
                "member, if that shows the same code",
            )
        elif not answer.pending:
            self._tell(address, answer.reason)

    def _tell(self, address: str, reason: str) -> None:
        """Say once per address and reason why we are still waiting."""
        if self._told.get(address) != reason:
            self._told[address] = reason
            log.warning("not joined yet, trying again", address=address, reason=reason)


async def ask(address: str, message: Message, timeout_s: float) -> Message:
    """Put one message of an admission to `HOST:PORT` and answer what comes back."""
    return decode_message(await join(address, MESSAGES.encode(message), timeout_s))
