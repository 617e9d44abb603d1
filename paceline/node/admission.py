"""How a stranger becomes a member: both prove that they know the token, bound to who they are.

    newcomer -> member    Opening(I)         who I am, a fresh nonce, the cluster I am in, if any
    newcomer <- member    Challenge(C, mac)  who I am, a fresh nonce, my cluster
    newcomer -> member    Proof(I, C, mac)
    newcomer <- member    Verdict(V, mac)    admitted, pending, or why not

The transcript T is the hash of the very bytes I and C: both long-term keys, both node ids, both
nonces, both clusters and the version of the protocol are in them. Every mac is an HMAC of T under
the token's admission key, with a label for its direction. From this follow:

* The newcomer reveals its proof only to who has proven to know the token: an impostor that collects
  joiners gets nothing, and a mistyped address of another cluster tells nobody anything.
* A proof that is relayed with other keys in it is void, because T has the keys. One that is relayed
  as it is only brings together the two who made it.
* A recorded exchange is void: the member finds its own nonce too old or used up, and the newcomer
  finds another nonce than its own.
* A mac that comes back to its sender is void, because of the labels.
* The verdict's contents, the members' keys above all, come from a member. On them the newcomer's
  CURVE connections rest.

The member keeps nothing for a stranger that has not proven itself: its nonce contains a tag under a
key of its own that ties it to the opening (like a SYN cookie, RFC 4987). What it does keep, of
those that proved to know the token, are the nonces used up, until they are too old anyway.

That the newcomer owns the secret half of the key it showed is not proven here but by CURVE itself,
at its first connection.
"""

import hashlib
import hmac
import secrets
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from paceline import codec
from paceline.clock import Clock
from paceline.codec import Union_
from paceline.discovery.record import Contact, checked
from paceline.errors import Busy, Conflict, PacelineError, ProtocolError
from paceline.ids import NodeId
from paceline.node.token import TokenKeys
from paceline.tasks.commands import NEWEST_LEVEL

PROTOCOL: Final = b"paceline admission 1"
NONCE_BYTES: Final = 32
TAG_BYTES: Final = 16
NONCE_LIFE_MS: Final = 15_000
"""A challenge is answered at once or never; the clock is the challenger's own."""
USED_LIMIT: Final = 4096
CLUSTER_ID_LIMIT: Final = 64
REASON_LIMIT: Final = 300
BODY_LIMIT_BYTES: Final = 4096
VERDICT_LIMIT_BYTES: Final = 60 * 1024

_NONCE = struct.Struct(">Q8s16s")


@dataclass(frozen=True, slots=True)
class Standing:
    """How one of the two stands before the other decides anything; goes into the transcript."""

    contact: Contact
    nonce: bytes
    cluster_id: str = ""
    """Empty: in none yet."""
    has_work: bool = False
    """Something was submitted to its cluster."""
    level: int = 2
    """The newest format level that its program knows (`tasks.levels`)."""


# --- what travels ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opening:
    """The newcomer's standing, encoded."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Challenge:
    """The member's standing, encoded, and its proof."""

    body: bytes
    mac: bytes


@dataclass(frozen=True, slots=True)
class Proof:
    """Both bodies again, for the member has forgotten them, and the newcomer's proof."""

    opening: bytes
    challenge: bytes
    mac: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """An encoded JoinAnswer, and the proof that it is the member's."""

    body: bytes
    mac: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """The member will not go on. Nobody vouches for these words."""

    reason: str


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """`accepted`, or `pending` until a person approves it, or the reason why not."""

    accepted: bool
    reason: str = ""
    cluster_id: str = ""
    members: tuple[Contact, ...] = ()
    pending: bool = False
    listed: bytes = b""
    """Of a pending one: the tag of the exchange whose code a person is asked to compare."""


@dataclass(frozen=True, slots=True)
class WhoIsThere:
    """One process of a node asks whether it is answered by another one (see `twins`)."""

    nonce: bytes
    boot: bytes
    started_ms: int
    established: bool
    mac: bytes


@dataclass(frozen=True, slots=True)
class HereIs:
    """The answer, of a process that has the same key."""

    boot: bytes
    started_ms: int
    established: bool
    mac: bytes


