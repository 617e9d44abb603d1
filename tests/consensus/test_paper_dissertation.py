"""What Ongaro's dissertation (2014) adds to the paper; chapters and sections are its own."""

import pytest

from paceline.consensus.messages import (
    Append,
    AppendReply,
    EntryKind,
    Heartbeat,
    InstallSnapshot,
    Membership,
    ReadReply,
    SnapshotMeta,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from paceline.errors import Busy, Conflict
from tests.consensus.lab import Lab, entries


def led(*voters: str, learners: tuple[str, ...] = ()) -> Lab:
    lab = Lab.of(*(voters or ("a", "b", "c")), learners=learners)
    lab.elect("a")
    return lab


def beat(lab: Lab, leader: str = "a") -> None:
    lab.tick(leader, 2)
    lab.settle()


# --- 3.10 Leadership transfer ---------------------------------------------------------------------


# The leader stops taking requests from clients.
def test_no_proposal_is_taken_while_leadership_is_handed_over() -> None:
    lab = led()
    lab["a"].transfer("b")
    with pytest.raises(Busy):
        lab["a"].propose([b"x"])


# It brings the target's log up to date first, by normal replication.
def test_the_target_is_told_to_stand_only_when_it_has_the_whole_log() -> None:
    lab = led()
    lab.isolate("b")
    lab["a"].propose([b"x"])
    lab.settle()
    lab["a"].transfer("b")
    lab.turn("a")
    assert not [m for m in lab.wire if isinstance(m, TimeoutNow)]
    lab.heal()
    beat(lab)
    assert (lab["b"].role, lab["b"].term) == ("leader", 2)


# The target stands at once, as if its timeout had passed; others grant though they heard a leader.
def test_the_target_wins_although_everybody_heard_the_leader() -> None:
    lab = led()
    beat(lab)
    lab["b"].step(TimeoutNow("a", "b", 1))
    ready = lab["b"].ready()
    assert ready is not None
    (to_a, to_c) = ready.after_sync
    assert to_a == VoteRequest("b", "a", 2, 1, 1, pre=False, transfer=True)
    assert to_c == VoteRequest("b", "c", 2, 1, 1, pre=False, transfer=True)
    lab["c"].step(to_c)
    (reply,) = lab.nodes["c"].take_ready()[1]
    assert reply == VoteReply("c", "b", 2, granted=True)


# Given up after an election timeout: the leader takes requests again.
def test_a_transfer_that_takes_an_election_timeout_is_given_up() -> None:
    lab = led()
    lab.isolate("b")
    lab["a"].propose([b"x"])
    lab["a"].transfer("b")
    for _ in range(19):
        lab.tick("a")
        lab.settle()
    with pytest.raises(Busy):
        lab["a"].propose([b"y"])
    lab.tick("a")
    lab["a"].propose([b"y"])


# A second wish replaces the first.
def test_another_target_takes_the_place_of_the_first() -> None:
    lab = led()
    lab.isolate("b")
    lab["a"].propose([b"x"])
    lab["a"].transfer("b")
    lab["a"].transfer("c")
    lab.settle()
    assert lab["c"].role == "leader"


# --- 4.1 Safety: one change at a time -------------------------------------------------------------


# A server uses the newest configuration in its log, committed or not.
def test_a_membership_is_in_force_as_soon_as_it_is_in_the_log() -> None:
    lab = led()
    lab.isolate("a")
    lab["a"].change_membership(["a", "b"], [])
    lab.turn("a")
    assert lab["a"].status().membership == Membership(("a", "b"))
    assert lab["a"].commit_index == 1


# It may be truncated, and then the one before is in force again.
def test_a_truncated_membership_is_rolled_back() -> None:
    lab = led()
    lab.isolate("a")
    lab["a"].change_membership(["a", "b", "c", "d"], [])
    lab.settle()
    lab["b"].forget_leader()
    lab["c"].forget_leader()
    lab.tick("b")
    lab.settle()
    assert lab["b"].role == "leader"
    lab.heal()
    beat(lab, "b")
    assert lab["a"].status().membership == Membership(("a", "b", "c"))


# The next change waits until the one before is committed.
def test_a_change_waits_for_the_one_before_it() -> None:
    lab = led()
    lab["a"].change_membership(["a", "b"], [])
    with pytest.raises(Conflict):
        lab["a"].change_membership(["a"], [])
    lab.settle()
    lab["a"].change_membership(["a"], [])


# The erratum of 2015: and until an entry of the leader's own term is committed.
def test_a_change_waits_for_the_first_entry_of_the_leaders_term() -> None:
    lab = led()
    lab["b"].forget_leader()
    lab["c"].forget_leader()
    lab.isolate("a")
    lab.tick("b")
    while lab["b"].role != "leader":
        lab.turn("b")
        lab.deliver(lambda m: m.to == "c")
        lab.turn("c")
        lab.deliver(lambda m: m.to == "b")
    with pytest.raises(Conflict):
        lab["b"].change_membership(["b", "c"], [])
    lab.settle()
    lab["b"].change_membership(["b", "c"], [])


# --- 4.2.1 Catching up new servers ----------------------------------------------------------------


# A newcomer receives the log without counting.
def test_a_learner_receives_the_log_and_counts_for_nothing() -> None:
    lab = led("a", "b", learners=("d",))
    lab.isolate("b")
    lab["a"].propose([b"x"])
    lab.settle()
    assert lab["d"].status().last_index == 2
    assert lab["a"].commit_index == 1


# --- 4.2.2 Removing the current leader ------------------------------------------------------------


# It does not count itself.
def test_a_leader_that_removes_itself_does_not_count_itself() -> None:
    lab = led()
    lab.isolate("c")
    lab["a"].change_membership(["b", "c"], [])
    lab.settle()
    assert lab["b"].status().last_index == 2
    assert (lab["a"].role, lab["a"].commit_index) == ("leader", 1)


# It steps down once that is committed.
def test_a_removed_leader_goes_when_its_removal_is_committed() -> None:
    lab = led()
    lab["a"].change_membership(["b", "c"], [])
    lab.settle()
    assert lab["a"].role == "follower"
    assert lab["a"].commit_index == 2
    assert lab["b"].role == "leader"


# A voter whose removal is not committed still stands: it may be needed. It does not count itself.
def test_a_voter_stands_until_its_removal_is_committed() -> None:
    lab = led("a", "b")
    lab.isolate("a")
    lab["a"].change_membership(["b"], [])
    lab.turn("a")
    lab.tick("a", 20)
    lab.heal()

    # b needs a's vote by its own log, and does not get it: a's log is longer.
    lab.tick("b", 20)
    lab.settle()
    assert lab["b"].role != "leader"

    # So a must lead once more, with b's vote, which alone decides.
    lab.tick("a", 20)
    lab.tick("b", 20)
    lab.drop(lambda m: m.sender == "b")
    lab.settle()
    lab.tick("a", 20)
    lab.settle()
    assert lab["b"].role == "leader"
    assert lab["b"].status().membership == Membership(("b",))
    assert lab["a"].role == "follower"


# --- 4.2.3 Disruptive servers ---------------------------------------------------------------------


# A server that was removed and does not know it cannot disturb.
def test_a_removed_node_that_does_not_know_it_disturbs_nobody() -> None:
    lab = led()
    lab.isolate("c")
    lab["a"].change_membership(["a", "b"], [])
    lab.settle()
    lab.heal()
    beat(lab)
    lab.tick("c", 20)
    lab.settle()
    assert (lab["a"].role, lab["a"].term) == ("leader", 1)
    assert (lab["b"].leader_id, lab["b"].term) == ("a", 1)


# Requests within the minimum election timeout of hearing a leader neither update the term nor get
# a vote.
@pytest.mark.parametrize("pre", [True, False])
def test_a_request_while_the_leader_lives_changes_nothing(pre: bool) -> None:
    lab = led()
    lab.tick("b", 19)
    lab["b"].step(VoteRequest("c", "b", 9, 9, 9, pre=pre))
    lab.turn("b")
    assert not [m for m in lab.wire if isinstance(m, VoteReply) and m.granted]
    assert (lab["b"].term, lab["b"].leader_id) == (1, "a")


# --- 4.3 Arbitrary changes by joint consensus -----------------------------------------------------


# Entries go to the servers of both configurations, and need a majority of each.
@pytest.mark.parametrize(
    ("having", "committed"), [("bc", False), ("de", False), ("bd", True), ("bcde", True)]
)
def test_in_the_joint_state_both_majorities_are_needed(having: str, committed: bool) -> None:
    lab = led()
    for node_id in "de":
        lab.join(node_id)
    lab["a"].change_membership(["a", "d", "e"], [])
    lab.turn("a")
    assert {m.to for m in lab.wire} == {"b", "c", "d", "e"}
    for node_id in having:
        lab["a"].step(AppendReply(node_id, "a", 1, match=2))
    lab.turn("a")
    assert (lab["a"].commit_index == 2) == committed


# When the joint entry is committed, the leader appends the new configuration.
def test_the_leader_leaves_the_joint_state_when_it_is_committed() -> None:
    lab = led()
    for node_id in "de":
        lab.join(node_id)
    lab["a"].change_membership(["a", "d", "e"], ["b"])
    assert lab["a"].status().membership.joint
    lab.settle()
    for node_id in "abde":
        assert lab[node_id].status().membership == Membership(("a", "d", "e"), ("b",))
    kinds = [entry.kind for entry in lab.nodes["e"].applied]
    assert kinds == [EntryKind.EMPTY, EntryKind.MEMBERSHIP, EntryKind.MEMBERSHIP]


# A new leader that finds the joint entry finishes the change.
def test_a_new_leader_leaves_the_joint_state_that_it_inherits() -> None:
    lab = led()
    lab.join("d")
    lab.join("e")
    lab["a"].change_membership(["a", "b", "c", "d", "e"], [])
    lab.turn("a")
    lab.deliver(lambda m: m.to in "bc")
    lab.drop()
    lab.isolate("a")
    for node_id in "bc":
        lab[node_id].forget_leader()
    lab.tick("b")
    for _ in range(5):
        lab.settle()
        lab.tick("b", 2)
    assert lab["b"].role == "leader"
    assert lab["b"].status().membership == Membership(("a", "b", "c", "d", "e"))
    assert lab["b"].commit_index == lab["b"].status().last_index


# --- 5 Log compaction -----------------------------------------------------------------------------


# A follower that needs what was discarded gets the snapshot.
def test_a_follower_that_needs_discarded_entries_gets_the_snapshot() -> None:
    lab = led()
    lab.isolate("c")
    lab["a"].propose([b"x", b"y"])
    lab.settle()
    lab["a"].compact(lab["a"].snapshot_meta(3), 4)
    lab.heal()
    beat(lab)
    status = lab["c"].status()
    assert (status.first_index, status.commit_index, status.applied_index) == (4, 3, 3)


# If the log has an entry like the snapshot's last one, what follows it is kept.
def test_a_snapshot_that_the_log_reaches_leaves_the_log_alone() -> None:
    lab = led()
    lab["b"].step(Append("a", "b", 1, 1, 1, 1, entries(1, 1, first=2)))
    lab["b"].step(InstallSnapshot("a", "b", 1, SnapshotMeta(2, 1, Membership(("a", "b", "c")))))
    ready = lab["b"].ready()
    assert ready is not None
    assert ready.snapshot is None
    status = lab["b"].status()
    assert (status.first_index, status.last_index, status.commit_index) == (1, 3, 2)


# Otherwise the whole log is discarded.
def test_a_snapshot_of_another_history_replaces_the_whole_log() -> None:
    lab = led()
    lab["b"].step(Append("a", "b", 1, 1, 1, 1, entries(1, 1, first=2)))
    lab["b"].step(InstallSnapshot("c", "b", 2, SnapshotMeta(2, 2, Membership(("a", "b", "c")))))
    ready = lab["b"].ready()
    assert ready is not None
    assert ready.snapshot == SnapshotMeta(2, 2, Membership(("a", "b", "c")))
    assert ready.entries == ()
    assert lab["b"].status().last_index == 2


# An older snapshot than the state is ignored.
def test_an_older_snapshot_changes_nothing() -> None:
    lab = led()
    lab["a"].propose([b"x", b"y"])
    lab.settle()
    lab["b"].step(InstallSnapshot("a", "b", 1, SnapshotMeta(2, 1, Membership(("a",)))))
    ready = lab["b"].ready()
    assert ready is not None
    assert ready.snapshot is None
    assert ready.after_sync == (AppendReply("b", "a", 1, match=3),)
    assert lab["b"].status().membership == Membership(("a", "b", "c"))


# The snapshot holds the latest configuration as of its last entry.
def test_the_membership_comes_with_the_snapshot() -> None:
    lab = led()
    lab["a"].change_membership(["a", "b", "c"], ["d"])
    lab.settle()
    lab["a"].compact(lab["a"].snapshot_meta(2), 3)
    lab.join("d")
    beat(lab)
    assert lab["d"].status().first_index == 3
    assert lab["d"].status().membership == Membership(("a", "b", "c"), ("d",))


# --- 6.2 A leader that cannot reach a majority ----------------------------------------------------


def test_a_leader_steps_down_after_an_election_timeout_without_a_quorum() -> None:
    lab = led()
    lab.isolate("a")
    lab.tick("a", 19)
    assert lab["a"].role == "leader"
    lab.tick("a")
    assert (lab["a"].role, lab["a"].term, lab["a"].leader_id) == ("follower", 1, "")


def test_a_quorum_that_answers_keeps_a_leader() -> None:
    lab = led()
    lab.isolate("c")
    for _ in range(100):
        lab.tick("a")
        lab.settle()
    assert lab["a"].role == "leader"


# --- 6.4 Read-only queries ------------------------------------------------------------------------


# 1: no read before an entry of the leader's term is committed.
def test_a_read_waits_for_the_first_commit_of_the_term() -> None:
    lab = Lab.of("a", "b", "c")
    lab["a"].campaign()
    while lab["a"].role != "leader":
        for node_id in "abc":
            lab.turn(node_id)
        lab.deliver()
    lab["a"].read_index(7)
    lab.turn("a")
    assert not [m for m in lab.wire if isinstance(m, Heartbeat)]
    lab.settle()
    assert lab.nodes["a"].reads == [(7, 1)]


# 2: the read index is the commit index of that moment.
# 3: a round of heartbeats shows that nobody else led at that moment.
def test_a_read_is_served_at_the_commit_index_of_its_time_after_a_round_of_heartbeats() -> None:
    lab = led()
    lab["a"].read_index(7)
    lab.turn("a")
    assert lab.nodes["a"].reads == []
    lab["a"].propose([b"x"])
    lab.settle()
    assert lab.nodes["a"].reads == [(7, 1)]


def test_a_deposed_leader_serves_no_read() -> None:
    lab = led()
    lab.isolate("a")
    for node_id in "bc":
        lab[node_id].forget_leader()
    lab.tick("b")
    lab.settle()
    assert lab["b"].role == "leader"
    lab["a"].read_index(7)
    lab.settle()
    lab.heal()
    beat(lab)
    assert lab["a"].role == "follower"
    assert lab.nodes["a"].reads == []


def test_an_answer_to_an_earlier_heartbeat_confirms_no_later_read() -> None:
    lab = led()
    lab.tick("a", 2)
    lab.turn("a")
    lab.deliver()
    lab.turn("b")
    lab["a"].read_index(7)
    lab.turn("a")
    lab.deliver(lambda m: m.to == "a")
    lab.turn("a")
    assert lab.nodes["a"].reads == []


# A follower asks the leader for the read index.
def test_a_followers_read_goes_to_the_leader_and_back() -> None:
    lab = led()
    lab["b"].read_index(7)
    lab.turn("b")
    lab.deliver()
    lab.turn("a")
    assert not [m for m in lab.wire if isinstance(m, ReadReply)]
    lab.settle()
    assert lab.nodes["b"].reads == [(7, 1)]


# --- 9.6 Preventing disruptions when a server rejoins the cluster ---------------------------------


# A pre-vote raises no term, neither the asker's nor the asked one's.
def test_a_pre_vote_raises_no_term() -> None:
    lab = led()
    lab.isolate("b")
    for _ in range(10):
        lab.tick("b", 20)
        lab.settle()
    assert (lab["b"].role, lab["b"].term) == ("pre_candidate", 1)
    lab.heal()
    lab.tick("b", 20)
    lab.settle()
    assert (lab["a"].role, lab["a"].term, lab["c"].term) == ("leader", 1, 1)


# It is granted only to a log that is up to date, by somebody who has not heard the leader lately.
@pytest.mark.parametrize(
    ("silence", "last_index", "granted"),
    [(19, 1, False), (0, 1, False), (20, 0, False), (20, 1, True)],
)
def test_what_a_pre_vote_needs(silence: int, last_index: int, granted: bool) -> None:
    lab = led()
    lab.tick("b", silence)
    lab["b"].step(VoteRequest("c", "b", 2, last_index, int(last_index > 0), pre=True))
    replies = [m for m in lab.nodes["b"].take_ready()[1] if isinstance(m, VoteReply)]
    assert [reply.granted for reply in replies] == [granted]


# Only after a majority of pre-votes is the term raised.
def test_the_term_is_raised_after_a_majority_of_pre_votes() -> None:
    lab = Lab.of("a", "b", "c", "d", "e")
    lab["a"].campaign()
    lab["a"].step(VoteReply("b", "a", 1, granted=True, pre=True))
    assert (lab["a"].role, lab["a"].term) == ("pre_candidate", 0)
    lab["a"].step(VoteReply("c", "a", 1, granted=True, pre=True))
    assert (lab["a"].role, lab["a"].term) == ("candidate", 1)


# --- 10.2.1 Writing to the leader's disk in parallel ----------------------------------------------


def test_a_leader_sends_before_its_own_disk_is_done() -> None:
    lab = led()
    lab.nodes["a"].fast = False
    lab["a"].propose([b"x"])
    lab.turn("a")
    assert [m.to for m in lab.wire if isinstance(m, Append) and m.entries] == ["b", "c"]


# An entry may be committed before the leader has it on disk, if a majority of the others has.
def test_a_leader_counts_itself_only_when_its_disk_is_done() -> None:
    lab = led()
    lab.nodes["a"].fast = False
    lab["a"].propose([b"x"])
    lab.turn("a")
    lab["a"].step(AppendReply("b", "a", 1, match=2))
    lab.turn("a")
    assert lab["a"].commit_index == 1
    lab["a"].step(AppendReply("c", "a", 1, match=2))
    lab.turn("a")
    assert lab["a"].commit_index == 2
    assert len(lab.nodes["a"].applied) == 1  # not yet on its own disk
    lab.sync("a")
    lab.turn("a")
    assert len(lab.nodes["a"].applied) == 2
