"""The replica over memory storage and an in-memory network: all that stands in its docstrings."""

from typing import Any

import pytest

from paceline.consensus.compaction import CompactionLimits
from paceline.consensus.messages import (
    Append,
    AppendReply,
    Entry,
    HardState,
    Membership,
    Message,
    SnapshotMeta,
    VoteReply,
    encode_message,
)
from paceline.consensus.recovery import found, recover
from paceline.consensus.replica import Decision, ReplicaLimits
from paceline.consensus.storage.memory import MemoryLogStorage
from paceline.consensus.storage.protocol import LogWrite
from paceline.errors import (
    Busy,
    Conflict,
    CorruptStorage,
    InputError,
    NoQuorum,
    NotLeader,
    PacelineError,
    Unavailable,
)
from tests.consensus.replica_cluster import Cluster, ListMachine, Node

SMALL_LOG = ReplicaLimits(
    compaction=CompactionLimits(every_entries=20, keep_trailing_entries=5),
)


def others(cluster: Cluster, node: Node) -> list[Node]:
    return [n for n in cluster.nodes.values() if n is not node]


def read(node: Node) -> list[PacelineError | None]:
    answers: list[PacelineError | None] = []
    node.replica.read(answers.append)
    return answers


# --- proposals ------------------------------------------------------------------------------------


def test_three_nodes_elect_a_leader_and_commit_on_all() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    decision = cluster.commit(leader, b"x=1")
    assert decision.error is None
    assert decision.result == 1  # what the machine's apply gave
    assert decision.term == leader.core.term
    cluster.agree()
    assert [n.machine.commands for n in cluster.nodes.values()] == [[b"x=1"]] * 3


def test_decisions_come_in_the_order_of_the_proposals() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    answers: list[Decision] = []
    for number in range(500):
        leader.replica.propose(str(number).encode(), answers.append)
    cluster.until(lambda: len(answers) == 500)
    assert [a.result for a in answers] == list(range(1, 501))
    assert [a.index for a in answers] == list(range(answers[0].index, answers[0].index + 500))


def test_what_was_queued_in_one_turn_becomes_one_write() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    leader.observer.persisted_entries.clear()
    for number in range(100):
        leader.replica.propose(str(number).encode(), lambda decision: None)
    leader.replica.pump()
    assert leader.observer.persisted_entries == [100]


def test_a_follower_refuses_and_names_the_leader() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    decision = cluster.commit(others(cluster, leader)[0], b"x")
    assert isinstance(decision.error, NotLeader)
    assert decision.error.leader_id == leader.name


def test_a_proposal_without_a_quorum_is_not_answered_until_leadership_is_lost() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    cluster.cut_off(leader.name)
    answers = cluster.propose(leader, b"lost")
    cluster.run(3)
    assert answers == []
    cluster.until(lambda: bool(answers))
    assert isinstance(answers[0].error, NotLeader)
    assert leader.replica.status().role != "leader"


def test_an_entry_that_another_leader_replaced_is_reported_as_lost_and_applied_nowhere() -> None:
    cluster = Cluster()
    old = cluster.elect()
    cluster.cut_off(old.name)
    lost = cluster.propose(old, b"lost")
    rest = others(cluster, old)
    cluster.until(lambda: any(n.replica.status().role == "leader" for n in rest))
    new = next(n for n in rest if n.replica.status().role == "leader")
    assert cluster.commit(new, b"kept").error is None
    cluster.heal()
    cluster.agree()
    assert isinstance(lost[0].error, NotLeader)
    assert old.machine.commands == [b"kept"]


def test_a_committed_proposal_is_answered_even_if_leadership_is_lost_before_it_is_applied() -> None:
    cluster = Cluster(limits=ReplicaLimits(apply_entries=1))
    leader = cluster.elect()
    answers: list[Decision] = []
    leader.replica.propose(b"1", answers.append)
    leader.replica.propose(b"2", answers.append)
    follower = others(cluster, leader)[0]
    leader.replica.pump()  # writes both, sends both
    match = leader.core.status().last_index
    term = leader.core.term
    leader.replica.receive(AppendReply(follower.name, leader.name, term, match))
    leader.replica.pump()  # commits both, applies one
    assert [a.result for a in answers] == [1]
    leader.replica.receive(VoteReply(follower.name, leader.name, term + 1, False))
    leader.replica.pump()
    assert leader.replica.status().role == "follower"
    assert [(a.result, a.error) for a in answers] == [(1, None), (2, None)]


