"""The durable log: what is acknowledged stays, and what is damaged is noticed."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paceline.consensus.messages import Entry, HardState, Membership, SnapshotMeta
from paceline.consensus.storage import writer
from paceline.consensus.storage.database import APPLICATION_ID, MIGRATIONS
from paceline.consensus.storage.protocol import LogWrite, StoredLog
from paceline.consensus.storage.sqlite import SqliteLogStorage
from paceline.consensus.storage.wal import FRAME, HEADER, commits_behind_damage
from paceline.errors import CorruptStorage, StorageError
from tests.consensus.sqlite_storage import LONG_S, database_of, entries, open_storage, write

MEMBERS = Membership(voters=("a", "b"), learners=("c",))


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SqliteLogStorage]:
    opened = open_storage(tmp_path)
    yield opened
    opened.close()


def reopened(directory: Path) -> StoredLog:
    storage = open_storage(directory)
    try:
        return storage.load()
    finally:
        storage.close()


# --- what is written is read ----------------------------------------------------------------------


def test_a_new_log_is_empty(storage: SqliteLogStorage) -> None:
    assert storage.load() == StoredLog(HardState(), None, ())


def test_hard_state_and_entries_survive_a_restart(
    storage: SqliteLogStorage, tmp_path: Path
) -> None:
    hard_state = HardState(7, "node-b", 3)
    rows = (*entries(1, 3), Entry(4, 7, 2, b""), Entry(5, 7, 0, bytes(range(256)) * 100))
    write(storage, rows, hard_state=hard_state)
    storage.close()
    assert reopened(tmp_path) == StoredLog(hard_state, None, rows)


def test_a_later_write_replaces_the_tail(storage: SqliteLogStorage, tmp_path: Path) -> None:
    write(storage, entries(1, 10))
    write(storage, entries(5, 2, term=2, data=b"other"))
    storage.close()
    assert reopened(tmp_path).entries == (*entries(1, 4), *entries(5, 2, term=2, data=b"other"))


def test_a_snapshots_mark_empties_the_log(storage: SqliteLogStorage, tmp_path: Path) -> None:
    write(storage, entries(1, 10))
    meta = SnapshotMeta(20, 3, MEMBERS)
    write(storage, entries(21, 2, term=4), hard_state=HardState(4), snapshot=meta)
    storage.close()
    assert reopened(tmp_path) == StoredLog(HardState(4), meta, entries(21, 2, term=4))


def test_compaction_keeps_a_tail_and_the_mark(storage: SqliteLogStorage, tmp_path: Path) -> None:
    write(storage, entries(1, 2000))
    storage.compact(SnapshotMeta(1900, 1, MEMBERS), 1800)
    write(storage, entries(2001, 1))
    _wait_until(lambda: storage.load().entries[0].index == 1800)
    storage.close()
    stored = reopened(tmp_path)
    assert stored.snapshot == SnapshotMeta(1900, 1, MEMBERS)
    assert stored.entries == entries(1800, 202)


def test_compaction_that_did_not_finish_is_finished_by_the_next(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    write(storage, entries(1, 3000))
    storage.compact(SnapshotMeta(2900, 1, MEMBERS), 2900)
    storage.close()  # at once: only a slice is deleted
    storage = open_storage(tmp_path)
    assert storage.load().entries[-1].index == 3000
    storage.compact(SnapshotMeta(2950, 1, MEMBERS), 2950)
    _wait_until(lambda: storage.load().entries[0].index == 2950)
    storage.close()


def test_an_older_compaction_changes_nothing(storage: SqliteLogStorage) -> None:
    write(storage, (), hard_state=HardState(2), snapshot=SnapshotMeta(50, 2, MEMBERS))
    storage.compact(SnapshotMeta(10, 1, MEMBERS), 11)
    assert storage.load().snapshot == SnapshotMeta(50, 2, MEMBERS)


def test_space_is_used_again_after_compaction(storage: SqliteLogStorage, tmp_path: Path) -> None:
    def round_of_writes(first: int) -> int:
        write(storage, entries(first, 1000, data=b"x" * 1000))
        storage.compact(SnapshotMeta(first + 999, 1, MEMBERS), first + 1000)
        _wait_until(lambda: not storage.load().entries)
        return database_of(tmp_path).stat().st_size

    sizes = [round_of_writes(1 + 1000 * number) for number in range(12)]
    assert sizes[-1] <= 3 * max(sizes[:4])


def test_the_write_ahead_file_does_not_grow_for_ever(
    storage: SqliteLogStorage, tmp_path: Path
) -> None:
    for number in range(40):
        write(storage, entries(1 + number * 100, 100, data=b"x" * 4000))
    wal = database_of(tmp_path).with_name("raft.db-wal")
    assert wal.stat().st_size < 3 * writer.RESERVED_BYTES


def test_writes_complete_in_order_and_a_group_is_told_at_once(tmp_path: Path) -> None:
    hops: list[list[int]] = []
    finished = threading.Event()

    def loop_call(callback: Callable[[], None]) -> None:
        hops.append([])
        callback()

    storage = SqliteLogStorage(
        database_of(tmp_path), loop_call=loop_call, on_failure=lambda error: None
    )

    def done(index: int) -> Callable[[], None]:
        def note() -> None:
            hops[-1].append(index)
            if index == 300:
                finished.set()

        return note

    for index in range(1, 301):
        storage.write(LogWrite(HardState(1), None, entries(index, 1)), done(index))
    assert finished.wait(LONG_S)
    storage.close()
    assert [index for hop in hops for index in hop] == list(range(1, 301))
    assert len(hops) < 300  # at least some shared a transaction


def test_a_write_of_nothing_waits_for_those_before_it(storage: SqliteLogStorage) -> None:
    order: list[str] = []
    last = threading.Event()
    storage.write(LogWrite(HardState(1), None, entries(1, 1)), lambda: order.append("first"))
    storage.write(LogWrite(None, None, ()), lambda: order.append("second"))
    storage.write(LogWrite(None, None, ()), last.set)
    assert last.wait(LONG_S)
    assert order == ["first", "second"]


def test_close_finishes_what_is_queued(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    done: list[int] = []
    for index in range(1, 101):
        storage.write(
            LogWrite(HardState(1), None, entries(index, 1)),
            lambda index=index: done.append(index),  # type: ignore[misc]
        )
    storage.close()
    assert done == list(range(1, 101))
    assert len(reopened(tmp_path).entries) == 100
    with pytest.raises(StorageError):
        storage.load()


# --- kill -9 --------------------------------------------------------------------------------------

WRITER = """
import itertools, sys, threading
from pathlib import Path
from paceline.consensus.messages import Entry, HardState, Membership, SnapshotMeta
from paceline.consensus.storage.protocol import LogWrite
from tests.consensus.sqlite_storage import open_storage

