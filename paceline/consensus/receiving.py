"""What a node does with each message of a peer, by the rules of the paper's figure 2.

Whatever is to be answered or done goes to the outbox, the log, the election or the leadership; the
only thing kept here is a `snapshot` that replaces the log, until the next `Ready` hands it out.
"""

from collections.abc import Callable
from typing import Any

from paceline.consensus.election import Election, is_prospective
from paceline.consensus.following import receive_append, receive_snapshot
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
from paceline.consensus.ready import ReadState
from paceline.consensus.roles import Roles
from paceline.errors import ProtocolError
from paceline.ids import NodeId


class Receiving:
    """Takes the messages of one node."""

    def __init__(
        self, *, node_id: NodeId, log: Log, election: Election, roles: Roles, outbox: Outbox
    ) -> None:
        self.snapshot: SnapshotMeta | None = None
        """What replaces the log, if that has not been handed out yet."""
        self._node_id = node_id
        self._log = log
        self._election = election
        self._roles = roles
        self._outbox = outbox
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

    def step(self, message: Message) -> None:
        """Take a message from a peer. Raise ProtocolError for what no correct node sends.

        A higher term makes this node a follower in that term (section 5.1), except for votes that
        must not disturb anybody; a message with a lower term is stale.
        """
        if message.to != self._node_id:
            return
        if message.term < self._election.term:
            self._on_stale(message)
            return
        if isinstance(message, VoteRequest) and self._shields_leader(message):
            return
        if message.term > self._election.term and not is_prospective(message):
            self._roles.follow(message.term, NOBODY)
        self._handlers[type(message)](message)

    def _shields_leader(self, request: VoteRequest) -> bool:
        """Leave a live leader alone; only who asked in advance is told so."""
        if request.transfer or not self._election.leader_lives:
            return False
        if request.pre:
            self._roles.send_with_term(self._election.refuse(request))
        return request.pre or request.term > self._election.term

    def _on_stale(self, message: Message) -> None:
        """Tell a node that is behind what the term is; a stale answer is not worth a word."""
        if isinstance(message, VoteRequest):
            self._roles.send_with_term(self._election.refuse(message))
        elif isinstance(message, Append | Heartbeat | InstallSnapshot):
            refusal = AppendReply(
                self._node_id, message.sender, self._election.term, 0, rejected=True
            )
            self._roles.send_with_term(refusal)

    def _hear_leader(self, message: Message) -> None:
        if self._roles.leadership is not None:
            raise ProtocolError(
                f"{message.sender} leads term {message.term}, which this node leads"
            )
        self._election.hear(message.sender)

    def _on_vote_request(self, message: VoteRequest) -> None:
        reply = self._election.consider(message)
        if message.pre:
            self._roles.send_with_term(reply)
        else:
            self._outbox.after_sync.append(reply)

    def _on_vote_reply(self, message: VoteReply) -> None:
        self._election.count(message)
        self._roles.settle_election()

    def _on_append(self, message: Append) -> None:
        self._hear_leader(message)
        reply = receive_append(self._log, self._node_id, message)
        if reply.rejected:
            self._roles.send_with_term(reply)
        else:
            self._outbox.acknowledge(reply)

    def _on_heartbeat(self, message: Heartbeat) -> None:
        self._hear_leader(message)
        self._log.commit_to(message.commit)
        reply = HeartbeatReply(self._node_id, message.sender, self._election.term, message.context)
        self._roles.send_with_term(reply)

    def _on_install_snapshot(self, message: InstallSnapshot) -> None:
        self._hear_leader(message)
        before = self._log.snapshot
        reply = receive_snapshot(self._log, self._node_id, message)
        if self._log.snapshot is not before:
            self.snapshot = message.meta
        self._outbox.after_sync.append(reply)

    def _on_timeout_now(self, message: TimeoutNow) -> None:
        self._hear_leader(message)
        if self._election.may_stand:
            self._roles.stand(pre=False, transfer=True)

    def _on_followers_message(self, message: AppendReply | HeartbeatReply | ReadRequest) -> None:
        if self._roles.leadership is not None:
            self._roles.leadership.step(message)

    def _on_read_reply(self, message: ReadReply) -> None:
        self._outbox.reads.append(ReadState(message.context, message.index))
