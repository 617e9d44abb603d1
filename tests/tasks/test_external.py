"""Workers that are no nodes: who speaks for them, and what they are given."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from paceline.errors import Conflict, InputError
from paceline.ids import fingerprint
from paceline.tasks import apply_external, queries, queries_external
from paceline.tasks.commands import (
    AdmitMember,
    AttachWorker,
    ForgetWorker,
    FoundCluster,
    RevokeMember,
)
from paceline.tasks.levels import level_of
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import Privacy, ToolState
from paceline.tasks.schedule import plan, why
from tests.tasks.entries import Driver, subtask
from tests.tasks.planning import ready, view, worker

ATTACH = AttachWorker("w", "n1", "machine", "name", 2, (ToolState("command"),), {"os": "Linux"})


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db")
    driver = Driver(machine, level=2)
    driver.register("n1")
    yield driver
    machine.close()


def test_it_is_of_level_2() -> None:
    assert level_of(ATTACH) == 2


def test_it_is_a_worker_like_any_other_and_has_somebody_to_speak_for_it(drive: Driver) -> None:
    assert drive(ATTACH) == drive.log.index
    (document,) = (w for w in queries.workers(drive.machine.connection) if w["node_id"] == "w")
    assert (document["via"], document["machine_id"], document["slots"]) == ("n1", "machine", 2)
    assert queries_external.external_ids(drive.machine.connection) == {"w"}
    assert queries_external.via_of(drive.machine.connection, "n1") == ""


def test_at_another_node_it_goes_on_with_what_it_had(drive: Driver) -> None:
    first = drive(ATTACH)
    drive.submit(subtask("a"))
    ref = drive.allocate("a", node_id="w")
    drive.start(ref, node_id="w")
    assert queries_external.holder_of(drive.machine.connection, "a") == "w"
    assert drive(replace(ATTACH, via="n2")) > first
    assert queries_external.via_of(drive.machine.connection, "w") == "n2"
    assert drive.finish(ref, node_id="w") is True
    assert queries_external.holder_of(drive.machine.connection, "a") == ""
    assert queries_external.last_result(drive.machine.connection, "a") == ("w", 1, "ok")


def test_nobody_becomes_an_external_worker_by_being_called_one(drive: Driver) -> None:
    member = fingerprint(b"key")
    assert drive(FoundCluster("c", "token", member, b"key", "name")) is True
    assert isinstance(drive(replace(ATTACH, worker_id="n1")), Conflict), "the row of a node"
    assert isinstance(drive(replace(ATTACH, worker_id=member)), Conflict), "a member without a row"
    assert isinstance(drive(replace(ATTACH, worker_id="")), InputError)


def test_a_forgotten_one_leaves_nothing_behind(drive: Driver) -> None:
    drive(ATTACH)
    drive.submit(subtask("a"))
    drive.allocate("a", node_id="w")
    assert drive(ForgetWorker("w")) is True
    assert drive.status("a") == "pending"
    assert queries_external.external_ids(drive.machine.connection) == frozenset()


def test_there_is_a_bound(drive: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply_external, "WORKERS_LIMIT", 2)
    drive(ATTACH)
    assert isinstance(drive(replace(ATTACH, worker_id="v")), Conflict), "of the same machine"
    drive(replace(ATTACH, worker_id="v", machine_id="v"))
    assert isinstance(drive(replace(ATTACH, worker_id="u", machine_id="u")), Conflict)
    assert drive(replace(ATTACH, via="n2")) == drive.log.index, "whoever is known may come again"


def test_a_node_that_is_out_speaks_for_nobody(drive: Driver) -> None:
    first, second = fingerprint(b"key"), fingerprint(b"other")
    drive(FoundCluster("c", "token", first, b"key", "name"))
    drive(AdmitMember(second, b"other", "other", first))
    drive(RevokeMember(second, "new-token", first))
    assert isinstance(drive(replace(ATTACH, via=second)), Conflict)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"commit": "c0ffee"}, "an external worker has no copy of the repository"),
        ({"avoid_node": "n1"}, "an external worker reviews nobody's work"),
        ({"privacy": Privacy.SENSITIVE}, "not trusted with sensitive work"),
    ],
    ids=["repository", "review", "sensitive"],
)
def test_what_it_is_not_given(more: dict[str, str], reason: str) -> None:
    picture = view(worker("w", external=True))
    (allocation,) = plan(replace(picture, ready=(ready("s"),)))
    assert "w" in str(allocation)
    (verdict,) = why(picture, ready("s", **more))
    assert verdict.reason == reason
