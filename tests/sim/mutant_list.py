"""The planted bugs: each class of bug that known implementations of Raft have had, as an edit.

A class is named by where it was met: a report of the project that had it, or the section of the
paper or dissertation that warns of it.
"""

from tests.sim.planting import Edit, Mutant

CONSENSUS = "paceline.consensus."


def _mutant(name: str, bug: str, *edits: tuple[str, str, str]) -> Mutant:
    return Mutant(
        name, bug, tuple(Edit(CONSENSUS + module, old, new) for module, old, new in edits)
    )


ELECTIONS = (
    _mutant(
        "two-votes-in-a-term",
        "a vote is given to whoever asks (paper 5.2)",
        (
            "election",
            "free = self.vote == request.sender or self.vote == self.leader_id == NOBODY",
            "free = True",
        ),
    ),
    _mutant(
        "vote-erased-on-step-down",
        "going back to follower forgets the vote of the same term (redpanda, raftos)",
        (
            "election",
            "            self.vote = NOBODY\n        self.candidacy = None\n        self.leader_id",
            "        self.vote = NOBODY\n        self.candidacy = None\n        self.leader_id",
        ),
    ),
    _mutant(
        "vote-for-any-log",
        "a vote for a candidate whose log is behind (paper 5.4.1)",
        (
            "election",
            "(free or ahead) and self._log.is_up_to_date(request.last_index, request.last_term)",
            "free or ahead",
        ),
    ),
    _mutant(
        "log-length-before-term",
        "up to date is taken for longer (paper 5.4.1)",
        (
            "log",
            "(last_term, last_index) >= (self.last_term, self.last_index)",
            "(last_index, last_term) >= (self.last_index, self.last_term)",
        ),
    ),
    _mutant(
        "half-is-a-majority",
        "an election is won with half of the votes",
        ("quorum", "needed = len(voters) // 2 + 1", "needed = (len(voters) + 1) // 2"),
    ),
    _mutant(
        "vote-told-before-durable",
        "a vote leaves before it is on the disk (PySyncObj, etcd#14143)",
        (
            "receiving",
            "self._outbox.after_sync.append(reply)\n\n    def _on_vote_reply",
            "self._outbox.now.append(reply)\n\n    def _on_vote_reply",
        ),
    ),
    _mutant(
        "candidacy-told-before-durable",
        "a candidate asks before its term and vote are on the disk",
        (
            "roles",
            "self._outbox.after_sync.extend(requests)",
            "self._outbox.now.extend(requests)",
        ),
    ),
    _mutant(
        "term-told-before-durable",
        "a message reveals a term that is not on the disk (etcd#14143)",
        ("roles", "durable = self._durability.term >= self._election.term", "durable = True"),
    ),
    _mutant(
        "own-vote-before-durable",
        "a candidate counts its own vote before it is on the disk",
        (
            "election",
            "            self.term += 1\n            self.vote = self._node_id\n",
            "            self.term += 1\n            self.vote = self._node_id\n"
            "            self.candidacy.votes[self._node_id] = True\n",
        ),
    ),
    _mutant(
        "vote-not-written",
        "only a new term is written, not the vote (etcd's hard state)",
        ("durability", "            and written.vote == vote\n", ""),
    ),
    _mutant(
        "learners-do-not-vote",
        "who does not know yet that it is a voter refuses its vote (etcd, learner must vote)",
        ("election", "granted = (free or ahead)", "granted = self.may_stand and (free or ahead)"),
    ),
    _mutant(
        "stale-leader-not-told",
        "a node with a higher term leaves a stale leader in the dark (canonical/raft#279)",
        (
            "receiving",
            "        elif isinstance(message, Append | Heartbeat | InstallSnapshot):\n",
            "        elif isinstance(message, InstallSnapshot):\n",
        ),
    ),
    _mutant(
        "pre-votes-count",
        "who would have voted is taken to have voted (raft-rs 0.3.1, old votes are kept)",
        (
            "election",
            "        self.candidacy = Candidacy(pre=pre, transfer=transfer)\n",
            "        before = self.candidacy\n"
            "        self.candidacy = Candidacy(pre=pre, transfer=transfer)\n"
            "        self.candidacy.votes.update(before.votes if before else {})\n",
        ),
    ),
    _mutant(
        "granted-pre-vote-quiets",
        "who would vote for somebody waits as if it had heard a leader (hashicorp/raft#609)",
        (
            "election",
            "        if granted and not request.pre:\n",
            "        if granted:\n            self.timer.restart()\n"
            "        if granted and not request.pre:\n",
        ),
    ),
    _mutant(
        "live-leader-disturbed",
        "who hears no leader is voted for although the others hear one (dissertation 4.2.3)",
        (
            "receiving",
            "        if request.transfer or not self._election.leader_lives:\n",
            "        if True:\n",
        ),
    ),
    _mutant(
        "term-raised-without-asking",
        "a node that is cut off raises its term with every timeout (dissertation 9.6)",
        (
            "roles",
            "            if self._election.tick():\n                self.stand(pre=True)\n",
            "            if self._election.tick():\n                self.stand(pre=False)\n",
        ),
    ),
    _mutant(
        "leader-without-followers-stays",
        "a leader that nobody answers goes on leading (dissertation 6.2)",
        ("leadership", "        return self.replication.heard_quorum()\n", "        return True\n"),
    ),
)

