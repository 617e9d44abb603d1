"""Figure 2 of the paper, rule by rule (Ongaro and Ousterhout 2014, extended version).

The order and the headings are the figure's; sections are those of the paper.
"""

from itertools import product

import pytest

from paceline.consensus.core import CoreConfig
from paceline.consensus.messages import (
    Append,
    AppendReply,
    EntryKind,
    HardState,
    Heartbeat,
    HeartbeatReply,
    Message,
    VoteReply,
    VoteRequest,
)
from paceline.consensus.storage.protocol import StoredLog
from tests.consensus.lab import Lab, Node, entries, founding


def node(*terms: int, term: int = 1, vote: str = "", commit: int = 0, voters: str = "abc") -> Node:
    """Answer b with a log of these terms."""
    stored = StoredLog(HardState(term, vote, commit), founding(voters), entries(*terms))
    return Node(CoreConfig("b"), stored)


def answers(node: Node, message: Message) -> list[Message]:
    """Hand a message over; answer all that is sent before the node rests."""
    node.core.step(message)
    out: list[Message] = []
    while (turn := node.take_ready())[0] is not None:
        out += turn[1]
    return out


def append(node: Node, message: Append) -> AppendReply:
    (reply,) = answers(node, message)
    assert isinstance(reply, AppendReply)
    return reply


def vote(node: Node, request: VoteRequest) -> bool:
    (reply,) = answers(node, request)
    assert isinstance(reply, VoteReply)
    return reply.granted


def candidate(voters: str = "abc", terms: tuple[int, ...] = (1,)) -> Node:
    """Answer b as a candidate of term 2 that has written its own vote and sent its requests."""
    made = node(*terms, voters=voters)
    made.core.campaign()
    for voter in voters:
        if voter != "b" and made.core.role == "pre_candidate":
            made.core.step(VoteReply(voter, "b", 2, granted=True, pre=True))
    made.take_ready()
    assert (made.core.role, made.core.term) == ("candidate", 2)
    return made


def leader(voters: str = "abc", terms: tuple[int, ...] = (1,)) -> Node:
    """Answer b as the leader of term 2, before it has done anything."""
    made = candidate(voters, terms)
    for voter in voters:
        if voter != "b" and made.core.role == "candidate":
            made.core.step(VoteReply(voter, "b", 2, granted=True))
    assert made.core.role == "leader"
    return made


# --- State ----------------------------------------------------------------------------------------


# Persistent state: updated on stable storage before responding.
def test_term_and_vote_are_durable_before_the_vote_is_told() -> None:
    voter = node(1)
    voter.fast = False
    voter.core.step(VoteRequest("a", "b", 7, 1, 1))
    ready, out = voter.take_ready()
    assert ready is not None
    assert ready.hard_state == HardState(7, "a", 0)
    assert out == []
    assert voter.sync() == [VoteReply("b", "a", 7, granted=True)]


def test_entries_are_durable_before_they_are_acknowledged() -> None:
    follower = node(1)
    follower.fast = False
    follower.core.step(Append("a", "b", 1, 1, 1, 0, entries(1, first=2)))
    ready, out = follower.take_ready()
    assert ready is not None
    assert ready.entries == entries(1, first=2)
    assert out == []
    assert [getattr(reply, "match", None) for reply in follower.sync()] == [2]


def test_a_vote_is_remembered_over_a_restart() -> None:
    voter = node(1)
    assert vote(voter, VoteRequest("a", "b", 7, 1, 1))
    voter.restart()
    assert not vote(voter, VoteRequest("c", "b", 7, 1, 1))
    assert vote(voter, VoteRequest("a", "b", 7, 1, 1))


# currentTerm and commitIndex increase monotonically; lastApplied too.
def test_term_and_commit_index_never_fall() -> None:
    follower = node(1, 1, 1, term=3)
    answers(follower, Heartbeat("a", "b", 3, commit=2))
    answers(follower, Heartbeat("a", "b", 3, commit=1))
    answers(follower, Append("a", "b", 2, 1, 1, 3))
    assert (follower.core.term, follower.core.commit_index) == (3, 2)


