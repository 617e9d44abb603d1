"""Bugs that other implementations of Raft have had, one test for each class that a core can have.

Each comment says what went wrong there. Where a class needs the storage or the state machine to be
told (durability of a file, sessions of clients), its test is with that part.
"""

import pytest

from paceline.consensus.core import Core, CoreConfig
from paceline.consensus.messages import (
    Append,
    AppendReply,
    HardState,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Membership,
    SnapshotMeta,
    VoteReply,
    VoteRequest,
)
from paceline.consensus.storage.protocol import StoredLog
from paceline.errors import Conflict, CorruptStorage, ProtocolError
from tests.consensus.lab import Lab, Node, Smallest, entries, founding

ABC = Membership(("a", "b", "c"))


def follower(*terms: int, term: int = 1, vote: str = "", commit: int = 0) -> Node:
    stored = StoredLog(HardState(term, vote, commit), founding("abc"), entries(*terms))
    return Node(CoreConfig("b"), stored)


def work(node: Node) -> list[object]:
    out: list[object] = []
    while (turn := node.take_ready())[0] is not None:
        out += turn[1]
    return out


def led(*voters: str, learners: tuple[str, ...] = ()) -> Lab:
    lab = Lab.of(*(voters or ("a", "b", "c")), learners=learners)
    lab.elect("a")
    return lab


# 1. An old term's entry was committed because a majority had it, and then overwritten (figure 8).
def test_01_figure_8() -> None:
    nodes = "abcde"
    lab = Lab()
    logs = {"a": (1, 2), "b": (1, 2), "c": (1,), "d": (1,), "e": (1, 3)}
    for node_id, terms in logs.items():
        stored = StoredLog(HardState(3), founding(nodes), entries(*terms))
        lab.add(Node(CoreConfig(node_id), stored))

    # (c): a leads term 4 and brings 2/2 to c, so a majority has it, but nobody 3/4.
    lab.isolate("e")
    lab["a"].campaign()
    while lab["a"].role != "leader":
        for node_id in nodes:
            lab.turn(node_id)
        lab.deliver()
    lab.turn("a")
    lab.drop()
    for node_id in "bc":
        lab["a"].step(AppendReply(node_id, "a", 4, match=2))
    lab.turn("a")
    assert lab["a"].commit_index == 0

    # (e): once 3/4 is on a majority, both are committed.
    for node_id in "bc":
        lab["a"].step(AppendReply(node_id, "a", 4, match=3))
    lab.turn("a")
    assert lab["a"].commit_index == 3


# 2. A vote was told before it was durable, forgotten in a crash, and given to somebody else.
def test_02_a_vote_that_a_crash_undoes_was_never_told() -> None:
    node = follower(1)
    node.fast = False
    node.core.step(VoteRequest("a", "b", 2, 1, 1))
    assert node.take_ready()[1] == []
    node.restart()
    node.fast = True
    node.core.step(VoteRequest("c", "b", 2, 1, 1))
    assert work(node) == [VoteReply("b", "c", 2, granted=True)]


# 2. The same with the own vote: a lone voter led, and sent, before its term was durable; after a
# crash it led the same term again, with other entries.
def test_02_a_lone_voter_does_not_lead_a_term_that_is_not_durable() -> None:
    lab = Lab.of("a", learners=("d",))
    lab.nodes["a"].fast = False
    lab["a"].campaign()
    lab.turn("a")
    assert lab["a"].role == "candidate"
    assert lab.wire == []
    lab.sync("a")
    assert lab["a"].role == "leader"


# 3. Stepping down within a term erased the vote, so two candidates of that term got it.
@pytest.mark.parametrize("way_down", ["heartbeat", "refused", "timeout"])
def test_03_the_vote_survives_stepping_down_in_the_same_term(way_down: str) -> None:
    node = follower(1)
    node.core.campaign()
    work(node)
    node.core.step(VoteReply("a", "b", 2, granted=True, pre=True))
    work(node)
    assert (node.core.role, node.core.term) == ("candidate", 2)
    if way_down == "heartbeat":
        node.core.step(Heartbeat("a", "b", 2, 0))
    elif way_down == "refused":
        node.core.step(VoteReply("a", "b", 2, granted=False))
        node.core.step(VoteReply("c", "b", 2, granted=False))
    else:
        for _ in range(20):
            node.core.tick()
    work(node)
    node.core.step(VoteRequest("c", "b", 2, 9, 2))
    (reply,) = work(node)
    assert reply == VoteReply("b", "c", 2, granted=False)
    assert node.disk.hard_state.vote == "b"