def test_a_leader_that_dies_is_replaced_and_nothing_acknowledged_is_lost() -> None:
    cluster = Cluster()
    first = cluster.elect()
    for number in range(10):
        assert cluster.commit(first, str(number).encode()).error is None
    first.crash()
    second = cluster.elect()
    assert cluster.commit(second, b"after").error is None
    first.start()
    cluster.agree()
    assert first.machine.commands == [*[str(n).encode() for n in range(10)], b"after"]


def test_followers_that_lose_the_connection_to_the_leader_replace_it_within_ticks() -> None:
    cluster = Cluster()
    first = cluster.elect()
    first.crash()
    for node in others(cluster, first):
        node.replica.peer_lost(first.name)
    cluster.until(lambda: bool(cluster.leaders()), ticks=15)


def test_all_nodes_restart_from_their_disks() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    cluster.commit(leader, b"kept")
    cluster.agree()
    for node in cluster.nodes.values():
        node.crash()
        node.start()
    assert cluster.commit(cluster.elect(), b"more").error is None
    cluster.agree()
    assert leader.machine.commands == [b"kept", b"more"]


def test_leadership_is_handed_over() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    heir = others(cluster, leader)[0]
    leader.replica.transfer(heir.name)
    cluster.until(lambda: heir.replica.status().role == "leader", ticks=5)


# --- bounds ---------------------------------------------------------------------------------------


def test_too_many_proposals_are_busy() -> None:
    cluster = Cluster(limits=ReplicaLimits(pending_proposals=3))
    leader = cluster.elect()
    answers = [cluster.propose(leader, b"x") for _ in range(4)]
    assert [bool(a) for a in answers] == [False, False, False, True]
    assert isinstance(answers[3][0].error, Busy)
    cluster.until(lambda: all(answers))
    assert cluster.commit(leader, b"y").error is None


def test_too_many_bytes_are_busy_and_too_large_a_command_is_the_callers_fault() -> None:
    cluster = Cluster(limits=ReplicaLimits(pending_bytes=100, proposal_bytes=60))
    leader = cluster.elect()
    fits, too_much = cluster.propose(leader, b"x" * 60), cluster.propose(leader, b"x" * 60)
    assert isinstance(too_much[0].error, Busy)
    assert isinstance(cluster.propose(leader, b"x" * 61)[0].error, InputError)
    cluster.until(lambda: bool(fits))
    assert fits[0].error is None


def test_a_pump_applies_one_slice() -> None:
    cluster = Cluster(limits=ReplicaLimits(apply_entries=8))
    leader = cluster.elect()
    leader.machine.slices.clear()
    answers = [cluster.propose(leader, b"x") for _ in range(20)]
    cluster.until(lambda: all(answers))
    assert leader.machine.slices == [8, 8, 4]


def test_a_slice_is_bounded_in_bytes_but_takes_at_least_one_entry() -> None:
    cluster = Cluster(limits=ReplicaLimits(apply_bytes=100))
    leader = cluster.elect()
    leader.machine.slices.clear()
    answers = [cluster.propose(leader, b"x" * 60) for _ in range(2)]
    answers.append(cluster.propose(leader, b"x" * 200))
    cluster.until(lambda: all(answers))
    assert leader.machine.slices == [1, 1, 1]


def test_too_many_reads_are_busy() -> None:
    cluster = Cluster(limits=ReplicaLimits(waiting_reads=2))
    leader = cluster.elect()
    answers = [read(leader) for _ in range(3)]
    assert isinstance(answers[2][0], Busy)
    cluster.until(lambda: all(answers))
    assert answers[:2] == [[None], [None]]


# --- durability -----------------------------------------------------------------------------------


