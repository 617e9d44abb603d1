"""Giving up an empty cluster: done only where nothing can be lost, and finished after any crash."""

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from paceline.codec import encode
from paceline.consensus.messages import Entry, EntryKind, HardState, Membership
from paceline.consensus.storage.protocol import LogWrite
from paceline.consensus.storage.sqlite import SqliteLogStorage
from paceline.node import belonging, giving_up
from paceline.node.data_dir import DataDir
from paceline.node.giving_up import Resumed, is_empty, mark, resume
from paceline.node.keys import new_keys
from paceline.tasks.commands import (
    Command,
    Envelope,
    FoundCluster,
    SubmitTask,
    encode_envelope,
)
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import TaskSpec
from tests.tasks.entries import subtask

TOKEN = "the-token-of-this-cluster"
SUBMISSION = SubmitTask(TaskSpec("t1", "", "plan", (subtask("s"),)), "")


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[DataDir]:
    made = DataDir(tmp_path)
    yield made
    made.close()


def founded(data_dir: DataDir, *commands: Command, applied: int | None = None) -> None:
    """Write the files of a cluster of one, of whose log only the first entries are applied."""
    keys = new_keys()
    first = FoundCluster("c1", TOKEN, keys.node_id, keys.public, "ann")
    membership = encode(Membership(voters=(keys.node_id,)))
    entries = [Entry(1, 1, EntryKind.MEMBERSHIP, membership)]
    for index, command in enumerate((first, *commands), start=2):
        envelope = Envelope(bytes([index]) * 16, 0, 1_000 + index, keys.node_id, command)
        entries.append(Entry(index, 1, EntryKind.COMMAND, encode_envelope(envelope)))
    write_log(data_dir.path, entries)
    machine = TaskMachine(data_dir.path / "state.db")
    machine.apply(entries[:applied])
    machine.close()
    data_dir.write_json(belonging.FILE, {"cluster_id": "c1", "founded": True, "members": []})


def write_log(path: Path, entries: Sequence[Entry]) -> None:
    written = threading.Event()
    storage = SqliteLogStorage(
        path / "raft.db", loop_call=lambda call: call(), on_failure=lambda error: None
    )
    hard_state = HardState(term=1, commit=len(entries))
    storage.write(LogWrite(hard_state, None, tuple(entries)), written.set)
    assert written.wait(60)
    storage.close()


def names(data_dir: DataDir) -> set[str]:
    return {path.name for path in data_dir.path.iterdir()} - {"lock"}


def test_without_a_mark_nothing_is_done(data_dir: DataDir) -> None:
    founded(data_dir)
    before = names(data_dir)
    assert resume(data_dir) == Resumed()
    assert names(data_dir) == before


def test_an_empty_cluster_is_moved_aside_and_the_token_kept(data_dir: DataDir) -> None:
    founded(data_dir)
    mark(data_dir, cluster_id="c1", token=TOKEN)
    assert resume(data_dir) == Resumed(TOKEN, gave_up="c1")
    assert names(data_dir) == {"given-up", giving_up.FILE}
    aside = {path.name for path in (data_dir.path / "given-up").iterdir()}
    assert {"cluster.json", "raft.db", "state.db"} <= aside, "nothing is deleted"


def test_the_kept_token_is_private_and_in_no_repr(data_dir: DataDir) -> None:
    mark(data_dir, cluster_id="c1", token=TOKEN)
    assert (data_dir.path / giving_up.FILE).stat().st_mode & 0o077 == 0
    assert TOKEN not in repr(resume(data_dir))


def test_a_task_in_the_state_forbids_it(data_dir: DataDir) -> None:
    founded(data_dir, SUBMISSION)
    mark(data_dir, cluster_id="c1", token=TOKEN)
    assert resume(data_dir) == Resumed(refused=True)
    assert {"cluster.json", "raft.db", "state.db"} <= names(data_dir)
    assert giving_up.FILE not in names(data_dir), "it is not tried again for ever"


def test_a_submission_that_is_only_in_the_log_forbids_it(data_dir: DataDir) -> None:
    """The power failed between the quorum's disk and the state: it may have been acknowledged."""
    founded(data_dir, SUBMISSION, applied=-1)
    mark(data_dir, cluster_id="c1", token=TOKEN)
    assert resume(data_dir).refused


@pytest.mark.parametrize("name", ["state.db", "raft.db"])
def test_what_cannot_be_read_is_not_taken_for_empty(data_dir: DataDir, name: str) -> None:
    founded(data_dir)
    (data_dir.path / name).write_bytes(b"not a database, but long enough to be looked at" * 100)
    assert not is_empty(data_dir.path)
    (data_dir.path / name).unlink()
    assert not is_empty(data_dir.path)


def test_a_mark_for_another_cluster_is_stale(data_dir: DataDir) -> None:
    """It has joined the other one since."""
    founded(data_dir)
    mark(data_dir, cluster_id="c0", token=TOKEN)
    assert resume(data_dir) == Resumed()
    assert {"cluster.json", "raft.db", "state.db"} <= names(data_dir)
    assert giving_up.FILE not in names(data_dir)


@pytest.mark.parametrize("moves", range(5))
def test_a_crash_at_any_moment_is_mended_by_the_next_start(
    data_dir: DataDir, moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    founded(data_dir)
    mark(data_dir, cluster_id="c1", token=TOKEN)
    replace = Path.replace
    left = [moves]

    def crashing(path: Path, target: Path) -> Path:
        if path.parent == data_dir.path:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crashing)
        with contextlib.suppress(KeyboardInterrupt):
            resume(data_dir)
    cluster = data_dir.read_json(belonging.FILE)
    assert cluster is None or {"raft.db", "state.db"} <= names(data_dir), "all of it, or no cluster"
    assert resume(data_dir) == Resumed(TOKEN, gave_up="c1")
    assert names(data_dir) == {"given-up", giving_up.FILE}


def test_a_log_that_was_begun_before_the_new_cluster_was_written_down_goes_too(
    data_dir: DataDir,
) -> None:
    founded(data_dir)
    mark(data_dir, cluster_id="c1", token=TOKEN)
    resume(data_dir)
    write_log(data_dir.path, [Entry(1, 1, EntryKind.EMPTY, b"")])
    assert resume(data_dir) == Resumed(TOKEN, gave_up="c1")
    assert "raft.db" not in names(data_dir)
    document = json.loads((data_dir.path / "given-up" / "cluster.json").read_text())
    assert document["cluster_id"] == "c1"