LOGS = (
    _mutant(
        "truncate-without-conflict",
        "a late append removes what came after it (willemt/raft#37, PySyncObj)",
        (
            "log",
            "same = self._count_known(prev_index, entries)",
            "same = max(0, min(len(entries), self.commit_index - prev_index))",
        ),
    ),
    _mutant(
        "empty-append-truncates",
        "an empty append removes everything after its previous entry (willemt/raft#37)",
        (
            "log",
            "        return prev_index + len(entries)\n",
            "        end = max(prev_index + len(entries), self.commit_index)\n"
            "        if end < self.last_index:\n"
            "            self._replace_from(end + 1, ())\n"
            "        return prev_index + len(entries)\n",
        ),
    ),
    _mutant(
        "stale-tail-kept",
        "a conflicting entry is replaced, but what follows it is kept (mofa#1151)",
        (
            "log",
            "            position = first - self.base_index - 1\n",
            "            position = first - self.base_index - 1\n"
            "            tail = self._entries[position + len(entries) :]\n"
            "            entries = [*entries, *tail]\n",
        ),
    ),
    _mutant(
        "no-consistency-check",
        "an append is taken whatever stands before it (paper 5.3)",
        (
            "following",
            "log.term_at(prev_index) != message.prev_term:",
            "log.term_at(prev_index) is None:",
        ),
    ),
    _mutant(
        "heartbeat-commit-not-capped",
        "a heartbeat names a commit index beyond what the follower is known to have",
        (
            "replication",
            "commit = min(peer.match, self._log.commit_index)",
            "commit = self._log.commit_index",
        ),
        (
            "receiving",
            "self._log.commit_to(message.commit)",
            "self._log.commit_to(min(message.commit, self._log.last_index))",
        ),
    ),
    _mutant(
        "append-commit-not-capped",
        "a follower commits entries that this append has not verified (copycat#265, scylladb#9965)",
        (
            "following",
            "log.commit_to(min(message.commit, verified))",
            "log.commit_to(min(message.commit, log.last_index))",
        ),
        # Our leaders probe at the very point up to which logs agree, and so replace what follows at
        # once; the bug shows with leaders who begin somewhat earlier, which is as right.
        (
            "replication",
            "peer.reject(reply.prev_index, agreed)",
            "peer.reject(reply.prev_index, max(0, agreed - 3))",
        ),
    ),
    _mutant(
        "commit-by-counting-old-terms",
        "an entry of an earlier term is committed by counting (paper, figure 8; logcabin#44)",
        ("replication", "if index < self.own_from or not", "if not"),
    ),
    _mutant(
        "minority-commits",
        "what half of the voters have is committed",
        (
            "quorum",
            "return ordered[(len(ordered) - 1) // 2]",
            "return ordered[len(ordered) // 2]",
        ),
    ),
    _mutant(
        "leader-counts-unsynced",
        "the leader counts its own entries before they are on its disk (dissertation 10.2.1)",
        (
            "replication",
            "matches[self._node_id] = self._log.stable_index",
            "matches[self._node_id] = self._log.last_index",
        ),
    ),
    _mutant(
        "acknowledged-before-durable",
        "an append is acknowledged before it is on the disk",
        ("receiving", "self._outbox.acknowledge(reply)", "self._outbox.now.append(reply)"),
    ),
    _mutant(
        "applied-before-durable",
        "an entry is applied before it is on this node's disk (camunda#30354)",
        ("log", "min(self.commit_index, self.stable_index) - self", "self.commit_index - self"),
    ),
    _mutant(
        "acknowledgement-of-an-old-term",
        "an answer to an earlier term's append counts (PySyncObj)",
        (
            "receiving",
            "if message.term < self._election.term:",
            "if message.term < self._election.term and not isinstance(message, AppendReply):",
        ),
    ),
    _mutant(
        "completion-of-replaced-entries",
        "the completion of an old write makes newer entries count (etcd, append ABA race)",
        ("log", "if self.term_at(last_index) == last_term:", "if True:"),
        (
            "durability",
            "        if token.term != term:\n            return False\n",
            "        if token.term != term:\n"
            "            self._log.persisted(token.last_index, token.last_term)\n"
            "            return False\n",
        ),
    ),
    _mutant(
        "completion-of-another-vote",
        "the completion of an earlier term's write makes this term's own vote count",
        ("durability", "        if token.term != term:\n            return False\n", ""),
    ),
    _mutant(
        "replaced-entries-not-written",
        "what replaces a conflicting entry in memory is never written",
        (
            "log",
            "            self.written_index = min(self.written_index, first - 1)\n",
            "",
        ),
    ),
    _mutant(
        "replaced-entries-stay-stable",
        "what replaces a durable entry counts as durable",
        (
            "log",
            "self.stable_index = min(self.stable_index, first - 1)\n        self._trail",
            "pass\n        self._trail",
        ),
    ),
)