def test_nothing_is_acknowledged_before_a_quorum_has_it_on_disk() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    for node in cluster.nodes.values():
        node.storage.immediate = False
    answers = cluster.propose(leader, b"x")
    cluster.settle()
    assert answers == []  # all have it in memory, none on disk
    leader.storage.complete()
    cluster.settle()
    assert answers == []
    others(cluster, leader)[0].storage.complete()
    cluster.settle()
    assert [a.error for a in answers] == [None]


def test_a_vote_leaves_only_after_it_is_on_disk() -> None:
    cluster = Cluster()
    voter = cluster.nodes["b"]
    voter.storage.immediate = False
    cluster.nodes["c"].crash()
    candidate = cluster.nodes["a"]
    cluster.until(lambda: voter.storage.waiting > 0)
    cluster.run(2)
    assert candidate.replica.status().role != "leader"
    voter.storage.immediate = True
    voter.storage.complete()
    cluster.until(lambda: bool(cluster.leaders()))


def test_an_answer_of_a_term_that_is_over_is_not_sent_when_its_write_completes() -> None:
    """Two writes complete at once, and the second replaced what the first one's answer is about."""
    cluster = Cluster()
    follower = cluster.nodes["b"]
    follower.storage.immediate = False
    sent: list[Message] = []
    follower.replica._send = lambda to, message: sent.append(message)
    follower.replica.receive(Append("a", "b", 5, 0, 0, 0, (Entry(1, 5, 1, b"old"),)))
    follower.replica.pump()
    follower.replica.receive(Append("c", "b", 6, 0, 0, 0, (Entry(1, 6, 1, b"new"),)))
    follower.replica.pump()
    assert sent == []
    follower.storage.complete()
    follower.replica.pump()
    assert sent == [AppendReply("b", "c", 6, 1)]


def test_a_full_disk_refuses_proposals_until_there_is_room() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    leader.storage.stalled = True
    decision = cluster.commit(leader, b"x")
    assert isinstance(decision.error, Busy)
    assert "disk" in str(decision.error)
    assert leader.replica.status().stalled
    leader.storage.stalled = False
    leader.storage.complete()
    assert cluster.commit(leader, b"y").error is None


def test_a_leader_whose_disk_stays_full_hands_over() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    leader.replica.propose(b"under way", lambda decision: None)
    leader.storage.stalled = True
    cluster.until(lambda: [n.name for n in cluster.leaders()] not in ([leader.name], []))
    assert cluster.commit(cluster.leaders()[0], b"x").error is None


# --- reads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_read_on_any_node_sees_what_was_committed_before_it(at: int) -> None:
    cluster = Cluster()
    leader = cluster.elect()
    cluster.commit(leader, b"x")
    node = list(cluster.nodes.values())[at]
    answers = read(node)
    cluster.until(lambda: bool(answers))
    assert answers == [None]
    assert node.machine.commands == [b"x"]


def test_a_read_waits_until_its_index_is_applied() -> None:
    cluster = Cluster(limits=ReplicaLimits(apply_entries=1))
    leader = cluster.elect()
    follower = others(cluster, leader)[0]
    cluster.cut_off(follower.name)
    for _ in range(5):
        cluster.commit(leader, b"x")
    cluster.heal()
    answers = read(follower)
    cluster.until(lambda: bool(answers))
    assert answers == [None]
    assert len(follower.machine.commands) == 5


def test_a_lost_question_is_repeated() -> None:
    cluster = Cluster()
    follower = others(cluster, cluster.elect())[0]
    drop = [True]

    def lossy(sender: str, to: str, bulk: bool) -> bool:
        return sender == follower.name and drop[0]

    cluster.lossy = lossy
    answers = read(follower)
    cluster.run(2)
    drop[0] = False
    assert answers == []
    cluster.until(lambda: bool(answers), ticks=20)
    assert answers == [None]


def test_a_read_without_a_leader_fails_at_once() -> None:
    cluster = Cluster()
    answers = read(cluster.nodes["a"])
    cluster.settle()
    assert isinstance(answers[0], NotLeader)


def test_a_deposed_leader_serves_no_stale_read() -> None:
    cluster = Cluster()
    old = cluster.elect()
    cluster.cut_off(old.name)
    answers = read(old)
    cluster.until(lambda: bool(answers))
    assert isinstance(answers[0], NotLeader | NoQuorum)


