"""Any bit of any file of a node flips, or any file is cut anywhere: nobody takes it for the truth.

The files are those of a real log and a real state, as a node leaves them that was stopped, and as
one leaves them that was killed. Whatever is done to them, a start either refuses with the name of
the file and what to do, or finds what was written: the whole log, or (where only the last write is
hurt, which looks like a crash in the middle of it) the log before that write; and a state that is
exactly the one behind the index that it names.

One thing is not found here: a bit within a row of the state that changes after the node was killed.
SQLite has no checksum for it, and there is no seal yet; nodes find it when they compare digests.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from paceline.consensus.messages import Entry, Membership, SnapshotMeta
from paceline.consensus.recovery import recover
from paceline.consensus.storage.protocol import StoredLog
from paceline.errors import StorageError
from paceline.tasks.commands import SubmitTask
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import TaskSpec
from tests.consensus.sqlite_storage import open_storage, write
from tests.tasks.entries import Log, subtask, worker

MARK = SnapshotMeta(0, 0, Membership(voters=("n1",)))
ENTRIES = 30
FILES = ("raft.db", "raft.db-wal", "state.db", "state.db-wal", "state.db-shm", "state.db-seal")
TRIES = 80
MEMORY_DISK = "/dev/shm"
"""Where there is one: the files are copied for each try, and none needs to outlive anything."""


@dataclass(frozen=True)
class Written:
    """What a node wrote: its directory, its log after each write, and its state at each index."""

    directory: Path
    logs: tuple[StoredLog, ...]
    digests: dict[int, bytes]


def _entries() -> list[Entry]:
    log = Log()
    found = [log.command(worker("n1"))]
    for number in range(1, ENTRIES):
        spec = TaskSpec(f"t{number}", "", "p", (subtask(f"s{number}", instructions="x" * 300),))
        found.append(log.command(SubmitTask(spec, "")))
    return [Entry(*entry) for entry in found]


def _node(directory: Path, *, killed: bool) -> Written:
    """Run a log and a state; leave the files as they are in the middle of it, or at the end."""
    live = directory / "live"
    live.mkdir()
    storage, machine = open_storage(live), TaskMachine(live / "state.db", meta_type=SnapshotMeta)
    write(storage, (), snapshot=MARK)
    logs, digests = [storage.load()], {0: machine.digest()}
    for entry in _entries():
        write(storage, (entry,))
        logs.append(storage.load())
        machine.apply([entry])
        digests[entry.index] = machine.digest()
        if entry.index == ENTRIES // 2:
            machine.make_durable(lambda index: None)
    left = directory / "left"
    if killed:
        shutil.copytree(live, left)
    storage.close()
    machine.close()
    if not killed:
        shutil.copytree(live, left)
    return Written(left, tuple(logs), digests)


@pytest.fixture(scope="module", params=["stopped", "killed"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    directory = tmp_path_factory.mktemp("node")
    return _node(directory, killed=request.param == "killed")


class Copy:
    """A copy of the files to damage; undone after each damage by writing one file again."""

    def __init__(self, written: Written, directory: Path) -> None:
        self._written = written
        self._work = directory / "work"

    def file(self, name: str) -> Path:
        return self._work / name

    def renew(self) -> None:
        shutil.rmtree(self._work, ignore_errors=True)
        shutil.copytree(self._written.directory, self._work)

    def start(self) -> tuple[StoredLog, int, bytes] | StorageError:
        """Start on it as a node does; answer log, applied index and digest, or the refusal."""
        try:
            machine = TaskMachine(self._work / "state.db", meta_type=SnapshotMeta)
        except StorageError as error:
            return error
        try:
            storage = open_storage(self._work)
        except StorageError as error:
            machine.close()
            return error
        try:
            return recover(storage, machine), machine.applied_index, machine.digest()
        except StorageError as error:
            return error
        finally:
            storage.close()
            machine.close()


@pytest.fixture
def copy(written: Written) -> Iterator[Copy]:
    in_memory = MEMORY_DISK if Path(MEMORY_DISK).is_dir() else None
    with tempfile.TemporaryDirectory(dir=in_memory) as directory:
        yield Copy(written, Path(directory))


def _judge(written: Written, copy: Copy, what: str, *, may_differ: bool = False) -> str:
    """Check what a start made of it; answer how it ended."""
    found = copy.start()
    if isinstance(found, StorageError):
        text = str(found)
        assert "raft.db" in text or "state.db" in text or "the state" in text, (what, text)
        assert any(word in text for word in ("move", "stop", "give", "update")), (what, text)
        return "refused"
    log, applied, digest = found
    assert log in written.logs[-2:], what
    assert digest == written.digests[applied] or may_differ, what
    assert applied <= log.entries[-1].index
    return "whole" if log == written.logs[-1] and applied == ENTRIES else "earlier"


def test_it_starts_when_nothing_is_damaged(written: Written, copy: Copy) -> None:
    copy.renew()
    assert _judge(written, copy, "nothing") == "whole"


@pytest.mark.parametrize("name", FILES)
def test_no_flipped_bit_passes_for_the_truth(written: Written, copy: Copy, name: str) -> None:
    if not (written.directory / name).exists():
        return
    in_killed_state = name == "state.db" and not (written.directory / "state.db-seal").exists()
    lots = Random(name)
    for _ in range(TRIES):
        copy.renew()
        data = bytearray(copy.file(name).read_bytes())
        if not data:
            return
        at, bit = lots.randrange(len(data)), lots.randrange(8)
        data[at] ^= 1 << bit
        copy.file(name).write_bytes(data)
        _judge(written, copy, f"{name}: bit {bit} of byte {at}", may_differ=in_killed_state)


@pytest.mark.parametrize("name", FILES)
def test_no_cut_passes_for_the_truth(written: Written, copy: Copy, name: str) -> None:
    if not (written.directory / name).exists():
        return
    lots = Random(name)
    size = (written.directory / name).stat().st_size
    for _ in range(TRIES // 3):
        copy.renew()
        keep = lots.randrange(size) if size else 0
        with copy.file(name).open("r+b") as file:
            file.truncate(keep)
        _judge(written, copy, f"{name}: cut to {keep} of {size}")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_is_noticed_or_made_again(
    written: Written, copy: Copy, name: str
) -> None:
    copy.renew()
    with suppress(FileNotFoundError):
        copy.file(name).unlink()
    found = copy.start()
    if isinstance(found, StorageError):
        return
    log, applied, digest = found
    assert digest == written.digests[applied]
    assert log in written.logs
