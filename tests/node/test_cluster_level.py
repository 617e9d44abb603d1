"""The level of a mixed cluster, from heartbeats, registrations and admissions."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.errors import Conflict
from paceline.ids import fingerprint
from paceline.node.cluster_level import INFO_KEY, KEPT_MS, ClusterLevel
from paceline.node.token import new_token
from paceline.node.vitals import VitalsTable
from paceline.tasks import commands
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import Resources, Vitals
from tests.clocks import ManualClock
from tests.tasks.entries import Driver

NEW = commands.NEWEST_LEVEL
ROTATE = commands.RotateToken("token", "n1")
CANCEL = commands.CancelTask("task")


class Cluster:
    """One node, n1, and what it has heard of the others."""

    def __init__(self, machine: TaskMachine) -> None:
        self.drive = Driver(machine)
        self.clock = ManualClock()
        self.vitals = VitalsTable(clock=self.clock, applied_index=lambda: 0)
        self.members = ["n1", "n2", "n3"]
        self.level = ClusterLevel(
            node_id="n1",
            members=lambda: self.members,
            vitals=self.vitals,
            connection=machine.connection,
            clock=self.clock,
            name_of=str.upper,
        )
        self._beats = 0

    def hear(self, node_id: str, level: int) -> None:
        self._beats += 1
        self.vitals.note(Vitals(node_id, 1, self._beats, Resources(), (), 1, (), level=level))
        self.clock.advance(KEPT_MS + 1)

    def register(self, node_id: str, level: str) -> None:
        info = {INFO_KEY: level} if level else {}
        self.drive(commands.RegisterWorker(node_id, node_id, "", 1, (), system_info=info))
        self.clock.advance(KEPT_MS + 1)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    machine = TaskMachine(tmp_path / "state.db")
    yield Cluster(machine)
    machine.close()


def test_the_lowest_of_all(cluster: Cluster) -> None:
    cluster.hear("n2", NEW)
    cluster.hear("n3", 1)
    assert cluster.level.now() == 1
    assert cluster.level.lagging() == ["N3"]
    cluster.hear("n3", NEW)
    assert cluster.level.now() == NEW
    assert cluster.level.lagging() == []


def test_a_member_that_is_away_is_remembered(cluster: Cluster) -> None:
    cluster.hear("n2", NEW)
    cluster.register("n3", "1")
    assert cluster.level.now() == 1
    cluster.register("n3", str(NEW))
    assert cluster.level.now() == NEW


def test_what_it_says_now_counts_more_than_what_it_registered(cluster: Cluster) -> None:
    cluster.members = ["n1", "n2"]
    cluster.register("n2", str(NEW))
    cluster.hear("n2", 1)
    assert cluster.level.now() == 1


@pytest.mark.parametrize("said", ["", "x", "-1"])
def test_the_first_release_did_not_say(cluster: Cluster, said: str) -> None:
    cluster.members = ["n1", "n2"]
    cluster.register("n2", said)
    assert cluster.level.now() == 1


def test_an_unknown_member_of_a_cluster_of_the_first_release_is_of_that_release(
    cluster: Cluster,
) -> None:
    cluster.register("n2", "")
    assert cluster.level.of_members() == {"n1": NEW, "n2": 1, "n3": 1}


def test_a_node_that_has_only_just_joined_holds_nothing_against_the_others(
    cluster: Cluster,
) -> None:
    assert cluster.level.of_members() == {"n1": NEW, "n2": NEW, "n3": NEW}
    assert cluster.level.require(ROTATE) == NEW


def test_a_newcomer_has_the_level_of_its_admission(cluster: Cluster) -> None:
    """Or every joining node would hold the cluster back until its first heartbeat."""
    keys = [b"j" * 32, b"k" * 32]
    first, newcomer = map(fingerprint, keys)
    token = new_token()
    assert cluster.drive(commands.FoundCluster("c", token, first, keys[0], "first")) is True
    assert cluster.drive(commands.AdmitMember(newcomer, keys[1], "newcomer", first)) is True
    cluster.members = ["n1", newcomer]
    assert cluster.level.now() == NEW


def test_a_newer_member_than_this_node_does_not_raise_it(cluster: Cluster) -> None:
    cluster.members = ["n1", "n2"]
    cluster.hear("n2", NEW + 5)
    assert cluster.level.now() == NEW


def test_what_an_older_member_would_not_understand_is_refused(cluster: Cluster) -> None:
    cluster.hear("n2", NEW)
    cluster.hear("n3", 1)
    with pytest.raises(Conflict, match=r"level 1 until all .* update Paceline on N3"):
        cluster.level.require(ROTATE)
    assert cluster.level.require(CANCEL) == 1
    cluster.hear("n3", NEW)
    assert cluster.level.require(ROTATE) == NEW
    assert cluster.level.require(CANCEL) == NEW


def test_after_a_refusal_it_looks_again_at_once(cluster: Cluster) -> None:
    cluster.members = ["n1", "n2"]
    cluster.hear("n2", 1)
    with pytest.raises(Conflict):
        cluster.level.require(ROTATE)
    cluster.vitals.note(Vitals("n2", 2, 1, Resources(), (), 1, (), level=NEW))
    assert cluster.level.require(ROTATE) == NEW
