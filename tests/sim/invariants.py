"""What must hold after every event, checked by an observer who sees every node at once.

The observer keeps its own account ("ghost") of what has been written, promised and committed; it
reads the nodes' disks and what they say, and believes neither. By induction on the log matching
property a log is known by the terms in it: an (index, term) that was seen stands for one entry and
one whole log before it, so that every check here takes constant time.

The names of the invariants are those of the paper (figure 3) where it has one.
"""

from paceline.codec import decode
from paceline.consensus.messages import (
    Append,
    AppendReply,
    Entry,
    EntryKind,
    Membership,
    Message,
    SnapshotMeta,
    VoteReply,
    VoteRequest,
)
from paceline.consensus.storage.protocol import LogWrite
from tests.sim.coverage import kind_of_message, kinds_of_change
from tests.sim.disk import Disk, LogImage
from tests.sim.machine import KvState, decode_command
from tests.sim.watched import (
    FROM_LEADERS,
    Glance,
    Node,
    Seen,
    is_one_step,
    is_quorum,
    revealed_term,
)
from tests.sim.world import World


class Observer:
    """The omniscient observer of one seed."""

    def __init__(self, world: World, founding: Membership) -> None:
        self.max_commit = 0
        self.committed: dict[int, int] = {0: 0}
        self.leaders: dict[int, str] = {}
        self.effects: dict[tuple[str, int], int] = {}
        """For each client's request, the index at which it took effect."""
        self._world = world
        self._disks: dict[str, Disk] = {}
        self._seen: dict[str, Seen] = {}
        self._entries: dict[tuple[int, int], tuple[int | None, int, bytes]] = {}
        self._chains: dict[int, bytes] = {0: b""}
        self._asked: dict[tuple[str, int], tuple[int, int]] = {}
        self._handed: set[tuple[str, int]] = set()
        """Candidates, and their terms, whom a leader has asked to stand."""
        self._votes: dict[tuple[str, int], str] = {}
        self._sent: dict[int, dict[int, int]] = {}
        """For each term, the terms at the indexes that its leader has sent."""
        self._committed_in: dict[int, int] = {}
        """For each term, the last index that its leader committed."""
        self._memberships: list[tuple[int, Membership]] = [(0, founding)]

    # --- a node's life ----------------------------------------------------------------------------

    def started(self, node: Node) -> None:
        """Begin a life: what it knows may have fallen back, but not behind its disk."""
        self._disks[node.name] = node.disk
        self._seen[node.name] = Seen()
        if node.state.index < node.disk.durable.base.index:
            self._fail("state covers what was compacted", f"{node.name} applied {node.state.index}")
        self.look(node)

    def look(self, node: Node) -> None:
        """Check what a core says of itself against what it said before."""
        seen, now = self._seen[node.name], node.glance()
        before = seen.glance
        if now == before:
            return
        if now.applied > now.commit:
            self._fail("only what is committed is applied", f"{node.name}: {now}")
        if not node.handed_over:  # then `node.queued` says nothing about the commit index
            now = now._replace(commit=before.commit)
        seen.glance = now
        if now.term < before.term:
            self._fail("terms only grow", f"{node.name} went from {before.term} to {now.term}")
        if now.commit < before.commit or now.applied < before.applied:
            self._fail("commit and applied only grow", f"{node.name}: {before} to {now}")
        if now.leads and not (before.leads and before.term == now.term):
            self._elected(node, now.term)
        if now.commit > before.commit:
            self._commits(node, now, before, seen.membership)
        seen.membership = node.queued.membership

    def _elected(self, node: Node, term: int) -> None:
        self._world.count("elections")
        if (node.name, term) in self._handed:
            self._world.count("elections by transfer")
        self._leads(node.name, term)
        log = node.queued
        memberships = (log.membership, self._seen[node.name].membership)

        def voted(voter: str) -> bool:
            return self._votes.get((voter, term)) == node.name

        if node.disk.durable.votes.get(term) == node.name:  # its own vote need not be sent
            self._votes[node.name, term] = node.name
        if not any(is_quorum(each, voted) for each in memberships):
            self._fail(
                "leaders have a quorum's votes",
                f"{node.name} leads term {term} of {log.membership.voters}",
            )
        for earlier, index in self._committed_in.items():
            if earlier < term and not self._contains(log, index):
                self._fail(
                    "leader completeness",
                    f"{node.name} leads term {term} without entry {index}, committed in {earlier}",
                )

    def _leads(self, name: str, term: int) -> None:
        leader = self.leaders.setdefault(term, name)
        if leader != name:
            self._fail("election safety", f"{leader} and {name} both lead term {term}")

    def _contains(self, log: LogImage, index: int) -> bool:
        """Answer whether the log has the committed entry at `index`, or a state that has it."""
        return index <= log.base.index or log.term_at(index) == self.committed[index]

    # --- commitment -------------------------------------------------------------------------------

    def _commits(self, node: Node, now: Glance, before: Glance, previous: Membership) -> None:
        log, index = node.queued, now.commit
        term = log.term_at(index)
        if index > self.max_commit:
            if term is None:
                self._fail("commits what it has", f"{node.name}: {index} is beyond its log")
                return
            self._first_commit(node, now, before, previous)
        elif index > log.base.index and term != self.committed[index]:
            self._fail(
                "state machine safety",
                f"{node.name} commits {index} in term {term}, but it is of {self.committed[index]}",
            )

    def _first_commit(self, node: Node, now: Glance, before: Glance, previous: Membership) -> None:
        """Check the first node to commit an index: it must lead, and a quorum must have it."""
        log, index = node.queued, now.commit
        term = log.term_at(index)
        assert term is not None
        if not (now.leads or before.leads):
            self._fail("only leaders decide", f"{node.name} is the first to commit {index}")
        if term != (now.term if now.leads else before.term):
            self._fail(
                "leaders count only entries of their own term",
                f"{node.name} commits {index} of term {term} in term {now.term}",
            )

        def has(voter: str) -> bool:
            return voter in self._disks and self._disks[voter].holds(index, term)

        if not any(is_quorum(each, has) for each in (log.membership, previous)):
            self._fail(
                "a quorum has what is committed",
                f"{node.name} commits {index} of term {term}; voters {log.membership.voters}"
                f" {log.membership.outgoing}",
            )
        self._note_committed(node.name, log, index)
        self._committed_in[term] = index

    def _note_committed(self, leader: str, log: LogImage, last: int) -> None:
        for index in range(self.max_commit + 1, last + 1):
            term = log.term_at(index)
            assert term is not None
            self.committed[index] = term
            _, kind, data = self._entries[index, term]
            if kind == EntryKind.MEMBERSHIP:
                new = decode(Membership, data)
                for what in kinds_of_change(self.membership, new, leader):
                    self._world.count(what)
                self._memberships.append((index, new))
        self.max_commit = last
        self._world.tell("committed", last)

    @property
    def membership(self) -> Membership:
        """Answer the newest membership that is committed."""
        return self._memberships[-1][1]

    # --- what reaches the disk --------------------------------------------------------------------

    def writes(self, node: Node, write: LogWrite) -> None:
        """Check a write as it is queued; `node.queued` does not have it yet."""
        log = node.queued
        if write.hard_state is not None:
            self._writes_hard_state(node.name, log, write)
        if write.snapshot is not None:
            self._marks_snapshot(node, write.snapshot)
        elif write.entries:
            self._keeps_committed(node, write.entries[0].index)
        previous = write.snapshot.term if write.snapshot is not None else None
        for entry in write.entries:
            if previous is None:
                previous = log.term_at(entry.index - 1)
            self._matches(node.name, entry, previous)
            if entry.kind == EntryKind.MEMBERSHIP:
                self._changes_membership(node, entry)
            previous = entry.term

    def _writes_hard_state(self, name: str, log: LogImage, write: LogWrite) -> None:
        new, old = write.hard_state, log.hard_state
        assert new is not None
        if new.term < old.term:
            self._fail("terms only grow", f"{name} writes {new} over {old}")
        if new.term == old.term and old.vote not in ("", new.vote):
            self._fail("a vote is never taken back", f"{name} writes {new} over {old}")
        if new.vote not in ("", name) and (new.term, new.vote) != (old.term, old.vote):
            asked, own = self._asked.get((new.vote, new.term)), (log.last_term, log.last_index)
            if asked is None or asked < own:
                self._fail(
                    "votes only for logs as good as one's own",
                    f"{name} has {own}, {new.vote} asked in {new.term} with {asked}",
                )

    def _marks_snapshot(self, node: Node, meta: SnapshotMeta) -> None:
        log = node.queued
        if meta.index < log.base.index:
            self._fail(
                "snapshots only go forward", f"{node.name}: {log.base.index} to {meta.index}"
            )
        self._is_committed(node.name, meta)
        last = min(self.max_commit, log.last_index)
        if last > meta.index and log.term_at(last) == self.committed[last]:
            self._fail(
                "what is committed stays",
                f"{node.name} gives up committed entries to {last} for a snapshot of {meta.index}",
            )

    def _keeps_committed(self, node: Node, first: int) -> None:
        """Check that a truncation from `first` on takes nothing committed, nor a leader's own."""
        log = node.queued
        if first > log.last_index:
            return
        self._world.count("truncations")
        if first <= self.max_commit and log.term_at(first) == self.committed[first]:
            self._fail("what is committed stays", f"{node.name} truncates from {first}")
        seen, now = self._seen[node.name].glance, node.glance()
        if seen.leads and now.leads and now.term == seen.term:
            self._fail("leader append-only", f"{node.name} truncates from {first}")

    def _matches(self, name: str, entry: Entry, previous_term: int | None) -> None:
        """Check that this index and term stand for one entry after one log."""
        key, value = (entry.index, entry.term), (previous_term, entry.kind, entry.data)
        known = self._entries.setdefault(key, value)
        if known != value:
            self._fail("log matching", f"{name} has another entry at {key}: {value}, not {known}")

    def _changes_membership(self, node: Node, entry: Entry) -> None:
        """Check a leader's own change: one at a time, one step at a time."""
        now = node.glance()
        if not now.leads or entry.term != now.term:
            return
        if node.queued.term_at(now.commit) != entry.term:
            self._fail(
                "no membership change before a commit of one's own",
                f"{node.name} appends {entry.index} in term {entry.term}",
            )
        log, new = node.queued, decode(Membership, entry.data)
        old = log.membership
        last = log.membership_index
        if last > max(now.commit, self.max_commit):
            self._fail(
                "one membership change at a time",
                f"{node.name} appends {new} at {entry.index} while {last} is not committed",
            )
        if not is_one_step(old, new):
            self._fail("consecutive quorums overlap", f"{node.name}: {old} to {new}")

    def compacts(self, node: Node, meta: SnapshotMeta, keep_from: int) -> None:
        """Check that the state which replaces the entries is on the disk."""
        self._world.count("compactions")
        if node.durable_applied < meta.index:
            self._fail(
                "only durable state replaces the log",
                f"{node.name} compacts to {meta.index}, durable is {node.durable_applied}",
            )
        if keep_from > meta.index + 1:
            self._fail("compaction leaves no gap", f"{node.name} keeps {keep_from} on")
        self._is_committed(node.name, meta)

    def _is_committed(self, name: str, meta: SnapshotMeta) -> None:
        """Check that a snapshot's mark is right."""
        if self.committed.get(meta.index) != meta.term:
            self._fail("snapshots hold what is committed", f"{name}: {meta}")
        expected = next(m for at, m in reversed(self._memberships) if at <= meta.index)
        if meta.membership != expected:
            self._fail("snapshots carry the membership", f"{name}: {meta}, not {expected}")

    # --- what is said -----------------------------------------------------------------------------

    def sends(self, node: Node, message: Message) -> None:
        """Check that nothing is revealed which is not on the sender's disk."""
        if revealed_term(message) > node.disk.term:
            self._fail("durable before revealed", f"{node.name} reveals its term by {message}")
        kind_of = kind_of_message(message)
        if kind_of is not None:
            self._world.count(kind_of)
        match message:
            case VoteRequest(pre=True) | VoteReply(pre=True):
                pass
            case VoteRequest():
                if message.transfer:
                    self._handed.add((node.name, message.term))
                self._asked[node.name, message.term] = (message.last_term, message.last_index)
                self._votes_for(node, node.name, message.term)
            case VoteReply(granted=True):
                self._votes_for(node, message.to, message.term)
            case AppendReply(rejected=False):
                self._acknowledges(node, message)
            case Append():
                sent = self._sent.setdefault(message.term, {})
                sent[message.prev_index] = message.prev_term
                sent.update([(entry.index, entry.term) for entry in message.entries])
            case _:
                pass
        if isinstance(message, FROM_LEADERS):
            self._leads(node.name, message.term)

    def offers(self, term: int, meta: SnapshotMeta) -> None:
        """Note that the leader of `term` sends a snapshot; a follower may acknowledge it."""
        self._sent.setdefault(term, {})[meta.index] = meta.term

    def _votes_for(self, node: Node, candidate: str, term: int) -> None:
        disk = (
            node.disk.durable
        )  # once a later term is durable, there is no second vote in this one
        if disk.votes.get(term) != candidate and disk.hard_state.term <= term:
            self._fail("durable before revealed", f"{node.name} votes for {candidate} in {term}")
        known = self._votes.setdefault((node.name, term), candidate)
        if known != candidate:
            self._fail("one vote per term", f"{node.name} in {term}: {known} and {candidate}")

    def _acknowledges(self, node: Node, message: AppendReply) -> None:
        """Check that the sender has durably what the leader has at `match`."""
        index, disk = message.match, node.disk
        if not index or disk.term > message.term:
            # Once a later term is durable, a leader of that term may have replaced what was
            # acknowledged, in the same write that would have made it durable.
            return
        term = self._sent.get(message.term, {}).get(index, self.committed.get(index))
        if term is None:
            self._fail("acknowledges what was sent", f"{node.name}: {message}")
        if term is not None and not disk.holds(index, term):
            log = disk.durable
            self._fail(
                "durable before revealed",
                f"{node.name} acknowledges {index} of term {term}; its disk ends at"
                f" {log.last_index} with term {log.term_at(index)} there",
            )

    # --- what is applied and answered -------------------------------------------------------------

    def applies(self, node: Node, entry: Entry, effect: bool) -> None:
        """Check one applied entry; `node.state` has it already."""
        index, state = entry.index, node.state
        if self.committed.get(index) != entry.term:
            self.look(node)
        if self.committed.get(index) != entry.term:
            self._fail("only what is committed is applied", f"{node.name} applies {entry[:2]}")
        if not node.disk.holds(index, entry.term):
            self._fail("only what is durable is applied", f"{node.name} applies {entry[:2]}")
        self._same_state(node.name, state)
        if effect:
            command = decode_command(entry.data)
            request = (command.client, command.request)
            if self.effects.setdefault(request, index) != index:
                self._fail("exactly once", f"{request} at {self.effects[request]} and {index}")

    def restores(self, node: Node, meta: SnapshotMeta, before: int) -> None:
        """Check a state that came from the leader; `before` was the applied index until now."""
        self._world.count("snapshots installed")
        if meta.index <= before:
            self._fail("snapshots only go forward", f"{node.name}: {before} to {meta.index}")
        self._is_committed(node.name, meta)
        if node.state.index != meta.index:
            self._fail("snapshots are what they say", f"{node.name}: {node.state.index} {meta}")
        self._same_state(node.name, node.state)

    def _same_state(self, name: str, state: KvState) -> None:
        if self._chains.setdefault(state.index, state.chain) != state.chain:
            self._fail("state machine safety", f"{name} has another state at {state.index}")

    def answered(self, index: int, term: int, data: bytes) -> None:
        """Check that a proposal which was acknowledged is committed where it says."""
        if self.committed.get(index) != term or self._entries[index, term][2] != data:
            self._fail("acknowledged is committed", f"{index} of term {term}: {data!r}")

    def _fail(self, invariant: str, text: str) -> None:
        self._world.fail(invariant, text)
