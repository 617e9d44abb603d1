"""The exchange that admits a newcomer, and everything that somebody in between might do to it."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline import codec
from paceline.discovery.record import Contact
from paceline.errors import Busy, Conflict, PacelineError, ProtocolError
from paceline.node import admission
from paceline.node.admission import (
    MESSAGES,
    NONCE_LIFE_MS,
    Challenge,
    Doorkeeper,
    JoinAnswer,
    Opening,
    Proof,
    Refusal,
    Standing,
    Verdict,
    Visit,
    WrongToken,
    decode_message,
    transcript,
)
from paceline.node.keys import new_keys
from paceline.node.token import TokenKeys
from tests.clocks import ManualClock

TOKEN = TokenKeys("hint", b"k" * 32)
GUESS = TokenKeys("hint", b"g" * 32)
CLUSTER = "c1"


def contact(port: int = 7000) -> Contact:
    keys = new_keys()
    return Contact(
        keys.node_id, keys.public, ("10.0.0.1",), port, port + 1, port + 2, cluster_hint="hint"
    )


@dataclass
class Member:
    """A member with its door, and a newcomer that knows the same token."""

    keys: TokenKeys = TOKEN

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        self.contact = contact()
        self.door = Doorkeeper(own=lambda: self.contact, clock=self.clock)

    def challenge(self, opening: Opening) -> Challenge:
        return self.door.challenge(opening, self.keys, cluster_id=CLUSTER, has_work=False)

    def verify(self, proof: Proof) -> admission.Proven:
        return self.door.verify(proof, self.keys, cluster_id=CLUSTER)


@pytest.fixture
def member() -> Member:
    return Member()


def visit(keys: TokenKeys = TOKEN) -> Visit:
    return Visit(contact(8000), keys)


def test_both_learn_who_the_other_is(member: Member) -> None:
    newcomer = contact(8000)
    visitor = Visit(newcomer, TOKEN)
    met = visitor.meet(member.challenge(visitor.opening))
    assert met.standing.contact == member.contact
    assert met.standing.cluster_id == CLUSTER
    proven = member.verify(met.proof)
    assert proven.standing.contact == newcomer
    assert proven.transcript == met.transcript
    answer = JoinAnswer(True, "", CLUSTER, (member.contact,))
    assert visitor.judge(met, proven.verdict(answer)) == answer


def test_all_messages_survive_the_wire(member: Member) -> None:
    visitor = visit()
    challenge = member.challenge(visitor.opening)
    met = visitor.meet(challenge)
    verdict = member.verify(met.proof).verdict(JoinAnswer(True, "", CLUSTER))
    for message in (visitor.opening, challenge, met.proof, verdict, Refusal("no")):
        assert decode_message(MESSAGES.encode(message)) == message


# --- who does not know the token ------------------------------------------------------------------


def test_a_newcomer_shows_no_proof_to_who_cannot_prove_first(member: Member) -> None:
    with pytest.raises(WrongToken, match="token show"):
        visit(GUESS).meet(member.challenge(visit(GUESS).opening))


def test_a_guessed_proof_is_refused(member: Member) -> None:
    visitor = visit()
    challenge = member.challenge(visitor.opening)
    for mac in (bytes(32), b"", challenge.mac):  # its own proof sent back is one of them
        with pytest.raises(WrongToken):
            member.verify(Proof(visitor.opening.body, challenge.body, mac))


def test_another_clusters_hint_is_told_apart_at_once(member: Member) -> None:
    other = replace(contact(8000), cluster_hint="other")
    with pytest.raises(Conflict, match="another token"):
        member.challenge(Visit(other, TOKEN).opening)


def test_an_opening_of_its_own_is_not_answered(member: Member) -> None:
    with pytest.raises(ProtocolError, match="own"):
        member.challenge(Visit(member.contact, TOKEN).opening)


# --- somebody in between --------------------------------------------------------------------------


def with_contact(body: bytes, other: Contact) -> bytes:
    standing = codec.decode(Standing, body)
    return codec.encode(replace(standing, contact=other))


def test_a_relayed_proof_with_another_newcomers_key_is_void(member: Member) -> None:
    """Mallory hands on a newcomer's proof, but wants her own key admitted."""
    visitor, mallory = visit(), contact(6666)
    hers = Opening(with_contact(visitor.opening.body, mallory))
    challenge = member.challenge(hers)
    with pytest.raises(WrongToken):  # the newcomer's transcript has its own key in it
        visitor.meet(challenge)
    honest = visitor.meet(member.challenge(visitor.opening))
    with pytest.raises((WrongToken, ProtocolError)):
        member.verify(Proof(hers.body, challenge.body, honest.proof.mac))
    with pytest.raises(ProtocolError, match="never made"):
        member.verify(Proof(hers.body, honest.proof.challenge, honest.proof.mac))