# 4. A repeated, late or empty append truncated entries that had been acknowledged.
@pytest.mark.parametrize("count", [0, 1, 2])
def test_04_a_late_append_removes_nothing(count: int) -> None:
    node = follower(1, 1, 1, 1)
    node.core.step(Append("a", "b", 1, 1, 1, 0, entries(*[1] * count, first=2)))
    work(node)
    assert [entry.term for entry in node.disk.entries] == [1, 1, 1, 1]


# 5. A conflicting entry was replaced in place, and the old tail stayed behind it.
def test_05_no_tail_is_left_behind_a_conflict() -> None:
    node = follower(1, 1, 1, 1)
    node.core.step(Append("a", "b", 2, 1, 1, 0, entries(2, first=2)))
    work(node)
    assert [entry.term for entry in node.disk.entries] == [1, 2]


# 6. A follower took its own last index for verified, and committed an old leader's leftovers.
def test_06_leftovers_are_not_committed() -> None:
    node = follower(1, 1, 1)
    node.core.step(Append("a", "b", 2, 1, 1, commit=3))
    work(node)
    assert (node.core.commit_index, len(node.applied)) == (1, 1)


def test_06_a_heartbeat_never_names_more_than_the_follower_is_known_to_have() -> None:
    lab = led()
    lab.isolate("c")
    lab["a"].propose([b"x"])
    lab.settle()
    lab.heal()
    lab.tick("a", 2)
    lab.turn("a")
    commits = {m.to: m.commit for m in lab.wire if isinstance(m, Heartbeat)}
    assert commits == {"b": 2, "c": 1}


# 7. The commit index that was written was ahead of the log that was written.
def test_07_the_written_commit_index_is_within_the_written_log() -> None:
    node = follower(1)
    node.core.step(Append("a", "b", 1, 1, 1, 9, entries(1, 1, first=2)))
    ready = node.core.ready()
    assert ready is not None
    assert ready.hard_state is not None
    assert ready.hard_state.commit <= ready.entries[-1].index


def test_07_a_commit_index_ahead_of_the_log_is_not_believed_at_a_start() -> None:
    assert follower(1, 1, commit=9).core.commit_index == 2


# 8. An acknowledgement of an earlier term was counted by the leader of a later one.
def test_08_acknowledgements_of_earlier_terms_do_not_count() -> None:
    lab = led()
    lab["a"].transfer("b")
    lab.settle()
    lab["b"].transfer("a")
    lab.settle()
    assert (lab["a"].role, lab["a"].term) == ("leader", 3)
    index = lab["a"].propose([b"x"])
    lab.turn("a")
    lab["a"].step(AppendReply("b", "a", 1, match=index))
    lab.turn("a")
    assert lab["a"].commit_index < index


# 9. An append was acknowledged before it was on the disk.
def test_09_an_append_is_acknowledged_after_its_write() -> None:
    node = follower(1)
    node.fast = False
    node.core.step(Append("a", "b", 1, 1, 1, 0, entries(1, first=2)))
    assert node.take_ready()[1] == []
    assert node.sync() == [AppendReply("b", "a", 1, match=2)]


# 9. The completion of an old write made entries durable that had been replaced and put back.
def test_09_the_completion_of_a_replaced_write_does_not_count() -> None:
    node = follower(1)
    node.fast = False
    for sender, term, terms in (("a", 1, (1,)), ("c", 2, (2,)), ("a", 3, (1, 3))):
        node.core.step(Append(sender, "b", term, 1, 1, 0, entries(*terms, first=2)))
        node.take_ready()
    node.core.step(Append("a", "b", 3, 3, 3, commit=3))
    node.take_ready()
    for _ in range(2):  # the writes of 2/1 and 2/2
        node.sync()
        node.take_ready()
        assert len(node.applied) == 1
    node.sync()
    node.take_ready()
    assert [entry.term for entry in node.applied] == [1, 1, 3]


