"""A replica without room for its state waits, lets others lead, and goes on when there is room."""

from dataclasses import replace
from typing import Any

import pytest

from paceline.consensus.replica import Decision, ReplicaLimits
from paceline.consensus.stall import LAST_PAUSE_TICKS, LATE, Stall
from paceline.errors import Busy, NotLeader, PacelineError, StorageError
from tests.consensus.replica_cluster import Cluster, Node
from tests.consensus.test_replica import SMALL_LOG, _leave_behind

ROOM = ReplicaLimits().room_ticks


def _led() -> tuple[Cluster, Node]:
    cluster = Cluster()
    leader = cluster.elect()
    assert cluster.commit(leader, b"before").error is None
    return cluster, leader


# --- applying -------------------------------------------------------------------------------------


def test_a_follower_without_room_lags_and_catches_up_by_itself() -> None:
    cluster, leader = _led()
    follower = next(n for n in cluster.nodes.values() if n is not leader)
    follower.machine.full = True
    for number in range(200):
        assert cluster.commit(leader, b"%d" % number).error is None
    assert follower.machine.commands == [b"before"]
    assert follower.replica.status().stalled
    assert follower.core.status().last_index == leader.core.status().last_index  # it still counts
    follower.machine.full = False
    cluster.until(lambda: follower.machine.applied_index == leader.machine.applied_index)
    cluster.agree()
    assert not follower.replica.status().stalled
    cluster.run()
    assert follower.observer.stalls == [True, False]


def test_nothing_is_acknowledged_and_nothing_lost_by_a_lone_node_without_room() -> None:
    cluster = Cluster(size=1)
    leader = cluster.elect()
    leader.machine.full = True
    answers = cluster.propose(leader, b"x")
    cluster.run(10 * ROOM)
    assert answers == []
    assert leader.replica.status().role == "leader"  # there is nobody else
    refused = cluster.commit(leader, b"y")
    assert isinstance(refused.error, Busy)
    leader.machine.full = False
    cluster.until(lambda: bool(answers))
    assert answers[0].result == 1
    assert leader.machine.commands == [b"x"]


def test_the_slices_are_tried_again_as_they_were_with_longer_and_longer_pauses() -> None:
    cluster = Cluster(size=1)
    leader = cluster.elect()
    tries: list[tuple[int, ...]] = []
    apply = leader.machine.apply

    def counting(entries: Any) -> Any:
        tries.append(tuple(entry.index for entry in entries))
        return apply(entries)

    leader.machine.apply = counting  # type: ignore[method-assign]
    leader.machine.full = True
    cluster.propose(leader, b"x")
    cluster.run(20 * LAST_PAUSE_TICKS)
    assert len(set(tries)) == 1
    assert 20 <= len(tries) <= 30


def test_a_leader_without_room_lets_another_one_lead_and_the_cluster_serves_on() -> None:
    cluster, leader = _led()
    leader.machine.full = True
    answers = cluster.propose(leader, b"x")
    cluster.until(lambda: leader.replica.status().role != "leader", ticks=3 * ROOM)
    heir = cluster.elect()
    assert heir is not leader
    # Whether "x" is in is known elsewhere: who asked here must ask again.
    assert isinstance(answers[0].error, NotLeader)
    assert heir.machine.commands == [b"before", b"x"]
    for number in range(20):
        assert cluster.commit(heir, b"%d" % number).error is None
    leader.machine.full = False
    cluster.agree()
    assert leader.machine.commands[:2] == [b"before", b"x"]


