"""The core's interface: wishes, Ready, tokens, reads, transfer, restart, status."""

import pytest

from paceline.consensus.core import Core, CoreConfig
from paceline.consensus.messages import (
    Append,
    EntryKind,
    HardState,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Membership,
    ReadReply,
    ReadRequest,
    SnapshotMeta,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from paceline.consensus.ready import PersistToken
from paceline.consensus.storage.protocol import StoredLog
from paceline.errors import Busy, Conflict, InputError, NotLeader, ProtocolError
from tests.consensus.lab import Lab, Node, Smallest, entries, founding


def led(*voters: str, learners: tuple[str, ...] = (), **options: int) -> Lab:
    lab = Lab.of(*(voters or ("a", "b", "c")), learners=learners, **options)
    lab.elect("a")
    return lab


def follower(*terms: int, term: int = 1, commit: int = 0) -> Node:
    """Answer b, of the voters a, b, c, with a log of these terms."""
    stored = StoredLog(HardState(term, "", commit), founding("abc"), entries(*terms))
    return Node(CoreConfig("b"), stored)


# --- Ready ----------------------------------------------------------------------------------------


def test_there_is_nothing_to_do_at_first() -> None:
    assert follower(1, 1).core.ready() is None


def test_what_is_committed_already_is_given_out_after_a_restart() -> None:
    ready = follower(1, 1, 1, commit=2).core.ready()
    assert ready is not None
    assert ready.committed == entries(1, 1)
    assert ready.token is None
    assert not ready.must_sync


def test_a_write_names_the_end_of_the_log_as_it_leaves_it() -> None:
    node = follower(1)
    node.core.step(Append("a", "b", 3, 1, 1, 0, entries(2, 3, first=2)))
    ready = node.core.ready()
    assert ready is not None
    assert ready.token == PersistToken(term=3, last_index=3, last_term=3)
    assert ready.must_sync
    assert ready.hard_state == HardState(3, "", 0)


def test_a_new_commit_index_alone_is_not_worth_a_write() -> None:
    lab = led()
    lab["a"].propose([b"x"])
    lab.settle()
    lab["b"].step(Heartbeat("a", "b", 1, commit=2))
    ready = lab["b"].ready()
    assert ready is not None
    assert (ready.hard_state, ready.token) == (None, None)


def test_it_is_written_along_with_entries_and_covered_by_them() -> None:
    node = follower(1)
    node.core.step(Append("a", "b", 1, 1, 1, 3, entries(1, 1, first=2)))
    ready = node.core.ready()
    assert ready is not None
    assert ready.hard_state == HardState(1, "", 3)
    assert ready.entries[-1].index == 3


def test_committed_entries_are_bounded_in_bytes_per_ready() -> None:
    stored = StoredLog(HardState(1, "", 3), founding("abc"), entries(1, 1, 1))
    core = Core(CoreConfig("b", max_committed_bytes=1), stored, 0, Smallest())
    given = []
    while (ready := core.ready()) is not None:
        given.append([entry.index for entry in ready.committed])
    assert given == [[1], [2], [3]]


def test_an_answer_that_waits_for_an_earlier_write_does_not_overtake_it() -> None:
    """The second append brings nothing to write, but its answer vouches for the first one's."""
    node = follower(1)
    node.fast = False
    append = Append("a", "b", 1, 1, 1, 0, entries(1, first=2))
    node.core.step(append)
    assert node.take_ready()[1] == []
    node.core.step(append)
    ready, out = node.take_ready()
    assert ready is not None
    assert out == []
    assert ready.must_sync
    assert (ready.hard_state, ready.entries) == (None, ())
    assert len(node.sync() + node.sync()) == 2


def test_answers_to_several_appends_of_one_turn_are_one() -> None:
    node = follower(1)
    node.core.step(Append("a", "b", 1, 1, 1, 0, entries(1, first=2)))
    node.core.step(Append("a", "b", 1, 2, 1, 0, entries(1, first=3)))
    ready = node.core.ready()
    assert ready is not None
    assert [getattr(message, "match", None) for message in ready.after_sync] == [3]


def test_a_heartbeat_is_answered_without_waiting_for_the_disk_if_the_term_is_durable() -> None:
    node = follower(1)
    node.fast = False
    node.core.step(Append("a", "b", 1, 1, 1, 0, entries(1, first=2)))
    node.core.step(Heartbeat("a", "b", 1, 0))
    ready, out = node.take_ready()
    assert ready is not None
    assert [type(message) for message in out] == [HeartbeatReply]


def test_but_waits_for_the_disk_if_the_term_is_new() -> None:
    node = follower(1)
    node.fast = False
    node.core.step(Heartbeat("a", "b", 2, 0))
    assert node.take_ready()[1] == []
    assert [type(message) for message in node.sync()] == [HeartbeatReply]


def test_unknown_and_repeated_tokens_change_nothing() -> None:
    node = follower(1)
    node.core.step(Append("a", "b", 1, 1, 1, 2, entries(1, first=2)))
    ready = node.core.ready()
    assert ready is not None
    assert ready.token is not None
    node.core.persisted(PersistToken(1, 99, 1))
    assert node.core.ready() is None
    node.core.persisted(ready.token)
    node.core.persisted(ready.token)
    done = node.core.ready()
    assert done is not None
    assert done.committed == entries(1, first=2)


def test_one_token_stands_for_all_earlier_writes() -> None:
    lab = led("a")
    lab.nodes["a"].fast = False
    lab["a"].propose([b"x"])
    lab.turn("a")
    lab["a"].propose([b"y"])
    lab.turn("a")
    last = lab.nodes["a"].under_way[-1].token
    assert last is not None
    lab["a"].persisted(last)
    lab.turn("a")
    assert lab["a"].commit_index == 3


# --- wishes ---------------------------------------------------------------------------------------


def test_only_a_leader_takes_proposals_changes_and_transfers() -> None:
    lab = led()
    for wish in (
        lambda: lab["b"].propose([b"x"]),
        lambda: lab["b"].change_membership(["b"], []),
        lambda: lab["b"].transfer("c"),
    ):
        with pytest.raises(NotLeader) as refusal:
            wish()
        assert refusal.value.leader_id == "a"


def test_proposals_get_consecutive_indexes() -> None:
    lab = led()
    assert lab["a"].propose([b"x", b"y"]) == 2
    assert lab["a"].propose([b"z"]) == 4
    with pytest.raises(InputError):
        lab["a"].propose([])


def test_messages_to_others_are_ignored() -> None:
    node = follower(1)
    node.core.step(Heartbeat("a", "c", 9, 0))
    assert node.core.term == 1


def test_two_leaders_in_one_term_are_an_error() -> None:
    lab = led()
    with pytest.raises(ProtocolError):
        lab["a"].step(Heartbeat("b", "a", 1, 0))


def test_entries_that_do_not_follow_each_other_are_an_error() -> None:
    node = follower(1)
    with pytest.raises(ProtocolError):
        node.core.step(Append("a", "b", 1, 1, 1, 0, entries(1, first=3)))
    assert node.core.status().last_index == 1


def test_a_commit_beyond_what_was_acknowledged_is_an_error() -> None:
    with pytest.raises(ProtocolError):
        follower(1).core.step(Heartbeat("a", "b", 1, commit=7))


def test_report_of_a_follower_matter_only_to_a_leader() -> None:
    node = follower(1)
    node.core.report_unreachable("a")
    node.core.report_snapshot("a", ok=True)
    assert node.core.ready() is None


def test_the_leader_forgets_nobody() -> None:
    lab = led()
    lab["a"].forget_leader()
    assert (lab["a"].role, lab["a"].leader_id) == ("leader", "a")


# --- reads ----------------------------------------------------------------------------------------


def test_a_lone_voter_serves_a_read_at_once() -> None:
    lab = led("a")
    lab["a"].read_index(7)
    lab.turn("a")
    assert lab.nodes["a"].reads == [(7, 1)]


def test_many_reads_are_confirmed_by_one_round_of_heartbeats() -> None:
    lab = led()
    for context in range(50):
        lab["a"].read_index(context)
    lab.turn("a")
    assert len([m for m in lab.wire if isinstance(m, Heartbeat)]) == 2
    lab.settle()
    assert lab.nodes["a"].reads == [(context, 1) for context in range(50)]


def test_a_follower_asks_its_leader() -> None:
    lab = led(learners=("d",))
    for node_id in ("b", "d"):
        lab[node_id].read_index(7)
        lab.settle()
        assert lab.nodes[node_id].reads == [(7, 1)]


def test_a_follower_without_a_leader_cannot_read() -> None:
    with pytest.raises(NotLeader):
        follower(1).core.read_index(7)


def test_a_read_whose_round_was_lost_is_confirmed_by_the_next_heartbeat() -> None:
    lab = led()
    lab["a"].read_index(7)
    lab.turn("a")
    lab.drop()
    lab.settle()
    assert lab.nodes["a"].reads == []
    lab.tick("a", 2)
    lab.settle()
    assert lab.nodes["a"].reads == [(7, 1)]


def test_the_number_of_waiting_reads_is_bounded() -> None:
    lab = led(max_pending_reads=3)
    lab.isolate("a")
    for context in range(3):
        lab["a"].read_index(context)
        lab.turn("a")
    with pytest.raises(Busy):
        lab["a"].read_index(3)
    lab["a"].step(ReadRequest("b", "a", 1, 4))  # is dropped; b asks again
    lab.heal()
    lab.tick("a", 2)
    lab.settle()
    assert lab.nodes["a"].reads == [(0, 1), (1, 1), (2, 1)]
    assert lab.nodes["b"].reads == []


def test_a_late_answer_to_a_read_of_an_earlier_term_is_ignored() -> None:
    node = follower(1, term=2)
    node.core.step(ReadReply("a", "b", 1, context=7, index=1))
    assert node.core.ready() is None


# --- transfer -------------------------------------------------------------------------------------


def test_leadership_is_handed_to_a_follower_with_the_whole_log_at_once() -> None:
    lab = led()
    lab["a"].transfer("c")
    lab.settle()
    assert (lab["c"].role, lab["c"].term) == ("leader", 2)
    assert lab["a"].leader_id == "c"


def test_a_transfer_to_oneself_or_twice_to_the_same_changes_nothing() -> None:
    lab = led()
    lab["a"].transfer("a")
    lab["a"].propose([b"x"])
    lab["a"].transfer("b")
    lab["a"].transfer("b")
    lab.turn("a")
    lab.deliver()
    lab.turn("b")
    lab.deliver()
    lab.turn("a")
    assert len([m for m in lab.wire if isinstance(m, TimeoutNow)]) == 1


def test_only_a_voter_can_be_handed_leadership() -> None:
    lab = led(learners=("d",))
    for target in ("d", "z"):
        with pytest.raises(Conflict):
            lab["a"].transfer(target)


def test_a_learner_that_is_told_to_stand_does_not() -> None:
    lab = led(learners=("d",))
    lab["d"].step(TimeoutNow("a", "d", 1))
    assert lab["d"].role == "learner"


# --- leading --------------------------------------------------------------------------------------


def test_a_leader_whose_disk_stalls_lets_another_lead() -> None:
    lab = led(stall_ticks=10)
    lab.nodes["a"].fast = False
    lab["a"].propose([b"x"])
    for _ in range(10):
        lab.settle()
        assert lab["a"].role == "leader"
        lab.tick("a")
    lab.settle()
    assert lab["a"].role == "follower"
    assert lab["b"].role == "leader"
    assert lab["b"].status().last_index == 3  # with the entry that a could not write


def test_a_lone_voter_has_nobody_to_let_lead() -> None:
    lab = led("a", stall_ticks=10)
    lab.nodes["a"].fast = False
    lab["a"].propose([b"x"])
    lab.turn("a")
    lab.tick("a", 100)
    assert lab["a"].role == "leader"


def test_a_change_waits_for_the_one_before_and_for_an_entry_of_the_own_term() -> None:
    lab = led()
    lab["a"].change_membership(["a", "b"], ["c"])
    with pytest.raises(Conflict):
        lab["a"].change_membership(["a", "b", "c"], [])
    lab.settle()
    lab["a"].change_membership(["a", "b", "c"], [])
    lab.settle()
    assert lab["a"].status().membership == Membership(("a", "b", "c"))


def test_no_membership_change_while_leadership_is_handed_over() -> None:
    lab = led()
    lab["a"].transfer("b")
    with pytest.raises(Busy):
        lab["a"].change_membership(["a", "b"], [])


# --- status ---------------------------------------------------------------------------------------


def test_the_status_of_a_leader_and_of_its_followers() -> None:
    lab = led(learners=("d",))
    lab["a"].propose([b"x"])
    lab.settle()
    status = lab["a"].status()
    assert (status.role, status.term, status.leader_id) == ("leader", 1, "a")
    assert (status.commit_index, status.applied_index, status.last_index) == (2, 2, 2)
    assert status.first_index == 1
    assert status.quorum_active
    assert [(p.node_id, p.match, p.next_index, p.state) for p in status.peers] == [
        ("b", 2, 3, "replicate"),
        ("c", 2, 3, "replicate"),
        ("d", 2, 3, "replicate"),
    ]
    assert (lab["d"].status().role, lab["d"].status().peers) == ("learner", ())
    assert lab["b"].status().quorum_active
    lab["b"].forget_leader()
    assert not lab["b"].status().quorum_active


def test_a_compacted_log_begins_where_it_was_cut() -> None:
    lab = led()
    lab["a"].propose([b"x", b"y", b"z"])
    lab.settle()
    lab["a"].compact(lab["a"].snapshot_meta(3), 3)
    assert lab["a"].status().first_index == 3
    assert lab["a"].snapshot_meta(3) == SnapshotMeta(3, 1, Membership(("a", "b", "c")))


def test_a_joining_node_learns_the_membership_from_the_log() -> None:
    lab = led()
    lab.join("d")
    lab["a"].change_membership(["a", "b", "c"], ["d"])
    lab.settle()
    assert lab["d"].role == "learner"
    assert lab.nodes["d"].applied[-1].kind == EntryKind.MEMBERSHIP


def test_a_joining_node_grants_votes_before_it_knows_anything() -> None:
    lab = Lab()
    lab.join("d")
    lab["d"].step(VoteRequest("a", "d", 3, 5, 2))
    ready = lab["d"].ready()
    assert ready is not None
    assert ready.after_sync == (VoteReply("d", "a", 3, granted=True),)


def test_a_snapshot_is_installed_before_anything_is_acknowledged() -> None:
    node = follower(1)
    node.fast = False
    meta = SnapshotMeta(9, 3, Membership(("a", "b")))
    node.core.step(InstallSnapshot("a", "b", 3, meta))
    ready, out = node.take_ready()
    assert ready is not None
    assert (ready.snapshot, ready.entries, out) == (meta, (), [])
    assert ready.hard_state == HardState(3, "", 9)
    assert [getattr(message, "match", None) for message in node.sync()] == [9]
    assert node.disk.stored() == StoredLog(HardState(3, "", 9), meta, ())