Message = Opening | Challenge | Proof | Verdict | Refusal | WhoIsThere | HereIs
MESSAGES: Union_[Message] = Union_(
    {1: Opening, 2: Challenge, 3: Proof, 4: Verdict, 5: Refusal, 6: WhoIsThere, 7: HereIs}
)


def decode_message(data: bytes) -> Message:
    """Read one message. Raise ProtocolError for anything else."""
    return MESSAGES.decode(data, VERDICT_LIMIT_BYTES)


# --- the transcript -------------------------------------------------------------------------------


def transcript(opening: bytes, challenge: bytes) -> bytes:
    """Answer the hash of all that both have said of themselves; lengths make it unambiguous."""
    digest = hashlib.sha256(PROTOCOL)
    for body in (opening, challenge):
        digest.update(struct.pack(">I", len(body)))
        digest.update(body)
    return digest.digest()


def tag(heard: bytes) -> bytes:
    """Answer by what the two sides of an exchange may call it; it tells nothing of its code."""
    return hashlib.sha256(b"paceline exchange\0" + heard).digest()[:TAG_BYTES]


def _mac(keys: TokenKeys, label: bytes, *parts: bytes) -> bytes:
    """Answer the MAC of parts of fixed length; no label is the beginning of another."""
    return hmac.digest(keys.admission, label + b"\0" + b"".join(parts), "sha256")


def _require(keys: TokenKeys, mac: bytes, label: bytes, *parts: bytes) -> None:
    if not hmac.compare_digest(mac, _mac(keys, label, *parts)):
        raise WrongToken


class WrongToken(PacelineError):
    """The other side does not know the token, or somebody stands in between."""

    def __init__(self) -> None:
        super().__init__(
            "the node there does not know this cluster's token, or somebody is in between; compare "
            "with `paceline token show` on a member"
        )


def _standing(body: bytes) -> Standing:
    standing = codec.decode(Standing, body, BODY_LIMIT_BYTES)
    if len(standing.nonce) != NONCE_BYTES or len(standing.cluster_id) > CLUSTER_ID_LIMIT:
        raise ProtocolError("a standing that no node has")
    return replace(standing, contact=checked(standing.contact))


# --- the member -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proven:
    """Who has proven to know the token, and the transcript in which it did."""

    standing: Standing
    transcript: bytes
    keys: TokenKeys = field(repr=False)

    def verdict(self, answer: JoinAnswer) -> Verdict:
        """Answer the signed answer."""
        body = codec.encode(answer)
        digest = hashlib.sha256(body).digest()
        return Verdict(body, _mac(self.keys, b"verdict", self.transcript, digest))


