"""The file `state.db`: the replicated state as SQLite tables, which `tables` describes.

It can be made again from the log and a snapshot, which is what its refusals say.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from paceline.errors import CorruptStorage, StorageError, StorageFull
from paceline.tasks.tables import MIGRATIONS

APPLICATION_ID: Final = 0x50614C31
"""Marks the file as ours (`PaL1`); SQLite keeps it at offset 68."""

SCHEMA_VERSION: Final = len(MIGRATIONS)

PAGE_BYTES: Final = 4096
"""Fixed, because a snapshot is restored page by page."""

CACHE_KIB: Final = 16 * 1024
BUSY_TIMEOUT_S: Final = 5.0

REMEDY: Final = (
    "move it aside together with its -wal and -shm files and start again: "
    "the state comes back from the log or from another node"
)


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the file for the one that applies, making or migrating it; autocommit, WAL, NORMAL.

    Checkpoints are left to `durability`. Raise CorruptStorage for a file that is not ours, is
    damaged, or was written by a newer version; StorageFull and StorageError for the disk.
    """
    connection = _connect(path)
    try:
        with storage_errors(path):
            found = _identify(connection, path)
            _configure(connection)
            _migrate(connection, found)
            _require_meta(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def check_structure(connection: sqlite3.Connection, path: Path) -> None:
    """Raise CorruptStorage, and close the connection, if tables or pages are not in order."""
    try:
        with storage_errors(path):
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise CorruptStorage(f"{path} is damaged ({found}): {REMEDY}")
    except BaseException:
        connection.close()
        raise


def open_reader(path: Path) -> sqlite3.Connection:
    """Open the existing file for reading only, on any one thread; it sees what is committed."""
    with storage_errors(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            timeout=BUSY_TIMEOUT_S,
            check_same_thread=False,
        )
        connection.execute("PRAGMA query_only = ON")
    return connection


def columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """Answer the names of a table's columns, sorted: migrations may add them in another order."""
    rows = connection.execute(f"PRAGMA table_info({table})")
    return sorted(row[1] for row in rows)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite says of the disk and the file into our errors; others pass unchanged."""
    try:
        yield
    except sqlite3.Error as error:
        told = disk_error(error, path)
        if told is None:
            raise
        raise told from error


def disk_error(error: sqlite3.Error, path: Path) -> StorageError | None:
    """Answer our error for one of SQLite's that is about the disk; None for one about the data."""
    extended = getattr(error, "sqlite_errorcode", 0)
    code = extended & 0xFF
    # The index of the write-ahead log grows in steps of its own; when there is no room for the next
    # one, SQLite calls that an input/output error.
    if code == sqlite3.SQLITE_FULL or extended == sqlite3.SQLITE_IOERR_SHMSIZE:
        return StorageFull(f"no room on the disk of {path}")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return CorruptStorage(f"{path} is damaged or is no SQLite file ({error}): {REMEDY}")
    if isinstance(error, sqlite3.OperationalError):
        return StorageError(f"{path}: {error}")
    return None


def _connect(path: Path) -> sqlite3.Connection:
    with storage_errors(path):
        return sqlite3.connect(
            path,
            isolation_level=None,
            timeout=BUSY_TIMEOUT_S,
            cached_statements=256,
            check_same_thread=False,
        )


def _identify(connection: sqlite3.Connection, path: Path) -> int:
    """Answer the file's schema version, 0 for a new one. Raise CorruptStorage if it is not ours."""
    application = _pragma(connection, "application_id")
    version = _pragma(connection, "user_version")
    if application == 0 and version == 0 and _is_empty(connection):
        return 0
    if application != APPLICATION_ID:
        raise CorruptStorage(
            f"{path} belongs to another program: give it another place, or {REMEDY}"
        )
    if version > SCHEMA_VERSION:
        raise CorruptStorage(
            f"{path} was written by a newer version (schema {version}, this one knows "
            f"{SCHEMA_VERSION}): update Paceline, or {REMEDY}"
        )
    return version


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring the file to the current version, each step in its own transaction."""
    for step, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {step}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _statements(script: str) -> Sequence[str]:
    """Split a script; `executescript` would commit the transaction around it."""
    return [part for part in (each.strip() for each in script.split(";")) if part]


def _require_meta(connection: sqlite3.Connection, path: Path) -> None:
    try:
        row = connection.execute("SELECT applied_index FROM meta WHERE id = 1").fetchone()
    except sqlite3.OperationalError as error:
        raise CorruptStorage(f"{path} lacks its tables ({error}): {REMEDY}") from error
    if row is None:
        raise CorruptStorage(f"{path} does not say how far the log is applied: {REMEDY}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _is_empty(connection: sqlite3.Connection) -> bool:
    (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(count == 0)
