"""The recorded bytes of a release against the current code, both ways.

A release reads what it knows and drops what was appended; `release_0_1` says what that is, in a
language of its own. So a node of 0.1 and one of today understand each other if the current code
reads the recorded bytes, and 0.1's reader gets from the current bytes what 0.1 would have sent.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgpack
import pytest

from paceline.consensus.messages import PEER_MESSAGES, Entry
from paceline.consensus.storage.protocol import StoredLog
from paceline.consensus.storage.sqlite import SqliteLogStorage
from paceline.consensus.transfer import SNAPSHOT_MESSAGES
from paceline.discovery.record import from_txt, to_txt
from paceline.node.hello import GreetingKind
from paceline.node.wire import Kind
from paceline.tasks import commands
from paceline.tasks.commands import Envelope
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import TaskSpec
from tests.golden import record, samples
from tests.golden.grammar import Unreadable
from tests.golden.release_0_1 import READERS

RECORDED = Path(__file__).parent / "0_1"
WIRE = {
    name: bytes.fromhex(text)
    for name, text in json.loads((RECORDED / record.WIRE).read_text()).items()
}
SAMPLES = samples.samples()
NAMES = sorted(WIRE)
STATE_TABLES = sorted(
    line.split()[2]
    for line in (RECORDED / record.STATE).read_text().splitlines()
    if line.startswith("CREATE TABLE")
)


def plain(data: bytes) -> Any:
    return msgpack.unpackb(data, strict_map_key=False)


# --- what travels ---------------------------------------------------------------------------------


def test_everything_that_was_recorded_is_compared() -> None:
    assert set(WIRE) <= set(SAMPLES)
    assert {SAMPLES[name].family for name in NAMES} == set(READERS)


@pytest.mark.parametrize("name", NAMES)
def test_the_current_code_reads_what_the_release_wrote(name: str) -> None:
    assert SAMPLES[name].decode(WIRE[name]) == SAMPLES[name].value


@pytest.mark.parametrize("name", NAMES)
def test_the_release_reads_what_the_current_code_writes(name: str) -> None:
    read = READERS[SAMPLES[name].family]
    assert read(plain(SAMPLES[name].data)) == plain(WIRE[name])


@pytest.mark.parametrize("name", NAMES)
def test_the_grammar_is_neither_more_nor_less_than_the_release(name: str) -> None:
    read = READERS[SAMPLES[name].family]
    whole = plain(WIRE[name])
    assert read(whole) == whole
    with pytest.raises(Unreadable):
        read(whole[:-1])


def test_numbers_have_not_changed_their_meaning() -> None:
    assert [COMMANDS_BY_TAG[tag] for tag in range(1, 11)] == [
        type(command).__name__ for command in samples.COMMAND_SAMPLES
    ]
    assert [_tag(PEER_MESSAGES, each) for each in samples.RAFT_SAMPLES] == list(range(1, 11))
    assert [_tag(SNAPSHOT_MESSAGES, each) for each in samples.SNAPSHOT_SAMPLES] == [1, 2, 3, 4]
    assert {kind.value: kind.name for kind in Kind if kind in samples.FRAME_KINDS_0_1} == {
        1: "RAFT",
        2: "VITALS",
        3: "REQUEST",
        4: "RESPONSE",
        5: "ERROR",
        6: "CANCEL",
        7: "GOSSIP",
        8: "CREDIT",
        9: "VITALS_REPLY",
        16: "SNAPSHOT",
        17: "BLOB",
        18: "LOG",
    }
    assert [kind.name for kind in GreetingKind][:4] == [
        "HELLO",
        "HELLO_REPLY",
        "JOIN",
        "JOIN_REPLY",
    ]


def _tag(family: Any, value: Any) -> int:
    return int(family.to_plain(value)[0])


COMMANDS_BY_TAG = {
    _tag(commands.COMMANDS, command): type(command).__name__ for command in samples.COMMAND_SAMPLES
}


# --- the TXT record -------------------------------------------------------------------------------


def test_the_txt_record() -> None:
    recorded = {
        key: bytes.fromhex(text)
        for key, text in json.loads((RECORDED / record.TXT).read_text()).items()
    }
    properties = {key.encode(): value for key, value in recorded.items()}
    contact = samples.CONTACT
    assert from_txt(contact.node_id, properties, contact.hosts) == contact
    current = to_txt(contact)
    assert {key: current[key] for key in recorded} == recorded


# --- files ----------------------------------------------------------------------------------------


def restore(name: str, path: Path) -> Path:
    """Make a database from what was recorded of it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((RECORDED / name).read_text())
    return path


def test_the_log_of_the_release_is_read(tmp_path: Path) -> None:
    path = restore(record.RAFT, tmp_path / "raft.db")
    failures: list[Exception] = []
    storage = SqliteLogStorage(
        path, loop_call=lambda callback: callback(), on_failure=failures.append
    )
    try:
        stored = storage.load()
    finally:
        storage.close()
    entries = record.log()[record.SNAPSHOT.index :]
    assert stored == StoredLog(record.HARD_STATE, record.SNAPSHOT, entries)
    assert not failures


def test_the_log_that_is_written_now_has_the_rows_of_the_release(tmp_path: Path) -> None:
    old, new = restore(record.RAFT, tmp_path / "old.db"), tmp_path / "new.db"
    record.write_raft(new)
    for table in ("entry", "head", "snapshot"):
        columns = columns_of(old, table)
        assert rows(new, table, columns) == rows(old, table, columns)


def test_the_state_of_the_release_is_taken_up(tmp_path: Path) -> None:
    """Opened, migrated, nothing lost; and the log goes on."""
    old = restore(record.STATE, tmp_path / "old.db")
    path = restore(record.STATE, tmp_path / "state.db")
    before = {table: columns_of(old, table) for table in STATE_TABLES}
    machine = TaskMachine(path)
    try:
        assert machine.applied_index == len(record.log())
        for table, columns in before.items():
            assert rows(path, table, columns) == rows(old, table, columns), table
        machine.apply([next_entry(machine.applied_index + 1)])
    finally:
        machine.close()
    assert ("task-2", "plan") in rows(path, "tasks", ["task_id", "type"])


@pytest.mark.parametrize("table", STATE_TABLES)
def test_the_same_log_gives_the_same_rows_as_in_the_release(table: str, tmp_path: Path) -> None:
    """Or nodes of two versions would drift apart while both are in one cluster."""
    old, new = restore(record.STATE, tmp_path / "old.db"), tmp_path / "new.db"
    record.write_state(new)
    columns = columns_of(old, table)
    assert rows(new, table, columns) == rows(old, table, columns)


def next_entry(index: int) -> Any:
    spec = TaskSpec("task-2", "words", "plan", (samples.CHECK_ALONE,))
    envelope = Envelope(
        b"another request.",
        index - 1,
        samples.NOW_MS,
        samples.A,
        commands.SubmitTask(spec, "k", ""),
    )
    return Entry(index, 3, 1, commands.encode_envelope(envelope))


def columns_of(path: Path, table: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def rows(path: Path, table: str, columns: list[str]) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1, 2"
        ).fetchall()