# nextIndex starts at the leader's last log index + 1, matchIndex at 0, anew after each election.
def test_a_new_leader_starts_from_its_own_last_index() -> None:
    led = leader(terms=(1, 1, 1))
    peers = {peer.node_id: (peer.match, peer.next_index) for peer in led.core.status().peers}
    assert peers == {"a": (0, 4), "c": (0, 4)}


# --- AppendEntries RPC ----------------------------------------------------------------------------


# Rule 1 (section 5.1).
def test_an_append_of_an_older_term_is_refused_with_the_newer_one() -> None:
    follower = node(1, 1, term=3)
    reply = append(follower, Append("a", "b", 2, 2, 1, 2, entries(2, first=3)))
    assert (reply.term, reply.rejected) == (3, True)
    assert follower.core.status().last_index == 2


# Rule 2 (section 5.3).
@pytest.mark.parametrize(("prev_index", "prev_term"), [(2, 2), (3, 1), (9, 1)])
def test_an_append_whose_previous_entry_is_not_here_is_refused(
    prev_index: int, prev_term: int
) -> None:
    follower = node(1, 1)
    reply = append(follower, Append("a", "b", 1, prev_index, prev_term, 0))
    assert reply.rejected
    assert reply.prev_index == prev_index


# Rule 3 (section 5.3).
def test_a_conflicting_entry_goes_with_all_that_follow_it() -> None:
    follower = node(1, 1, 1, 1)
    reply = append(follower, Append("a", "b", 2, 1, 1, 0, entries(2, first=2)))
    assert (reply.rejected, reply.match) == (False, 2)
    assert [entry.term for entry in follower.disk.entries] == [1, 2]


# Rule 4.
def test_only_entries_that_are_missing_are_appended() -> None:
    follower = node(1, 1, 2)
    append(follower, Append("a", "b", 2, 1, 1, 0, entries(1, 2, 2, first=2)))
    assert [entry.term for entry in follower.disk.entries] == [1, 1, 2, 2]


def test_an_old_append_takes_nothing_away() -> None:
    follower = node(1)
    append(follower, Append("a", "b", 1, 1, 1, 0, entries(1, 1, first=2)))
    append(follower, Append("a", "b", 1, 1, 1, 0, entries(1, first=2)))
    assert follower.core.status().last_index == 3


# Rule 5.
@pytest.mark.parametrize(
    ("leader_commit", "sent", "expected"), [(1, 1, 1), (2, 1, 2), (4, 1, 2), (4, 0, 1), (4, 2, 3)]
)
def test_the_commit_index_follows_up_to_the_last_new_entry(
    leader_commit: int, sent: int, expected: int
) -> None:
    """What stands behind it may be a leftover: here entries 2 to 4 were the old leader's."""
    follower = node(1, 1, 1, 1)
    sent_entries = entries(*[1] * sent, first=2)
    append(follower, Append("a", "b", 2, 1, 1, leader_commit, sent_entries))
    assert follower.core.commit_index == expected


# --- RequestVote RPC ------------------------------------------------------------------------------


# Rule 1 (section 5.1).
def test_a_request_of_an_older_term_is_refused_with_the_newer_one() -> None:
    (reply,) = answers(node(1, term=3), VoteRequest("a", "b", 2, 9, 2))
    assert reply == VoteReply("b", "a", 3, granted=False)


# Rule 2 (sections 5.2 and 5.4).
@pytest.mark.parametrize(
    ("given", "asker", "granted"),
    [("", "a", True), ("a", "a", True), ("c", "a", False), ("b", "a", False)],
)
def test_the_vote_goes_to_one_candidate_per_term(given: str, asker: str, granted: bool) -> None:
    assert vote(node(1, vote=given), VoteRequest(asker, "b", 1, 1, 1)) == granted


