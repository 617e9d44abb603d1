"""One term of leading: from the empty entry that opens it to the day it is lost.

A leader's term begins with an empty entry (paper, section 8). Until that is committed the leader
does not know what is committed, so it serves no read (6.4) and changes no membership (Ongaro's
erratum to chapter 4).
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, repeat

from paceline.consensus.config import CoreConfig, PeerProgress
from paceline.consensus.log import ENTRY_OVERHEAD_BYTES, Log
from paceline.consensus.membership import encode_membership, leave_joint, next_membership
from paceline.consensus.messages import (
    AppendReply,
    Entry,
    EntryKind,
    HeartbeatReply,
    Membership,
    ReadReply,
    ReadRequest,
    TimeoutNow,
)
from paceline.consensus.outbox import Outbox
from paceline.consensus.quorum import voters_of
from paceline.consensus.reads import ReadOrder, ReadQueue, ReadRound
from paceline.consensus.ready import ReadState
from paceline.consensus.replication import Replication
from paceline.errors import Busy, Conflict
from paceline.ids import NodeId


@dataclass(slots=True)
class Transfer:
    """Leadership is being handed to `target`, until the leader's tick `deadline`."""

    target: NodeId
    deadline: int
    asked: bool = False


class Leadership:
    """What a node does and knows while it leads `term`."""

    def __init__(self, *, config: CoreConfig, log: Log, term: int, outbox: Outbox) -> None:
        self._config = config
        self._node_id = config.node_id
        self._log = log
        self._term = term
        self._outbox = outbox
        self._reads = ReadQueue(config.max_pending_reads)
        self._transfer: Transfer | None = None
        self.replication = Replication(config, log, term, outbox.now)
        self._append(EntryKind.EMPTY, [b""])

    @property
    def deposed(self) -> bool:
        """Answer whether the leader is no voter any more, and that is committed (4.2.2)."""
        log = self._log
        return not log.membership_pending and self._node_id not in voters_of(log.membership)

    def status(self) -> tuple[PeerProgress, ...]:
        """Answer what is known of each follower."""
        return self.replication.status()

    # --- what is asked of a leader ----------------------------------------------------------------

    def propose(self, commands: Sequence[bytes]) -> int:
        """Append commands; answer the index of the first. Raise Busy if too much is uncommitted."""
        self._check_not_leaving()
        log = self._log
        waiting = log.size_bytes(log.commit_index + 1, log.last_index)
        size = sum(map(len, commands)) + ENTRY_OVERHEAD_BYTES * len(commands)
        if waiting > 0 and waiting + size > self._config.max_uncommitted_bytes:
            raise Busy(f"{waiting} bytes wait to be committed")
        return self._append(EntryKind.COMMAND, commands)

    def change_membership(
        self, voters: Sequence[NodeId], learners: Sequence[NodeId], *, joint: bool, auto_leave: bool
    ) -> int:
        """Append the next step towards these members; answer its index.

        Raise Conflict if another change is under way or the leader is too new.
        """
        self._check_not_leaving()
        log = self._log
        if log.commit_index < self.replication.own_from:
            raise Conflict("the leader has not committed an entry of its own term yet")
        if log.membership_pending:
            raise Conflict("a membership change is under way: wait until it is committed")
        step = next_membership(log.membership, voters, learners, joint=joint, auto_leave=auto_leave)
        return self._append_membership(step)

    def read(self, asker: NodeId, context: int) -> None:
        """Queue a read. Raise Busy if too many are waiting."""
        self._reads.add(ReadOrder(asker, context))

    def step(self, message: AppendReply | HeartbeatReply | ReadRequest) -> None:
        """Take a message from a follower."""
        if isinstance(message, AppendReply):
            self.replication.on_append_reply(message)
        elif isinstance(message, HeartbeatReply):
            self.replication.on_heartbeat_reply(message)
        else:
            with suppress(Busy):  # it asks again
                self.read(message.sender, message.context)

    def transfer(self, target: NodeId) -> None:
        """Hand leadership to a voter, once it has the whole log. Raise Conflict for a non-voter."""
        if target not in voters_of(self._log.membership):
            raise Conflict(f"{target} is not a voter: it cannot lead")
        if target == self._node_id or (self._transfer and self._transfer.target == target):
            return
        deadline = self.replication.now + self._config.election_ticks
        self._transfer = Transfer(target, deadline)

    def tick(self) -> bool:
        """Count a tick; answer whether this node may go on leading (check quorum, 6.2)."""
        self.replication.tick()
        if self._transfer is not None and self.replication.now >= self._transfer.deadline:
            self._transfer = None
        return self.replication.heard_quorum()

    # --- what follows from it ---------------------------------------------------------------------

    def turn(self) -> None:
        """Commit what can be, then make this turn's messages."""
        replication = self.replication
        committed = replication.advance_commit()
        if committed:
            self._leave_joint()
        context = self._advance_reads()
        replication.send(context)
        self._advance_transfer()
        replication.dismiss()  # after `send`, which may tell somebody that it is removed

    def _leave_joint(self) -> None:
        membership = self._log.membership
        if membership.joint and membership.auto_leave and not self._log.membership_pending:
            self._append_membership(leave_joint(membership))

    def _advance_reads(self) -> int:
        """Start and finish rounds of reads; answer the context for heartbeats."""
        reads, log = self._reads, self._log
        if log.commit_index >= self.replication.own_from and reads.begin_round(log.commit_index):
            self.replication.beat()
        if reads.number:
            for done in reads.confirm(self.replication.confirmed_context(reads.number)):
                self._answer(done)
        return reads.number

    def _answer(self, done: ReadRound) -> None:
        for order in done.orders:
            if order.asker == self._node_id:
                self._outbox.reads.append(ReadState(order.context, done.index))
            else:
                self._outbox.now.append(
                    ReadReply(self._node_id, order.asker, self._term, order.context, done.index)
                )

    def _advance_transfer(self) -> None:
        transfer = self._transfer
        if transfer is None or transfer.asked:
            return
        if self.replication.match(transfer.target) == self._log.last_index:
            transfer.asked = True
            self._let_stand(transfer.target)

    def abdicate(self) -> bool:
        """Ask the voter with the longest log to stand; answer whether there is another voter."""
        others = [node for node in self._log.membership.voters if node != self._node_id]
        if others:
            self._let_stand(max(others, key=self.replication.match))
        return bool(others)

    def _let_stand(self, target: NodeId) -> None:
        self._outbox.now.append(TimeoutNow(self._node_id, target, self._term))

    def _check_not_leaving(self) -> None:
        if self._transfer is not None:
            raise Busy(f"leadership is being handed to {self._transfer.target}")

    def _append_membership(self, membership: Membership) -> int:
        index = self._append(EntryKind.MEMBERSHIP, [encode_membership(membership)])
        # A newcomer has an empty log, but one that returns may have a long one: let it say.
        self.replication.admit(next_index=index)
        return index

    def _append(self, kind: EntryKind, datas: Sequence[bytes]) -> int:
        first = self._log.last_index + 1
        fields = zip(count(first), repeat(self._term), repeat(int(kind)), datas)
        self._log.append([Entry._make(values) for values in fields])
        return first
