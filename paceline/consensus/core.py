"""Raft as a pure state machine: messages, ticks and wishes in, a `Ready` out.

The rules are those of the paper (Ongaro and Ousterhout 2014, "In Search of an Understandable
Consensus Algorithm", figure 2) and of Ongaro's dissertation (2014): leadership transfer (3.10),
membership change (4), snapshots (5), check quorum (6.2), linearizable reads (6.4), pre-vote (9.6).
Each stands at the head of the file that does it: `election`, `replication`, `leadership`,
`following`, `membership`, `reads`, `durability`. `roles` moves a node from one role to another,
`receiving` takes its messages, and this file is what the shell sees.
"""

from collections.abc import Sequence
from random import Random

from paceline.consensus.config import CoreConfig, CoreStatus, PeerProgress
from paceline.consensus.durability import Durability
from paceline.consensus.election import Election, ElectionTimer
from paceline.consensus.log import Log
from paceline.consensus.messages import NOBODY, Message, ReadRequest, SnapshotMeta
from paceline.consensus.outbox import Outbox
from paceline.consensus.ready import PersistToken, Ready
from paceline.consensus.receiving import Receiving
from paceline.consensus.roles import Roles
from paceline.consensus.storage.protocol import StoredLog
from paceline.errors import InputError, NotLeader
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
        self._outbox = Outbox()
        self._durability = Durability(self._log, hard_state)
        self._now = 0
        self._roles = Roles(
            config=config,
            log=self._log,
            election=self._election,
            durability=self._durability,
            outbox=self._outbox,
        )
        self._receiving = Receiving(
            node_id=config.node_id,
            log=self._log,
            election=self._election,
            roles=self._roles,
            outbox=self._outbox,
        )

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
        return self._roles.role

    def status(self) -> CoreStatus:
        """Answer all that can be told about this node."""
        log, leadership = self._log, self._roles.leadership
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
        return self._roles.lead().propose(commands)

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
        return self._roles.lead().change_membership(
            voters, learners, joint=joint, auto_leave=auto_leave
        )

    def read_index(self, context: int) -> None:
        """Ask for a linearizable read: `Ready.reads` names `context` once the leader is confirmed.

        An answer may be lost: ask again. Raise NotLeader if no leader is known, Busy at the bound.
        """
        if self._roles.leadership is not None:
            self._roles.leadership.read(self._node_id, context)
        elif self.leader_id == NOBODY:
            raise NotLeader(None)
        else:
            request = ReadRequest(self._node_id, self.leader_id, self.term, context)
            self._roles.send_with_term(request)

    def transfer(self, node_id: NodeId) -> None:
        """Hand leadership to a voter, within an election timeout. Raise NotLeader, Conflict."""
        self._roles.lead().transfer(node_id)

    def campaign(self) -> None:
        """Stand for election now (by pre-vote first), if this node is a voter and does not lead."""
        if self._roles.leadership is None and self._election.may_stand:
            self._roles.stand(pre=True)

    def forget_leader(self) -> None:
        """Take the leader for dead, because the connection to it dropped; see `election`."""
        if self._roles.leadership is None and self.leader_id != NOBODY:
            self._election.forget_leader()

    def resign(self) -> None:
        """Let another voter lead, at once, if this node leads and there is another voter."""
        self._roles.resign()

    @property
    def unapplied_bytes(self) -> int:
        """Answer the bytes of the log's entries that are not applied, committed or not."""
        return self._log.size_bytes(self._log.applied_index + 1, self._log.last_index)

    def report_unreachable(self, node_id: NodeId) -> None:
        """Take what was sent to that node lately for lost."""
        if self._roles.leadership is not None:
            self._roles.leadership.replication.on_unreachable(node_id)

    def report_snapshot(self, node_id: NodeId, ok: bool) -> None:
        """Take note that the transfer of a snapshot to that node has ended, well or not."""
        if self._roles.leadership is not None:
            self._roles.leadership.replication.on_snapshot_end(node_id, ok)

    def untold(self, index: int) -> bool:
        """Answer whether `tell_news` would be the first to tell a follower of `index`."""
        return self._roles.leadership is not None and self._roles.leadership.replication.untold(
            index
        )

    def tell_news(self) -> None:
        """Tell the followers what is committed, without waiting for an append to take it along."""
        if self._roles.leadership is not None:
            self._roles.leadership.replication.tell_news()

    def compact(self, meta: SnapshotMeta, keep_from: int) -> None:
        """Forget entries before `keep_from`; the state after `meta.index` is durable elsewhere.

        Raise ValueError if `meta.index` was not given out to be applied, or a gap follows it.
        """
        self._log.compact(meta, keep_from)

    def tick(self) -> None:
        """Let one tick of time pass."""
        self._now += 1
        self._roles.tick(self._now)

    def step(self, message: Message) -> None:
        """Take a message from a peer. Raise ProtocolError for what no correct node sends."""
        self._receiving.step(message)

    # --- work for the shell -----------------------------------------------------------------------

    def ready(self) -> Ready | None:
        """Answer the work that is waiting, or None; it counts as handed out from now on."""
        self._roles.take_turn()
        durability, election = self._durability, self._election
        snapshot, self._receiving.snapshot = self._receiving.snapshot, None
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
        self._roles.persisted()

    def applied(self, index: int) -> None:
        """Take note that the state machine has come to `index`."""
        self._log.applied(index)