# 10. Two leaders of two terms each changed the same old membership by one voter, and the results
# had majorities without a common voter. Here a adds and b would remove.
@pytest.mark.parametrize("change", [("b", "c", "d"), ("b", "c"), ("a", "b", "c", "e")])
def test_10_no_change_before_the_leader_has_committed_in_its_term(change: tuple[str, ...]) -> None:
    lab = led("a", "b", "c", "d")
    lab.isolate("a")
    lab["a"].change_membership(["a", "b", "c", "d", "e"], [])
    lab.turn("a")
    for node_id in "bcd":
        lab[node_id].forget_leader()
    lab.tick("b")
    while lab["b"].role != "leader":
        for node_id in "bcd":
            lab.turn(node_id)
        lab.deliver()
    with pytest.raises(Conflict):
        lab["b"].change_membership(change, [])
    lab.settle()
    lab["b"].change_membership(change, [])


# 11. A removed leader counted itself in the quorum of its own removal, or went on leading after it.
def test_11_a_removed_leader_neither_counts_itself_nor_leads_on() -> None:
    lab = led("a", "b", "c", "d")
    lab.isolate("d")
    lab["a"].change_membership(["b", "c", "d"], [])
    lab.turn("a")
    lab["a"].step(AppendReply("b", "a", 1, match=2))
    lab.turn("a")
    assert (lab["a"].role, lab["a"].commit_index) == ("leader", 1)  # of b, c, d only b has it
    lab["a"].step(AppendReply("c", "a", 1, match=2))
    lab.turn("a")
    lab.drop()
    assert (lab["a"].role, lab["a"].commit_index) == ("follower", 2)
    lab.tick("a", 10)
    lab.turn("a")
    assert lab.wire == []


# 12. A voter that did not know yet that it was one refused to vote, and nobody could win.
def test_12_a_learner_by_its_own_log_votes() -> None:
    lab = led("a", "b", learners=("d",))
    lab["d"].step(VoteRequest("b", "d", 2, 9, 1, transfer=True))
    assert work(lab.nodes["d"]) == [VoteReply("d", "b", 2, granted=True)]


# 13. The joint state was left twice; a truncated membership stayed in force; a snapshot had none.
def test_13_the_joint_state_is_left_once() -> None:
    lab = led("a")
    lab.join("b")
    lab.join("c")
    lab["a"].change_membership(["a", "b", "c"], [])
    for _ in range(5):
        lab.settle()
        lab.tick("a", 2)
    assert [entry.kind for entry in lab.nodes["b"].applied] == [0, 2, 2]


def test_13_after_a_restart_the_membership_is_that_of_the_log() -> None:
    lab = led("a")
    lab.join("b")
    lab["a"].change_membership(["a", "b"], [])
    lab.settle()
    for node_id in "ab":
        lab.nodes[node_id].restart()
        assert lab[node_id].status().membership == Membership(("a", "b"))


def test_13_after_compaction_and_a_restart_it_is_that_of_the_snapshot() -> None:
    lab = led("a")
    lab.join("b")
    lab["a"].change_membership(["a", "b"], [])
    lab.settle()
    node = lab.nodes["b"]
    meta = node.core.snapshot_meta(2)
    node.core.compact(meta, 3)
    node.disk.compact(meta, 3)
    node.restart()
    assert lab["b"].status().membership == Membership(("a", "b"))


# 13. The only node with the entry that removed it would not stand, and got nobody else elected.
def test_13_a_voter_that_alone_knows_of_its_removal_still_stands() -> None:
    lab = led("a", "b")
    lab.isolate("b")
    lab["a"].change_membership(["b"], ["a"])
    lab.turn("a")
    lab.tick("a", 20)
    assert lab["a"].role == "learner"
    lab.heal()
    for _ in range(200):
        lab.tick("b", 1)
        lab.settle()
        lab.tick("a", 1)
        lab.settle()
    assert lab["b"].role == "leader"
    assert lab["a"].status().membership == Membership(("b",), ("a",))


# 14. A previous entry that was compacted away was taken for a conflict, and the log was deleted.
def test_14_an_append_from_before_the_compaction_is_no_conflict() -> None:
    lab = led()
    lab["a"].propose([b"x", b"y", b"z"])
    lab.settle()
    lab["b"].compact(lab["b"].snapshot_meta(3), 4)
    kept = lab["a"].status().last_index
    old = Append("a", "b", 1, 1, 1, 4, tuple(lab.nodes["a"].disk.entries[1:3]))
    lab["b"].step(old)
    (reply,) = work(lab.nodes["b"])
    assert reply == AppendReply("b", "a", 1, match=kept)
    assert lab["b"].status().last_index == kept


