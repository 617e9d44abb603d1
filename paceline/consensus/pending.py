"""Proposals and reads that wait inside a replica for their answer.

Both hold callbacks, and both are bounded by the replica before anything is added. A callback is
called exactly once. It may propose or read again from inside.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from paceline.errors import NoQuorum, PacelineError, Unavailable

BEHIND = (
    "the read must see entry {index}, which this node has not applied in time: it is far behind, "
    "its disk is full, or it was removed from the cluster; ask another node"
)


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a proposal.

    Without an `error` the entry at (`index`, `term`) is committed and applied here, and `result`
    is what the machine's `apply` gave. With one, `Busy` and `InputError` say that nothing was
    appended; `NotLeader` and `Unavailable` leave the outcome unknown.
    """

    index: int
    term: int
    result: Any = None
    error: PacelineError | None = None


OnDecision = Callable[[Decision], None]
OnRead = Callable[[PacelineError | None], None]


@dataclass(frozen=True, slots=True)
class Proposal:
    """One command that nobody has answered yet."""

    data: bytes
    done: OnDecision

    def refuse(self, error: PacelineError) -> None:
        """Tell the caller that nothing was appended."""
        self.done(Decision(0, 0, None, error))


class PendingProposals:
    """Proposals in this leader's log, by index; answered when that index is applied or lost."""

    def __init__(self) -> None:
        self.bytes = 0
        self._by_index: dict[int, tuple[int, Proposal]] = {}

    def __len__(self) -> int:
        return len(self._by_index)

    def add(self, index: int, term: int, proposal: Proposal) -> None:
        """Wait for (`index`, `term`) to be applied."""
        self._by_index[index] = (term, proposal)
        self.bytes += len(proposal.data)

    def settle(self, index: int, term: int, result: Any, lost: PacelineError) -> None:
        """Answer whoever waits for `index`: with `result` if the terms agree, else with `lost`."""
        found = self._by_index.pop(index, None)
        if found is None:
            return
        expected, proposal = found
        self.bytes -= len(proposal.data)
        if expected == term:
            proposal.done(Decision(index, term, result))
        else:
            proposal.done(Decision(index, expected, None, lost))

    def fail_after(self, index: int, error: PacelineError) -> None:
        """Give up on all proposals after `index`: whether they take effect is unknown."""
        self._fail([at for at in self._by_index if at > index], error)

    def fail_through(self, index: int, error: PacelineError) -> None:
        """Give up on all proposals up to `index` (a snapshot has swallowed them)."""
        self._fail([at for at in self._by_index if at <= index], error)

    def _fail(self, indexes: Sequence[int], error: PacelineError) -> None:
        lost = [(at, *self._by_index.pop(at)) for at in indexes]
        for at, term, proposal in lost:
            self.bytes -= len(proposal.data)
            proposal.done(Decision(at, term, None, error))


@dataclass(slots=True)
class _ReadBatch:
    """Reads that arrived together and share their questions to the leader.

    `contexts` are the numbers of the questions that are out; without any, nobody is asked any more.
    """

    callbacks: list[OnRead]
    age_ticks: int = 0
    contexts: list[int] = field(default_factory=list)


class WaitingReads:
    """Linearizable reads (dissertation section 6.4) from question to answer.

    All reads of one turn share one question. A question may get lost on its way to the leader, so
    it is repeated under a new number; an answer to any of a batch's numbers will do, because each
    was asked after the reads arrived.

    An answer does not say that this node will ever get that far: it may have been removed, or its
    disk be full. So a read has one age from its first question to its end, and both waits count.
    """

    def __init__(self, first_context: int, ask: Callable[[int], None]) -> None:
        """`ask` puts the question of that number; Unavailable = nobody to ask."""
        self._contexts = count(first_context)
        self._put_question = ask
        self._new: list[OnRead] = []
        self._asked: dict[int, _ReadBatch] = {}
        self._ready: list[tuple[int, int, _ReadBatch]] = []
        self._order = count()
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def add(self, done: OnRead) -> None:
        """Take a read; the next `ask` puts its question."""
        self._new.append(done)
        self._waiting += 1

    def ask(self) -> None:
        """Put one question for all new reads."""
        if self._new:
            batch, self._new = _ReadBatch(self._new), []
            self._ask(batch)

    def answered(self, context: int, index: int) -> None:
        """Note that the reads of `context` may be served once `index` is applied."""
        batch = self._asked.get(context)
        if batch is None:
            return
        self._forget(batch)
        heapq.heappush(self._ready, (index, next(self._order), batch))

    def serve(self, applied: int) -> None:
        """Call back all reads whose index is applied."""
        while self._ready and self._ready[0][0] <= applied:
            self._call(heapq.heappop(self._ready)[2].callbacks, None)

    def tick(self, retry_ticks: int, timeout_ticks: int) -> None:
        """Count a tick: repeat questions, and give up on reads that have waited `timeout_ticks`.

        New reads are asked for first: a node without room for its state takes no turn in which
        that would happen, and their age begins with the question.
        """
        self.ask()
        self._tick_ready(timeout_ticks)
        for batch in self._batches():
            batch.age_ticks += 1
            if batch.age_ticks >= timeout_ticks:
                self._fail(batch, NoQuorum("the leader did not confirm the read in time"))
            elif batch.contexts and batch.age_ticks % retry_ticks == 0:
                self._ask(batch)

    def _tick_ready(self, timeout_ticks: int) -> None:
        """Give up on reads whose index this node has not applied in time."""
        for _, _, batch in self._ready:
            batch.age_ticks += 1
        late = [item for item in self._ready if item[2].age_ticks >= timeout_ticks]
        if late:
            self._ready = [item for item in self._ready if item[2].age_ticks < timeout_ticks]
            heapq.heapify(self._ready)
        for index, _, batch in late:
            self._call(batch.callbacks, Unavailable(BEHIND.format(index=index)))

    def fail_unanswered(self, error: PacelineError) -> None:
        """Give up on everything that the leader has not answered."""
        for batch in self._batches():
            self._fail(batch, error)
        new, self._new = self._new, []
        self._call(new, error)

    def fail_all(self, error: PacelineError) -> None:
        """Give up on everything."""
        self.fail_unanswered(error)
        ready, self._ready = self._ready, []
        for _, _, batch in ready:
            self._call(batch.callbacks, error)

    def _batches(self) -> list[_ReadBatch]:
        return [batch for at, batch in self._asked.items() if batch.contexts[0] == at]

    def _ask(self, batch: _ReadBatch) -> None:
        context = next(self._contexts)
        batch.contexts.append(context)
        self._asked[context] = batch
        try:
            self._put_question(context)
        except Unavailable as error:
            self._fail(batch, error)

    def _fail(self, batch: _ReadBatch, error: PacelineError) -> None:
        if batch.contexts:  # else a callback of another batch has ended this one too
            self._forget(batch)
            self._call(batch.callbacks, error)

    def _forget(self, batch: _ReadBatch) -> None:
        for context in batch.contexts:
            del self._asked[context]
        batch.contexts.clear()

    def _call(self, callbacks: list[OnRead], error: PacelineError | None) -> None:
        self._waiting -= len(callbacks)
        for done in callbacks:
            done(error)
