"""Raft as a pure state machine: messages, ticks and wishes in, a `Ready` out.

The rules are those of the paper (Ongaro and Ousterhout 2014, "In Search of an Understandable
Consensus Algorithm", figure 2) and of Ongaro's dissertation (2014): leadership transfer (3.10),
membership change (4), snapshots (5), check quorum (6.2), linearizable reads (6.4), pre-vote (9.6).
Each stands at the head of the file that does it: `election`, `replication`, `leadership`,
`following`, `membership`, `reads`, `durability`. This file holds what joins them.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from paceline.consensus.config import CoreConfig, CoreStatus, PeerProgress
from paceline.consensus.durability import Durability
from paceline.consensus.election import Election, ElectionTimer, is_prospective
from paceline.consensus.following import receive_append, receive_snapshot
from paceline.consensus.leadership import Leadership
from paceline.consensus.log import Log
from paceline.consensus.messages import (
    NOBODY,
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    ReadReply,
    ReadRequest,
    SnapshotMeta,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from paceline.consensus.outbox import Outbox
from paceline.consensus.quorum import Outcome
from paceline.consensus.ready import PersistToken, ReadState, Ready
from paceline.consensus.storage.protocol import StoredLog
from paceline.errors import InputError, NotLeader, ProtocolError
from paceline.ids import NodeId

__all__ = ["Core", "CoreConfig", "CoreStatus", "PeerProgress"]


class Core:
    """One node's part in Raft. No clock, disk, socket or thread; `random` is the caller's."""

    def __init__(self, config: CoreConfig, stored: StoredLog, applied: int, random: Random) -> None:
        """Start as a follower from what is on the disk. Raise CorruptStorage if that has a gap.

        `applied` is how far the state machine's durable state has come.
        """
        self._config = config
        self._node_id = config.node_id
        self._log, hard_state = Log(stored, applied), stored.hard_state
        self._election = Election(
            node_id=config.node_id,
            log=self._log,
            term=hard_state.term,
            vote=hard_state.vote,
            timer=ElectionTimer(config.election_ticks, random),
            hurry_ticks=config.hurry_ticks,
            probation_ticks=2 * config.heartbeat_ticks,
        )
        self._leadership: Leadership | None = None
        self._outbox = Outbox()
        self._durability = Durability(self._log, hard_state)
        self._now = 0
        self._received: SnapshotMeta | None = None
        self._handlers: dict[type[Message], Callable[[Any], None]] = {
            VoteRequest: self._on_vote_request,
            VoteReply: self._on_vote_reply,
            Append: self._on_append,
            AppendReply: self._on_followers_message,
            Heartbeat: self._on_heartbeat,
            HeartbeatReply: self._on_followers_message,
            InstallSnapshot: self._on_install_snapshot,
            TimeoutNow: self._on_timeout_now,
            ReadRequest: self._on_followers_message,
            ReadReply: self._on_read_reply,
        }

    # --- what it is -------------------------------------------------------------------------------

    @property
    def term(self) -> int:
        """Answer the latest term this node has seen."""
        return self._election.term

    @property
    def leader_id(self) -> NodeId:
        """Answer who leads this term as far as is known; NOBODY if it is not."""
        return self._election.leader_id

    @property
    def commit_index(self) -> int:
        """Answer the last index known to be committed."""
        return self._log.commit_index

    @property
    def role(self) -> str:
        """Answer leader, candidate, pre_candidate, learner or follower."""
        if self._leadership is not None:
            return "leader"
        candidacy = self._election.candidacy
        if candidacy is not None:
            return "pre_candidate" if candidacy.pre else "candidate"
        is_learner = self._node_id in self._log.membership.learners
        return "learner" if is_learner else "follower"

    def status(self) -> CoreStatus:
        """Answer all that can be told about this node."""
        log, leadership = self._log, self._leadership
        return CoreStatus(
            node_id=self._node_id,
            role=self.role,
            term=self.term,
            leader_id=self.leader_id,
            commit_index=log.commit_index,
            applied_index=log.applied_index,
            last_index=log.last_index,
            first_index=log.first_index,
            membership=log.membership,
            quorum_active=(
                leadership.replication.heard_quorum() if leadership else self.leader_id != NOBODY
            ),
            peers=leadership.status() if leadership else (),
        )

    def snapshot_meta(self, index: int) -> SnapshotMeta:
        """Answer what a snapshot of the state after `index` stands for.

        Raise Conflict if the index is not committed, or before the last compaction.
        """
        return self._log.snapshot_meta(index)

    # --- wishes -----------------------------------------------------------------------------------

    def propose(self, commands: Sequence[bytes]) -> int:
        """Append commands to the log; answer the index of the first one.

        Raise NotLeader; Busy while leadership is handed over or too much waits to be committed.
        """
        if not commands:
            raise InputError("nothing is proposed")
        return self._lead().propose(commands)

    def change_membership(
        self,
        voters: Sequence[NodeId],
        learners: Sequence[NodeId],
        *,
        joint: bool = False,
        auto_leave: bool = True,
    ) -> int:
        """Take the next step towards these voters and learners; answer the index of its entry.

        More than one voter's difference (or `joint`) goes through the joint state, which is left by
        itself; without `auto_leave`, by calling this again with the same sets. Raise NotLeader,
        Conflict while a change is under way or the leader too new, InputError for senseless sets.
        """
        return self._lead().change_membership(voters, learners, joint=joint, auto_leave=auto_leave)

    def read_index(self, context: int) -> None:
        """Ask for a linearizable read: `Ready.reads` names `context` once the leader is confirmed.

        An answer may be lost: ask again. Raise NotLeader if no leader is known, Busy at the bound.
        """
        if self._leadership is not None:
            self._leadership.read(self._node_id, context)
        elif self.leader_id == NOBODY:
            raise NotLeader(None)
        else:
            request = ReadRequest(self._node_id, self.leader_id, self.term, context)
            self._send_with_term(request)

    def transfer(self, node_id: NodeId) -> None:
        """Hand leadership to a voter, within an election timeout. Raise NotLeader, Conflict."""
        self._lead().transfer(node_id)

    def campaign(self) -> None:
        """Stand for election now (by pre-vote first), if this node is a voter and does not lead."""
        if self._leadership is None and self._election.may_stand:
            self._stand(pre=True)

    def forget_leader(self) -> None:
        """Take the leader for dead, because the connection to it dropped; see `election`."""
        if self._leadership is None and self.leader_id != NOBODY:
            self._election.forget_leader()

    def resign(self) -> None:
        """Let another voter lead, at once, if this node leads and there is another voter."""
        if self._leadership is not None:
            self._resign()

    @property
    def unapplied_bytes(self) -> int:
        """Answer the bytes of the log's entries that are not applied, committed or not."""
        return self._log.size_bytes(self._log.applied_index + 1, self._log.last_index)

    def report_unreachable(self, node_id: NodeId) -> None:
        """Take what was sent to that node lately for lost."""
        if self._leadership is not None:
            self._leadership.replication.on_unreachable(node_id)

    def report_snapshot(self, node_id: NodeId, ok: bool) -> None:
        """Take note that the transfer of a snapshot to that node has ended, well or not."""
        if self._leadership is not None:
            self._leadership.replication.on_snapshot_end(node_id, ok)

    def untold(self, index: int) -> bool:
        """Answer whether `tell_news` would be the first to tell a follower of `index`."""
        return self._leadership is not None and self._leadership.replication.untold(index)

    def tell_news(self) -> None:
        """Tell the followers what is committed, without waiting for an append to take it along."""
        if self._leadership is not None:
            self._leadership.replication.tell_news()

    def compact(self, meta: SnapshotMeta, keep_from: int) -> None:
        """Forget entries before `keep_from`; the state after `meta.index` is durable elsewhere.

        Raise ValueError if `meta.index` was not given out to be applied, or a gap follows it.
        """
        self._log.compact(meta, keep_from)

    def tick(self) -> None:
        """Let one tick of time pass."""
        self._now += 1
        if self._leadership is None:
            if self._election.tick():
                self._stand(pre=True)
        elif not self._leadership.tick():
            self._follow(self.term, NOBODY)
        elif self._durability.age(self._now) >= self._config.stall_ticks:
            self._resign()  # heartbeats would go on for ever, while no write does

    def _lead(self) -> Leadership:
        if self._leadership is None:
            raise NotLeader(self.leader_id or None)
        return self._leadership

    # --- work for the shell -----------------------------------------------------------------------

    def ready(self) -> Ready | None:
        """Answer the work that is waiting, or None; it counts as handed out from now on."""
        self._take_leaders_turn()
        durability, election = self._durability, self._election
        snapshot, self._received = self._received, None
        entries = self._log.take_unwritten()
        writes = bool(entries or snapshot)
        hard_state = durability.changed_hard_state(election.term, election.vote, writing=writes)
        committed = self._log.take_committed(self._config.max_committed_bytes)
        writes = writes or hard_state is not None
        if not (writes or committed or self._outbox):
            return None
        messages, after_sync, reads = self._outbox.take()
        # What waits for an earlier write must not overtake it, so it gets a write of its own.
        needs_token = writes or (after_sync and durability.pending)
        return Ready(
            hard_state=hard_state,
            snapshot=snapshot,
            entries=entries,
            messages=tuple(messages),
            after_sync=tuple(after_sync),
            committed=committed,
            reads=tuple(reads),
            token=durability.begin(election.term, self._now) if needs_token else None,
        )

    def persisted(self, token: PersistToken) -> None:
        """Take note that the write of that token, and every earlier one, is durable."""
        if not self._durability.complete(token, self.term):
            return
        if self._leadership is not None:
            self._leadership.replication.persisted()
        elif self._election.count_own_vote():
            self._settle_election()

    def applied(self, index: int) -> None:
        """Take note that the state machine has come to `index`."""
        self._log.applied(index)

    def _take_leaders_turn(self) -> None:
        if self._leadership is not None:
            self._leadership.turn()
            if self._leadership.deposed:
                self._resign()

    def _send_with_term(self, message: Message) -> None:
        """Send what reveals nothing but the term: at once if that is durable."""
        durable = self._durability.term >= self.term
        (self._outbox.now if durable else self._outbox.after_sync).append(message)

    # --- roles ------------------------------------------------------------------------------------

    def _follow(self, term: int, leader_id: NodeId) -> None:
        self._leadership = None
        self._election.follow(term, leader_id)

    def _resign(self) -> None:
        """Stop leading, if there is another voter, and let it stand at once.

        Otherwise the others would wait for a leader that they take for alive.
        """
        if self._leadership is not None and self._leadership.abdicate():
            self._follow(self.term, NOBODY)

    def _stand(self, *, pre: bool, transfer: bool = False) -> None:
        requests = self._election.stand(pre=pre, transfer=transfer)
        if pre:
            for request in requests:
                self._send_with_term(request)
        else:
            self._outbox.after_sync.extend(requests)
        self._settle_election()

    def _settle_election(self) -> None:
        """Act on how the election stands."""
        candidacy = self._election.candidacy
        if candidacy is None:
            return
        outcome = candidacy.outcome(self._log.membership)
        if outcome is Outcome.LOST:
            self._election.lose()
        elif outcome is Outcome.WON and candidacy.pre:
            self._stand(pre=False)
        elif outcome is Outcome.WON:
            self._election.win()
            self._leadership = Leadership(
                config=self._config, log=self._log, term=self.term, outbox=self._outbox
            )

    # --- messages ---------------------------------------------------------------------------------

    def step(self, message: Message) -> None:
        """Take a message from a peer. Raise ProtocolError for what no correct node sends.

        A higher term makes this node a follower in that term (section 5.1), except for votes that
        must not disturb anybody; a message with a lower term is stale.
        """
        if message.to != self._node_id:
            return
        if message.term < self.term:
            self._on_stale(message)
            return
        if isinstance(message, VoteRequest) and self._shields_leader(message):
            return
        if message.term > self.term and not is_prospective(message):
            self._follow(message.term, NOBODY)
        self._handlers[type(message)](message)

    def _shields_leader(self, request: VoteRequest) -> bool:
        """Leave a live leader alone; only who asked in advance is told so."""
        if request.transfer or not self._election.leader_lives:
            return False
        if request.pre:
            self._send_with_term(self._election.refuse(request))
        return request.pre or request.term > self.term

    def _on_stale(self, message: Message) -> None:
        """Tell a node that is behind what the term is; a stale answer is not worth a word."""
        if isinstance(message, VoteRequest):
            self._send_with_term(self._election.refuse(message))
        elif isinstance(message, Append | Heartbeat | InstallSnapshot):
            refusal = AppendReply(self._node_id, message.sender, self.term, 0, rejected=True)
            self._send_with_term(refusal)

    def _hear_leader(self, message: Message) -> None:
        if self._leadership is not None:
            raise ProtocolError(
                f"{message.sender} leads term {message.term}, which this node leads"
            )
        self._election.hear(message.sender)

    def _on_vote_request(self, message: VoteRequest) -> None:
        reply = self._election.consider(message)
        if message.pre:
            self._send_with_term(reply)
        else:
            self._outbox.after_sync.append(reply)

    def _on_vote_reply(self, message: VoteReply) -> None:
        self._election.count(message)
        self._settle_election()

    def _on_append(self, message: Append) -> None:
        self._hear_leader(message)
        reply = receive_append(self._log, self._node_id, message)
        if reply.rejected:
            self._send_with_term(reply)
        else:
            self._outbox.acknowledge(reply)

    def _on_heartbeat(self, message: Heartbeat) -> None:
        self._hear_leader(message)
        self._log.commit_to(message.commit)
        reply = HeartbeatReply(self._node_id, message.sender, self.term, message.context)
        self._send_with_term(reply)

    def _on_install_snapshot(self, message: InstallSnapshot) -> None:
        self._hear_leader(message)
        before = self._log.snapshot
        reply = receive_snapshot(self._log, self._node_id, message)
        if self._log.snapshot is not before:
            self._received = message.meta
        self._outbox.after_sync.append(reply)

    def _on_timeout_now(self, message: TimeoutNow) -> None:
        self._hear_leader(message)
        if self._election.may_stand:
            self._stand(pre=False, transfer=True)

    def _on_followers_message(self, message: AppendReply | HeartbeatReply | ReadRequest) -> None:
        if self._leadership is not None:
            self._leadership.step(message)

    def _on_read_reply(self, message: ReadReply) -> None:
        self._outbox.reads.append(ReadState(message.context, message.index))
