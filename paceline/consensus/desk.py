"""Those who ask this node for something, until each of them has an answer.

Commands wait in the `intake` and then for their entry to be applied; reads wait for the leader to
be confirmed and then for this node's state to come so far (`pending`). Whatever happens to the node
meanwhile, everybody is answered once: with the outcome, or with why it will not be known here.
"""

from collections.abc import Sequence
from typing import Any

from paceline.consensus.core import Core
from paceline.consensus.intake import Intake
from paceline.consensus.messages import Entry
from paceline.consensus.pending import Decision, OnDecision, OnRead, WaitingReads
from paceline.consensus.ready import ReadState
from paceline.consensus.replica_model import ReplicaLimits
from paceline.consensus.stall import Room
from paceline.errors import Busy, PacelineError, Unavailable
from paceline.ids import NodeId


class Desk:
    """Takes commands, changes of membership and reads; answers them as the replica learns more."""

    def __init__(
        self, *, core: Core, limits: ReplicaLimits, room: Room, first_context: int
    ) -> None:
        self._limits = limits
        self._intake = Intake(core=core, limits=limits, disk_full=lambda: room.stalled)
        self._reads = WaitingReads(first_context, core.read_index)
        self._closed = False

    @property
    def waiting(self) -> int:
        """Answer how many proposals nobody has answered yet."""
        return self._intake.waiting

    @property
    def has_queued(self) -> bool:
        """Answer whether there are proposals that the core has not been given."""
        return self._intake.has_queued

    # --- questions: each answers whether there is now work to do ----------------------------------

    def propose(self, data: bytes, done: OnDecision) -> bool:
        """Take a command; see Replica."""
        if self._closed:
            done(Decision(0, 0, None, _closed()))
            return False
        self._intake.take(data, done)
        return True

    def change_membership(
        self, voters: Sequence[NodeId], learners: Sequence[NodeId], done: OnDecision
    ) -> bool:
        """Take a wish for these sets; see Replica."""
        if self._closed:
            done(Decision(0, 0, None, _closed()))
            return False
        self._intake.take_membership(voters, learners, done)
        return True

    def read(self, done: OnRead) -> bool:
        """Take a read; see Replica."""
        if self._closed:
            done(_closed())
            return False
        if len(self._reads) >= self._limits.waiting_reads:
            done(Busy(f"{self._limits.waiting_reads} reads wait already on this node"))
            return False
        self._reads.add(done)
        return True

    def ask(self) -> None:
        """Give the core all that was queued before this turn, as one batch and one question."""
        self._intake.offer()
        self._reads.ask()

    # --- answers ----------------------------------------------------------------------------------

    def applied(
        self, entries: Sequence[Entry], results: Sequence[Any], lost: PacelineError
    ) -> None:
        """Answer what these entries decide; `lost` where another entry won."""
        self._intake.settle(entries, results, lost)
        self._reads.serve(entries[-1].index)

    def installed(self, index: int, lost: PacelineError) -> None:
        """Answer what a snapshot decides: outcomes up to `index` stay unknown here."""
        self._intake.fail_through(index, lost)
        self._reads.serve(index)

    def confirmed(self, reads: Sequence[ReadState], applied: int) -> None:
        """Take note from which index on each of these reads may be served."""
        for read in reads:
            self._reads.answered(read.context, read.index)
        if reads:
            self._reads.serve(applied)

    def tick(self) -> None:
        """Count time: repeat questions that may be lost, give up on what takes too long."""
        self._reads.tick(self._limits.read_retry_ticks, self._limits.read_timeout_ticks)

    def fail_after(self, index: int, error: PacelineError) -> None:
        """Give up on commands in the log after `index`: the outcome is unknown."""
        self._intake.fail_after(index, error)

    def fail_reads(self, error: PacelineError) -> None:
        """Give up on the reads that the leader has not confirmed."""
        self._reads.fail_unanswered(error)

    def close(self) -> None:
        """Answer everybody who waits with Unavailable, and take nothing more."""
        self._closed = True
        self._intake.fail_all(_closed())
        self._reads.fail_all(_closed())


def _closed() -> Unavailable:
    return Unavailable("this node is stopping")