class Doorkeeper:
    """The member's side of all admissions; bounded memory whoever comes.

    `own()` answers this node's contact as it is now, for it is announced anew at times.
    """

    def __init__(self, *, own: Callable[[], Contact], clock: Clock) -> None:
        self._own = own
        self._clock = clock
        self._secret = secrets.token_bytes(KEY_BYTES)
        self._used: OrderedDict[bytes, int] = OrderedDict()

    def challenge(
        self, opening: Opening, keys: TokenKeys, *, cluster_id: str, has_work: bool
    ) -> Challenge:
        """Answer a stranger's opening. Raise ProtocolError, or Conflict for another token's."""
        newcomer = _standing(opening.body)
        own = self._own()
        if newcomer.contact.node_id == own.node_id and newcomer.contact == own:
            raise ProtocolError("an opening of this node's own")
        if newcomer.contact.cluster_hint != keys.hint:
            raise Conflict("the cluster here has another token; `paceline token show` prints it")
        nonce = self._nonce(opening.body, self._clock.monotonic_ms(), secrets.token_bytes(8))
        body = codec.encode(Standing(own, nonce, cluster_id, has_work, NEWEST_LEVEL))
        return Challenge(body, _mac(keys, b"member", transcript(opening.body, body)))

    def verify(self, proof: Proof, keys: TokenKeys, *, cluster_id: str) -> Proven:
        """Answer who has proven itself; each challenge can be answered once.

        Raise ProtocolError for what is not an answer to a challenge of this node, Conflict for one
        that came too late, WrongToken, Busy.
        """
        mine = _standing(proof.challenge)
        at_ms, random, _ = _NONCE.unpack(mine.nonce)
        if not hmac.compare_digest(mine.nonce, self._nonce(proof.opening, at_ms, random)):
            raise ProtocolError("an answer to a challenge that was never made")
        now_ms = self._clock.monotonic_ms()
        if not 0 <= now_ms - at_ms <= NONCE_LIFE_MS or mine.cluster_id != cluster_id:
            raise Conflict("the answer came too late; try again")
        if mine.contact.node_id != self._own().node_id:
            raise ProtocolError("an answer to a challenge of another node")
        heard = transcript(proof.opening, proof.challenge)
        _require(keys, proof.mac, b"newcomer", heard)
        self._use_up(mine.nonce, now_ms)
        return Proven(_standing(proof.opening), heard, keys)

    def _nonce(self, opening: bytes, at_ms: int, random: bytes) -> bytes:
        """Answer a nonce that only this process makes, for this opening, at that time."""
        told = struct.pack(">Q", at_ms) + random + hashlib.sha256(opening).digest()
        return _NONCE.pack(at_ms, random, hmac.digest(self._secret, told, "sha256")[:16])

    def _use_up(self, nonce: bytes, now_ms: int) -> None:
        while self._used and next(iter(self._used.values())) < now_ms - NONCE_LIFE_MS:
            self._used.popitem(last=False)
        if nonce in self._used:
            raise ProtocolError("a proof for the second time")
        if len(self._used) >= USED_LIMIT:
            raise Busy("too many nodes join at once; try again in a moment")
        self._used[nonce] = now_ms


# --- the newcomer ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Met:
    """A member that has proven to know the token, and what to send it now."""

    standing: Standing
    transcript: bytes
    proof: Proof


class Visit:
    """The newcomer's side of one admission."""

    def __init__(
        self, own: Contact, keys: TokenKeys, *, cluster_id: str = "", has_work: bool = False
    ) -> None:
        self._own_id: NodeId = own.node_id
        self._keys = keys
        nonce = secrets.token_bytes(NONCE_BYTES)
        standing = Standing(own, nonce, cluster_id, has_work, NEWEST_LEVEL)
        self.opening = Opening(codec.encode(standing))

    def meet(self, answer: Message) -> Met:
        """Check the member's proof. Raise WrongToken, ProtocolError, or Conflict for a refusal."""
        if isinstance(answer, Refusal):
            raise Conflict(printable_reason(answer.reason))
        if not isinstance(answer, Challenge):
            raise ProtocolError("an opening is answered by a challenge")
        heard = transcript(self.opening.body, answer.body)
        _require(self._keys, answer.mac, b"member", heard)
        mac = _mac(self._keys, b"newcomer", heard)
        proof = Proof(self.opening.body, answer.body, mac)
        return Met(_standing(answer.body), heard, proof)

    def judge(self, met: Met, answer: Message) -> JoinAnswer:
        """Check that the verdict is the member's, and answer it. Raise as `meet`."""
        if isinstance(answer, Refusal):
            raise Conflict(printable_reason(answer.reason))
        if not isinstance(answer, Verdict):
            raise ProtocolError("a proof is answered by a verdict")
        digest = hashlib.sha256(answer.body).digest()
        _require(self._keys, answer.mac, b"verdict", met.transcript, digest)
        verdict = codec.decode(JoinAnswer, answer.body, VERDICT_LIMIT_BYTES)
        members = tuple(checked(member) for member in verdict.members)
        return JoinAnswer(
            verdict.accepted,
            printable_reason(verdict.reason),
            verdict.cluster_id,
            members,
            verdict.pending,
            verdict.listed,
        )


def printable_reason(reason: str) -> str:
    """Answer a stranger's words in a form that does a terminal no harm."""
    cut = reason[:REASON_LIMIT]
    return "".join(character if character.isprintable() else "?" for character in cut)


KEY_BYTES: Final = 32
