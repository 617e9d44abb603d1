"""The log in memory: every entry since the last compaction, and how far each duty has come.

    base_index  <=  snapshot.index  <=  applying_index  <=  min(commit_index, stable_index)
    stable_index  <=  written_index  <=  last_index

`base_index` is the entry before the first one kept; its term is known, so it can stand as the
previous entry of an append. `written_index` was handed to the storage, `stable_index` is known to
be on the disk, `applying_index` was handed to the state machine. Entries at or below
`commit_index` never change again. The log matching property (paper, section 5.3) makes "agrees
with another log" monotone in the index, and terms never fall along a log, so every search here is
a bisection; running sums of the sizes make every byte limit one, too.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from operator import itemgetter

from paceline.consensus.membership import MembershipTrail, memberships_in
from paceline.consensus.messages import Entry, Membership, SnapshotMeta
from paceline.consensus.storage.protocol import StoredLog
from paceline.errors import Conflict, CorruptStorage, ProtocolError

ENTRY_OVERHEAD_BYTES = 16
"""What an entry counts beside its data, so that empty ones are not free."""

_TERM = itemgetter(1)


class Log:
    """The log of one node. All indexes are 1-based; 0 is the empty log's end, in term 0."""

    def __init__(self, stored: StoredLog, applied: int) -> None:
        """Start from what the disk holds. Raise CorruptStorage where that has a gap.

        `applied` may be ahead of the log: a crash can come between installing a snapshot and noting
        that in the log. The state machine then skips what it has already seen.
        """
        self.snapshot = stored.snapshot or SnapshotMeta(0, 0, Membership())
        self.base_index, self.base_term = self.snapshot.index, self.snapshot.term
        self._entries: list[Entry] = list(stored.entries)
        self._adopt_kept_entries()
        self._check(applied)
        self._base_bytes = 0
        self._ends = _running_bytes(self._entries, 0)
        self._trail = MembershipTrail(self.snapshot.index, self.snapshot.membership)
        self._trail.record(
            item for item in memberships_in(self._entries) if item[0] > self.snapshot.index
        )
        self.written_index = self.stable_index = self.last_index
        known = max(stored.hard_state.commit, self.snapshot.index, applied)
        self.commit_index = min(known, self.last_index)
        self.applying_index = min(applied, self.last_index)
        self.applied_index = applied

    def _adopt_kept_entries(self) -> None:
        """Let the log begin before the snapshot if entries of that time were kept."""
        if self._entries and self._entries[0].index <= self.snapshot.index:
            first = self._entries.pop(0)
            self.base_index, self.base_term = first.index, first.term

    def _check(self, applied: int) -> None:
        expected = range(self.base_index + 1, self.base_index + 1 + len(self._entries))
        if [entry.index for entry in self._entries] != list(expected):
            raise CorruptStorage(f"the stored log has a gap after entry {self.base_index}")
        if self.term_at(self.snapshot.index) != self.snapshot.term:
            raise CorruptStorage(f"the stored log does not fit its snapshot {self.snapshot.index}")
        if applied < self.snapshot.index:
            raise CorruptStorage(
                f"the state ends at {applied}, but the log begins after {self.snapshot.index}"
            )

    # --- reading ----------------------------------------------------------------------------------

    @property
    def first_index(self) -> int:
        """Answer the index of the first entry kept, even if there is none yet."""
        return self.base_index + 1

    @property
    def last_index(self) -> int:
        """Answer the index of the last entry."""
        return self.base_index + len(self._entries)

    @property
    def last_term(self) -> int:
        """Answer the term of the last entry."""
        return self._entries[-1].term if self._entries else self.base_term

    @property
    def membership(self) -> Membership:
        """Answer the membership in force: the newest in the log, committed or not."""
        return self._trail.current

    @property
    def membership_index(self) -> int:
        """Answer the index of the entry that brought the membership in force."""
        return self._trail.index

    @property
    def membership_pending(self) -> bool:
        """Answer whether the membership in force is not committed yet."""
        return self._trail.index > self.commit_index

    def members(self) -> tuple[str, ...]:
        """Answer everybody who should receive the log, sorted.

        A node that is being removed does until its removal is committed.
        """
        return self._trail.members_since(self.commit_index)

    def is_voter(self, node_id: str) -> bool:
        """Answer whether a node is a voter, or was one until a change that is not committed yet."""
        return self._trail.is_voter_since(self.commit_index, node_id)

    def term_at(self, index: int) -> int | None:
        """Answer the term of an entry; None if it was compacted away or is not there yet."""
        if index == self.base_index:
            return self.base_term
        if self.base_index < index <= self.last_index:
            return self._entries[index - self.base_index - 1].term
        return None

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """Answer whether a log that ends so is at least as up to date as this one (5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def last_within_term(self, term: int, limit: int) -> int:
        """Answer the last index up to `limit` whose term is at most `term`.

        Where that was compacted away, the answer is some index before `base_index`.
        """
        if limit < self.base_index:
            return limit
        if self.base_term > term:
            return self.base_index - 1
        stop = min(limit, self.last_index) - self.base_index
        return self.base_index + bisect_right(self._entries, term, 0, stop, key=_TERM)

    def slice(self, first: int, max_entries: int, max_bytes: int) -> tuple[Entry, ...]:
        """Answer entries from `first` on, within the limits, but at least one if there is one."""
        start = first - self.base_index - 1
        stop = min(start + max_entries, len(self._entries))
        stop = bisect_right(self._ends, self._bytes_until(start) + max_bytes, start, stop)
        return tuple(self._entries[start : max(stop, start + 1)])

    def size_bytes(self, first: int, last: int) -> int:
        """Answer the bytes of the entries from `first` to `last`, both included."""
        before, through = first - 1 - self.base_index, last - self.base_index
        return self._bytes_until(through) - self._bytes_until(before)

    def snapshot_meta(self, index: int) -> SnapshotMeta:
        """Answer what a snapshot of the state after `index` is. Raise Conflict if not known."""
        if index == self.snapshot.index:
            return self.snapshot
        term = self.term_at(index)
        if term is None or not self.snapshot.index < index <= self.commit_index:
            raise Conflict(f"entry {index} is not a committed entry of this log")
        return SnapshotMeta(index, term, self._trail.at(index))

    def _bytes_until(self, position: int) -> int:
        """Answer the running sum of sizes before that position of the list."""
        return self._ends[position - 1] if position > 0 else self._base_bytes

    # --- growing ----------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries at the end (what a leader does with its own)."""
        self._trail.record(memberships_in(entries))
        self._extend(entries)

    def accept(self, prev_index: int, entries: Sequence[Entry]) -> int:
        """Merge a leader's entries after `prev_index`, where the logs agree; answer their end.

        Entries that are here already are left alone: a late or repeated append must not undo what a
        newer one brought (figure 2, AppendEntries steps 3 and 4). Only from the first real conflict
        on is the log replaced. Raise ProtocolError, and change nothing, if that would undo a
        committed entry: no correct leader asks for it.
        """
        same = self._count_known(prev_index, entries)
        if same < len(entries):
            first = prev_index + 1 + same
            if first <= self.commit_index:
                raise ProtocolError(f"entry {first} is committed, and a leader would replace it")
            self._replace_from(first, entries[same:])
        return prev_index + len(entries)

    def _count_known(self, prev_index: int, entries: Sequence[Entry]) -> int:
        """Answer how many of the entries, from the first one on, are in this log already."""
        known = min(len(entries), self.last_index - prev_index)
        if known <= 0:
            return 0
        compacted = min(max(0, self.base_index - prev_index), known)
        shift = prev_index - self.base_index  # entries[i] would stand at self._entries[i + shift]
        return bisect_left(
            range(known),
            True,
            lo=compacted,
            key=lambda i: entries[i].term != self._entries[i + shift].term,
        )

    def _replace_from(self, first: int, entries: Sequence[Entry]) -> None:
        memberships = memberships_in(entries)  # may raise, so before anything changes
        if first <= self.last_index:
            position = first - self.base_index - 1
            del self._entries[position:]
            del self._ends[position:]
            self._trail.truncate(first)
            self.written_index = min(self.written_index, first - 1)
            self.stable_index = min(self.stable_index, first - 1)
        self._trail.record(memberships)
        self._extend(entries)

    def _extend(self, entries: Sequence[Entry]) -> None:
        self._ends.extend(_running_bytes(entries, self._bytes_until(len(self._entries))))
        self._entries.extend(entries)

    def commit_to(self, index: int) -> bool:
        """Commit up to `index`; answer whether that is news. Raise ProtocolError beyond the end."""
        if index <= self.commit_index:
            return False
        if index > self.last_index:
            raise ProtocolError(
                f"entry {index} is committed, but this log ends at {self.last_index}:"
                " it has lost entries that it had acknowledged"
            )
        self.commit_index = index
        return True

    # --- duties -----------------------------------------------------------------------------------

    def take_unwritten(self) -> tuple[Entry, ...]:
        """Answer what the storage was not yet given; from now on it counts as given."""
        start = self.written_index - self.base_index
        self.written_index = self.last_index
        return tuple(self._entries[start:]) if start < len(self._entries) else ()

    def take_committed(self, max_bytes: int) -> tuple[Entry, ...]:
        """Answer what the state machine may be given next: committed and durable here."""
        available = min(self.commit_index, self.stable_index) - self.applying_index
        if available <= 0:
            return ()
        entries = self.slice(self.applying_index + 1, available, max_bytes)
        self.applying_index = entries[-1].index
        return entries

    def persisted(self, last_index: int, last_term: int) -> None:
        """Take note that the log which ended so is on the disk, unless it was replaced since."""
        if self.term_at(last_index) == last_term:
            self.stable_index = max(self.stable_index, min(last_index, self.written_index))

    def applied(self, index: int) -> None:
        """Take note that the state machine has come to `index`."""
        self.applied_index = max(self.applied_index, index)

    # --- snapshots --------------------------------------------------------------------------------

    def restore(self, meta: SnapshotMeta) -> None:
        """Let the log begin after a snapshot from the leader; nothing before it counts."""
        self._entries.clear()
        self._ends.clear()
        self._base_bytes = 0
        self._trail = MembershipTrail(meta.index, meta.membership)
        self.snapshot = meta
        self.base_index, self.base_term = meta.index, meta.term
        self.commit_index = self.applying_index = self.written_index = meta.index
        # It is durable only when the storage says so, like everything else.
        self.stable_index = min(self.stable_index, meta.index - 1)

    def compact(self, meta: SnapshotMeta, keep_from: int) -> None:
        """Forget entries before `keep_from`; the state to `meta.index` is durable elsewhere.

        An older snapshot than the present one changes nothing. Raise ValueError for one that is
        ahead of what was applied, or that leaves a gap.
        """
        if meta.index <= self.snapshot.index:
            return
        if meta.index > self.applying_index or keep_from > meta.index + 1:
            raise ValueError(f"cannot compact to {meta.index} and keep from {keep_from}")
        self.snapshot = meta
        self._trail.compact(meta.index)
        dropped = keep_from - 1 - self.base_index
        if dropped > 0:
            self.base_index, self.base_term = keep_from - 1, self._entries[dropped - 1].term
            self._base_bytes = self._ends[dropped - 1]
            del self._entries[:dropped]
            del self._ends[:dropped]


def _running_bytes(entries: Sequence[Entry], start: int) -> list[int]:
    sizes = (len(entry[3]) + ENTRY_OVERHEAD_BYTES for entry in entries)
    totals = list(accumulate(sizes, initial=start))
    del totals[0]
    return totals
