"""Copies of the state, taking them in, durability, and files that are not ours."""

import contextlib
import hashlib
import queue
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paceline.consensus.messages import Membership, SnapshotMeta
from paceline.consensus.storage.protocol import SnapshotSource, StateMachine
from paceline.errors import Busy, CorruptStorage, StorageError, StorageFull
from paceline.tasks import durability
from paceline.tasks.background import JOB_LIMIT, Background
from paceline.tasks.commands import SubmitTask
from paceline.tasks.durability import sync_file
from paceline.tasks.effects import Change
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import TaskSpec
from paceline.tasks.schema import APPLICATION_ID, SCHEMA_VERSION, open_reader, open_writer
from paceline.tasks.snapshot import FileSnapshot
from tests.tasks.entries import Driver, subtask, worker

MEMBERS = Membership(voters=("n1", "n2", "n3"))


class Owner:
    """A thread that owns a machine: it calls what the disk thread brings, when asked to."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def call_soon(self, call: Callable[[], None]) -> None:
        self._calls.put(call)

    def turn(self) -> None:
        """Wait for one call and make it."""
        self._calls.get(timeout=60)()


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db", meta_type=SnapshotMeta)
    yield Driver(machine)
    machine.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[TaskMachine]:
    machine = TaskMachine(tmp_path / "other.db", meta_type=SnapshotMeta)
    yield machine
    machine.close()


def saved(machine: TaskMachine) -> FileSnapshot:
    found: list[FileSnapshot] = []
    machine.save(found.append)
    return found[0]


def meta_of(machine: TaskMachine) -> SnapshotMeta:
    return SnapshotMeta(machine.applied_index, machine.applied_term, MEMBERS)


def some_work(drive: Driver) -> None:
    drive.register("n1", "n2")
    drive.submit(subtask("a"), subtask("b", "a"))
    drive.run("a")


def test_the_machine_is_what_consensus_asks_for(drive: Driver) -> None:
    machine: StateMachine = drive.machine
    source: SnapshotSource = saved(drive.machine)
    assert machine.applied_index == 0
    assert machine.snapshot_meta is None
    source.close()


# --- copies ---------------------------------------------------------------------------------------


def test_a_copy_is_read_in_pieces_and_has_its_checksum(drive: Driver, tmp_path: Path) -> None:
    some_work(drive)
    copy = saved(drive.machine)
    pieces = [copy.read(offset, 1000) for offset in range(0, copy.size, 1000)]
    assert hashlib.sha256(b"".join(pieces)).digest() == copy.sha256
    assert sum(map(len, pieces)) == copy.size
    copy.close()
    copy.close()
    assert sorted(path.name for path in tmp_path.glob("*.snapshot-*")) == []


def test_a_copy_holds_the_state_as_of_the_call(tmp_path: Path, other: TaskMachine) -> None:
    owner = Owner()
    drive = Driver(TaskMachine(tmp_path / "state.db", call_soon=owner.call_soon))
    some_work(drive)
    found: list[FileSnapshot] = []
    digest, meta = drive.machine.digest(), meta_of(drive.machine)
    drive.machine.save(found.append)
    drive.run("b")
    owner.turn()
    other.restore(found[0], meta)
    assert other.digest() == digest != drive.machine.digest()
    found[0].close()
    drive.machine.close()


def test_a_restored_machine_is_equal_and_goes_on_equally(drive: Driver, other: TaskMachine) -> None:
    some_work(drive)
    other.apply(Driver(other).log.entries)
    heard: list[Change] = []
    other.on_applied(heard.extend)
    copy = saved(drive.machine)
    other.restore(copy, meta_of(drive.machine))
    copy.close()
    assert heard == [Change("everything")]
    assert (other.applied_index, other.now_ms) == (
        drive.machine.applied_index,
        drive.machine.now_ms,
    )
    assert other.digest() == drive.machine.digest()
    known = len(drive.log.entries)
    drive.run("b")
    assert other.apply(drive.log.entries)[known - 1 :][0] is None
    assert other.digest() == drive.machine.digest()


def test_what_was_there_before_is_gone(drive: Driver, other: TaskMachine) -> None:
    Driver(other).submit(subtask("old"), task_id="old")
    some_work(drive)
    copy = saved(drive.machine)
    other.restore(copy, meta_of(drive.machine))
    copy.close()
    assert other.connection.execute("SELECT task_id FROM tasks").fetchall() == [("task",)]


def test_requests_are_remembered_across_a_restore(drive: Driver, other: TaskMachine) -> None:
    drive.register("n1")
    drive.submit(subtask("a"), key="k")
    copy = saved(drive.machine)
    other.restore(copy, meta_of(drive.machine))
    copy.close()
    again = drive.log.command(worker("n1"), request_id=(1).to_bytes(16, "big"))
    assert other.apply([again]) == [True]


def test_the_snapshots_meta_is_known_after_a_restart(
    drive: Driver, other: TaskMachine, tmp_path: Path
) -> None:
    some_work(drive)
    meta = meta_of(drive.machine)
    copy = saved(drive.machine)
    other.restore(copy, meta)
    copy.close()
    assert other.snapshot_meta == meta
    other.close()
    again = TaskMachine(tmp_path / "other.db", meta_type=SnapshotMeta)
    assert again.snapshot_meta == meta
    assert again.digest() == drive.machine.digest()
    again.close()


def test_a_reader_keeps_its_view_while_the_state_is_replaced(
    drive: Driver, other: TaskMachine, tmp_path: Path
) -> None:
    Driver(other).submit(subtask("old"), task_id="old")
    some_work(drive)
    reader = open_reader(tmp_path / "other.db")
    reader.execute("BEGIN")
    sql = "SELECT task_id FROM tasks"
    assert reader.execute(sql).fetchall() == [("old",)]
    copy = saved(drive.machine)
    other.restore(copy, meta_of(drive.machine))
    copy.close()
    assert reader.execute(sql).fetchall() == [("old",)]
    reader.execute("COMMIT")
    assert reader.execute(sql).fetchall() == [("task",)]
    reader.close()


class Tampered:
    """A snapshot with one byte changed on its way."""

    def __init__(self, source: FileSnapshot, at: int, *, hashed: bool) -> None:
        data = bytearray(source.read(0, source.size))
        data[at] ^= 0xFF
        self._data = bytes(data)
        self.size = source.size
        self.sha256 = hashlib.sha256(self._data).digest() if hashed else source.sha256

    def read(self, offset: int, limit: int) -> bytes:
        return self._data[offset : offset + limit]

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("at", "hashed"), [(5000, False), (3, True), (68, True), (4096, True)])
def test_a_damaged_snapshot_changes_nothing(
    drive: Driver, other: TaskMachine, tmp_path: Path, at: int, hashed: bool
) -> None:
    some_work(drive)
    Driver(other).submit(subtask("old"), task_id="old")
    before = other.digest()
    copy = saved(drive.machine)
    with pytest.raises(CorruptStorage):
        other.restore(Tampered(copy, at, hashed=hashed), meta_of(drive.machine))
    copy.close()
    assert other.digest() == before
    assert not list(tmp_path.glob("*.restore*"))


def test_a_snapshot_of_another_index_is_refused(drive: Driver, other: TaskMachine) -> None:
    some_work(drive)
    copy = saved(drive.machine)
    with pytest.raises(CorruptStorage, match="of index 6, not 7"):
        other.restore(copy, SnapshotMeta(7, 1, MEMBERS))
    copy.close()


def test_what_a_dead_process_left_over_is_swept_away(tmp_path: Path) -> None:
    for name in ("state.db.snapshot-9-1", "state.db.restore", "state.db.restore-wal"):
        (tmp_path / name).write_bytes(b"left over")
    TaskMachine(tmp_path / "state.db").close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "state.db",
        "state.db-seal",
    ]


# --- durability -----------------------------------------------------------------------------------


def test_durable_is_told_with_the_index_of_the_call(tmp_path: Path) -> None:
    owner = Owner()
    drive = Driver(TaskMachine(tmp_path / "state.db", call_soon=owner.call_soon))
    told: list[int] = []
    drive.register("n1")
    drive.machine.make_durable(told.append)
    drive.register("n2")
    drive.machine.make_durable(told.append)
    assert told == []
    owner.turn()
    owner.turn()
    assert told == [1, 2]
    drive.machine.close()


def test_where_a_reader_holds_the_checkpoint_up_the_log_itself_is_synced(
    drive: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []

    def noted(path: Path) -> None:
        synced.append(path)
        sync_file(path)

    monkeypatch.setattr(durability, "sync_file", noted)
    drive.register("n1")
    drive.machine.make_durable(lambda _: None)
    assert synced == []
    reader = open_reader(tmp_path / "state.db")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM workers").fetchall()
    drive.register("n2")
    told: list[int] = []
    drive.machine.make_durable(told.append)
    assert told == [2]
    assert synced == [tmp_path / "state.db-wal"]
    reader.close()


def test_the_write_ahead_log_stays_short_under_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durability, "WAL_LIMIT_BYTES", 256 * 1024)
    monkeypatch.setattr(durability, "CHECKPOINT_EVERY", 10)
    owner = Owner()
    machine = TaskMachine(tmp_path / "state.db", call_soon=owner.call_soon)
    drive = Driver(machine)
    largest = 0
    for number in range(300):
        drive.submit(subtask(f"s{number}"), task_id=f"t{number}")
        largest = max(largest, (tmp_path / "state.db-wal").stat().st_size)
        if number % 10 == 9:
            owner.turn()
    assert largest < 2 * 1024 * 1024
    machine.close()


def test_a_full_disk_keeps_those_who_wait_and_serves_them_later(
    drive: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    drive.register("n1")
    monkeypatch.setattr(durability.Durability, "_checkpoint", _full)
    drive.machine.make_durable(told.append)
    assert told == []
    monkeypatch.undo()
    drive.machine.make_durable(told.append)
    assert told == [1, 1]


def _full(*_: object, **__: object) -> int:
    raise StorageFull("no room")


def test_those_who_wait_outlive_a_busy_background(tmp_path: Path) -> None:
    owner = Owner()
    drive = Driver(TaskMachine(tmp_path / "state.db", call_soon=owner.call_soon))
    told: list[int] = []
    for _ in range(JOB_LIMIT):
        drive.machine.save(FileSnapshot.close)
    drive.machine.make_durable(told.append)
    for _ in range(JOB_LIMIT):
        owner.turn()
    drive.machine.make_durable(told.append)
    owner.turn()
    assert told == [0, 0]
    drive.machine.close()


def test_a_disk_that_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[StorageError] = []
    machine = TaskMachine(tmp_path / "state.db", failed=failures.append)
    monkeypatch.setattr(durability.Durability, "_checkpoint", _broken)
    machine.make_durable(lambda index: None)
    assert [str(failure) for failure in failures] == ["sync failed"]
    machine.close()


def _broken(*_: object, **__: object) -> int:
    raise StorageError("sync failed")


def test_the_background_is_bounded_and_raises_mistakes_where_they_are_seen() -> None:
    owner = Owner()
    background = Background(owner.call_soon)

    def never(error: StorageError) -> None:
        raise AssertionError(error)

    background.run(lambda: 1 // 0, lambda _: None, never)
    with pytest.raises(ZeroDivisionError):
        owner.turn()
    for _ in range(JOB_LIMIT):
        background.run(lambda: None, lambda _: None, never)
    with pytest.raises(Busy):
        background.run(lambda: None, lambda _: None, never)
    background.close()


# --- files ----------------------------------------------------------------------------------------


def test_the_state_is_there_again_after_a_restart(drive: Driver, tmp_path: Path) -> None:
    some_work(drive)
    digest, index = drive.machine.digest(), drive.machine.applied_index
    drive.machine.close()
    again = TaskMachine(tmp_path / "state.db")
    assert (again.digest(), again.applied_index) == (digest, index)
    again.close()


def test_the_file_says_whose_it_is(drive: Driver) -> None:
    db = drive.machine.connection
    assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("PRAGMA application_id = 7", "another program"),
        (f"PRAGMA user_version = {SCHEMA_VERSION + 1}", "newer version"),
        ("DROP TABLE meta", "lacks its tables"),
        ("DELETE FROM meta", "how far the log"),
    ],
)
def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, statement: str, words: str) -> None:
    path = tmp_path / "state.db"
    TaskMachine(path).close()
    foreign = sqlite3.connect(path)
    foreign.execute(statement)
    foreign.commit()
    foreign.close()
    (tmp_path / "state.db-seal").unlink()
    with pytest.raises(CorruptStorage, match=words) as caught:
        TaskMachine(path)
    assert "move it aside" in str(caught.value)


@pytest.mark.parametrize("pages", [0, 1])
def test_a_file_that_changed_after_it_was_closed_is_refused(
    drive: Driver, tmp_path: Path, pages: int
) -> None:
    some_work(drive)
    drive.machine.close()
    path = tmp_path / "state.db"
    data = bytearray(path.read_bytes())
    at = data.index(b"n1", pages * 4096)
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptStorage, match="not what it was when it was closed"):
        TaskMachine(path)
    data[at] ^= 1
    path.write_bytes(data)
    TaskMachine(path).close()


def test_a_file_that_was_moved_aside_is_not_missed(drive: Driver, tmp_path: Path) -> None:
    """The advice is to move it aside and start again; its seal may stay behind."""
    some_work(drive)
    drive.machine.close()
    (tmp_path / "state.db").rename(tmp_path / "aside")
    machine = TaskMachine(tmp_path / "state.db")
    assert machine.applied_index == 0
    machine.close()


def test_a_file_that_was_cut_off_is_refused_after_a_crash(drive: Driver, tmp_path: Path) -> None:
    some_work(drive)
    drive.machine.make_durable(lambda index: None)
    whole = (tmp_path / "state.db").read_bytes()
    (tmp_path / "cut.db").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptStorage, match=r"cut\.db is damaged"):
        TaskMachine(tmp_path / "cut.db")


def test_somebodys_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    theirs = sqlite3.connect(path)
    theirs.execute("CREATE TABLE theirs (x)")
    theirs.close()
    before = path.read_bytes()
    with pytest.raises(CorruptStorage, match="another program"):
        TaskMachine(path)
    assert path.read_bytes() == before


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(CorruptStorage, match="move it aside"):
        TaskMachine(path)


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        TaskMachine(tmp_path / "nowhere" / "state.db")


def _tables() -> list[str]:
    with contextlib.closing(open_writer(Path(":memory:"))) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return [name for (name,) in rows]


def _some_value(name: str, kind: str) -> str:
    if name == "id":
        return "1"  # of a table that has one row
    return "99" if kind == "INTEGER" else "'x'"


@pytest.mark.parametrize("table", [table for table in _tables() if table != "meta"])
def test_the_digest_sees_every_table(drive: Driver, table: str) -> None:
    some_work(drive)
    db = drive.machine.connection
    before = drive.machine.digest()
    info = db.execute(f"PRAGMA table_info({table})").fetchall()
    values = ", ".join(_some_value(name, kind) for _, name, kind, *_ in info)
    db.execute(f"INSERT INTO {table} VALUES ({values})")
    assert drive.machine.digest() != before


def test_an_apply_that_the_disk_refuses_changes_nothing(drive: Driver) -> None:
    some_work(drive)
    digest = drive.machine.digest()
    pages = drive.column("PRAGMA page_count")
    drive.machine.connection.execute(f"PRAGMA max_page_count = {pages}")
    large = TaskSpec("large", "", "plan", (subtask("l", instructions="x" * 1_000_000),))
    entry = drive.log.command(SubmitTask(large, ""))
    with pytest.raises(StorageFull):
        drive.machine.apply([entry])
    assert drive.machine.digest() == digest
    assert drive.machine.applied_index == entry.index - 1
    drive.machine.connection.execute("PRAGMA max_page_count = 1000000")
    assert drive.machine.apply([entry]) == ["large"]
