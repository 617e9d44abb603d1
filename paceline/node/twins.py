"""Two live processes with one identity: how a copied data directory is noticed, and who gives way.

A copy has the key, so to all others it is the same node; yet it votes a second time. So before a
node takes part again, and now and then while it does, it asks members where they think it is
(`look_in`, the exchange of `admission` once more) and asks whoever answers at another address
who that is. A process answers only to one that shows knowledge of the very secret key, and proves
it likewise; so nobody else can make a node believe in a twin.

A node that is starting gives way to one that has been at work. Of two at work, the one that was
started later, by their own clocks, gives way. Both learn of each other in one exchange.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final

import structlog

from paceline.discovery.record import Contact, join_address, without_scoped
from paceline.errors import Conflict, PacelineError, ProtocolError
from paceline.node.admission import HereIs, Visit, WhoIsThere
from paceline.node.founding import ask
from paceline.node.keys import NodeKeys
from paceline.node.token import TokenKeys

NONCE_BYTES: Final = 32
BOOT_BYTES: Final = 16
ANSWER_S: Final = 0.7
LOOK_IN_S: Final = 1.0
START_S: Final = 2.0
"""A start is not held up for longer than this by members that do not answer."""
WATCH_S: Final = 15.0
ASKED_AT_START: Final = 8
ASKED: Final = 2
ADDRESSES_LIMIT: Final = 16

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Life:
    """One run of a process. Established: it takes part in its cluster."""

    boot: bytes
    started_ms: int
    established: bool = field(default=False, compare=False)

    def gives_way_to(self, other: "Life") -> bool:
        """Answer which of two with one identity is to end: exactly one of them says yes."""
        if self.established != other.established:
            return other.established
        return (self.started_ms, self.boot) > (other.started_ms, other.boot)


class Identity:
    """This process as one that may have a twin: asks and answers who is who."""

    def __init__(self, *, keys: NodeKeys, started_ms: int, on_twin: Callable[[Life], None]) -> None:
        """Wire it: `on_twin(life)` hears of each proof that there is another process."""
        self._key = hmac.digest(keys.secret, b"paceline twin 1", "sha256")
        self._on_twin = on_twin
        self.life = Life(secrets.token_bytes(BOOT_BYTES), started_ms)

    def establish(self) -> None:
        """Note that this process takes part now."""
        self.life = Life(self.life.boot, self.life.started_ms, established=True)

    def question(self) -> WhoIsThere:
        """Answer a fresh question."""
        nonce, life = secrets.token_bytes(NONCE_BYTES), self.life
        mac = self._mac(b"ask", nonce, life)
        return WhoIsThere(nonce, life.boot, life.started_ms, life.established, mac)

    def answer(self, question: WhoIsThere) -> HereIs:
        """Answer one who has our key. Raise ProtocolError, and stay silent, for anybody else."""
        other = Life(question.boot, question.started_ms, question.established)
        if not _same(question.mac, self._mac(b"ask", question.nonce, other)):
            raise ProtocolError("a question for a twin, from somebody without the key")
        if other.boot != self.life.boot:
            self.heard(other)
        mac = self._mac(b"here", question.nonce, self.life)
        return HereIs(self.life.boot, self.life.started_ms, self.life.established, mac)

    def judge(self, question: WhoIsThere, answer: HereIs) -> Life | None:
        """Answer the other process, None if that was this one. Raise ProtocolError for a lie."""
        other = Life(answer.boot, answer.started_ms, answer.established)
        if not _same(answer.mac, self._mac(b"here", question.nonce, other)):
            raise ProtocolError("an answer of somebody without this node's key")
        return other if other.boot != self.life.boot else None

    def heard(self, other: Life) -> None:
        """Take note of a proof that there is another process."""
        self._on_twin(other)

    def _mac(self, label: bytes, nonce: bytes, life: Life) -> bytes:
        if len(nonce) != NONCE_BYTES or len(life.boot) != BOOT_BYTES:
            raise ProtocolError("no question or answer of a node")
        said = b"%b\0%b%b%d,%d" % (label, nonce, life.boot, life.started_ms, life.established)
        return hmac.digest(self._key, hashlib.sha256(said).digest(), "sha256")


def _same(one: bytes, other: bytes) -> bool:
    return hmac.compare_digest(one, other)


class TwinWatch:
    """Looks for a twin through the eyes of the members."""

    def __init__(
        self,
        *,
        identity: Identity,
        own: Callable[[], Contact],
        keys: Callable[[], TokenKeys | None],
        cluster_id: Callable[[], str],
        others: Callable[[], Iterable[Contact]],
        hearsay: Callable[[], Contact | None],
        random: Random,
    ) -> None:
        """Wire it: `others` answers where members are, `hearsay` a record of a supposed twin."""
        self._identity = identity
        self._own = own
        self._keys = keys
        self._cluster_id = cluster_id
        self._others = others
        self._hearsay = hearsay
        self._random = random

    async def before_start(self) -> None:
        """Look, for a short time. Raise Conflict if this process has to give way."""
        try:
            async with asyncio.timeout(START_S):
                found = await self._look(ASKED_AT_START)
        except TimeoutError:
            return  # nobody who knows can be asked; the watch goes on
        for address, life in found:
            if self._identity.life.gives_way_to(life):
                raise twin_found(address)

    async def run(self) -> None:
        """Look now and then, until cancelled; what is found is told to the identity's listener."""
        while True:
            await asyncio.sleep(WATCH_S)
            for address, life in await self._look(ASKED):
                log.error("another process has this node's identity", address=address)
                self._identity.heard(life)

    async def _look(self, count: int) -> list[tuple[str, Life]]:
        others = [contact for contact in self._others() if contact.joins]
        self._random.shuffle(others)
        answers = await asyncio.gather(*(self.look_in(each) for each in others[:count]))
        hearsay = self._hearsay()
        seen = [contact for contact in (*answers, hearsay) if contact is not None]
        addresses = {address for contact in seen for address in self._elsewhere(contact)}
        chosen = sorted(addresses)[:ADDRESSES_LIMIT]
        lives = await asyncio.gather(*(self._who_is_at(address) for address in chosen))
        return [(at, life) for at, life in zip(chosen, lives, strict=True) if life is not None]

    def _elsewhere(self, contact: Contact) -> list[str]:
        own = self._own()
        mine = {join_address(host, own.join_port) for host in own.hosts}
        return [address for address in contact.joins if address not in mine]

    async def look_in(self, member: Contact) -> Contact | None:
        """Answer where a member thinks that this node is; None if it does not say."""
        keys, own = self._keys(), self._own()
        if keys is None:
            return None
        visit = Visit(without_scoped(own), keys, cluster_id=self._cluster_id())
        address = member.joins[0]
        try:
            met = visit.meet(await ask(address, visit.opening, LOOK_IN_S))
            answer = visit.judge(met, await ask(address, met.proof, LOOK_IN_S))
        except PacelineError:
            return None
        return next((each for each in answer.members if each.node_id == own.node_id), None)

    async def _who_is_at(self, address: str) -> Life | None:
        question = self._identity.question()
        try:
            answer = await ask(address, question, ANSWER_S)
            if not isinstance(answer, HereIs):
                return None
            return self._identity.judge(question, answer)
        except PacelineError:
            return None


def twin_found(address: str) -> Conflict:
    """Answer what a person has to know."""
    where = f" at {address}" if address else ""
    return Conflict(
        f"another process{where} runs with this node's identity: its data directory was copied, and"
        " two such nodes would corrupt the cluster's decisions. Let only one of them run; on the"
        " machine with the copy, `paceline node start --anew` makes a new node"
    )