# 14. An older snapshot overwrote newer state.
def test_14_an_older_snapshot_overwrites_nothing() -> None:
    node = follower(1, 1, 1, commit=3)
    work(node)
    node.core.step(InstallSnapshot("a", "b", 1, SnapshotMeta(2, 1, ABC)))
    assert work(node) == [AppendReply("b", "a", 1, match=3)]
    assert node.disk.snapshot == founding("abc")


def test_14_nor_one_that_is_older_than_what_was_compacted() -> None:
    node = follower(1, 1, 1, commit=3)
    work(node)
    node.core.compact(node.core.snapshot_meta(3), 4)
    node.core.step(InstallSnapshot("a", "b", 1, SnapshotMeta(2, 1, ABC)))
    assert work(node) == [AppendReply("b", "a", 1, match=3)]
    assert node.core.status().last_index == 3


# 14. After a restart there was a gap between the snapshot and the log.
def test_14_a_gap_between_snapshot_and_log_is_not_started_from() -> None:
    stored = StoredLog(HardState(1), SnapshotMeta(3, 1, ABC), entries(1, first=5))
    with pytest.raises(CorruptStorage):
        Core(CoreConfig("b"), stored, 3, Smallest())


# 14. The log was compacted although the state behind it was not there.
def test_14_a_state_behind_the_compacted_log_is_not_started_from() -> None:
    stored = StoredLog(HardState(1), SnapshotMeta(3, 1, ABC), entries(1, first=4))
    with pytest.raises(CorruptStorage):
        Core(CoreConfig("b"), stored, 2, Smallest())


# 15. A leader that had been replaced, or had not committed anything yet, served a stale read.
def test_15_a_quorum_must_confirm_after_the_read_was_asked_for() -> None:
    lab = led("a", "b", "c", "d", "e")
    lab["a"].read_index(7)
    lab.turn("a")
    lab.drop()
    lab["a"].step(HeartbeatReply("b", "a", 1, context=1))
    lab["a"].step(HeartbeatReply("b", "a", 1, context=1))
    lab["a"].step(HeartbeatReply("c", "a", 1, context=0))
    lab.turn("a")
    assert lab.nodes["a"].reads == []
    lab["a"].step(HeartbeatReply("c", "a", 1, context=1))
    lab.turn("a")
    assert lab.nodes["a"].reads == [(7, 1)]


# 17. A late rejection was read as "the follower lost its log", or moved the leader back again.
def test_17_late_rejections_and_repeated_answers_change_nothing() -> None:
    lab = led()
    lab["a"].propose([b"x"])
    lab.settle()
    before = lab["a"].status().peers
    refusal = AppendReply("b", "a", 1, 0, rejected=True, prev_index=1, hint_index=0, hint_term=0)
    for late in (refusal, AppendReply("b", "a", 1, match=1), AppendReply("b", "a", 1, match=2)):
        lab["a"].step(late)
    lab.turn("a")
    assert lab["a"].status().peers == before


# 19. A candidate with a higher term but an older log blocked everybody for ever.
def test_19_a_higher_term_with_an_older_log_does_not_block_the_cluster() -> None:
    lab = led()
    lab.isolate("c")
    lab["a"].propose([b"x"])
    lab.settle()
    node = lab.nodes["c"]
    node.disk.hard_state = HardState(7, "c", 0)
    node.restart()
    lab.heal()
    for _ in range(100):
        for node_id in "abc":
            lab.tick(node_id)
        lab.settle()
    leaders = [node_id for node_id in "abc" if lab[node_id].role == "leader"]
    assert len(leaders) == 1
    assert lab[leaders[0]].term > 7
    assert {lab[node_id].leader_id for node_id in "abc"} == set(leaders)


# 19. Granting a pre-vote restarted the election timeout, or counted as having heard the leader.
def test_19_granting_a_pre_vote_changes_nothing() -> None:
    node = follower(1)
    for _ in range(19):
        node.core.tick()
    node.core.step(VoteRequest("c", "b", 2, 1, 1, pre=True))
    assert work(node) == [VoteReply("b", "c", 2, granted=True, pre=True)]
    assert (node.core.term, node.core.leader_id) == (1, "")
    node.core.tick()
    assert node.core.role == "pre_candidate"


# 19. A candidate for a pre-vote kept votes of an earlier election, or its old leader.
def test_19_a_new_attempt_starts_without_votes_and_without_a_leader() -> None:
    lab = led("a", "b", "c", "d", "e")
    for node_id in "cd":
        lab["b"].step(Heartbeat("a", "b", 1, 0))
        lab["b"].campaign()
        assert lab["b"].leader_id == ""
        lab["b"].step(VoteReply(node_id, "b", 2, granted=True, pre=True))
    assert lab["b"].role == "pre_candidate"


