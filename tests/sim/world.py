"""Simulated time: one queue of events, one seed, and the story of what happened.

Events are ordered by (time, sequence number); nothing else decides what comes next. Every part that
draws lots has its own generator, forked from the seed by the part's name, so that a change in how
one part draws does not change what the others do. The digest covers every line of the story: two
runs of one seed must end with the same digest, in any process.
"""

import hashlib
import heapq
import random
from collections import deque
from collections.abc import Callable

MILLISECOND = 1_000
SECOND = 1_000_000
"""All times are whole microseconds of simulated time."""

Detail = int | str | bytes | bool | None
Line = tuple[int, str, tuple[Detail, ...]]


class Violation(Exception):
    """A promise was broken. `invariant` names it; the text says by whom and how."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant
        self.text = text

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """Answer how to send it to another process."""
        return Violation, (self.invariant, self.text)


class World:
    """The clock, the queue of events and the story of one seed."""

    def __init__(self, seed: int, story_lines: int | None = 300) -> None:
        self.seed = seed
        self.now_us = 0
        self.events = 0
        self.violation: Violation | None = None
        self.counts: dict[str, int] = {}
        """How often things happened that a run should not be without."""
        self.story: deque[Line] = deque(maxlen=story_lines)
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self._digest = hashlib.blake2b(digest_size=16)

    def random(self, name: str) -> random.Random:
        """Answer the generator of the part with that name."""
        return random.Random(f"{self.seed} {name}")

    def after(self, delay_us: int, action: Callable[[], None]) -> None:
        """Let `action` happen that much later."""
        self._sequence += 1
        heapq.heappush(self._queue, (self.now_us + delay_us, self._sequence, action))

    def run(self, until_us: int, enough: Callable[[], bool] | None = None) -> bool:
        """Let events happen until then, or until `enough`; answer whether it was enough.

        Raise the Violation that an event found, even where the code under test swallowed it.
        """
        queue = self._queue
        while queue and queue[0][0] <= until_us:
            self.now_us, _, action = heapq.heappop(queue)
            self.events += 1
            action()
            if self.violation is not None:
                raise self.violation
            if enough is not None and enough():
                return True
        self.now_us = until_us
        return False

    def tell(self, what: str, *details: Detail) -> None:
        """Add a line to the story and to the digest. Details must not depend on hash order."""
        line = (self.now_us, what, details)
        self.story.append(line)
        self._digest.update(repr(line).encode())

    def count(self, what: str) -> None:
        """Note that something happened which shows that a run is not an empty one."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def fail(self, invariant: str, text: str) -> None:
        """Report a broken promise: raise it, and remember it in case that is caught."""
        violation = Violation(invariant, text)
        if self.violation is None:
            self.violation = violation
        raise violation

    @property
    def digest(self) -> str:
        """Answer the fingerprint of everything told so far."""
        return self._digest.hexdigest()