MEMBERSHIP = (
    _mutant(
        "two-changes-at-once",
        "a membership change before the last one is committed (dissertation 4.1)",
        ("leadership", "        if log.membership_pending:", "        if False:"),
    ),
    _mutant(
        "change-before-own-commit",
        "a membership change before an entry of the leader's term is committed (Ongaro's erratum)",
        (
            "leadership",
            "if log.commit_index < self.replication.own_from:",
            "if False:",
        ),
    ),
    _mutant(
        "no-joint-state",
        "several voters are changed in one step (dissertation 4.3)",
        ("membership", "if not joint and changed <= 1:", "if not joint:"),
    ),
    _mutant(
        "joint-commit-by-one-half",
        "in the joint state the incoming voters alone commit",
        (
            "quorum",
            "    if membership.outgoing:\n        return min",
            "    if False:\n        return min",
        ),
    ),
    _mutant(
        "joint-election-by-one-half",
        "in the joint state the incoming voters alone elect",
        ("quorum", "    if membership.outgoing:\n        halves", "    if False:\n        halves"),
    ),
    _mutant(
        "joint-left-early",
        "the joint state is left before it is committed",
        ("leadership", " and not self._log.membership_pending:", ":"),
    ),
    _mutant(
        "joint-never-left",
        "nobody leaves the joint state",
        ("leadership", "if membership.joint and membership.auto_leave", "if False"),
    ),
    _mutant(
        "learners-count",
        "learners count towards a commit",
        (
            "quorum",
            "_reached_by_majority(membership.voters, values)",
            "_reached_by_majority((*membership.voters, *membership.learners), values)",
        ),
    ),
    _mutant(
        "truncated-change-in-force",
        "a membership stays in force after its entry is truncated",
        ("log", "            self._trail.truncate(first)\n", ""),
    ),
    _mutant(
        "membership-not-in-snapshot",
        "a snapshot does not bring the membership",
        (
            "log",
            "self._trail = MembershipTrail(meta.index, meta.membership)",
            "self._trail = MembershipTrail(meta.index, self._trail.current)",
        ),
    ),
    _mutant(
        "removed-leader-stays",
        "a leader that is removed goes on leading (etcd, remove leader)",
        (
            "leadership",
            "return not log.membership_pending and self._node_id not in",
            "return False and self._node_id not in",
        ),
    ),
    _mutant(
        "removed-leader-counts-itself",
        "a leader that is being removed counts its own log towards the commit (paper 6)",
        (
            "replication",
            "        index = reached(self._log.membership, matches)\n",
            "        now = self._log.membership\n"
            "        voters = tuple({*now.voters, self._node_id})\n"
            "        index = reached(type(now)(voters, now.learners, now.outgoing), matches)\n",
        ),
    ),
)