def test_an_answer_to_an_earlier_lifes_question_is_not_taken() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    follower = others(cluster, leader)[0]
    read(follower)
    follower.replica.pump()
    leader_inbox = list(cluster.network)
    cluster.network.clear()
    follower.crash()
    follower.start()
    cluster.run(4)
    cluster.commit(leader, b"x")
    cluster.network.extend(leader_inbox)
    cluster.settle()  # the answer to the old question arrives, and nobody waits for it
    cluster.lossy = lambda sender, to, bulk: follower.name in (sender, to)
    answers = read(follower)
    cluster.settle()
    assert answers == []


# --- compaction and snapshots ---------------------------------------------------------------------


def test_the_log_is_compacted_and_a_tail_is_kept() -> None:
    cluster = Cluster(limits=SMALL_LOG)
    leader = cluster.elect()
    for number in range(50):
        cluster.commit(leader, str(number).encode())
    stored = leader.storage.load()
    assert stored.snapshot is not None
    assert stored.snapshot.index > 20
    assert 5 <= len(stored.entries) <= 30
    assert stored.entries[0].index == stored.snapshot.index - 5 + 1


def test_compaction_by_bytes() -> None:
    limits = ReplicaLimits(compaction=CompactionLimits(every_bytes=10_000, keep_trailing_bytes=0))
    cluster = Cluster(limits=limits)
    leader = cluster.elect()
    for _ in range(20):
        cluster.commit(leader, b"x" * 1000)
    assert len(leader.storage.load().entries) < 10


def test_a_compacted_node_restarts() -> None:
    cluster = Cluster(limits=SMALL_LOG)
    leader = cluster.elect()
    for number in range(50):
        cluster.commit(leader, str(number).encode())
    for node in cluster.nodes.values():
        node.crash()
        node.start()
    assert cluster.commit(cluster.elect(), b"after").error is None
    cluster.agree()
    assert len(leader.machine.commands) == 51


def _leave_behind(cluster: Cluster, count: int = 60) -> tuple[Node, Node]:
    """Answer the leader, and a follower that is down and too far behind for the log."""
    leader = cluster.elect()
    follower = others(cluster, leader)[0]
    follower.crash()
    for number in range(count):
        assert cluster.commit(leader, str(number).encode()).error is None
    return leader, follower


def test_a_follower_that_is_too_far_behind_gets_a_snapshot() -> None:
    cluster = Cluster(limits=SMALL_LOG)
    leader, follower = _leave_behind(cluster)
    follower.start()
    cluster.agree()
    assert leader.machine.saved == 1
    assert follower.observer.installed == [follower.machine.snapshot_meta]
    assert cluster.commit(leader, b"more").error is None
    cluster.agree()


def test_a_follower_that_is_a_little_behind_gets_entries() -> None:
    cluster = Cluster(limits=SMALL_LOG)
    leader, follower = _leave_behind(cluster, count=3)
    follower.start()
    cluster.agree()
    assert leader.machine.saved == 0


def test_compaction_waits_for_a_transfer_under_way_but_not_for_ever() -> None:
    cluster = Cluster(limits=SMALL_LOG)
    leader, follower = _leave_behind(cluster)
    cluster.lossy = lambda sender, to, bulk: bulk
    follower.start()
    cluster.until(lambda: leader.machine.saved > 0)
    begin = leader.storage.load().snapshot
    assert begin is not None
    for _ in range(45):
        cluster.commit(leader, b"x")
    assert leader.storage.load().snapshot == begin
    for _ in range(60):
        cluster.commit(leader, b"x")
    end = leader.storage.load().snapshot
    assert end is not None
    assert end.index > begin.index
    cluster.heal()
    cluster.agree()


def test_a_crash_between_restoring_a_snapshot_and_marking_it_is_repaired_at_the_start() -> None:
    cluster = Cluster(limits=SMALL_LOG)
    _, follower = _leave_behind(cluster)
    follower.start()
    follower.storage.immediate = False  # nothing reaches its log any more
    cluster.until(lambda: follower.machine.snapshot_meta is not None)
    log = follower.storage.load()
    assert follower.machine.applied_index > (log.entries[-1].index if log.entries else 0)
    follower.crash()
    follower.storage.immediate = True
    follower.start()
    assert follower.storage.load().snapshot == follower.machine.snapshot_meta
    cluster.agree()


