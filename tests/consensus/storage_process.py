"""A process that writes to a log until the log fails, and says what it was told.

Its lines: `ready`; for each write, once it is durable, `durable N`; `failed` with the reason.
"""

import queue
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from paceline.consensus.messages import Entry, HardState
from paceline.consensus.storage.protocol import LogWrite
from paceline.consensus.storage.sqlite import SqliteLogStorage
from paceline.errors import StorageError


def main(path: Path, large_bytes: int) -> None:
    """Write an entry for each line of stdin; end with the input, as a process ends."""
    calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    failures: list[StorageError] = []
    storage = SqliteLogStorage(path, loop_call=calls.put, on_failure=failures.append)
    stored = storage.load()
    index = stored.entries[-1].index if stored.entries else 0
    print("ready", flush=True)
    for _ in sys.stdin:
        index += 1
        durable: list[int] = []
        entry = Entry(index, 1, 1, b"x" * large_bytes)
        storage.write(LogWrite(HardState(1), None, (entry,)), partial(durable.append, index))
        while not durable and not failures:
            calls.get(timeout=60)()
        print(f"failed {failures[0]}" if failures else f"durable {index}", flush=True)
    storage.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
