"""The log and the state on a disk whose calls fail: what is told, and that nothing is retried.

A process of its own is started with a library that makes chosen calls fail, because that is the one
way to have SQLite itself meet the failure.
"""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from tests.consensus.test_storage_sqlite import reopened
from tests.rigs.disks import FailingDisk

SMALL, LARGE = 100, 100_000
"""One that may be written on the caller's thread, and one that never is."""


class Writer:
    """A `storage_process`; `write` answers its line."""

    def __init__(self, directory: Path, disk: FailingDisk, size: int) -> None:
        script = Path(__file__).with_name("storage_process.py")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(script), str(directory / "raft.db"), str(size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**_environment(), **disk.environment},
            text=True,
        )
        assert self.line() == "ready"

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def write(self) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.line()

    def end(self) -> int:
        """Let it end as a process does that has nothing more to do; answer its exit status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        status = self._process.wait(timeout=60)
        self._process.stdout.close()
        return status


def _environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": root}


@pytest.fixture
def disk(tmp_path: Path) -> FailingDisk:
    return FailingDisk(tmp_path)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("calls", ["sync", "write"])
def test_a_failure_is_final_and_the_file_is_never_touched_again(
    tmp_path: Path, disk: FailingDisk, calls: str, size: int
) -> None:
    writer = Writer(tmp_path, disk, size)
    for number in range(1, 41):  # long enough for a quick disk to be noticed
        assert writer.write() == f"durable {number}"
    disk.fail(calls, "/raft.db-wal", errno.EIO)
    refused = writer.write()
    assert refused.startswith("failed")
    assert "raft.db" in refused
    assert "the node stops" in refused
    disk.repair()
    disk.fail("sync", "*", 0)  # only write down what is synced from here on
    assert writer.end() == 0
    assert len(disk.failures) == 1, disk.failures
    disk.repair()
    entries = reopened(tmp_path).entries
    assert [entry.index for entry in entries][:40] == list(range(1, 41))
    assert len(entries) <= 41  # what failed may be there; nobody was told that it is


def test_a_failed_checkpoint_is_final_too(tmp_path: Path, disk: FailingDisk) -> None:
    writer = Writer(tmp_path, disk, LARGE)
    assert writer.write() == "durable 1"
    disk.fail("write", "/raft.db", errno.EIO)
    last = 1
    while (line := writer.write()).startswith("durable"):
        last += 1
        assert line == f"durable {last}"
    assert line.startswith("failed")
    assert writer.end() == 0
    assert len(disk.failures) == 1
    disk.repair()
    assert len(reopened(tmp_path).entries) >= last


def test_a_read_only_disk_is_final_and_says_so(tmp_path: Path, disk: FailingDisk) -> None:
    writer = Writer(tmp_path, disk, SMALL)
    assert writer.write() == "durable 1"
    disk.fail("write", "/raft.db-wal", errno.EROFS)
    assert writer.write().startswith("failed")
    writer.end()
    disk.repair()
    assert len(reopened(tmp_path).entries) == 1
