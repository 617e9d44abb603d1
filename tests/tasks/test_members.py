"""The cluster's own state: founding, admission, trust, revocation, leaving, recovery, the token."""

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import Conflict, InputError, NotFound
from paceline.ids import fingerprint
from paceline.tasks import queries, queries_members
from paceline.tasks.commands import (
    AdmitMember,
    Command,
    FoundCluster,
    RecoverCluster,
    RemoveMember,
    RevokeMember,
    RotateToken,
    SubmitTask,
    TrustMember,
)
from paceline.tasks.effects import Change
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import MemberStatus, TaskSpec
from paceline.tasks.queries_members import ClusterRecord
from tests.tasks.entries import OK, START_MS, Driver, subtask, worker

A, B, C = (fingerprint(key) for key in (b"a", b"b", b"c"))
KEYS = {A: b"a", B: b"b", C: b"c"}
TOKEN = "first-secret"
DATA = Path(__file__).parent / "data"


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db")
    yield Driver(machine)
    machine.close()


def found(**changed: Any) -> FoundCluster:
    fields = {"cluster_id": "c1", "token": TOKEN, "node_id": A, "public_key": b"a", "name": "ann"}
    return FoundCluster(**{**fields, **changed})


def admit(node_id: str, by: str = A) -> AdmitMember:
    return AdmitMember(node_id, KEYS[node_id], f"name of {node_id}", by)


def settled(drive: Driver) -> None:
    """A cluster of three; the first is trusted."""
    assert drive(found()) is True
    assert drive(admit(B)) is True
    assert drive(admit(C, by=B)) is True


def statuses(drive: Driver) -> dict[str, str]:
    return {
        each.node_id: each.status.value
        for each in queries_members.members(drive.machine.connection)
    }


def trusted(drive: Driver) -> frozenset[str]:
    return queries_members.trusted(drive.machine.connection)


def record(drive: Driver) -> ClusterRecord:
    known = queries_members.cluster(drive.machine.connection)
    assert known is not None
    return known


def assert_refused(result: Any, kind: type[Exception], words: str) -> None:
    assert type(result) is kind
    assert words in str(result)


# --- founding and admission -----------------------------------------------------------------------


def test_nothing_is_founded_at_first(drive: Driver) -> None:
    db = drive.machine.connection
    assert queries_members.cluster(db) is None
    assert queries_members.members(db) == []
    assert not queries_members.has_work(db)
    assert not queries_members.is_revoked(db, A)


def test_the_founder_is_the_first_and_trusted(drive: Driver) -> None:
    assert drive(found(approve=True)) is True
    assert record(drive) == ClusterRecord("c1", TOKEN, 1, True, START_MS + 1)
    (member,) = queries_members.members(drive.machine.connection)
    assert (member.node_id, member.public_key, member.name) == (A, b"a", "ann")
    assert (member.status, member.trusted) == (MemberStatus.MEMBER, True)
    assert (member.admitted_at, member.admitted_by) == (START_MS + 1, A)


def test_a_cluster_is_founded_once(drive: Driver) -> None:
    drive(found())
    assert drive(found(token="another")) is False
    assert_refused(drive(found(cluster_id="c2")), Conflict, "the cluster c1 already")
    assert record(drive).token == TOKEN


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"token": ""}, "a token has"),
        ({"token": "x" * 1_025}, "a token has"),
        ({"cluster_id": ""}, "an id"),
        ({"public_key": b"other"}, "not the fingerprint"),
    ],
)
def test_what_cannot_be_founded(drive: Driver, changed: dict[str, Any], words: str) -> None:
    assert_refused(drive(found(**changed)), InputError, words)
    assert queries_members.cluster(drive.machine.connection) is None


def test_newcomers_are_admitted_without_trust(drive: Driver) -> None:
    settled(drive)
    assert statuses(drive) == {A: "member", B: "member", C: "member"}
    assert trusted(drive) == {A}
    assert drive(admit(B)) is False


def test_a_name_is_cut_and_a_foreign_key_refused(drive: Driver) -> None:
    drive(found(name="n" * 500))
    (member,) = queries_members.members(drive.machine.connection)
    assert member.name == "n" * 200
    assert_refused(drive(AdmitMember(B, b"c", "", A)), InputError, "not the fingerprint")


@pytest.mark.parametrize(
    "command",
    [admit(B), RevokeMember(B, "t", A), RotateToken("t", A)],
    ids=lambda command: type(command).__name__,
)
def test_nothing_happens_before_the_cluster_is_founded(drive: Driver, command: Command) -> None:
    assert_refused(drive(command), Conflict, "not founded yet")
    assert statuses(drive) == {}