SNAPSHOTS = (
    _mutant(
        "snapshot-discards-the-log",
        "a snapshot that the log reaches takes the entries after it away (paper, figure 13)",
        ("following", "if log.term_at(meta.index) == meta.term:", "if False:"),
    ),
    _mutant(
        "older-snapshot-installed",
        "an older snapshot replaces a newer state (hashicorp/raft)",
        ("following", "if meta.index > log.commit_index:", "if meta.index != log.commit_index:"),
        ("snapshots", "elif message.meta.index <= self._machine.applied_index:", "elif False:"),
    ),
    _mutant(
        "snapshot-acknowledged-before-durable",
        "a snapshot is acknowledged before its mark is in the log",
        (
            "receiving",
            "= message.meta\n        self._outbox.after_sync.append(reply)",
            "= message.meta\n        self._outbox.now.append(reply)",
        ),
    ),
    _mutant(
        "compaction-before-durable",
        "the log is cut before the state that stands for it is on the disk (PySyncObj)",
        (
            "applying",
            "self._machine.make_durable(lambda index: self._durable(meta, index))",
            "self._durable(meta, meta.index)",
        ),
    ),
    _mutant(
        "snapshot-not-marked-again",
        "a crash between restoring a snapshot and noting that in the log is not mended",
        ("recovery", "if restored is not None and _unmarked(stored, restored):", "if False:"),
    ),
    _mutant(
        "snapshot-of-another-index",
        "a snapshot says that it is newer than it is",
        (
            "snapshots",
            "self._saved(_Saved(meta, source), epoch)",
            "self._saved(_Saved(self._applied(), source), epoch)",
        ),
    ),
    _mutant(
        "compacted-entries-compared",
        "an append that reaches behind the compaction point is compared with other entries",
        ("log", "            lo=compacted,\n", "            lo=0,\n"),
    ),
    _mutant(
        "stuck-in-snapshot-state",
        "the end of a transfer is not noticed (etcd, snapshot done but still in snapshot state)",
        ("replication", "            peer.end_snapshot(ok)\n", "            pass\n"),
    ),
)

