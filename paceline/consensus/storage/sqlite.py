"""The durable log: the LogStorage protocol on a SQLite file; see `writer` for how it is written."""

from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from paceline.consensus.messages import SnapshotMeta
from paceline.consensus.storage.protocol import LogWrite, StoredLog
from paceline.consensus.storage.writer import (
    NOTHING,
    Close,
    Compact,
    Job,
    Load,
    LoopCall,
    OnFailure,
    Write,
    Writer,
)
from paceline.errors import StorageError


class SqliteLogStorage:
    """The LogStorage protocol on one file. All methods are called on the owner's thread.

    What waits here is bounded by who asks: a leader by its pending proposals, a follower by the
    leader's window.
    """

    def __init__(self, path: Path, *, loop_call: LoopCall, on_failure: OnFailure) -> None:
        """Open or create the database, and start the thread.

        `loop_call` gets a callback onto the owner's thread (`loop.call_soon_threadsafe`);
        `on_failure` is called there, once, with an error after which the node must stop. Raise
        CorruptStorage for a damaged or foreign file, StorageError for one that is in use.
        """
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._writer = Writer(
            path=path, jobs=self._jobs, loop_call=loop_call, on_failure=on_failure
        )
        self._closed = False
        self._untold = 0
        """Queued jobs that the owner's thread has not heard the end of."""

    @property
    def stalled(self) -> bool:
        """Answer whether the disk is full."""
        return self._writer.stalled

    def load(self) -> StoredLog:
        """Read everything that was written, after what is queued; blocks. See LogStorage."""
        if self._closed:
            raise StorageError("the log is closed")
        job = Load()
        self._jobs.put(job)
        return job.answer.result()

    def write(self, write: LogWrite, done: Callable[[], None]) -> None:
        """Make a write, or queue it; see LogStorage."""
        if not self._untold and (write == NOTHING or self._writer.write_now(write)):
            done()
        else:
            self._queue(Write(write, lambda: self._told(done)))

    def compact(self, snapshot: SnapshotMeta, keep_from: int) -> None:
        """Queue a compaction; see LogStorage."""
        self._queue(Compact(snapshot, keep_from, lambda: self._told(_nothing)))

    def _queue(self, job: "Job") -> None:
        self._untold += 1
        self._jobs.put(job)

    def _told(self, done: Callable[[], None]) -> None:
        self._untold -= 1
        done()

    def close(self) -> None:
        """Finish queued writes and close the file; blocks for as long as that takes.

        While the disk is full they cannot be finished: they are dropped, and nobody was told that
        they were done.
        """
        if not self._closed:
            self._closed = True
            self._jobs.put(Close())
            self._writer.stop()


def _nothing() -> None:
    """Nobody waits for it."""