def test_a_relayed_challenge_with_another_members_key_is_void(member: Member) -> None:
    """Mallory wants the newcomer to take her for a member."""
    visitor, mallory = visit(), contact(6666)
    challenge = member.challenge(visitor.opening)
    with pytest.raises(WrongToken):
        visitor.meet(Challenge(with_contact(challenge.body, mallory), challenge.mac))


def test_a_verdict_cannot_be_made_up_or_changed(member: Member) -> None:
    visitor, mallory = visit(), contact(6666)
    met = visitor.meet(member.challenge(visitor.opening))
    verdict = member.verify(met.proof).verdict(JoinAnswer(True, "", CLUSTER, (member.contact,)))
    lie = codec.encode(JoinAnswer(True, "", CLUSTER, (mallory,)))
    for forged in (Verdict(lie, verdict.mac), Verdict(lie, met.proof.mac), Verdict(lie, bytes(32))):
        with pytest.raises(WrongToken):
            visitor.judge(met, forged)


def test_a_verdict_of_another_exchange_is_void(member: Member) -> None:
    first, second = visit(), visit()
    earlier = member.verify(first.meet(member.challenge(first.opening)).proof)
    met = second.meet(member.challenge(second.opening))
    with pytest.raises(WrongToken):
        second.judge(met, earlier.verdict(JoinAnswer(True, "", CLUSTER)))


# --- recorded exchanges ---------------------------------------------------------------------------


def test_a_proof_counts_once(member: Member) -> None:
    visitor = visit()
    met = visitor.meet(member.challenge(visitor.opening))
    member.verify(met.proof)
    with pytest.raises(ProtocolError, match="second time"):
        member.verify(met.proof)


def test_a_proof_that_comes_late_is_void(member: Member) -> None:
    visitor = visit()
    met = visitor.meet(member.challenge(visitor.opening))
    member.clock.advance(NONCE_LIFE_MS + 1)
    with pytest.raises(Conflict, match="too late"):
        member.verify(met.proof)


def test_a_recorded_challenge_does_not_fit_a_new_opening(member: Member) -> None:
    recorded = member.challenge(visit().opening)
    with pytest.raises(WrongToken):
        visit().meet(recorded)


def test_a_restarted_member_knows_nothing_of_its_former_challenges(member: Member) -> None:
    visitor = visit()
    met = visitor.meet(member.challenge(visitor.opening))
    again = Doorkeeper(own=lambda: member.contact, clock=member.clock)
    with pytest.raises(ProtocolError, match="never made"):
        again.verify(met.proof, TOKEN, cluster_id=CLUSTER)


def test_a_challenge_of_another_member_is_not_this_ones(member: Member) -> None:
    other = Member()
    visitor = visit()
    met = visitor.meet(other.challenge(visitor.opening))
    with pytest.raises(ProtocolError, match="never made"):
        member.verify(met.proof)


def test_a_rotated_token_voids_what_is_under_way(member: Member) -> None:
    visitor = visit()
    met = visitor.meet(member.challenge(visitor.opening))
    member.keys = TokenKeys("hint", b"n" * 32)
    with pytest.raises(WrongToken):
        member.verify(met.proof)


# --- bounds ---------------------------------------------------------------------------------------


def test_strangers_leave_nothing_behind(member: Member) -> None:
    for _ in range(200):
        member.challenge(visit().opening)
    assert not member.door._used


def test_used_nonces_are_bounded_and_forgotten(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "USED_LIMIT", 3)

    def join() -> None:
        visitor = visit()
        member.verify(visitor.meet(member.challenge(visitor.opening)).proof)

    for _ in range(3):
        join()
    with pytest.raises(Busy):
        join()
    member.clock.advance(NONCE_LIFE_MS + 1)
    join()
    assert len(member.door._used) == 1


def test_a_refusal_is_shown_without_control_characters() -> None:
    with pytest.raises(Conflict) as refused:
        visit().meet(Refusal("go \x1b[31maway\n" + "x" * 1000))
    assert str(refused.value).startswith("go ?[31maway?x")
    assert len(str(refused.value)) == 300


@given(st.binary(max_size=400))
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    try:
        decode_message(data)
    except ProtocolError:
        return


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=64))
def test_whatever_is_put_to_a_member_is_refused(one: bytes, two: bytes, mac: bytes) -> None:
    member, visitor = Member(), visit()
    with pytest.raises(PacelineError):
        member.challenge(Opening(one))
    with pytest.raises(PacelineError):
        member.verify(Proof(one, two, mac))
    with pytest.raises(PacelineError):
        visitor.meet(Challenge(two, mac))


def test_where_one_body_ends_and_the_other_begins_counts() -> None:
    assert transcript(b"ab", b"c") != transcript(b"a", b"bc")
