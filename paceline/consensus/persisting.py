"""Hands writes to the storage, and holds back what may be said only when they are durable."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paceline.consensus.core import Core
from paceline.consensus.messages import Message
from paceline.consensus.ready import PersistToken, Ready
from paceline.consensus.storage.protocol import LogStorage, LogWrite


@dataclass(slots=True)
class _Write:
    """A write on its way to the disk, and what may be sent when it is there."""

    token: PersistToken
    entries: int
    after_sync: list[Message]


class Persisting:
    """The writes of one replica that are under way. They complete in their order."""

    def __init__(
        self,
        *,
        core: Core,
        storage: LogStorage,
        send: Callable[[Sequence[Message]], None],
        persisted: Callable[[int], None],
    ) -> None:
        """`persisted(entries)` is called after each write, when the core knows of it."""
        self._core = core
        self._storage = storage
        self._send = send
        self._persisted = persisted
        self._under_way: deque[_Write] = deque()
        self._closed = False

    def persist(self, ready: Ready) -> bool:
        """Hand the write over; answer whether a write was durable at once.

        What must wait for it waits, also behind the writes before it.
        """
        before = len(self._under_way)
        if ready.token is not None:
            write = _Write(ready.token, len(ready.entries), list(ready.after_sync))
            self._under_way.append(write)
            before += 1
            log_write = LogWrite(ready.hard_state, ready.snapshot, ready.entries)
            self._storage.write(log_write, self._done)
        elif self._under_way:
            self._under_way[-1].after_sync.extend(ready.after_sync)
        else:
            self._send(ready.after_sync)
        return len(self._under_way) < before

    def close(self) -> None:
        """Take no more notice of what completes."""
        self._closed = True

    def _done(self) -> None:
        """Go on after the oldest write is durable."""
        write = self._under_way.popleft()
        if self._closed:
            return
        self._send(self._still_true(write.after_sync))
        self._core.persisted(write.token)
        self._persisted(write.entries)

    def _still_true(self, messages: Sequence[Message]) -> list[Message]:
        """Leave out what belongs to a term that this node has left meanwhile.

        Several writes may become durable at once, and a later one, by a new leader, may have
        replaced the entries that an earlier one's answer speaks of. Within one term that cannot be.
        """
        term = self._core.term
        return [message for message in messages if message.term >= term]
