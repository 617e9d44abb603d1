"""Proposals from the caller to the core, and decisions back."""

from collections.abc import Callable, Sequence
from typing import Any

from paceline.consensus.core import Core
from paceline.consensus.messages import Entry
from paceline.consensus.pending import OnDecision, PendingProposals, Proposal
from paceline.consensus.replica_model import ReplicaLimits
from paceline.errors import Busy, InputError, PacelineError, Unavailable
from paceline.ids import NodeId

DISK_FULL = "the disk of the leading node is full; nothing is accepted until there is room"


class Intake:
    """Takes proposals within bounds, gives them to the core in batches, and answers them."""

    def __init__(self, *, core: Core, limits: ReplicaLimits, disk_full: Callable[[], bool]) -> None:
        self._core = core
        self._limits = limits
        self._disk_full = disk_full
        self._queued: list[Proposal] = []
        self._queued_bytes = 0
        self._pending = PendingProposals()

    @property
    def waiting(self) -> int:
        """Answer how many proposals nobody has answered yet."""
        return len(self._queued) + len(self._pending)

    @property
    def has_queued(self) -> bool:
        """Answer whether there is something to offer."""
        return bool(self._queued)

    def take(self, data: bytes, done: OnDecision) -> None:
        """Queue a command for the next `offer`, or refuse it at once."""
        proposal = Proposal(data, done)
        refusal = self._why_not(len(data))
        if refusal is not None:
            proposal.refuse(refusal)
            return
        self._queued.append(proposal)
        self._queued_bytes += len(data)

    def take_membership(
        self, voters: Sequence[NodeId], learners: Sequence[NodeId], done: OnDecision
    ) -> None:
        """Ask the core for these sets of members, or refuse at once."""
        proposal = Proposal(b"", done)
        try:
            index = self._core.change_membership(voters, learners)
        except PacelineError as error:
            proposal.refuse(error)
            return
        self._pending.add(index, self._core.term, proposal)

    def offer(self) -> None:
        """Give the core what was queued before this turn; callbacks may queue more."""
        queued, self._queued, self._queued_bytes = self._queued, [], 0
        start = 0
        while start < len(queued):
            stop = self._batch_end(queued, start)
            self._offer_batch(queued[start:stop])
            start = stop

    def settle(self, entries: Sequence[Entry], results: Sequence[Any], lost: PacelineError) -> None:
        """Answer those whose entries were applied; `lost` where another entry won."""
        if self._pending:
            for entry, result in zip(entries, results, strict=True):
                self._pending.settle(entry.index, entry.term, result, lost)

    def fail_after(self, index: int, error: PacelineError) -> None:
        """Give up on what is in the log after `index`: the outcome is unknown."""
        self._pending.fail_after(index, error)

    def fail_through(self, index: int, error: PacelineError) -> None:
        """Give up on what is in the log up to `index`: the outcome is unknown."""
        self._pending.fail_through(index, error)

    def fail_all(self, error: PacelineError) -> None:
        """Give up on everything."""
        queued, self._queued, self._queued_bytes = self._queued, [], 0
        for proposal in queued:
            proposal.refuse(error)
        self._pending.fail_after(0, error)

    def _why_not(self, size: int) -> PacelineError | None:
        limits = self._limits
        if size > limits.proposal_bytes:
            return InputError(f"a command of {size} bytes is over {limits.proposal_bytes}")
        if self._disk_full():
            return Busy(DISK_FULL)
        if self.waiting >= limits.pending_proposals:
            return Busy(f"{limits.pending_proposals} proposals wait already on this node")
        if self._queued_bytes + self._pending.bytes + size > limits.pending_bytes:
            return Busy(f"proposals of {limits.pending_bytes} bytes wait already on this node")
        return None

    def _batch_end(self, queued: Sequence[Proposal], start: int) -> int:
        size, stop = len(queued[start].data), start + 1
        last = min(len(queued), start + self._limits.batch_entries)
        while stop < last and size + len(queued[stop].data) <= self._limits.batch_bytes:
            size += len(queued[stop].data)
            stop += 1
        return stop

    def _offer_batch(self, batch: Sequence[Proposal]) -> None:
        try:
            index = self._core.propose([proposal.data for proposal in batch])
        except Unavailable as error:
            for proposal in batch:
                proposal.refuse(error)
            return
        term = self._core.term
        for offset, proposal in enumerate(batch):
            self._pending.add(index + offset, term, proposal)
