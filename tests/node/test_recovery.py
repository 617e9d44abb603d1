"""Recovering a node while it is at rest: what the log says afterwards, and what is refused."""

import threading
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from paceline.codec import encode
from paceline.consensus.config import CoreConfig
from paceline.consensus.core import Core
from paceline.consensus.messages import Entry, EntryKind, HardState, Membership, SnapshotMeta
from paceline.consensus.recovery import recover
from paceline.consensus.replica import Replica, ReplicaLimits
from paceline.consensus.storage.protocol import LogWrite
from paceline.consensus.storage.sqlite import SqliteLogStorage
from paceline.errors import Conflict, NotFound, StorageError
from paceline.ids import fingerprint
from paceline.node import belonging, farewell
from paceline.node.data_dir import DataDir
from paceline.node.keys import load_or_create_keys
from paceline.node.recovery import TERM_STEP, Recovery
from paceline.tasks import queries, queries_members
from paceline.tasks.commands import (
    AdmitMember,
    Command,
    Envelope,
    FoundCluster,
    RevokeMember,
    SubmitTask,
    encode_envelope,
)
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import MemberStatus, TaskSpec
from tests.clocks import ManualClock
from tests.tasks.entries import subtask, worker

OTHERS = ("other1", "other2")


class Prepared:
    """A directory as one of three leaves it: two entries applied, the last one not committed."""

    def __init__(self, path: Path, *more: Command) -> None:
        self.path = path
        data_dir = DataDir(path)
        self.keys = load_or_create_keys(path)
        self.node_id = self.keys.node_id
        data_dir.write_json(belonging.FILE, {"cluster_id": "c1", "founded": False, "extra": 1})
        data_dir.close()
        commands = (
            FoundCluster("c1", "token", self.node_id, self.keys.public, "ann"),
            worker(self.node_id),
            *more,
            SubmitTask(TaskSpec("late", "", "plan", (subtask("s"),)), ""),
        )
        members = Membership(voters=tuple(sorted((self.node_id, *OTHERS))))
        self.entries = [Entry(1, 1, EntryKind.MEMBERSHIP, encode(members))]
        for index, command in enumerate(commands, start=2):
            envelope = Envelope(bytes([index]) * 16, 0, 1_000 + index, "", command)
            data = encode_envelope(envelope)
            self.entries.append(Entry(index, 5, EntryKind.COMMAND, data))
        self._write(self.entries)

    def _write(self, entries: Sequence[Entry]) -> None:
        written = threading.Event()
        storage = self.log()
        hard_state = HardState(term=7, vote="other1", commit=len(entries) - 1)
        storage.write(LogWrite(hard_state, None, tuple(entries)), written.set)
        assert written.wait(60)
        storage.close()
        machine = self.machine()
        machine.apply(entries[:-1])
        machine.close()

    def log(self) -> SqliteLogStorage:
        return SqliteLogStorage(
            self.path / "raft.db", loop_call=lambda call: call(), on_failure=_never
        )

    def machine(self) -> TaskMachine:
        return TaskMachine(self.path / "state.db", meta_type=SnapshotMeta)

    def recovery(self) -> Recovery:
        return Recovery(self.path, clock=ManualClock())


def _never(error: StorageError) -> None:
    raise AssertionError(error)


def test_it_says_what_is_at_stake(tmp_path: Path) -> None:
    prepared = Prepared(tmp_path)
    recovery = prepared.recovery()
    outlook = recovery.outlook
    recovery.close()
    assert (outlook.node_id, outlook.cluster_id) == (prepared.node_id, "c1")
    assert outlook.others == OTHERS
    assert (outlook.tasks, outlook.last_index, outlook.commit) == (0, 4, 3)


def test_two_entries_in_a_higher_term_end_the_log(tmp_path: Path) -> None:
    prepared = Prepared(tmp_path)
    recovery = prepared.recovery()
    recovered = recovery.carry_out()
    recovery.close()
    storage = prepared.log()
    stored = storage.load()
    storage.close()
    assert list(stored.entries[:-2]) == prepared.entries, "nothing is taken away"
    membership, command = stored.entries[-2:]
    assert membership.kind == EntryKind.MEMBERSHIP
    assert membership.data == encode(Membership(voters=(prepared.node_id,)))
    assert command.kind == EntryKind.COMMAND
    assert membership.term == command.term == recovered.term == 7 + TERM_STEP
    assert (stored.hard_state.term, stored.hard_state.commit) == (recovered.term, 3)
    assert recovered.token not in repr(recovered)