@pytest.mark.parametrize(
    ("last_term", "last_index", "granted"),
    [(1, 9, False), (2, 1, False), (2, 2, True), (2, 3, True), (3, 1, True)],
)
def test_a_candidate_whose_log_is_behind_gets_no_vote(
    last_term: int, last_index: int, granted: bool
) -> None:
    assert vote(node(1, 2), VoteRequest("a", "b", 5, last_index, last_term)) == granted


# --- Rules for all servers ------------------------------------------------------------------------


# What is committed is applied, in order.
def test_committed_entries_are_applied_in_order() -> None:
    follower = node(1, 1, 1)
    answers(follower, Heartbeat("a", "b", 1, commit=2))
    answers(follower, Heartbeat("a", "b", 1, commit=3))
    assert follower.applied == list(entries(1, 1, 1))


# A higher term in any message makes a follower in that term (section 5.1).
@pytest.mark.parametrize(
    ("make", "message"),
    list(
        product(
            [node, candidate, leader],
            [
                VoteReply("a", "b", 9, granted=False),
                VoteRequest("a", "b", 9, 0, 0, transfer=True),
                Append("a", "b", 9, 0, 0, 0),
                AppendReply("a", "b", 9, match=0, rejected=True),
                Heartbeat("a", "b", 9, 0),
                HeartbeatReply("a", "b", 9),
            ],
        )
    ),
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_a_higher_term_makes_a_follower(make: object, message: Message) -> None:
    assert callable(make)
    someone: Node = make()
    someone.core.step(message)
    assert (someone.core.role, someone.core.term) == ("follower", 9)


# --- Followers (section 5.2) ----------------------------------------------------------------------


def test_silence_for_an_election_timeout_makes_a_follower_stand() -> None:
    follower = node(1)
    for _ in range(19):
        follower.core.tick()
    assert follower.core.role == "follower"
    follower.core.tick()
    assert follower.core.role == "pre_candidate"


@pytest.mark.parametrize(
    "message",
    [Heartbeat("a", "b", 1, 0), VoteRequest("a", "b", 1, 1, 1), Append("a", "b", 1, 0, 0, 0)],
)
def test_a_word_of_the_leader_or_a_vote_given_restarts_the_timeout(message: Message) -> None:
    follower = node(1)
    for _ in range(19):
        follower.core.tick()
    follower.core.step(message)
    follower.core.tick()
    assert follower.core.role == "follower"


def test_a_vote_refused_does_not_restart_the_timeout() -> None:
    follower = node(1, 1)
    for _ in range(19):
        follower.core.tick()
    follower.core.step(VoteRequest("a", "b", 1, 1, 1))
    follower.core.tick()
    assert follower.core.role == "pre_candidate"


# --- Candidates (section 5.2) ---------------------------------------------------------------------


def test_a_candidate_raises_its_term_votes_for_itself_and_asks_all_others() -> None:
    standing = node(1, voters="abcde")
    standing.core.campaign()
    standing.take_ready()
    for voter in "ac":
        standing.core.step(VoteReply(voter, "b", 2, granted=True, pre=True))
    assert (standing.core.role, standing.core.term) == ("candidate", 2)
    ready, out = standing.take_ready()
    assert ready is not None
    assert ready.hard_state == HardState(2, "b", 0)
    assert out == [VoteRequest("b", voter, 2, 1, 1) for voter in "acde"]


@pytest.mark.parametrize(
    ("voters", "votes", "role"),
    [
        ("abc", "", "candidate"),
        ("abc", "a", "leader"),
        ("abcde", "a", "candidate"),
        ("abcde", "ac", "leader"),
        ("abcd", "a", "candidate"),
        ("abcd", "ac", "leader"),
    ],
)
def test_votes_of_a_majority_make_a_leader(voters: str, votes: str, role: str) -> None:
    standing = candidate(voters)
    for voter in votes:
        standing.core.step(VoteReply(voter, "b", 2, granted=True))
    assert standing.core.role == role


def test_a_repeated_vote_counts_once_and_a_strangers_not_at_all() -> None:
    standing = candidate("abcde")
    for voter in "aaazz":
        standing.core.step(VoteReply(voter, "b", 2, granted=True))
    assert standing.core.role == "candidate"


@pytest.mark.parametrize("message", [Append("a", "b", 2, 0, 0, 0), Heartbeat("a", "b", 2, 0)])
def test_a_candidate_follows_whoever_has_won_its_term(message: Message) -> None:
    standing = candidate()
    standing.core.step(message)
    assert (standing.core.role, standing.core.leader_id) == ("follower", "a")
    assert standing.disk.hard_state.vote == "b"  # one vote per term, even then


def test_a_candidate_whose_timeout_passes_stands_again() -> None:
    standing = candidate()
    for _ in range(20):
        standing.core.tick()
    assert standing.take_ready()[1][0] == VoteRequest("b", "a", 3, 1, 1, pre=True)


# --- Leaders --------------------------------------------------------------------------------------


# Upon election, and while idle (section 5.2); the first append carries the empty entry (section 8).
def test_a_new_leader_makes_itself_known_to_everybody() -> None:
    led = leader()
    ready, out = led.take_ready()
    assert ready is not None
    (empty,) = ready.entries
    assert (empty.index, empty.term, empty.kind) == (2, 2, EntryKind.EMPTY)
    assert out == [Append("b", to, 2, 1, 1, 0, (empty,)) for to in "ac"]


def test_an_idle_leader_keeps_the_others_from_standing() -> None:
    lab = Lab.of("a", "b", "c")
    lab.elect("a")
    for _ in range(100):
        for node_id in "abc":
            lab.tick(node_id)
        lab.settle()
    assert [lab[node_id].role for node_id in "abc"] == ["leader", "follower", "follower"]
    assert lab["a"].term == 1


# A command is appended, and answered after it is applied (section 5.3).
def test_a_command_is_appended_and_applied_once_a_majority_has_it() -> None:
    led = leader()
    led.take_ready()
    index = led.core.propose([b"x"])
    led.take_ready()
    assert led.applied == []
    led.core.step(AppendReply("a", "b", 2, match=index))
    led.take_ready()
    assert [entry.data for entry in led.applied] == [b"1/1", b"", b"x"]


# Entries from nextIndex on are sent; success moves nextIndex and matchIndex (section 5.3).
def test_an_acknowledgement_moves_next_and_match() -> None:
    led = leader()
    led.take_ready()
    led.core.step(AppendReply("a", "b", 2, match=2))
    first = led.core.status().peers[0]
    assert (first.match, first.next_index) == (2, 3)


# A refusal moves nextIndex back, and the append is tried again (section 5.3).
def test_a_refusal_moves_next_back_and_is_tried_again() -> None:
    led = leader(terms=(1, 1, 1))
    led.take_ready()
    led.core.step(
        AppendReply("a", "b", 2, 0, rejected=True, prev_index=3, hint_index=1, hint_term=1)
    )
    _, out = led.take_ready()
    (retried,) = [message for message in out if message.to == "a"]
    assert isinstance(retried, Append)
    assert (retried.prev_index, len(retried.entries)) == (1, 3)


# Commit: a majority has it, and it is of the current term (sections 5.3 and 5.4; figure 8).
def test_entries_of_earlier_terms_are_never_committed_by_counting() -> None:
    led = leader(voters="abcde", terms=(1, 1))
    led.take_ready()
    for follower in "acde":
        led.core.step(AppendReply(follower, "b", 2, match=2))
    led.take_ready()
    assert led.core.commit_index == 0
    for follower in "ac":
        led.core.step(AppendReply(follower, "b", 2, match=3))
    led.take_ready()
    assert led.core.commit_index == 3


@pytest.mark.parametrize(
    ("voters", "having", "committed"),
    [("abc", "", False), ("abc", "a", True), ("abcde", "a", False), ("abcde", "ac", True)],
)
def test_an_entry_of_the_own_term_is_committed_by_a_majority(
    voters: str, having: str, committed: bool
) -> None:
    led = leader(voters)
    led.take_ready()
    for follower in having:
        led.core.step(AppendReply(follower, "b", 2, match=2))
    led.take_ready()
    assert (led.core.commit_index == 2) == committed
