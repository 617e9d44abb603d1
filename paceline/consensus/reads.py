"""Linearizable reads without writing (dissertation, section 6.4).

A read may be served once the state has reached the commit index of the moment at which it was
asked for, provided that the leader was still the leader after that moment. The proof is a round of
heartbeats with a number: a quorum that repeats it has not elected anybody else before. Reads that
arrive while a round is out wait for the next one, so a thousand reads cost as many messages as one.
"""

from collections import deque
from dataclasses import dataclass

from paceline.errors import Busy
from paceline.ids import NodeId

MAX_ROUNDS = 2
"""Rounds of heartbeats out at once. A lost one is made good by the next periodic heartbeat."""


@dataclass(frozen=True, slots=True)
class ReadOrder:
    """A read that somebody asked for; `context` is the asker's own number for it."""

    asker: NodeId
    context: int


@dataclass(frozen=True, slots=True)
class ReadRound:
    """Reads that are confirmed together, once a quorum has repeated `number`."""

    number: int
    index: int
    orders: tuple[ReadOrder, ...]


class ReadQueue:
    """The reads that a leader has been asked for and has not yet answered."""

    def __init__(self, max_orders: int) -> None:
        self._max_orders = max_orders
        self._waiting: list[ReadOrder] = []
        self._rounds: deque[ReadRound] = deque()
        self._held = 0
        self.number = 0
        """The newest round; heartbeats carry it."""

    def add(self, order: ReadOrder) -> None:
        """Queue a read for the next round. Raise Busy if too many are waiting."""
        if len(self._waiting) + self._held >= self._max_orders:
            raise Busy("too many reads are waiting for the leader to be confirmed")
        self._waiting.append(order)

    def begin_round(self, commit_index: int) -> bool:
        """Start a round for all that are waiting; answer whether heartbeats must go out for it."""
        if not self._waiting or len(self._rounds) >= MAX_ROUNDS:
            return False
        self.number += 1
        self._rounds.append(ReadRound(self.number, commit_index, tuple(self._waiting)))
        self._held += len(self._waiting)
        self._waiting.clear()
        return True

    def confirm(self, number: int) -> list[ReadRound]:
        """Answer the rounds that are done now that a quorum has repeated `number`."""
        done = []
        while self._rounds and self._rounds[0].number <= number:
            done.append(self._rounds.popleft())
            self._held -= len(done[-1].orders)
        return done
