"""The leader's side of the log: who has what, what to send next, what is committed.

Nothing is sent where something happens; it is only noted, and `send` makes the messages of a whole
turn at once. A hundred proposals in one turn become one append per follower, and a follower's next
append carries the newest commit index. A follower that has nothing on its way is told of a new
commit by an empty append at once (or, with `hold_news`, when the shell has waited a moment for an
append to take it along); one that has is told by its next append or after its next answer, so that
under load the news costs no message of its own.

An entry is committed when a quorum has it durably AND it is of the leader's own term; the older
ones before it are committed with it, never by counting (paper, section 5.4.2 and figure 8). The
leader is one of the quorum only as far as its own disk is (dissertation, section 10.2.1), and only
if it is a voter: one that removes itself does not count itself (section 4.2.2).
"""

from paceline.consensus.config import CoreConfig, PeerProgress
from paceline.consensus.log import Log
from paceline.consensus.messages import (
    Append,
    AppendReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
)
from paceline.consensus.progress import Inflight, Progress, ProgressState
from paceline.consensus.quorum import is_quorum, reached
from paceline.errors import ProtocolError
from paceline.ids import NodeId


class Replication:
    """The followers of one leader during one term."""

    def __init__(self, config: CoreConfig, log: Log, term: int, outbox: list[Message]) -> None:
        self._config = config
        self._node_id = config.node_id
        self._log = log
        self._term = term
        self._outbox = outbox
        self._peers: dict[NodeId, Progress] = {}
        self._recount = False
        self._leaving: list[NodeId] = []
        self._heartbeat_due = False
        self._news_due = not config.hold_news
        self._slice: tuple[int, tuple[Entry, ...], int] = (0, (), 0)
        self.now = 0
        """Ticks since this node began to lead."""
        self.own_from = log.last_index + 1
        """The first index of the leader's own term."""
        self.admit(log.last_index + 1)

    # --- who ------------------------------------------------------------------------------------

    def admit(self, next_index: int) -> None:
        """Begin to send to members that are new."""
        for node_id in self._log.members():
            if node_id != self._node_id and node_id not in self._peers:
                config = self._config
                inflight = Inflight(config.max_inflight_messages, config.max_inflight_bytes)
                self._peers[node_id] = Progress(next_index, inflight, heard=self.now)
        self._peers = dict(sorted(self._peers.items()))
        self._leaving = [node_id for node_id in self._leaving if node_id not in self._log.members()]
        self._recount = True

    def dismiss(self) -> None:
        """Stop sending to those whose removal is committed and who know it, or are not heard."""
        index = self._log.membership_index
        for node_id in self._leaving:
            peer = self._peers[node_id]
            if min(peer.match, peer.commit_sent) >= index or not self._active(peer):
                del self._peers[node_id]
        self._leaving = [node_id for node_id in self._leaving if node_id in self._peers]

    def match(self, node_id: NodeId) -> int:
        """Answer up to where a follower has the log; 0 for one that is not known."""
        peer = self._peers.get(node_id)
        return peer.match if peer else 0

    def heard_quorum(self) -> bool:
        """Answer whether a quorum, this node included, was heard within the election timeout."""
        heard = [node for node, peer in self._peers.items() if self._active(peer)]
        return is_quorum(self._log.membership, {self._node_id, *heard})

    def status(self) -> tuple[PeerProgress, ...]:
        """Answer what is known of each follower."""
        return tuple(
            PeerProgress(node, peer.match, peer.next_index, peer.state.value, self._active(peer))
            for node, peer in self._peers.items()
        )

    def _active(self, peer: Progress) -> bool:
        return self.now - peer.heard < self._config.election_ticks

    # --- what happens -----------------------------------------------------------------------------

    def tick(self) -> None:
        """Count a tick; a heartbeat to everybody may be due."""
        self.now += 1
        if self.now % self._config.heartbeat_ticks == 0:
            self._heartbeat_due = True

    def beat(self) -> None:
        """Let the next `send` include a heartbeat to everybody."""
        self._heartbeat_due = True

    def untold(self, index: int) -> bool:
        """Answer whether a follower with nothing on its way was not told that `index` is committed.

        Only followers whose match point is known count: the others are sent appends anyway.
        """
        return any(_untold(peer, index) for peer in self._peers.values())

    def tell_news(self) -> None:
        """Let the next `send` tell it."""
        self._news_due = True

    def persisted(self) -> None:
        """Take note that more of the leader's own log is durable."""
        self._recount = True

    def on_append_reply(self, reply: AppendReply) -> None:
        """Learn what a follower has, or where to look for what it shares."""
        peer = self._heard(reply.sender)
        if peer is None:
            return
        if reply.rejected:
            agreed = self._log.last_within_term(reply.hint_term, reply.hint_index)
            peer.reject(reply.prev_index, agreed)
            return
        if reply.match > self._log.last_index:
            raise ProtocolError(f"{reply.sender} acknowledged entries that were never sent")
        self._acknowledged(peer, reply.match)

    def _acknowledged(self, peer: Progress, match: int) -> None:
        grew = peer.acknowledge(match)
        self._recount = self._recount or grew
        if peer.state is ProgressState.PROBE and match == peer.match:
            peer.replicate()
        elif peer.state is ProgressState.SNAPSHOT and grew and match >= self._log.base_index:
            peer.replicate()  # whichever snapshot brought it there, the logs connect now

    def on_heartbeat_reply(self, reply: HeartbeatReply) -> None:
        """Note that a follower lives; if it lacks something, it may have missed what was sent."""
        peer = self._heard(reply.sender)
        if peer is None:
            return
        peer.read_context = max(peer.read_context, reply.context)
        peer.paused = False
        peer.nudge = peer.match < self._log.last_index

    def on_unreachable(self, node_id: NodeId) -> None:
        """Take what is on its way to that follower for lost."""
        peer = self._peers.get(node_id)
        if peer is not None and peer.state is ProgressState.REPLICATE:
            peer.probe()

    def on_snapshot_end(self, node_id: NodeId, ok: bool) -> None:
        """Take note that the transfer of a snapshot to that follower has ended."""
        peer = self._peers.get(node_id)
        if peer is not None and peer.state is ProgressState.SNAPSHOT:
            peer.end_snapshot(ok)

    def _heard(self, node_id: NodeId) -> Progress | None:
        peer = self._peers.get(node_id)
        if peer is not None:
            peer.heard = self.now
        return peer

    # --- what follows from it ---------------------------------------------------------------------

    def advance_commit(self) -> bool:
        """Commit what a quorum has; answer whether that is news."""
        if not self._recount:
            return False
        self._recount = False
        matches = {node: peer.match for node, peer in self._peers.items()}
        matches[self._node_id] = self._log.stable_index
        index = reached(self._log.membership, matches)
        if index < self.own_from or not self._log.commit_to(index):
            return False
        members = self._log.members()
        self._leaving = [node_id for node_id in self._peers if node_id not in members]
        return True

    def confirmed_context(self, newest: int) -> int:
        """Answer the largest heartbeat context that a quorum has repeated."""
        contexts = {node: peer.read_context for node, peer in self._peers.items()}
        contexts[self._node_id] = newest
        return reached(self._log.membership, contexts)

    def send(self, context: int) -> None:
        """Make this turn's messages: heartbeats that are due, then what each follower lacks."""
        if self._heartbeat_due:
            self._heartbeat_due = False
            self._send_heartbeats(context)
        for node_id, peer in self._peers.items():
            self._send_to(node_id, peer)
        self._news_due = not self._config.hold_news

    def _send_heartbeats(self, context: int) -> None:
        for node_id, peer in self._peers.items():
            # Beyond its match point a follower may have entries that are not the leader's.
            commit = min(peer.match, self._log.commit_index)
            self._outbox.append(Heartbeat(self._node_id, node_id, self._term, commit, context))

    def _send_to(self, node_id: NodeId, peer: Progress) -> None:
        if peer.state is ProgressState.SNAPSHOT or peer.paused:
            return
        if peer.next_index <= self._log.base_index:
            self._send_snapshot(node_id, peer)
        elif peer.state is ProgressState.PROBE:
            self._send_append(node_id, peer)
        else:
            self._fill_window(node_id, peer)

    def _fill_window(self, node_id: NodeId, peer: Progress) -> None:
        sent = False
        while peer.next_index <= self._log.last_index and not peer.inflight.full:
            self._send_append(node_id, peer)
            sent = True
        news = self._news_due and _untold(peer, self._log.commit_index)
        if not sent and (news or peer.nudge):
            self._send_append(node_id, peer, empty=True)

    def _send_append(self, node_id: NodeId, peer: Progress, *, empty: bool = False) -> None:
        log, first = self._log, peer.next_index
        entries, size_bytes = ((), 0) if empty else self._entries_from(first)
        prev_term = log.term_at(first - 1)
        assert prev_term is not None  # `_send_to` has seen to it
        self._outbox.append(
            Append(
                self._node_id, node_id, self._term, first - 1, prev_term, log.commit_index, entries
            )
        )
        peer.nudge = False
        peer.commit_sent = log.commit_index
        peer.sent(first - 1 + len(entries), size_bytes)

    def _entries_from(self, first: int) -> tuple[tuple[Entry, ...], int]:
        """Answer the entries of one append and their bytes; followers usually ask for the same."""
        log, config = self._log, self._config
        if first > log.last_index:
            return (), 0
        known_first, entries, last_index = self._slice
        if known_first != first or last_index != log.last_index:
            entries = log.slice(first, config.max_append_entries, config.max_append_bytes)
            self._slice = (first, entries, log.last_index)
        return entries, log.size_bytes(first, first - 1 + len(entries))

    def _send_snapshot(self, node_id: NodeId, peer: Progress) -> None:
        """Send the snapshot, once; to a follower that is silent, not before it speaks."""
        if self._active(peer):
            meta = self._log.snapshot
            peer.await_snapshot(meta.index)
            self._outbox.append(InstallSnapshot(self._node_id, node_id, self._term, meta))


def _untold(peer: Progress, index: int) -> bool:
    replicates = peer.state is ProgressState.REPLICATE
    return replicates and peer.commit_sent < index and not peer.inflight