def test_19_a_pre_vote_granted_in_an_earlier_term_does_not_count() -> None:
    node = follower(1)
    node.core.campaign()
    late = VoteReply("a", "b", 2, granted=True, pre=True)
    node.core.step(Heartbeat("c", "b", 2, 0))
    node.core.campaign()
    node.core.step(late)
    assert (node.core.role, node.core.term) == ("pre_candidate", 2)


# 19. A candidate that the leader's own followers refused kept refusing that leader.
def test_19_a_refused_pre_candidate_follows_its_leader_again() -> None:
    lab = led()
    lab["b"].campaign()
    lab.settle()
    lab.tick("a", 2)
    lab.settle()
    assert (lab["b"].role, lab["b"].leader_id) == ("follower", "a")


# 19. A voter that came back with a lower term never caught up.
def test_19_a_voter_of_a_lower_term_learns_the_term_from_any_refusal() -> None:
    node = follower(1, term=9)
    node.core.step(VoteRequest("c", "b", 3, 1, 1, pre=True))
    assert work(node) == [VoteReply("b", "c", 9, granted=False, pre=True)]


# 20. A follower whose window was full of lost appends was never sent anything again.
def test_20_a_full_window_of_lost_appends_is_reopened() -> None:
    lab = Lab.of("a", "b", max_inflight_messages=1)
    lab.elect("a")
    lab["a"].propose([b"x"])
    lab.turn("a")
    lab.drop()
    lab["a"].propose([b"y"])
    lab.settle()
    assert lab["a"].commit_index == 1
    lab.tick("a", 2)
    lab.settle()
    assert lab["a"].commit_index == 3


# 20. A follower that had everything stayed in state probe.
def test_20_a_follower_that_has_everything_is_replicated_to_again() -> None:
    lab = led()
    lab["a"].report_unreachable("b")
    lab.turn("a")
    lab.drop()
    lab.tick("a", 2)
    lab.settle()
    assert [peer.state for peer in lab["a"].status().peers] == ["replicate", "replicate"]


# 20. A follower that had its snapshot stayed in state snapshot.
def test_20_an_answer_ends_the_state_snapshot() -> None:
    lab = led()
    lab.isolate("c")
    lab["a"].propose([b"x"])
    lab.settle()
    lab["a"].compact(lab["a"].snapshot_meta(2), 3)
    lab.heal()
    lab.tick("a", 2)
    lab.settle()
    assert [peer.state for peer in lab["a"].status().peers] == ["replicate", "replicate"]
    lab["a"].propose([b"y"])
    lab.settle()
    assert lab["c"].commit_index == 3


# 21. A node that heard nothing but could send kept deposing the leader.
def test_21_a_node_that_only_sends_disturbs_nobody() -> None:
    lab = led()
    lab.cut |= {("a", "c"), ("b", "c")}
    for _ in range(200):
        for node_id in "abc":
            lab.tick(node_id)
        lab.settle()
    assert (lab["a"].role, lab["a"].term, lab["b"].leader_id) == ("leader", 1, "a")


def test_21_a_leader_that_only_sends_gives_way() -> None:
    lab = led()
    lab.cut |= {("b", "a"), ("c", "a")}
    for _ in range(100):
        for node_id in "abbc":  # clocks differ, or b and c would stand together
            lab.tick(node_id)
        lab.settle()
    assert lab["a"].role != "leader"
    assert "leader" in (lab["b"].role, lab["c"].role)


# 22. The leader's disk stood still, while its heartbeats kept everybody waiting.
def test_22_a_leader_whose_disk_stands_still_gives_way() -> None:
    lab = led()
    lab.nodes["a"].fast = False
    lab["a"].propose([b"x"])
    for _ in range(50):
        for node_id in "abc":
            lab.tick(node_id)
        lab.settle()
    assert lab["a"].role != "leader"
    assert "leader" in (lab["b"].role, lab["c"].role)


# Not of the list: a committed entry must never be replaced, whatever a leader says.
def test_a_leader_that_would_replace_a_committed_entry_is_refused() -> None:
    node = follower(1, 1, commit=2)
    with pytest.raises(ProtocolError):
        node.core.step(Append("a", "b", 2, 1, 1, 0, entries(2, first=2)))
    assert node.core.status().last_index == 2