def test_a_moment_without_room_costs_no_leadership() -> None:
    cluster, leader = _led()
    term = leader.core.term
    leader.machine.full = True
    answers = cluster.propose(leader, b"x")
    cluster.run(ROOM // 2)
    assert answers == []
    leader.machine.full = False
    cluster.until(lambda: bool(answers))
    assert answers[0].error is None
    assert (leader.replica.status().role, leader.core.term) == ("leader", term)


def test_those_with_room_stand_first() -> None:
    """The leader dies; of the other two, the one with room leads, whatever the lots say."""
    cluster, leader = _led()
    without, with_room = (n for n in cluster.nodes.values() if n is not leader)
    without.machine.full = True
    assert cluster.commit(leader, b"x").error is None
    cluster.run(2)
    leader.crash()
    assert cluster.elect() is with_room
    assert cluster.commit(with_room, b"y").error is None


def test_where_all_disks_are_full_somebody_leads_and_reads_of_what_is_there_go_on() -> None:
    cluster, leader = _led()
    for node in cluster.nodes.values():
        node.machine.full = True
    answers = cluster.propose(leader, b"x")
    cluster.run(6 * ROOM)
    cluster.until(lambda: len(cluster.leaders()) == 1)
    assert all(n.machine.commands == [b"before"] for n in cluster.nodes.values())
    for node in cluster.nodes.values():
        node.machine.full = False
    cluster.until(
        lambda: all(n.machine.commands == [b"before", b"x"] for n in cluster.nodes.values())
    )
    assert [type(answer.error) for answer in answers] == [NotLeader]


def test_a_read_waits_for_what_is_not_applied_yet() -> None:
    cluster, leader = _led()
    leader.machine.full = True
    cluster.propose(leader, b"x")
    cluster.run(2)
    reads: list[PacelineError | None] = []
    leader.replica.read(reads.append)
    cluster.run(2)
    assert reads == []
    leader.machine.full = False
    cluster.until(lambda: bool(reads))
    assert reads == [None]


def test_a_node_without_room_takes_in_no_more_than_its_bound() -> None:
    cluster = Cluster(limits=replace(ReplicaLimits(), unapplied_bytes=10_000))
    leader = cluster.elect()
    follower = next(n for n in cluster.nodes.values() if n is not leader)
    follower.machine.full = True
    for _ in range(100):
        assert cluster.commit(leader, b"x" * 1000).error is None
    assert follower.core.unapplied_bytes < 15_000
    assert follower.replica.status().leader_id == leader.name  # it is no reason to stand
    follower.machine.full = False
    cluster.agree()


def test_any_other_failure_of_the_state_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(size=1)
    leader = cluster.elect()

    def broken(entries: Any) -> Any:
        raise StorageError("the disk gave up")

    monkeypatch.setattr(leader.machine, "apply", broken)
    leader.replica.propose(b"x", lambda decision: None)
    for _ in range(2):
        with pytest.raises(StorageError, match="gave up"):
            cluster.run()


def test_an_idle_stalled_replica_does_not_ask_to_be_called_again_at_once() -> None:
    cluster = Cluster(size=1)
    leader = cluster.elect()
    leader.machine.full = True
    cluster.propose(leader, b"x")
    cluster.run(ROOM)
    wakes: list[None] = []
    leader.replica._wake = lambda: wakes.append(None)
    leader.replica.pump()
    assert wakes == []


# --- snapshots ------------------------------------------------------------------------------------


def test_a_snapshot_without_room_on_the_leader_is_reported_and_tried_again() -> None:
    cluster = Cluster(limits=SMALL_LOG)
    leader, follower = _leave_behind(cluster)
    leader.machine.full = True
    follower.start()
    cluster.run(ROOM // 2)
    assert follower.machine.snapshot_meta is None
    assert 1 <= leader.machine.saved <= 3
    assert (follower.name, False) in leader.observer.sent
    leader.machine.full = False
    cluster.agree()
    assert follower.machine.snapshot_meta is not None


def test_a_busy_machine_is_asked_for_its_state_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(limits=SMALL_LOG)
    leader, follower = _leave_behind(cluster)

    def busy(*_: object) -> None:
        raise Busy("too many copies are being made")

    monkeypatch.setattr(leader.machine, "save", busy)
    follower.start()
    cluster.run(20)
    assert (follower.name, False) in leader.observer.sent
    monkeypatch.undo()
    cluster.agree()
    assert follower.machine.snapshot_meta is not None


def test_a_follower_that_cannot_take_a_snapshot_is_not_sent_one_all_the_time() -> None:
    cluster = Cluster(limits=SMALL_LOG)
    leader, follower = _leave_behind(cluster)
    saved = leader.machine.saved
    follower.machine.full = True
    follower.start()
    cluster.run(1000)
    assert follower.replica.status().stalled
    assert follower.machine.snapshot_meta is None
    assert leader.machine.saved - saved <= 8
    follower.machine.full = False
    cluster.until(lambda: follower.machine.snapshot_meta is not None)
    cluster.agree()
    assert not follower.replica.status().stalled


def test_a_node_that_waits_to_install_disturbs_nobody_and_survives_a_crash() -> None:
    """Its log in memory begins after the snapshot already; on the disk nothing has changed."""
    cluster = Cluster(limits=SMALL_LOG)
    leader, follower = _leave_behind(cluster)
    before = follower.storage.load()
    term = leader.core.term
    follower.machine.full = True
    follower.start()
    cluster.until(lambda: follower.replica.status().stalled)
    for number in range(30):
        assert cluster.commit(leader, b"%d" % number).error is None
    cluster.run(3 * ROOM)
    assert follower.storage.load() == before
    follower.crash()
    follower.machine.full = False
    follower.start()
    cluster.agree()
    assert leader.core.term == term


def test_callers_of_a_node_that_waits_to_install_are_refused() -> None:
    cluster = Cluster(limits=SMALL_LOG)
    _, follower = _leave_behind(cluster)
    follower.machine.full = True
    follower.start()
    cluster.until(lambda: follower.replica.status().stalled)
    refused: list[Decision] = []
    follower.replica.propose(b"x", refused.append)
    assert isinstance(refused[0].error, Busy)
    reads: list[PacelineError | None] = []
    follower.replica.read(reads.append)
    cluster.run(ReplicaLimits().read_timeout_ticks + 5)
    assert reads == [] or isinstance(reads[0], PacelineError)
    follower.replica.close()
    assert len(reads) == 1


# --- the stall itself -----------------------------------------------------------------------------


def test_pauses_double_up_to_a_bound() -> None:
    stall = Stall(patience_ticks=ROOM)
    pauses = []
    for _ in range(8):
        stall.refused()
        ticks = 0
        while stall.waiting:
            stall.tick()
            ticks += 1
        pauses.append(ticks)
    assert pauses == [1, 2, 4, 8, 16, LAST_PAUSE_TICKS, LAST_PAUSE_TICKS, LAST_PAUSE_TICKS]


def test_it_is_overdue_once_per_patience() -> None:
    stall = Stall(patience_ticks=10)
    overdue = []
    stall.refused()
    for tick in range(1, 31):
        stall.tick()
        if stall.overdue():
            overdue.append(tick)
    assert overdue == [10, 20, 30]
    stall.relieved()
    assert not stall.lasting
    assert not stall.waiting
    stall.tick()
    assert not stall.overdue()


def test_one_tick_of_several_counts_towards_standing() -> None:
    stall = Stall(patience_ticks=10)
    assert stall.lets_stand
    stall.refused()
    counted = 0
    for _ in range(5 * LATE):
        stall.tick()
        counted += stall.lets_stand
    assert counted == 5
