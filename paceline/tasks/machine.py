"""The replicated state machine: log entries in, SQLite rows and results out.

One connection on one thread applies; each batch is one transaction that also says how far the log
is in. So the state after a crash is that of some index, and applying goes on from there. What may
wait for the disk (checkpoints, copies) runs in a thread beside it; see `durability` and `snapshot`.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from paceline import codec
from paceline.abandon import abandon
from paceline.errors import StorageError, StorageFull
from paceline.tasks import snapshot
from paceline.tasks.background import Background, CallSoon
from paceline.tasks.batch import LogEntry, Spoilt, apply_batch
from paceline.tasks.cut import Cuts
from paceline.tasks.digest import digest
from paceline.tasks.durability import Durability, sync_directory
from paceline.tasks.effects import Change, Effects, Marks
from paceline.tasks.schema import REMEDY, check_structure, disk_error, open_writer
from paceline.tasks.seal import break_seal, seal
from paceline.tasks.snapshot import FileSnapshot, Meta, Source

Listener = Callable[[Sequence[Change]], None]


class TaskMachine:
    """A consensus StateMachine over `state.db`. All methods belong to the owner's thread.

    Deterministic: the same entries give the same rows, results and digest on every node, however
    they are cut into batches.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        meta_type: type | None = None,
        call_soon: CallSoon | None = None,
        failed: Callable[[StorageError], None] | None = None,
    ) -> None:
        """Open or make the file.

        `meta_type` is consensus' `SnapshotMeta`, needed to read a kept one back. `call_soon` brings
        completions from the disk thread to the owner's thread (`loop.call_soon_threadsafe`);
        without it there is no thread, and `save` and `make_durable` do their work before they
        return. `failed` hears of a disk that refuses to write, sync or copy, which is final; by
        default the error is raised on the owner's thread. Raise CorruptStorage for a foreign,
        damaged or newer file.
        """
        self._path = Path(path)
        self._meta_type = meta_type
        self._tell_failed = failed or _raise
        self._broken = False
        snapshot.sweep(self._path)
        sealed = break_seal(self._path, REMEDY)
        self._db = open_writer(self._path)
        if not sealed:
            check_structure(self._db, self._path)
        sync_directory(self._path.parent)
        self._marks = Marks.load(self._db)
        self._background = Background(call_soon)
        self._durability = Durability(
            path=self._path, owner=self._db, background=self._background, failed=self._failed
        )
        self._listeners: list[Listener] = []
        self._cuts = Cuts()

    @property
    def applied_index(self) -> int:
        """Answer the last index whose effect is in the state."""
        return self._marks.applied_index

    @property
    def applied_term(self) -> int:
        """Answer the term of that entry."""
        return self._marks.applied_term

    @property
    def now_ms(self) -> int:
        """Answer the state's own time: the latest that a command brought."""
        return self._marks.now_ms

    @property
    def connection(self) -> sqlite3.Connection:
        """Answer the connection, for `queries` on the owner's thread; it sees what is applied."""
        return self._db

    @property
    def snapshot_meta(self) -> Any:
        """Answer the `meta` of the last `restore`, as a `meta_type`; None if there was none."""
        encoded = snapshot.mark_of(self._db)
        if encoded is None:
            return None
        if self._meta_type is None:
            raise StorageError(f"{self._path} was restored from a snapshot: `meta_type` is needed")
        return codec.decode(self._meta_type, encoded)

    def on_applied(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after each applied batch with what changed; answer how to stop that.

        It is called in the middle of applying: it may wake others and must not raise.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def apply(self, entries: Sequence[LogEntry]) -> list[Any]:
        """Apply entries in order, all of them or (by raising) none; answer one result each.

        Entries at or below `applied_index` and those that are no commands give None; a command
        that is refused gives its PacelineError. Raise StorageFull where there is no room: nothing
        has changed, and the same entries may be given again. Raise StorageError for any other
        failure of the disk, and where an entry is missing before the first new one.
        """
        known = sum(1 for entry in entries if entry.index <= self._marks.applied_index)
        fresh = entries[known:]
        if fresh:
            self._require_next(fresh)
        results = self._cuts.known(entries[:known])
        for part in self._cuts.parts(fresh):
            results += self._apply_part(part, more=part[-1] is not fresh[-1])
        self._cuts.done()
        return results

    def _apply_part(self, part: Sequence[LogEntry], *, more: bool) -> list[Any]:
        try:
            results, effects = self._transaction(part, careful=False)
        except Spoilt:
            results, effects = self._transaction(part, careful=True)
        self._cuts.applied(part, results, more=more)
        self._tell(effects.changes)
        with self._noting_failure():
            self._durability.applied(len(part))
        return results

    def see(
        self, mark: bytes, seen: Callable[[int, sqlite3.Connection], None]
    ) -> Callable[[], None]:
        """Call `seen(index, connection)` with the state just behind the next entry holding `mark`.

        The connection sees that state until it is closed, on any one thread, whatever is applied
        meanwhile; while it is open, the write-ahead log only grows. Answer how to stop waiting.
        `seen` is called in the middle of applying and must not raise. Raise Busy for too many.
        """
        return self._cuts.watch(mark, lambda index: seen(index, snapshot.pin(self._path)))

    def save(
        self,
        done: Callable[[FileSnapshot], None],
        failed: Callable[[StorageFull], None] | None = None,
    ) -> None:
        """Copy the state as of now in the background; `done` gets the finished copy.

        `failed` hears, instead of `done`, that there is no room for it. Raise Busy where too many
        copies are being made already.
        """

        def not_copied(error: StorageError) -> None:
            if failed is not None and isinstance(error, StorageFull):
                failed(error)
            else:
                self._failed(error)

        pinned = snapshot.pin(self._path)
        try:
            self._background.run(partial(snapshot.copy, self._path, pinned), done, not_copied)
        except BaseException:
            pinned.close()
            raise

    def restore(self, source: Source, meta: Meta) -> None:
        """Replace the whole state, durably, by a snapshot. Raise CorruptStorage if it is not good.

        Raise StorageFull if there is no room for it; then nothing has changed.
        `meta` is kept and answered by `snapshot_meta`, also after a restart. Listeners are told
        that everything changed.
        """
        staged = snapshot.receive(self._path, source, meta)
        try:
            with self._noting_failure():
                snapshot.take_over(staged, self._db)
        finally:
            snapshot.discard(staged)
        self._marks = Marks.load(self._db)
        with self._noting_failure():
            self._durability.cut_wal()
        self._tell([Change("everything")])

    def make_durable(self, done: Callable[[int], None]) -> None:
        """Sync what is applied now; `done` gets the index up to which the state is on the disk."""
        self._durability.make_durable(self._marks.applied_index, done)

    def digest(self) -> bytes:
        """Answer SHA-256 over the applied state."""
        return digest(self._db)

    def close(self) -> None:
        """Finish work in the background and let go of the file.

        A file on a disk that has failed is left as it is: see `abandon`.
        """
        self._background.close()
        if self._broken:
            self._durability.abandon()
            abandon(self._db)
            return
        self._durability.close()
        self._db.close()
        seal(self._path)

    def _failed(self, error: StorageError) -> None:
        """Write nothing more: neither a checkpoint nor, on closing, what is left."""
        self._broken = True
        self._tell_failed(error)

    def _require_next(self, fresh: Sequence[LogEntry]) -> None:
        expected = self._marks.applied_index + 1
        for position, entry in enumerate(fresh, start=expected):
            if entry.index != position:
                raise StorageError(f"entry {entry.index} was given where {position} comes next")

    def _transaction(
        self, entries: Sequence[LogEntry], *, careful: bool
    ) -> tuple[list[Any], Effects]:
        """Apply in one transaction; on any failure neither the file nor the marks have moved."""
        marks = replace(self._marks)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            results, effects = apply_batch(self._db, marks, entries, careful=careful)
            self._db.execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            told = disk_error(error, self._path) if isinstance(error, sqlite3.Error) else None
            if told is None:
                raise
            with self._noting_failure():
                raise told from error
        self._marks = marks
        return results, effects

    @contextlib.contextmanager
    def _noting_failure(self) -> Iterator[None]:
        """Remember that the disk has failed, if it has; a full one has not."""
        try:
            yield
        except StorageError as error:
            self._broken = self._broken or not isinstance(error, StorageFull)
            raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            # Where the disk is at fault SQLite may have rolled back by itself, or fail again here:
            # either way the first error is the one to tell.
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def _tell(self, changes: Sequence[Change]) -> None:
        for listener in tuple(self._listeners):
            listener(changes)


def _raise(error: StorageError) -> None:
    raise error