# --- trust ----------------------------------------------------------------------------------------


def test_trust_is_granted_and_taken_by_the_trusted(drive: Driver) -> None:
    settled(drive)
    assert drive(TrustMember(B, True, A)) is True
    assert drive(TrustMember(B, True, A)) is False
    assert trusted(drive) == {A, B}
    assert drive(TrustMember(A, False, B)) is True
    assert trusted(drive) == {B}


def test_nobody_grants_himself_trust(drive: Driver) -> None:
    settled(drive)
    for by in (B, C, "stranger", ""):
        assert_refused(drive(TrustMember(B, True, by)), Conflict, "not trusted itself")
    assert trusted(drive) == {A}


def test_the_last_trusted_one_stays_so(drive: Driver) -> None:
    settled(drive)
    assert_refused(drive(TrustMember(A, False, A)), Conflict, "trust another one first")


def test_only_members_are_trusted(drive: Driver) -> None:
    settled(drive)
    drive(RemoveMember(B, B))
    for node_id in (B, "stranger"):
        assert_refused(drive(TrustMember(node_id, True, A)), NotFound, "no member")


def test_trust_does_not_survive_leaving(drive: Driver) -> None:
    settled(drive)
    drive(TrustMember(B, True, A))
    drive(RemoveMember(B, B))
    drive(admit(B))
    assert trusted(drive) == {A}
    assert_refused(drive(TrustMember(C, True, B)), Conflict, "not trusted itself")


# --- revocation -----------------------------------------------------------------------------------


def test_a_revoked_node_is_out_at_once_and_the_token_is_another(drive: Driver) -> None:
    settled(drive)
    drive(TrustMember(B, True, A))
    drive.register(A, B)
    drive.submit(subtask("a"))
    ref = drive.allocate("a", node_id=B)
    assert drive(RevokeMember(B, "second-secret", A, "stolen")) == 2
    assert (record(drive).token, record(drive).token_version) == ("second-secret", 2)
    assert statuses(drive)[B] == "revoked"
    assert trusted(drive) == {A}
    assert drive.status("a") == "pending"
    assert drive.finish(ref, OK, B) is False
    assert [each["node_id"] for each in queries.workers(drive.machine.connection)] == [A]
    assert queries_members.is_revoked(drive.machine.connection, B)
    assert queries_members.revoked(drive.machine.connection) == {B}


def test_revoking_twice_keeps_the_newer_token(drive: Driver) -> None:
    settled(drive)
    drive(RevokeMember(B, "second", A))
    assert drive(RevokeMember(B, "third", C)) == 2
    assert record(drive).token == "second"


def test_a_revoked_node_never_comes_back(drive: Driver) -> None:
    settled(drive)
    drive(RevokeMember(B, "second", A))
    assert_refused(drive(admit(B)), Conflict, "empty data directory")
    assert_refused(drive(worker(B)), Conflict, "no member")
    assert drive(RemoveMember(B, A)) is False
    assert statuses(drive)[B] == "revoked"


def test_nothing_is_done_for_a_revoked_node(drive: Driver) -> None:
    settled(drive)
    drive(RevokeMember(B, "second", A))
    commands = (admit(C, by=B), RevokeMember(C, "t", B), RotateToken("t", B), RemoveMember(C, B))
    for command in commands:
        assert_refused(drive(command), Conflict, "was revoked")
    submission = SubmitTask(TaskSpec("t", "", "plan", (subtask("s"),)), "")
    assert_refused(drive(submission, origin=B), Conflict, "was revoked")
    assert not queries_members.has_work(drive.machine.connection)
    assert drive(submission, origin=C) == "t"
    assert queries_members.has_work(drive.machine.connection)


def test_who_cannot_be_revoked(drive: Driver) -> None:
    drive(found())
    assert_refused(drive(RevokeMember(A, "t", A)), Conflict, "node leave")
    assert_refused(drive(RevokeMember(A, "t", B)), Conflict, "last member")
    assert_refused(drive(RevokeMember(B, "", A)), InputError, "a token has")


def test_a_node_may_be_revoked_before_it_was_ever_admitted(drive: Driver) -> None:
    drive(found())
    assert drive(RevokeMember(B, "second", A)) == 2
    assert_refused(drive(admit(B)), Conflict, "was revoked")