def test_proposals_that_a_snapshot_swallows_are_reported_as_lost() -> None:
    cluster = Cluster(limits=SMALL_LOG)
    old = cluster.elect()
    cluster.cut_off(old.name)
    lost = cluster.propose(old, b"lost")
    rest = others(cluster, old)
    cluster.until(lambda: any(n.replica.status().role == "leader" for n in rest))
    new = next(n for n in rest if n.replica.status().role == "leader")
    for _ in range(60):
        assert cluster.commit(new, b"x").error is None
    cluster.heal()
    cluster.agree()
    assert isinstance(lost[0].error, NotLeader)
    assert old.machine.commands == [b"x"] * 60


# --- membership -----------------------------------------------------------------------------------


def _with_a_stranger(limits: ReplicaLimits) -> tuple[Cluster, Node]:
    """Answer a cluster founded by a, b and c, and d, which has an empty disk and is not up."""
    cluster = Cluster(size=4, limits=limits)
    mark = SnapshotMeta(0, 0, Membership(voters=("a", "b", "c")))
    for node in cluster.nodes.values():
        node.crash()
        node.storage = MemoryLogStorage()
        if node.name != "d":
            node.storage.write(LogWrite(None, mark, ()), lambda: None)
            node.start()
    cluster.until(lambda: bool(cluster.leaders()))
    return cluster, cluster.nodes["d"]


def _change(cluster: Cluster, voters: tuple[str, ...], learners: tuple[str, ...]) -> None:
    answers: list[Decision] = []
    cluster.leaders()[0].replica.change_membership(voters, learners, answers.append)
    cluster.until(lambda: bool(answers))
    assert answers[0].error is None


def test_a_learner_is_added_receives_the_state_and_becomes_a_voter() -> None:
    cluster, joining = _with_a_stranger(SMALL_LOG)
    for number in range(60):
        cluster.commit(cluster.leaders()[0], str(number).encode())
    joining.start()
    _change(cluster, ("a", "b", "c"), ("d",))
    cluster.agree()
    _change(cluster, ("a", "b", "c", "d"), ())
    cluster.agree()
    assert joining.replica.status().membership == Membership(voters=("a", "b", "c", "d"))
    assert joining.machine.snapshot_meta is not None


def test_a_node_that_joined_does_not_compact_before_it_knows_the_members() -> None:
    """The founders are in no entry; who receives the log from entry 1 on learns of them later."""
    cluster, joining = _with_a_stranger(ReplicaLimits())
    for number in range(10):
        cluster.commit(cluster.leaders()[0], str(number).encode())
    cluster.limits = ReplicaLimits(
        apply_entries=1, compaction=CompactionLimits(every_entries=3, keep_trailing_entries=0)
    )
    joining.start()
    _change(cluster, ("a", "b", "c"), ("d",))
    for number in range(10):
        cluster.commit(cluster.leaders()[0], str(number).encode())
    cluster.agree()
    assert joining.machine.snapshot_meta is None
    assert joining.observer.compactions
    for meta in joining.observer.compactions:
        assert meta.membership == Membership(voters=("a", "b", "c"), learners=("d",))


def test_a_change_of_membership_on_a_follower_is_refused() -> None:
    cluster = Cluster()
    follower = others(cluster, cluster.elect())[0]
    answers: list[Decision] = []
    follower.replica.change_membership(("a",), (), answers.append)
    assert isinstance(answers[0].error, NotLeader)


# --- time -----------------------------------------------------------------------------------------


def test_a_suspended_node_does_not_stand_when_it_wakes() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    sleeper = others(cluster, leader)[0]
    term = leader.core.term
    sent: list[bytes] = []
    sleeper.replica._send = lambda to, message: sent.append(encode_message(message))
    for _ in range(5):
        sleeper.replica.tick(elapsed_ticks=1000)
        sleeper.replica.pump()
    assert sleeper.replica.status().role == "follower"
    assert sent == []
    assert sleeper.core.term == term


