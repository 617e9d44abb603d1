"""What a replica does while there is no room for its state: it waits, and lets others lead.

A full disk is no damage. The state machine's transaction was rolled back, the applied index with
it, so the very same slice of entries (or the very same snapshot) is given to it again, with longer
and longer pauses, until there is room. Meanwhile

- nobody is told an outcome, because none is applied here; what others read here is what there is;
- the log goes on: a follower without room for its state still counts towards a quorum;
- a leader in this condition answers nobody and must not stay: `overdue` says when it resigns;
- a node in this condition stands for election late (`lets_stand`), after those that have room; but
  it does stand, because where all disks are full somebody must still lead for reads to be served.

A leader whose log's disk is full must not stay either; `Room` looks at both.

Time is counted in ticks, as everywhere in this package.
"""

from collections.abc import Callable

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


class Room:
    """Whether the replica has room: on the disk of its log, and on that of its state."""

    def __init__(self, patience_ticks: int, log_is_full: Callable[[], bool]) -> None:
        self.state = Stall(patience_ticks)
        """How it is with the state's disk."""
        self._patience_ticks = patience_ticks
        self._log_is_full = log_is_full
        self._full_log_ticks = 0

    @property
    def stalled(self) -> bool:
        """Answer whether the disk is full, under the log or under the state."""
        return self.state.lasting or self._log_is_full()

    def tick(self) -> bool:
        """Count time; answer, now and then while it lasts, that a leader should let another lead.

        The core sees a full log only by a write that does not complete. Where a compaction waits
        alone there is none, and a leader that refuses all commands would stay.
        """
        self.state.tick()
        self._full_log_ticks = self._full_log_ticks + 1 if self._log_is_full() else 0
        due = self._full_log_ticks > 0 and self._full_log_ticks % self._patience_ticks == 0
        return self.state.overdue() or due