def test_the_only_trusted_node_can_be_revoked_but_not_replaced_by_the_revoker(
    drive: Driver,
) -> None:
    settled(drive)
    assert drive(RevokeMember(A, "second", B)) == 2
    assert trusted(drive) == frozenset()
    assert_refused(drive(TrustMember(B, True, B)), Conflict, "not trusted itself")


# --- leaving --------------------------------------------------------------------------------------


def test_one_that_left_is_forgotten_and_may_come_back(drive: Driver) -> None:
    settled(drive)
    drive.register(B)
    drive.submit(subtask("a"))
    drive.allocate("a", node_id=B)
    assert drive(RemoveMember(B, B)) is True
    assert drive(RemoveMember(B, B)) is False
    assert drive.status("a") == "pending"
    assert queries_members.has_left(drive.machine.connection, B)
    assert_refused(drive(worker(B)), Conflict, "no member")
    assert drive(admit(B)) is True
    assert drive(worker(B)) is True


def test_the_last_member_cannot_leave(drive: Driver) -> None:
    settled(drive)
    drive(RemoveMember(B, B))
    drive(RevokeMember(C, "second", A))
    assert_refused(drive(RemoveMember(A, A)), Conflict, "last member")


# --- recovery -------------------------------------------------------------------------------------


def test_a_recovered_cluster_is_another_one_with_the_old_work(drive: Driver) -> None:
    settled(drive)
    drive.register(A, B, C)
    drive.submit(subtask("a"), subtask("b"))
    drive.allocate("a", node_id=A)
    drive.allocate("b", node_id=B)
    assert drive(RecoverCluster("c2", "new-secret", C, b"c", "cat")) == 2
    assert (record(drive).cluster_id, record(drive).token) == ("c2", "new-secret")
    assert record(drive).recovered_at == drive.log.now_ms
    assert statuses(drive) == {A: "left", B: "left", C: "member"}
    assert trusted(drive) == {C}
    assert (drive.status("a"), drive.status("b")) == ("pending", "pending")
    assert [each["node_id"] for each in queries.workers(drive.machine.connection)] == [C]
    assert drive(admit(A, by=C)) is True


def test_revocations_outlive_a_recovery(drive: Driver) -> None:
    settled(drive)
    drive(RevokeMember(B, "second", A))
    drive(RecoverCluster("c2", "third", C, b"c", "cat"))
    assert statuses(drive)[B] == "revoked"


# --- the token is told nobody ---------------------------------------------------------------------


def test_the_token_shows_nowhere(drive: Driver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    heard: list[Change] = []
    drive.machine.on_applied(heard.extend)
    commands = [
        found(),
        admit(B),
        admit(C),
        RotateToken("second-secret", A),
        RevokeMember(C, "third-secret", A, "gone"),
        RecoverCluster("c2", "fourth-secret", A, b"a", "ann"),
    ]
    results = [drive(command) for command in commands]
    said = [repr(commands), repr(results), repr(heard), caplog.text, repr(record(drive))]
    db = drive.machine.connection
    tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    said += [
        repr(db.execute(f"SELECT * FROM {table}").fetchall())
        for table in tables
        if table != "cluster"
    ]
    assert all("secret" not in each for each in said)
    assert record(drive).token == "fourth-secret"


# --- files of version 1 ---------------------------------------------------------------------------


def test_a_file_of_version_1_is_taken_on(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    old = sqlite3.connect(path)
    old.executescript((DATA / "state_v1.sql").read_text())
    old.close()
    machine = TaskMachine(path)
    drive = Driver(machine)
    try:
        assert machine.applied_index == 9
        assert (drive.status("a"), drive.status("b")) == ("completed", "in_progress")
        assert queries_members.cluster(machine.connection) is None
        assert queries_members.has_work(machine.connection)
        assert drive(found(), request_id=b"not in the file") is True
        assert trusted(drive) == {A}
    finally:
        machine.close()


def test_a_migrated_file_is_as_one_that_was_made_new(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "old.db")
    old.executescript((DATA / "state_v1.sql").read_text())
    old.close()
    migrated, new = TaskMachine(tmp_path / "old.db"), TaskMachine(tmp_path / "new.db")
    try:
        schemas = [
            machine.connection.execute(
                "SELECT type, name, sql FROM sqlite_master ORDER BY name"
            ).fetchall()
            for machine in (migrated, new)
        ]
        assert schemas[0] == schemas[1]
    finally:
        migrated.close()
        new.close()
