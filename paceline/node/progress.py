"""How far this node's state has come, for those who wait for it."""

import asyncio
import heapq
from collections.abc import Callable, Sequence
from itertools import count
from typing import Generic, TypeVar

ChangeT = TypeVar("ChangeT")


class AppliedProgress(Generic[ChangeT]):
    """Tells waiters that an index is applied, and listeners what changed."""

    def __init__(self, index: int) -> None:
        self.index = index
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        self._listeners: list[Callable[[Sequence[ChangeT]], None]] = []

    def listen(self, listener: Callable[[Sequence[ChangeT]], None]) -> Callable[[], None]:
        """Call `listener` after every applied batch; answer how to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def advanced(self, index: int, changes: Sequence[ChangeT]) -> None:
        """Note that the state has `index` now."""
        self.index = index
        while self._waiters and self._waiters[0][0] <= index:
            future = heapq.heappop(self._waiters)[2]
            if not future.done():
                future.set_result(None)
        for listener in tuple(self._listeners):
            listener(changes)

    async def reached(self, index: int) -> None:
        """Wait until the state has `index`."""
        if index <= self.index:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (index, next(self._order), future))
        await future