def test_a_node_that_slept_stands_in_the_end_if_nobody_leads() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    leader.crash()
    for node in others(cluster, leader):
        node.replica.tick(elapsed_ticks=1000)
    cluster.until(lambda: bool(cluster.leaders()), ticks=100)


def test_small_delays_are_counted_as_what_they_are() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    leader.crash()
    follower = others(cluster, leader)[0]
    for _ in range(10):
        follower.replica.tick(elapsed_ticks=4)
    follower.replica.pump()
    assert follower.replica.status().role == "pre_candidate"


# --- the end --------------------------------------------------------------------------------------


def test_closing_answers_everybody() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    cluster.cut_off(leader.name)
    queued, reading = cluster.propose(leader, b"1"), read(leader)
    leader.replica.pump()
    also_queued = cluster.propose(leader, b"2")
    leader.replica.close()
    for answers in (queued, also_queued, cluster.propose(leader, b"3")):
        assert isinstance(answers[0].error, Unavailable)
    assert isinstance(reading[0], Unavailable)
    assert isinstance(read(leader)[0], Unavailable)


def test_an_error_of_the_machine_is_final() -> None:
    cluster = Cluster()
    leader = cluster.elect()

    def broken(entries: Any) -> list[Any]:
        raise CorruptStorage("the state is broken")

    leader.machine.apply = broken  # type: ignore[method-assign]
    cluster.propose(leader, b"x")
    with pytest.raises(CorruptStorage):
        cluster.run(5)


def test_the_observer_is_told() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    cluster.commit(leader, b"x")
    recorder = leader.observer
    assert recorder.roles[-1].role == "leader"
    assert recorder.applied_indexes[-1] == leader.machine.applied_index
    assert sum(recorder.persisted_entries) == leader.core.status().last_index


# --- recovery -------------------------------------------------------------------------------------


def test_a_founder_writes_its_log_once() -> None:
    storage = MemoryLogStorage()
    found(storage, "a")
    assert recover(storage, ListMachine()).snapshot == SnapshotMeta(0, 0, Membership(("a",)))
    with pytest.raises(Conflict):
        found(storage, "b")


def _machine_at(index: int, term: int) -> ListMachine:
    machine = ListMachine()
    source: list[Any] = []
    machine.save(source.append)
    machine._applied = index
    machine.save(source.append)
    machine.restore(source[1], SnapshotMeta(index, term, Membership(("a",))))
    return machine


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        (3, "the log ends before the snapshot"),
        (7, "the log has an entry of another term there"),
    ],
)
def test_recovery_marks_a_snapshot_that_was_restored_and_not_marked(entries: int, why: str) -> None:
    storage = MemoryLogStorage()
    log = _entries(entries, term=1)
    storage.write(LogWrite(HardState(1, "a", 2), None, log), lambda: None)
    stored = recover(storage, _machine_at(5, term=2))
    assert stored.snapshot == SnapshotMeta(5, 2, Membership(("a",)))
    assert stored.entries == (), why
    assert stored.hard_state.term == 2
    assert storage.load() == stored


def test_recovery_keeps_a_log_that_agrees_with_the_snapshot() -> None:
    storage = MemoryLogStorage()
    log = _entries(7, term=2)
    storage.write(LogWrite(HardState(2, "a", 2), None, log), lambda: None)
    assert recover(storage, _machine_at(5, term=2)).entries == log


def test_recovery_refuses_a_state_that_is_ahead_of_the_log_for_no_reason() -> None:
    storage = MemoryLogStorage()
    storage.write(LogWrite(HardState(1, "a", 2), None, _entries(3, term=1)), lambda: None)
    machine = ListMachine()
    machine._applied = 4
    with pytest.raises(CorruptStorage, match="join again"):
        recover(storage, machine)


def test_recovery_refuses_a_state_that_is_behind_the_log() -> None:
    storage = MemoryLogStorage()
    storage.write(LogWrite(HardState(1), SnapshotMeta(9, 1, Membership(("a",))), ()), lambda: None)
    with pytest.raises(CorruptStorage, match="older than the log"):
        recover(storage, ListMachine())


def _entries(count: int, term: int) -> Any:

    return tuple(Entry(index, term, 1, b"x") for index in range(1, count + 1))
