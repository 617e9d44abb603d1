"""The database file of the log: its schema, its migrations, and what makes it trustworthy.

`entry` holds the log, one row per entry. `head` is one row: the hard state, and where the log ends,
so that a tail that got lost is noticed. `snapshot` is one row: what the log's beginning stands for.
Every row carries a CRC-32 over its fields: SQLite guards against crashes, not against a disk that
returns other bytes than were written.
"""

import os
import sqlite3
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from paceline.codec import decode, encode
from paceline.consensus.messages import Entry, HardState, Membership, SnapshotMeta
from paceline.consensus.storage.protocol import StoredLog
from paceline.consensus.storage.wal import commits_behind_damage
from paceline.errors import CorruptStorage, ProtocolError, StorageError, StorageFull

APPLICATION_ID = 0x70634C67
"""Marks the file as ours ("pcLg"), so that a foreign database is refused, not overwritten."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE entry(idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, kind INTEGER NOT NULL,"
        " data BLOB NOT NULL, crc INTEGER NOT NULL)",
        "CREATE TABLE head(id INTEGER PRIMARY KEY CHECK (id = 1), term INTEGER NOT NULL,"
        " vote TEXT NOT NULL, commit_index INTEGER NOT NULL, last_index INTEGER NOT NULL,"
        " last_term INTEGER NOT NULL, crc INTEGER NOT NULL)",
        "CREATE TABLE snapshot(id INTEGER PRIMARY KEY CHECK (id = 1), idx INTEGER NOT NULL,"
        " term INTEGER NOT NULL, membership BLOB NOT NULL, crc INTEGER NOT NULL)",
    ),
)
"""Each step leads from its position to the next version; steps are never changed, only added."""

PRAGMAS = (
    # One process owns the log. This also keeps the index of the WAL in memory: no -shm file, which
    # SQLite would map, and a full disk would then be a SIGBUS instead of an error.
    "PRAGMA locking_mode=EXCLUSIVE",
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA wal_autocheckpoint=0",
    "PRAGMA cache_size=-8192",
    # Some builds overwrite what is deleted, which here doubles what compaction writes.
    "PRAGMA secure_delete=OFF",
    "PRAGMA trusted_schema=OFF",
)

WHAT_TO_DO = (
    "Do not start this node on it again: move its data directory away and let it join anew; it "
    "gets the whole state from the others. (The only node of a cluster: restore a backup.)"
)

ZEROS_BYTES = 1024 * 1024

_NUMBERS = struct.Struct(">qqq")
_HEAD = struct.Struct(">qqqq")


def corrupt(path: Path, reason: object) -> CorruptStorage:
    """Answer the error for a database that is not what was written."""
    return CorruptStorage(f"{path}: {reason}. {WHAT_TO_DO}")


def entry_crc(index: int, term: int, kind: int, data: bytes) -> int:
    """Answer the checksum of a row of `entry`."""
    return zlib.crc32(data, zlib.crc32(_NUMBERS.pack(index, term, kind)))


def head_crc(hard_state: HardState, last_index: int, last_term: int) -> int:
    """Answer the checksum of the row of `head`."""
    numbers = _HEAD.pack(hard_state.term, hard_state.commit, last_index, last_term)
    return zlib.crc32(hard_state.vote.encode(), zlib.crc32(numbers))


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create the database, for use by one thread at a time.

    Raise CorruptStorage for a damaged or foreign file, StorageError for one that another process
    uses or a newer version of this program has written.
    """
    _check_wal(path)
    is_new = not path.exists()
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
    try:
        _prepare(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise _explained(path, error) from error
    except StorageError:
        connection.close()
        raise
    if is_new:
        _sync_directory(path.parent)
    return connection


def reserve_wal(path: Path, size: int) -> None:
    """Fill the write-ahead file of an open database with zeros up to `size`, if there is room.

    To SQLite they are no frames: it overwrites them, and takes them for the end when it replays.
    The caller is the only one who writes to the database, and is between two transactions.
    """
    handle = os.open(_wal_of(path), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        end = os.fstat(handle).st_size
        try:
            _write_zeros(handle, end, size)
        except OSError:  # a full disk, most likely; writing the log will say so
            os.ftruncate(handle, end)
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_zeros(handle: int, start: int, stop: int) -> None:
    block = bytes(ZEROS_BYTES)
    while start < stop:
        start += os.pwrite(handle, block[: stop - start], start)


def _wal_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _check_wal(path: Path) -> None:
    lost = commits_behind_damage(_wal_of(path))
    if lost > 1:
        raise corrupt(path, f"its write-ahead file is damaged before {lost} transactions")


def _explained(path: Path, error: sqlite3.DatabaseError) -> StorageError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StorageFull(f"no room on the disk of {path}: free some, then start the node again")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StorageError(f"{path} is in use: another node runs on this data directory; stop it")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return corrupt(path, error)
    return StorageError(f"{path}: {error}")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    for pragma in PRAGMAS[:1]:
        connection.execute(pragma)
    _check_identity(connection, path)
    for pragma in PRAGMAS[1:]:
        connection.execute(pragma)
    _migrate(connection, path)


def _check_identity(connection: sqlite3.Connection, path: Path) -> None:
    (identity,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if identity != APPLICATION_ID and (identity or tables):
        raise CorruptStorage(
            f"{path} is another program's database (application id {identity:#x}): give this node "
            "a data directory of its own"
        )


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version(version INTEGER NOT NULL)")
        row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
        version = row[0] or 0
        if version > len(MIGRATIONS):
            raise StorageError(
                f"{path} has version {version} of the schema, and this program knows "
                f"{len(MIGRATIONS)}: upgrade it"
            )
        _run_migrations(connection, version)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _run_migrations(connection: sqlite3.Connection, version: int) -> None:
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        for statement in statements:
            connection.execute(statement)
        connection.execute("INSERT INTO schema_version VALUES (?)", (number,))
    if version == 0:
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")


def _sync_directory(directory: Path) -> None:
    """Make the new file's name durable; its contents are SQLite's care."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- reading --------------------------------------------------------------------------------------


def read_log(connection: sqlite3.Connection, path: Path) -> StoredLog:
    """Read and verify everything. Raise CorruptStorage if it is not what was written."""
    try:
        snapshot = _read_snapshot(connection)
        hard_state, last_index, last_term = _read_head(connection)
        entries = tuple(_read_entries(connection))
    except sqlite3.DatabaseError as error:
        raise _explained(path, error) from error
    except (_Damage, ProtocolError, UnicodeError) as error:
        raise corrupt(path, error) from error
    problem = _why_inconsistent(snapshot, hard_state, entries, (last_index, last_term))
    if problem:
        raise corrupt(path, problem)
    return StoredLog(hard_state, snapshot, entries)


class _Damage(Exception):
    """A row is not what was written."""


def _read_snapshot(connection: sqlite3.Connection) -> SnapshotMeta | None:
    row = connection.execute("SELECT idx, term, membership, crc FROM snapshot").fetchone()
    if row is None:
        return None
    index, term, membership, crc = row
    if not isinstance(membership, bytes) or entry_crc(index, term, 0, membership) != crc:
        raise _Damage("the checksum of the snapshot's mark is wrong")
    return SnapshotMeta(index, term, decode(Membership, membership))


def _read_head(connection: sqlite3.Connection) -> tuple[HardState, int, int]:
    row = connection.execute(
        "SELECT term, vote, commit_index, last_index, last_term, crc FROM head"
    ).fetchone()
    if row is None:
        return HardState(), 0, 0
    term, vote, commit, last_index, last_term, crc = row
    try:
        hard_state = HardState(term, vote, commit)
        fits = head_crc(hard_state, last_index, last_term) == crc
    except (struct.error, AttributeError) as error:
        raise _Damage("the hard state has a field of the wrong type") from error
    if not fits:
        raise _Damage("the checksum of the hard state is wrong")
    return hard_state, last_index, last_term


def _read_entries(connection: sqlite3.Connection) -> Iterator[Entry]:
    for row in connection.execute("SELECT idx, term, kind, data, crc FROM entry ORDER BY idx"):
        index, term, kind, data, crc = row
        try:
            fits = entry_crc(index, term, kind, data) == crc
        except (struct.error, TypeError) as error:
            raise _Damage(f"entry {index} has a field of the wrong type") from error
        if not fits:
            raise _Damage(f"the checksum of entry {index} is wrong")
        yield Entry(index, term, kind, data)


def _why_inconsistent(
    snapshot: SnapshotMeta | None,
    hard_state: HardState,
    entries: Sequence[Entry],
    end: tuple[int, int],
) -> str:
    """Answer what is wrong with rows that are each in order, or nothing."""
    mark = (0, 0) if snapshot is None else (snapshot.index, snapshot.term)
    first = entries[0].index if entries else mark[0] + 1
    if first > mark[0] + 1 or first < 1:
        return f"the log begins with entry {first}, but the snapshot ends with {mark[0]}"
    previous_term = 0
    for expected, entry in enumerate(entries, start=first):
        if entry.index != expected:
            return f"entry {expected} is missing"
        if entry.term < previous_term:
            return f"entry {entry.index} has term {entry.term} after term {previous_term}"
        previous_term = entry.term
    last = (entries[-1].index, entries[-1].term) if entries else mark
    if last != end:
        return f"the log ends with entry {last[0]}, but it was written up to {end[0]}"
    if hard_state.term < last[1]:
        return f"the hard state has term {hard_state.term}, but the log has term {last[1]}"
    return ""


# --- writing --------------------------------------------------------------------------------------


def write_snapshot(connection: sqlite3.Connection, meta: SnapshotMeta) -> None:
    """Write the mark of where the log begins."""
    membership = encode(meta.membership)
    connection.execute(
        "INSERT OR REPLACE INTO snapshot VALUES (1, ?, ?, ?, ?)",
        (meta.index, meta.term, membership, entry_crc(meta.index, meta.term, 0, membership)),
    )


def write_head(
    connection: sqlite3.Connection, hard_state: HardState, last_index: int, last_term: int
) -> None:
    """Write the hard state, and where the log ends."""
    crc = head_crc(hard_state, last_index, last_term)
    connection.execute(
        "INSERT OR REPLACE INTO head VALUES (1, ?, ?, ?, ?, ?, ?)",
        (hard_state.term, hard_state.vote, hard_state.commit, last_index, last_term, crc),
    )


def write_entries(connection: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    """Add rows."""
    connection.executemany(
        "INSERT INTO entry VALUES (?, ?, ?, ?, ?)",
        [(*entry, entry_crc(*entry)) for entry in entries],
    )
