"""The files that hold the log and the state: whether they are whole and fit together.

A copy is opened just as a start of the node would open it, so that what is said here is what a
start would say, and the files themselves stay as they are, damage included.
"""

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from paceline.consensus.messages import SnapshotMeta
from paceline.consensus.recovery import recover
from paceline.consensus.storage.database import open_database, read_log
from paceline.consensus.storage.protocol import StoredLog
from paceline.consensus.storage.sqlite import SqliteLogStorage
from paceline.errors import CorruptStorage, PacelineError, StorageError
from paceline.node.doctor.directory import held
from paceline.node.doctor.finding import Finding, ok, problem, warning
from paceline.node.keys import FILE_NAME, load_keys
from paceline.tasks.machine import TaskMachine
from paceline.tasks.schema import open_reader

AREA: Final = "data"
LOG, STATE, OUTBOX = "raft.db", "state.db", "outbox.db"
SUFFIXES: Final = ("", "-wal", "-seal")
JOIN_AGAIN: Final = (
    "move the data directory away and let this node join again; the others give it the state (the "
    "only node of a cluster: `paceline restore`)"
)


def examine(path: Path) -> list[Finding]:
    """Answer what a start would say of the databases, and of the node's key. Changes nothing."""
    if not (path / LOG).exists():
        return []
    with held(path) as free:
        if not free:
            return [ok(AREA, "the databases were checked when the node started; it has them open")]
        try:
            return [*_key(path), *_copied(path)]
        except OSError as error:
            return [
                problem(
                    AREA,
                    f"the databases cannot be read: {error}",
                    "see to the disk; then run again",
                )
            ]


def live_state(path: Path) -> Finding:
    """Answer whether the state of a running node can be read back from its disk as a whole."""
    try:
        with contextlib.closing(open_reader(path)) as connection:
            _integrity_of(connection, path)
    except (PacelineError, sqlite3.Error) as error:
        return problem(AREA, str(error), JOIN_AGAIN, subject=path.name)
    return ok(AREA, "the state on the disk is whole", subject=path.name)


def _key(path: Path) -> Iterator[Finding]:
    try:
        load_keys(path / FILE_NAME)
    except FileNotFoundError:
        yield problem(AREA, f"{FILE_NAME} is missing: this node has lost its identity", JOIN_AGAIN)
    except CorruptStorage as error:
        yield problem(AREA, str(error), JOIN_AGAIN, subject=FILE_NAME)


def _copied(path: Path) -> list[Finding]:
    files = [path / f"{name}{suffix}" for name in (LOG, STATE, OUTBOX) for suffix in SUFFIXES]
    files = [file for file in files if file.exists()]
    size = sum(file.stat().st_size for file in files)
    with tempfile.TemporaryDirectory(prefix="paceline-doctor-") as scratch:
        if shutil.disk_usage(scratch).free < 2 * size:
            return [
                warning(
                    AREA,
                    f"the databases ({size >> 20} MiB) were not checked: no room for a copy",
                    f"make room in {scratch}, or set TMPDIR to a place with room",
                )
            ]
        copy = Path(scratch)
        copy.chmod(0o700)
        for file in files:
            shutil.copyfile(file, copy / file.name)
            os.chmod(copy / file.name, 0o600)
        return _opened(copy, path)


def _opened(copy: Path, path: Path) -> list[Finding]:
    checks: dict[str, Callable[[Path], str]] = {LOG: _log, STATE: _state, OUTBOX: _integrity}
    found = [
        _checked(check, copy / name, path / name)
        for name, check in checks.items()
        if (copy / name).exists()
    ]
    if not any(each.advice for each in found) and (copy / STATE).exists():
        found.append(_checked(_agreement, copy, path, subject=""))
    return found


def _checked(
    check: Callable[[Path], str], copy: Path, original: Path, subject: str | None = None
) -> Finding:
    """Answer what a check of the copy says, in words about the original."""
    subject = original.name if subject is None else subject
    try:
        return ok(AREA, check(copy), subject=subject)
    except (PacelineError, sqlite3.Error) as error:
        text = str(error).replace(str(copy), str(original)).rstrip(".")
        return problem(AREA, text, JOIN_AGAIN, subject=subject)


def _log(copy: Path) -> str:
    with contextlib.closing(open_database(copy)) as connection:
        stored: StoredLog = read_log(connection, copy)
        _integrity_of(connection, copy)
    index = stored.snapshot.index if stored.snapshot else 0
    last = stored.entries[-1].index if stored.entries else index
    return f"the log is whole: entries {index + 1} to {last}, every checksum right"


def _state(copy: Path) -> str:
    machine = TaskMachine(copy, meta_type=SnapshotMeta)
    try:
        _integrity_of(machine.connection, copy)
        return f"the state is whole, up to entry {machine.applied_index}"
    finally:
        machine.close()


def _integrity(copy: Path) -> str:
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        _integrity_of(connection, copy)
    return f"{copy.name} is whole"


def _integrity_of(connection: sqlite3.Connection, copy: Path) -> None:
    (said,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if said != "ok":
        raise CorruptStorage(f"{copy} is damaged: {said}")


def _agreement(copy: Path) -> str:
    """Put log and state together as a start does."""
    failures: list[StorageError] = []
    machine = TaskMachine(copy / STATE, meta_type=SnapshotMeta)
    storage = SqliteLogStorage(
        copy / LOG, loop_call=lambda callback: callback(), on_failure=failures.append
    )
    try:
        recover(storage, machine)
    finally:
        storage.close()
        machine.close()
    if failures:
        raise failures[0]
    return "log and state fit together"
