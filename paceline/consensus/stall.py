"""What a replica does while there is no room for its state: it waits, and lets others lead.

A full disk is no damage. The state machine's transaction was rolled back, the applied index with
it, so the very same slice of entries (or the very same snapshot) is given to it again, with longer
and longer pauses, until there is room. Meanwhile

- nobody is told an outcome, because none is applied here; what others read here is what there is;
- the log goes on: a follower without room for its state still counts towards a quorum;
- a leader in this condition answers nobody and must not stay: `overdue` says when it resigns;
- a node in this condition stands for election late (`lets_stand`), after those that have room; but
  it does stand, because where all disks are full somebody must still lead for reads to be served.

Time is counted in ticks, as everywhere in this package.
"""

FIRST_PAUSE_TICKS = 1
LAST_PAUSE_TICKS = 20
LATE = 4
"""So many times longer than others does a node without room wait until it stands."""


class Stall:
    """How long there has been no room, and when to try again."""

    def __init__(self, patience_ticks: int) -> None:
        """`patience_ticks`: so long a leader waits for room before it resigns."""
        self._patience_ticks = patience_ticks
        self._pause_ticks = 0
        self._waited_ticks = 0
        self._age_ticks = 0
        self._resign_at = patience_ticks

    @property
    def lasting(self) -> bool:
        """Answer whether the last try was refused."""
        return self._pause_ticks > 0

    @property
    def waiting(self) -> bool:
        """Answer whether it is too early for another try."""
        return self._waited_ticks < self._pause_ticks

    @property
    def lets_stand(self) -> bool:
        """Answer whether this tick counts towards standing for election."""
        return self._age_ticks % LATE == 0

    def refused(self) -> None:
        """Note that there was no room; the next try waits twice as long as this one did."""
        self._pause_ticks = min(max(FIRST_PAUSE_TICKS, 2 * self._pause_ticks), LAST_PAUSE_TICKS)
        self._waited_ticks = 0

    def relieved(self) -> None:
        """Note that there was room."""
        self._pause_ticks = self._waited_ticks = self._age_ticks = 0
        self._resign_at = self._patience_ticks

    def tick(self) -> None:
        """Count time while it lasts."""
        if self.lasting:
            self._waited_ticks += 1
            self._age_ticks += 1

    def overdue(self) -> bool:
        """Answer, once every `patience_ticks`, that a leader should let another one lead."""
        if self._age_ticks < self._resign_at:
            return False
        self._resign_at += self._patience_ticks
        return True