def test_started_alone_it_leads_and_commits_all_that_it_has(tmp_path: Path) -> None:
    prepared = Prepared(tmp_path)
    recovery = prepared.recovery()
    recovered = recovery.carry_out()
    recovery.close()
    machine, storage = prepared.machine(), prepared.log()
    try:
        live_alone(prepared.node_id, machine, storage)
        record = queries_members.cluster(machine.connection)
        assert record is not None
        assert (record.cluster_id, record.token) == (recovered.cluster_id, recovered.token)
        assert queries.task(machine.connection, "late")["status"] == "in_progress"
        (member,) = queries_members.members(machine.connection)
        assert (member.status, member.trusted) == (MemberStatus.MEMBER, True)
    finally:
        storage.close()
        machine.close()


def live_alone(node_id: str, machine: TaskMachine, storage: SqliteLogStorage) -> None:
    """Run the real replica until it has nothing more to apply."""
    stored = recover(storage, machine)
    replica = Replica(
        core=Core(CoreConfig(node_id), stored, machine.applied_index, Random(1)),
        storage=storage,
        machine=machine,
        send=lambda to, message: None,  # nobody is there
        wake=lambda: None,
        observer=None,
        limits=ReplicaLimits(),
    )
    for _ in range(400):
        replica.tick()
        storage.load()  # waits for the disk
        replica.pump()
        if replica.status().role == "leader" and machine.applied_index > 6:
            return
    raise AssertionError("it never led")


def test_the_small_file_follows_and_keeps_what_it_does_not_know(tmp_path: Path) -> None:
    prepared = Prepared(tmp_path)
    recovery = prepared.recovery()
    recovered = recovery.carry_out()
    recovery.close()
    data_dir = DataDir(tmp_path)
    assert data_dir.read_json(belonging.FILE) == {
        "cluster_id": recovered.cluster_id,
        "founded": True,
        "members": [],
        "extra": 1,
    }
    data_dir.close()


def test_twice_makes_another_cluster_and_does_no_harm(tmp_path: Path) -> None:
    prepared = Prepared(tmp_path)
    found = []
    for _ in range(2):
        recovery = prepared.recovery()
        found.append(recovery.carry_out())
        recovery.close()
    assert found[0].cluster_id != found[1].cluster_id
    assert found[0].term < found[1].term
    machine, storage = prepared.machine(), prepared.log()
    live_alone(prepared.node_id, machine, storage)
    record = queries_members.cluster(machine.connection)
    assert record is not None
    assert record.cluster_id == found[1].cluster_id
    storage.close()
    machine.close()


def test_not_while_the_node_runs(tmp_path: Path) -> None:
    prepared = Prepared(tmp_path)
    running = DataDir(tmp_path)
    with pytest.raises(Conflict, match="already runs"):
        prepared.recovery()
    running.close()


def test_not_where_there_is_no_node(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="--data-dir"):
        Recovery(tmp_path, clock=ManualClock())
    assert list(tmp_path.iterdir()) == []


def test_not_for_one_that_left(tmp_path: Path) -> None:
    prepared = Prepared(tmp_path)
    data_dir = DataDir(tmp_path)
    farewell.mark(data_dir, node_id=prepared.node_id, cluster_id="c1", clock=ManualClock())
    data_dir.close()
    for _ in range(2):  # and nothing stays open after the refusal
        with pytest.raises(Conflict, match="left the cluster"):
            prepared.recovery()


def test_not_for_one_that_was_revoked(tmp_path: Path) -> None:
    keys = load_or_create_keys(tmp_path)
    revoked = RevokeMember(keys.node_id, "second", "other1")
    admitted = _admit_another()
    prepared = Prepared(tmp_path, admitted, revoked)
    with pytest.raises(Conflict, match="revoked"):
        prepared.recovery()


def _admit_another() -> Command:
    return AdmitMember(fingerprint(b"key"), b"key", "other", "other1")