CLIENTS = (
    _mutant(
        "read-without-a-quorum",
        "a leader serves reads without asking whether it still leads (Jepsen: Redis-Raft, etcd)",
        (
            "leadership",
            "reads.confirm(self.replication.confirmed_context(reads.number))",
            "reads.confirm(reads.number)",
        ),
    ),
    _mutant(
        "read-before-own-commit",
        "a new leader serves reads before it knows what is committed (dissertation 6.4)",
        (
            "leadership",
            "if log.commit_index >= self.replication.own_from and reads.begin_round(",
            "if reads.begin_round(",
        ),
    ),
    _mutant(
        "read-before-applied",
        "a read is served before its index is applied",
        (
            "pending",
            "while self._ready and self._ready[0][0] <= applied:",
            "while self._ready:",
        ),
    ),
    _mutant(
        "read-joins-an-older-round",
        "a read is confirmed by a heartbeat that was sent before it was asked",
        ("reads", "        self.number += 1\n", "        self.number = max(1, self.number)\n"),
    ),
    _mutant(
        "acknowledged-before-committed",
        "a proposal is answered when it is in the leader's log (MongoDB's default until 5.0)",
        (
            "pending",
            "        self._by_index[index] = (term, proposal)\n",
            "        return proposal.done(Decision(index, term))\n",
        ),
    ),
    _mutant(
        "lost-proposals-not-answered",
        "proposals of a deposed leader are never answered",
        (
            "replica",
            "            self._desk.fail_after(self._answerable_index, self._not_leader())\n",
            "",
        ),
    ),
    _mutant(
        "confirmed-read-waits-for-ever",
        "a read whose index this node never applies is never answered",
        ("pending", "        self._tick_ready(timeout_ticks)\n", ""),
    ),
    _mutant(
        "window-never-reopened",
        "a full window of lost appends blocks a follower for ever (etcd, replicate pause)",
        (
            "replication",
            "peer.nudge = peer.match < self._log.last_index",
            "peer.nudge = False",
        ),
    ),
    _mutant(
        "probe-never-repeated",
        "a lost probe blocks a follower for ever (etcd, probing)",
        (
            "replication",
            "        peer.paused = False\n        peer.nudge",
            "        peer.nudge",
        ),
    ),
    _mutant(
        "leader-with-a-stalled-disk-stays",
        "a leader whose disk takes no writes goes on with its heartbeats",
        (
            "roles",
            "elif self._durability.age(now) >= self._config.stall_ticks:",
            "elif False:",
        ),
        (
            "stall",
            "return self.state.overdue() or due",
            "return self.state.overdue()",
        ),
    ),
    _mutant(
        "leader-without-room-stays",
        "a leader that has no room to apply what is committed goes on leading",
        ("stall", "return self.state.overdue() or due", "return due"),
    ),
    _mutant(
        "answer-to-a-former-life",
        "a restarted node takes the answer to an earlier question for one to its own",
        (
            "desk",
            "WaitingReads(first_context, core.read_index)",
            "WaitingReads(1, core.read_index)",
        ),
    ),
    _mutant(
        "full-log-with-nothing-to-write",
        "a leader whose full disk holds up a compaction alone refuses all commands for ever",
        (
            "stall",
            "return self.state.overdue() or due",
            "return self.state.overdue()",
        ),
    ),
)

HARNESS = (
    Mutant(
        "wiped-node-keeps-its-id",
        "a node whose disk is lost comes back empty under its old name (tikv#9579)",
        (
            Edit(
                "tests.sim.process",
                "        self.up, self._refused = False, True\n",
                "        self.up, self.disk.flipped = False, False\n"
                "        self.disk.durable = LogImage(StoredLog(HardState(), None, ()))\n"
                "        self.disk.restored = self.disk.durable.base\n"
                "        self._machine_disk = MachineDisk()\n"
                "        self._world.after(0, self.start)\n"
                "        return\n",
            ),
            Edit(
                "tests.sim.process",
                "from paceline.consensus.messages import (\n",
                "from paceline.consensus.messages import (\n    HardState,\n",
            ),
        ),
    ),
    Mutant(
        "sessions-not-in-snapshot",
        "a snapshot forgets which requests were applied, so a retry is applied twice",
        (
            Edit(
                "tests.sim.machine",
                "for client, request, result in sessions}",
                "for client, request, result in sessions[:0]}",
            ),
        ),
    ),
    Mutant(
        "disk-that-lies",
        "a write is reported before it is on the disk (no fsync: raftos, PySyncObj)",
        (
            Edit(
                "tests.sim.disk",
                "        self._queue(write, done)\n",
                "        self._queue(write, None)\n        self._post(done)\n",
            ),
        ),
    ),
)

MUTANTS = {
    mutant.name: mutant
    for mutant in (*ELECTIONS, *LOGS, *MEMBERSHIP, *SNAPSHOTS, *CLIENTS, *HARNESS)
}
"""All of them by name."""
