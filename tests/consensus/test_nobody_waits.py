"""Nobody waits for ever on a node whose disk is full: found by the simulation, told here in small.

`tests.sim` leaves a full disk with one node for good (see `tests.sim.healing`).
"""

from paceline.consensus.replica import ReplicaLimits
from paceline.errors import NotLeader, PacelineError, Unavailable
from tests.consensus.replica_cluster import Cluster, Node
from tests.consensus.test_replica import SMALL_LOG, _leave_behind

LIMITS = ReplicaLimits()


def test_a_leader_whose_full_log_holds_up_no_write_of_its_own_lets_another_one_lead() -> None:
    """Only a compaction waits; the core sees no write that does not complete, yet all is refused.

    Its heartbeats would keep the others following for as long as the disk is full.
    """
    cluster = Cluster()
    leader = cluster.elect()
    leader.storage.stalled = True
    cluster.until(lambda: leader not in cluster.leaders(), ticks=2 * LIMITS.room_ticks)
    cluster.until(lambda: bool(cluster.leaders()))
    assert cluster.commit(cluster.leaders()[0], b"x").error is None


def test_a_lone_node_with_a_full_log_goes_on_leading() -> None:
    cluster = Cluster(size=1)
    leader = cluster.elect()
    leader.storage.stalled = True
    cluster.run(3 * LIMITS.room_ticks)
    leader.storage.stalled = False
    assert cluster.leaders() == [leader]
    assert cluster.commit(leader, b"x").error is None


def test_a_deposed_leader_that_cannot_apply_what_is_committed_answers_all_the_same() -> None:
    """It is at or below the commit index, so losing leadership alone gives no answer: the result
    is expected within moments. On a full disk those moments last."""
    cluster = Cluster()
    leader = cluster.elect()
    leader.storage.immediate = False  # as on a disk that is slow, and then full
    decisions = cluster.propose(leader, b"x")
    cluster.settle()
    assert leader.replica.status().commit_index == leader.replica.status().last_index
    assert decisions == []
    leader.storage.stalled = True
    cluster.until(lambda: bool(decisions), ticks=4 * LIMITS.room_ticks)
    assert isinstance(decisions[0].error, NotLeader)
    assert _commands_of_the_others(cluster, leader) == [[b"x"], [b"x"]]


def test_a_read_on_a_node_that_has_no_room_for_the_leaders_snapshot_is_answered() -> None:
    """Such a node takes no turn at all; it is as one that hears nothing, but it must say so."""
    cluster = Cluster(limits=SMALL_LOG)
    _, follower = _leave_behind(cluster)
    follower.machine.full = True
    follower.start()
    cluster.until(lambda: follower.replica.status().stalled)
    answers: list[PacelineError | None] = []
    follower.replica.read(answers.append)
    cluster.until(lambda: bool(answers), ticks=LIMITS.read_timeout_ticks + 1)
    assert isinstance(answers[0], Unavailable)


def _commands_of_the_others(cluster: Cluster, leader: Node) -> list[list[bytes]]:
    return [node.machine.commands for node in cluster.nodes.values() if node is not leader]