storage = open_storage(Path(sys.argv[1]))
stored = storage.load()
first = stored.entries[-1].index + 1 if stored.entries else 1
room = threading.Semaphore(16)

def acknowledge(index):
    sys.stdout.write(f"{index}\\n")
    sys.stdout.flush()
    room.release()

for index in itertools.count(first):
    room.acquire()
    rows = (Entry(index, 1, 1, str(index).encode() * 50),)
    write = LogWrite(HardState(1, "a", index - 1), None, rows)
    storage.write(write, lambda index=index: acknowledge(index))
    if index % 200 == 0:
        storage.compact(SnapshotMeta(index - 100, 1, Membership(("a",))), index - 150)
"""


def test_kill_9_of_a_writing_process_loses_nothing_acknowledged(tmp_path: Path) -> None:
    acknowledged = 0
    for round_number in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            acknowledged = int(line)
            if acknowledged >= (round_number + 1) * 400:
                break
        process.send_signal(signal.SIGKILL)
        rest = process.communicate()[0].rpartition("\n")[0].splitlines()
        acknowledged = int(rest[-1]) if rest else acknowledged
        stored = reopened(tmp_path)
        assert stored.entries[-1].index >= acknowledged
        assert all(entry.data == str(entry.index).encode() * 50 for entry in stored.entries)


# --- damage ---------------------------------------------------------------------------------------


def _filled(directory: Path, *, crashed: bool = False) -> Path:
    """Write 200 entries in 50 transactions; answer the database, as a crash leaves it or closed."""
    storage = open_storage(directory)
    for number in range(50):
        write(storage, entries(1 + number * 4, 4, data=b"some data " * 40))
    if crashed:
        copy = directory / "crashed"
        copy.mkdir()
        for name in ("raft.db", "raft.db-wal"):
            shutil.copy(directory / name, copy / name)
        directory = copy
    storage.close()
    return database_of(directory)


def _change(path: Path, sql: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(sql)
    connection.close()


def _refused(path: Path) -> str:
    """Answer why the log is refused, now and whenever it is tried again."""
    reasons = set()
    for _ in range(2):
        with pytest.raises(CorruptStorage) as caught:
            reopened(path.parent)
        reasons.add(str(caught.value))
    assert len(reasons) == 1
    return reasons.pop()


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("UPDATE entry SET data = x'00' WHERE idx = 7", "checksum of entry 7"),
        ("UPDATE entry SET term = 0 WHERE idx = 7", "checksum of entry 7"),
        ("UPDATE entry SET data = 'text' WHERE idx = 7", "entry 7"),
        ("UPDATE entry SET crc = crc + 1 WHERE idx = 7", "checksum of entry 7"),
        ("DELETE FROM entry WHERE idx = 7", "entry 7 is missing"),
        ("DELETE FROM entry WHERE idx = 1", "begins with entry 2"),
        ("DELETE FROM entry WHERE idx > 190", "written up to 200"),
        ("DELETE FROM entry", "written up to 200"),
        ("UPDATE head SET term = term + 1", "checksum of the hard state"),
        ("UPDATE head SET vote = 'b'", "checksum of the hard state"),
        ("UPDATE head SET term = 'x'", "hard state"),
        ("DELETE FROM head", "written up to 0"),
        ("INSERT INTO snapshot VALUES (1, 3, 1, x'90', 0)", "checksum of the snapshot"),
        ("DROP TABLE entry", "entry"),
    ],
)
def test_a_changed_row_is_refused_with_advice(tmp_path: Path, sql: str, reason: str) -> None:
    path = _filled(tmp_path)
    _change(path, sql)
    with pytest.raises(StorageError, match=reason):
        reopened(tmp_path)


def test_the_advice_says_what_to_do(tmp_path: Path) -> None:
    path = _filled(tmp_path)
    _change(path, "DELETE FROM entry WHERE idx = 7")
    message = _refused(path)
    assert str(path) in message
    assert "join anew" in message
    assert "backup" in message


def test_terms_that_fall_are_refused(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    write(storage, entries(1, 1, term=3), hard_state=HardState(3))
    write(storage, entries(2, 1, term=2), hard_state=HardState(3))
    storage.close()
    assert "term 2 after term 3" in _refused(database_of(tmp_path))


def test_a_hard_state_behind_the_log_is_refused(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    write(storage, entries(1, 1, term=3), hard_state=HardState(2))
    storage.close()
    assert "hard state has term 2" in _refused(database_of(tmp_path))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = _filled(tmp_path)
    os.truncate(path, path.stat().st_size // 2)
    _refused(path)


@pytest.mark.parametrize("index", [1, 77, 200])
def test_a_flipped_bit_in_an_entrys_data_is_refused(tmp_path: Path, index: int) -> None:
    storage = open_storage(tmp_path)
    for number in range(1, 201):
        write(storage, entries(number, 1, data=b"this is entry %03d, and no other" % number))
    storage.close()
    path = database_of(tmp_path)
    content = path.read_bytes()
    # SQLite may have left a copy in the unused part of a page, so all occurrences are changed.
    damaged = content.replace(b"entry %03d, and" % index, b"entry %03d, aNd" % index)
    assert damaged != content
    path.write_bytes(damaged)
    assert f"checksum of entry {index} is wrong" in _refused(path)


def test_no_flipped_bit_passes_for_another_log(tmp_path: Path) -> None:
    path = _filled(tmp_path)
    whole, content = reopened(tmp_path), path.read_bytes()
    for place in range(0, len(content), 251):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            assert reopened(tmp_path) == whole  # it was in a place that means nothing
        except StorageError:
            continue


def test_a_foreign_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = database_of(tmp_path)
    _change(path, "CREATE TABLE precious (thing)")
    before = path.read_bytes()
    with pytest.raises(CorruptStorage, match="another program's"):
        reopened(tmp_path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    database_of(tmp_path).write_text("dear diary\n" * 100)
    with pytest.raises(CorruptStorage, match="not a database"):
        reopened(tmp_path)
    assert database_of(tmp_path).read_text() == "dear diary\n" * 100


def test_a_newer_schema_is_refused_with_advice(tmp_path: Path) -> None:
    path = _filled(tmp_path)
    _change(path, f"INSERT INTO schema_version VALUES ({len(MIGRATIONS) + 1})")
    with pytest.raises(StorageError, match="upgrade"):
        reopened(tmp_path)


def test_the_file_says_whose_it_is(tmp_path: Path) -> None:
    path = _filled(tmp_path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.close()


def test_a_second_process_is_refused(storage: SqliteLogStorage, tmp_path: Path) -> None:
    write(storage, entries(1, 1))
    script = (
        "import sys; from pathlib import Path\n"
        "from paceline.consensus.storage.sqlite import SqliteLogStorage\n"
        "from paceline.errors import CorruptStorage, StorageError\n"
        "try:\n"
        "    SqliteLogStorage(Path(sys.argv[1]), loop_call=print, on_failure=print)\n"
        "except CorruptStorage: raise\n"
        "except StorageError as error: print(error)\n"
    )
    command = [sys.executable, "-c", script, str(database_of(tmp_path))]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=LONG_S, check=False)
    assert "another node runs on this data directory" in answer.stdout, answer.stderr


# --- the write-ahead file -------------------------------------------------------------------------


def test_a_sound_write_ahead_file_is_replayed(tmp_path: Path) -> None:
    path = _filled(tmp_path, crashed=True)
    assert commits_behind_damage(path.with_name("raft.db-wal")) == 0
    assert len(reopened(path.parent).entries) == 200


def test_a_torn_last_transaction_is_a_crash_and_no_damage(tmp_path: Path) -> None:
    path = _filled(tmp_path, crashed=True)
    wal = path.with_name("raft.db-wal")
    os.truncate(wal, _end_of_frames(wal.read_bytes()) - 100)
    assert reopened(path.parent).entries == entries(1, 196, data=b"some data " * 40)


def test_the_file_is_reserved_in_a_quiet_moment_and_used_as_before(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    wal = database_of(tmp_path).with_name("raft.db-wal")
    _wait_until(lambda: wal.exists() and wal.stat().st_size == writer.RESERVED_BYTES)
    write(storage, entries(1, 100))
    write(storage, entries(101, 100))
    copy = tmp_path / "crashed"
    copy.mkdir()
    for path in (database_of(tmp_path), wal):
        shutil.copy(path, copy)
    storage.close()
    assert _end_of_frames((copy / "raft.db-wal").read_bytes()) < writer.RESERVED_BYTES
    assert reopened(copy).entries == entries(1, 200)


def _end_of_frames(wal: bytes | bytearray) -> int:
    """Answer where the frames of the present generation end; zeros follow."""
    salts = wal[16:24]
    ends = [
        at + FRAME.size + 4096
        for at in range(HEADER.size, len(wal), FRAME.size + 4096)
        if wal[at + 8 : at + 16] == salts
    ]
    return ends[-1]


@pytest.mark.parametrize("place", ["first frame", "middle", "header", "salts of a frame"])
def test_damage_in_the_middle_of_the_write_ahead_file_is_refused(
    tmp_path: Path, place: str
) -> None:
    path = _filled(tmp_path, crashed=True)
    wal = path.with_name("raft.db-wal")
    content = bytearray(wal.read_bytes())
    assert _end_of_frames(content) > 50 * 4096
    frame = FRAME.size + 4096
    at = {
        "first frame": HEADER.size + 100,
        "middle": HEADER.size + (_end_of_frames(content) // frame // 2) * frame + 300,
        "header": 18,
        "salts of a frame": HEADER.size + 10 * frame + 9,
    }[place]
    content[at] ^= 0x10
    wal.write_bytes(content)
    assert "write-ahead file is damaged" in _refused(path)


# --- failing disks --------------------------------------------------------------------------------


def test_a_full_disk_stalls_and_recovers(tmp_path: Path) -> None:
    with _small_disk(tmp_path) as disk:
        storage = open_storage(disk)
        write(storage, entries(1, 1))
        ballast = disk / "ballast"
        _fill(ballast)
        done = threading.Event()
        rows = entries(2, 500, data=b"x" * 1000)
        storage.write(LogWrite(HardState(1), None, rows), done.set)
        _wait_until(lambda: storage.stalled)
        assert not done.is_set()
        ballast.unlink()
        assert done.wait(LONG_S)
        assert not storage.stalled
        assert len(storage.load().entries) == 501
        storage.close()
        assert len(reopened(disk).entries) == 501


def test_a_storage_closes_while_the_disk_is_full_and_keeps_what_it_acknowledged(
    tmp_path: Path,
) -> None:
    with _small_disk(tmp_path) as disk:
        storage = open_storage(disk)
        write(storage, entries(1, 1))
        _fill(disk / "ballast")
        storage.write(
            LogWrite(HardState(1), None, entries(2, 500, data=b"x" * 1000)),
            lambda: pytest.fail("it was told to be durable"),
        )
        _wait_until(lambda: storage.stalled)
        storage.close()
        (disk / "ballast").unlink()
        assert reopened(disk).entries == entries(1, 1)


class _small_disk:  # noqa: N801 - reads as a function
    """A file system of 4 MiB of its own."""

    def __init__(self, directory: Path) -> None:
        self._mount = directory / "disk"

    def __enter__(self) -> Path:
        self._mount.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(self._mount)]
        if os.geteuid() != 0 or subprocess.run(command, check=False).returncode != 0:
            pytest.skip("needs root, to mount a small tmpfs")
        return self._mount

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", str(self._mount)], check=True)


def _fill(path: Path) -> None:
    try:
        with path.open("wb", buffering=0) as file:
            while file.write(b"\0" * 4096):
                pass
    except OSError:
        return


def test_any_other_failure_is_final_and_acknowledges_nothing_more(tmp_path: Path) -> None:
    failures: list[StorageError] = []
    failed = threading.Event()

    def on_failure(error: StorageError) -> None:
        failures.append(error)
        failed.set()

    storage = open_storage(tmp_path, on_failure)
    write(storage, entries(1, 1))
    acknowledged: list[int] = []
    gap = LogWrite(HardState(1), None, entries(5, 1))  # no correct core asks for this
    storage.write(gap, lambda: acknowledged.append(5))
    assert failed.wait(LONG_S)
    storage.write(LogWrite(HardState(1), None, entries(2, 1)), lambda: acknowledged.append(2))
    with pytest.raises(StorageError):
        storage.load()
    storage.close()
    assert acknowledged == []
    assert len(failures) == 1
    # The file stays open until the process ends (see `abandon`), so this looks at what it holds.
    left = shutil.copytree(tmp_path, tmp_path / "left")
    assert reopened(left).entries == entries(1, 1)


def test_a_file_size_limit_is_a_failure_and_no_full_disk(tmp_path: Path) -> None:
    """EFBIG is an input/output error to SQLite: the write cannot succeed by waiting."""
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from paceline.consensus.messages import HardState\n"
        "from paceline.consensus.storage.protocol import LogWrite\n"
        "from tests.consensus.sqlite_storage import entries, open_storage, write\n"
        "import threading\n"
        "failed = threading.Event()\n"
        "storage = open_storage(Path(sys.argv[1]), lambda error: (print(error), failed.set()))\n"
        "write(storage, entries(1, 1))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "rows = entries(2, 500, data=b'x' * 1000)\n"
        "storage.write(LogWrite(HardState(1), None, rows), lambda: print('acknowledged'))\n"
        "assert failed.wait(30)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "the node stops" in answer.stdout
    assert "acknowledged" not in answer.stdout
    assert reopened(tmp_path).entries == entries(1, 1)


def _wait_until(condition: Callable[[], bool]) -> None:
    """Poll what cannot be awaited."""
    pause = threading.Event()
    for _ in range(int(LONG_S / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come true")
