"""What the doctor says of a data directory, its databases, and the disk under it."""

import contextlib
import fcntl
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.consensus.messages import Entry, HardState, Membership, SnapshotMeta
from paceline.consensus.storage.protocol import LogWrite
from paceline.consensus.storage.sqlite import SqliteLogStorage
from paceline.node.data_dir import DataDir
from paceline.node.doctor import databases, directory, disk, machine, ports
from paceline.node.doctor.finding import Finding, Level, ok, problem, warning, worst
from paceline.node.keys import load_or_create_keys
from paceline.tasks.machine import TaskMachine
from tests.tasks.entries import Log, worker

COUNT = 40


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory as a node leaves it behind: key, log and state."""
    path = tmp_path / "node"
    DataDir(path).close()
    load_or_create_keys(path)
    log = Log()
    entries = [log.command(worker(f"n{number}")) for number in range(COUNT)]
    state = TaskMachine(path / "state.db")
    state.apply(entries)
    state.close()
    storage = SqliteLogStorage(
        path / "raft.db", loop_call=lambda callback: callback(), on_failure=_unexpected
    )
    done = threading.Event()
    mark = SnapshotMeta(0, 0, Membership(voters=("n1",)))
    rows = tuple(Entry(*entry) for entry in entries)
    storage.write(LogWrite(HardState(1, "n1", COUNT), mark, rows), done.set)
    assert done.wait(30)
    storage.close()
    return path


def _unexpected(error: Exception) -> None:
    raise AssertionError(f"unexpected failure: {error}")


def bad(findings: list[Finding]) -> list[Finding]:
    return [each for each in findings if each.level is not Level.OK]


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}


# --- databases ------------------------------------------------------------------------------------


def test_what_is_whole_is_found_whole_and_left_alone(data: Path) -> None:
    before = contents(data)
    findings = databases.examine(data)
    assert bad(findings) == []
    assert any(f"entries 1 to {COUNT}" in each.text for each in findings)
    assert any("fit together" in each.text for each in findings)
    assert contents(data) == before


def damaged(path: Path, name: str, offset: int) -> None:
    with (path / name).open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x10]))


@contextlib.contextmanager
def changed(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        yield connection
        connection.commit()


def test_a_flipped_bit_in_the_log_is_found(data: Path) -> None:
    with changed(data / "raft.db") as connection:
        connection.execute("UPDATE entry SET data = zeroblob(length(data)) WHERE idx = 7")
    (finding,) = bad(databases.examine(data))
    assert finding.level is Level.PROBLEM
    assert "the checksum of entry 7 is wrong" in finding.text
    assert str(data / "raft.db") in finding.text
    assert "join again" in finding.advice


@pytest.mark.parametrize("name", ["raft.db", "state.db"])
@pytest.mark.parametrize("offset", [16, 20, 100, 4096, 8192])
def test_a_flipped_bit_anywhere_that_matters_is_found(data: Path, name: str, offset: int) -> None:
    """In the header and at the heads of pages; nothing but findings comes of it."""
    damaged(data, name, offset)
    before = contents(data)
    found = bad(databases.examine(data))
    assert contents(data) == before
    if offset in (16, 100) or name == "state.db":  # which is sealed as a whole
        assert found[0].subject == name


@pytest.mark.parametrize("name", ["raft.db", "state.db"])
def test_a_torn_file_is_found(data: Path, name: str) -> None:
    os.truncate(data / name, (data / name).stat().st_size // 2)
    assert any(each.subject == name for each in bad(databases.examine(data)))


@pytest.mark.parametrize("name", ["raft.db", "state.db"])
def test_a_foreign_database_is_found(data: Path, name: str) -> None:
    (data / name).unlink()
    (data / f"{name}-seal").unlink(missing_ok=True)
    with changed(data / name) as connection:
        connection.execute("CREATE TABLE notes (text)")
    (finding, *_) = bad(databases.examine(data))
    assert finding.subject == name
    assert "another program" in finding.text


@pytest.mark.parametrize("name", ["raft.db", "state.db"])
def test_what_is_no_database_is_found(data: Path, name: str) -> None:
    (data / name).write_bytes(b"not a database" * 1000)
    assert [each.subject for each in bad(databases.examine(data))] == [name]


def test_a_log_older_than_its_state_is_found(data: Path) -> None:
    (data / "state.db-seal").unlink()
    with changed(data / "state.db") as connection:
        connection.execute("UPDATE meta SET applied_index = ?", (COUNT + 5,))
    (finding,) = bad(databases.examine(data))
    assert "older than the state" in finding.text


def test_a_damaged_key_is_found(data: Path) -> None:
    (data / "node.key").write_text("nonsense")
    (finding,) = bad(databases.examine(data))
    assert "no valid key pair" in finding.text
    (data / "node.key").unlink()
    (finding,) = bad(databases.examine(data))
    assert "lost its identity" in finding.text


def test_a_running_nodes_databases_are_left_to_it(data: Path) -> None:
    held = DataDir(data)
    try:
        findings = databases.examine(data)
    finally:
        held.close()
    assert bad(findings) == []
    assert ["it has them open" in each.text for each in findings] == [True]


def test_no_node_can_start_meanwhile(data: Path) -> None:
    with directory.held(data) as free:
        assert free
        descriptor = os.open(data / "lock", os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)


def test_the_state_of_a_running_node(data: Path) -> None:
    assert databases.live_state(data / "state.db").level is Level.OK
    os.truncate(data / "state.db", 4096 * 3)
    assert databases.live_state(data / "state.db").level is Level.PROBLEM
    assert databases.live_state(data / "nowhere.db").level is Level.PROBLEM


# --- the directory --------------------------------------------------------------------------------


def test_a_good_directory(data: Path) -> None:
    assert bad(directory.examine(data)) == []


def test_before_the_first_start(tmp_path: Path) -> None:
    (finding,) = directory.examine(tmp_path / "nothing")
    assert finding.level is Level.WARNING
    assert "paceline node start" in finding.advice
    assert databases.examine(tmp_path / "nothing") == []
    assert disk.examine(tmp_path / "nothing") == []


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (finding,) = directory.examine(tmp_path / "file")
    assert finding.level is Level.PROBLEM


def test_what_others_can_read_is_a_problem(data: Path) -> None:
    data.chmod(0o755)
    (data / "node.key").chmod(0o644)
    found = bad(directory.examine(data))
    assert {each.level for each in found} == {Level.PROBLEM}
    assert any("chmod 700" in each.advice for each in found)
    assert any("node.key" in each.text for each in found)


def test_who_runs_is_named(data: Path) -> None:
    held = DataDir(data)
    try:
        texts = [each.text for each in directory.examine(data)]
    finally:
        held.close()
    assert any(f"process {os.getpid()}" in text for text in texts)


def test_a_clock_that_was_set_back(data: Path) -> None:
    ahead = time.time() + 3600
    os.utime(data / "state.db", (ahead, ahead))
    (finding,) = bad(directory.examine(data))
    assert "set back" in finding.text


@pytest.mark.parametrize(
    ("free", "level"), [(10**6, Level.PROBLEM), (10**9, Level.WARNING), (10**11, Level.OK)]
)
def test_room(data: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: Level) -> None:
    usage = shutil._ntuple_diskusage(10**12, 10**12 - free, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert worst(directory.examine(data)) is level


# --- disk, machine, ports -------------------------------------------------------------------------


def test_syncs_are_timed_and_leave_nothing(tmp_path: Path) -> None:
    times = disk.sync_times_ms(tmp_path)
    assert len(times) == disk.SYNCS
    assert all(each > 0 for each in times)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("median_ms", "level"), [(0.5, Level.OK), (30.0, Level.WARNING), (400.0, Level.PROBLEM)]
)
def test_what_a_slow_disk_means(median_ms: float, level: Level) -> None:
    assert disk.judge(median_ms, median_ms).level is level


def test_versions_are_said() -> None:
    assert {"paceline", "python", "libzmq", "sqlite", "levels"} <= machine.versions().keys()
    assert machine.memory(100 * 1024**2).level is Level.WARNING
    assert machine.memory(8 * 1024**3).level is Level.OK


def test_git_must_be_there_and_able_to_merge() -> None:
    assert machine.git("git version 2.38.0").level is Level.OK
    assert machine.git("git version 3.1").level is Level.OK
    assert machine.git("git version 2.37.9 (Apple Git-1)").level is Level.WARNING
    assert machine.git("").level is Level.WARNING


def test_ports_before_the_first_start(tmp_path: Path) -> None:
    (finding,) = ports.examine(tmp_path)
    assert finding.level is Level.OK


def test_the_worst_of_nothing_is_ok() -> None:
    assert worst([]) is Level.OK
    assert worst([ok("a", ""), warning("a", "", "")]) is Level.WARNING
    assert worst([problem("a", "", ""), warning("a", "", "")]) is Level.PROBLEM
