"""Cutting a batch of entries behind a certain one, so that the state can be seen just there.

Nodes cut the log into different batches, and each batch is one transaction. To compare states they
must be looked at behind the same entry: so each node is told of some bytes that only this entry
will hold, and ends a batch with it, wherever it comes. This needs no agreement on an index in
advance, and works at rest and under load alike.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from paceline.errors import Busy
from paceline.tasks.batch import LogEntry

WATCHED_LIMIT: Final = 4

Reached = Callable[[int], None]


class Cuts:
    """The marks that are waited for, and the results of a batch that was applied in part."""

    def __init__(self) -> None:
        self._watched: dict[bytes, Reached] = {}
        self._kept: dict[int, Any] = {}

    def watch(self, mark: bytes, reached: Reached) -> Callable[[], None]:
        """Call `reached(index)` once, right after the first entry that holds `mark` is applied.

        Answer how to stop waiting. It is called in the middle of applying, and must not raise.
        Raise Busy where too many marks are waited for.
        """
        if len(self._watched) >= WATCHED_LIMIT:
            raise Busy(f"{WATCHED_LIMIT} comparisons of the state are under way already")
        self._watched[mark] = reached
        return partial(self._forget, mark, reached)

    def _forget(self, mark: bytes, reached: Reached) -> None:
        if self._watched.get(mark) is reached:
            del self._watched[mark]

    def parts(self, entries: Sequence[LogEntry]) -> Iterator[Sequence[LogEntry]]:
        """Cut entries into batches; a watched one is the last of its batch."""
        start = 0
        for stop, entry in enumerate(entries, start=1) if self._watched else ():
            if any(mark in entry.data for mark in self._watched):
                yield entries[start:stop]
                start = stop
        if start < len(entries):
            yield entries[start:]

    def applied(self, part: Sequence[LogEntry], results: Sequence[Any], *, more: bool) -> None:
        """Note a batch; keep its results if others follow it, which may fail, and tell who waits.

        Whoever applies is told of a failure for all entries, and gives all of them again.
        """
        if more:
            self._kept.update(zip((entry.index for entry in part), results, strict=True))
        last = part[-1]
        for mark, reached in tuple(self._watched.items()):
            if mark in last.data:
                del self._watched[mark]
                reached(last.index)

    def known(self, entries: Sequence[LogEntry]) -> list[Any]:
        """Answer the results of entries that were applied before: None but for the kept ones."""
        return [self._kept.get(entry.index) for entry in entries]

    def done(self) -> None:
        """Forget what was kept: all entries that were given are applied."""
        self._kept.clear()
