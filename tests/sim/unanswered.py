"""Who has asked one process something and waits for the answer; nobody may wait for ever."""

from paceline.errors import PacelineError
from tests.sim.world import World

GRACE_TICKS = 2
"""So much later than the replica's own bound may a read be answered: its pump may be late."""


class Unanswered:
    """The open questions of one life of a process. `bound_ticks` is the replica's for reads."""

    def __init__(self, world: World, name: str, bound_ticks: int) -> None:
        self._world = world
        self._name = name
        self._bound_ticks = bound_ticks + GRACE_TICKS
        self._ticks = 0
        self._number = 0
        self._reads: dict[int, int] = {}
        """For each read, oldest first, the tick in which it was asked."""
        self._others: set[int] = set()

    def __len__(self) -> int:
        return len(self._reads) + len(self._others)

    def asked(self, what: str) -> int:
        """Note a question; answer its number."""
        self._number += 1
        if what == "read":
            self._reads[self._number] = self._ticks
        else:
            self._others.add(self._number)
        return self._number

    def answered(self, number: int, what: str, error: PacelineError | None) -> None:
        """Note the answer to a question; there is one, once."""
        if self._reads.pop(number, None) is None:
            if number not in self._others:
                self._world.fail("answered once", f"{self._name} answers a {what} again")
            self._others.remove(number)
        if error is not None:
            self._world.count(f"{what} ended as {type(error).__name__}")

    def tick(self, ticks: int) -> None:
        """Let time pass, by this process's own clock."""
        self._ticks += ticks
        waited = self._ticks - next(iter(self._reads.values()), self._ticks)
        if waited > self._bound_ticks:
            self._world.fail("every read is answered", f"{self._name} was asked {waited} ticks ago")
