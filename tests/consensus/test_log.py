"""The log, compared with a twin that is a dictionary and does everything by scanning."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from paceline.consensus.log import ENTRY_OVERHEAD_BYTES, Log
from paceline.consensus.membership import encode_membership
from paceline.consensus.messages import Entry, EntryKind, HardState, Membership, SnapshotMeta
from paceline.consensus.storage.protocol import StoredLog
from paceline.errors import Conflict, CorruptStorage, ProtocolError
from tests.consensus.lab import entries, founding

AB = Membership(voters=("a", "b"))
rising_terms = st.lists(st.integers(1, 5), max_size=8).map(sorted)


def log_of(*terms: int, commit: int = 0) -> Log:
    return Log(StoredLog(HardState(5, "", commit), founding("ab"), entries(*terms)), 0)


def compacted_log(terms: list[int], through: int) -> Log:
    """Answer a log of these terms that is committed, applied and compacted `through` there."""
    log = log_of(*terms, commit=through)
    durable(log)
    log.take_committed(10**6)
    if through:
        log.compact(meta(through, terms[through - 1]), through + 1)
    return log


def terms_of(log: Log) -> list[int | None]:
    return [log.term_at(index) for index in range(log.base_index + 1, log.last_index + 1)]


def durable(log: Log) -> None:
    log.take_unwritten()
    log.persisted(log.last_index, log.last_term)


def meta(index: int, term: int) -> SnapshotMeta:
    return SnapshotMeta(index, term, AB)


# --- searching ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(rising_terms, st.integers(0, 8), st.integers(0, 6), st.integers(0, 10))
def test_the_last_index_within_a_term_is_what_a_scan_finds(
    terms: list[int], compacted: int, term: int, limit: int
) -> None:
    log = log_of(*terms, commit=8)
    durable(log)
    log.take_committed(10**6)
    base = min(compacted, len(terms))
    if base:
        log.compact(meta(base, terms[base - 1]), base + 1)
    known = {0: 0, **dict(enumerate(terms, 1))}
    scanned = max(index for index in known if index <= limit and known[index] <= term)
    found = log.last_within_term(term, limit)
    if scanned >= base:
        assert found == scanned
    else:
        assert found < base


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=12),
    st.integers(0, 5),
    st.data(),
)
def test_a_slice_takes_as_many_as_both_limits_allow_but_at_least_one(
    sizes: list[int], compacted: int, data: st.DataObject
) -> None:
    stored = tuple(Entry(i, 1, 1, bytes(size)) for i, size in enumerate(sizes, 1))
    log = Log(StoredLog(HardState(1, "", len(sizes)), founding("ab"), stored), 0)
    durable(log)
    log.take_committed(10**6)
    base = min(compacted, len(sizes) - 1)
    if base:
        log.compact(meta(base, 1), base + 1)
    first = data.draw(st.integers(base + 1, len(sizes)))
    max_entries = data.draw(st.integers(1, 12))
    max_bytes = data.draw(st.integers(0, 300))
    expected: list[Entry] = []
    for entry in stored[first - 1 :]:
        held = sum(len(e.data) + ENTRY_OVERHEAD_BYTES for e in [*expected, entry])
        if expected and (len(expected) == max_entries or held > max_bytes):
            break
        expected.append(entry)
    taken = log.slice(first, max_entries, max_bytes)
    assert list(taken) == expected
    assert log.size_bytes(first, taken[-1].index) == sum(
        len(e.data) + ENTRY_OVERHEAD_BYTES for e in expected
    )


@settings(deadline=None)
@given(rising_terms, rising_terms)
def test_a_log_is_up_to_date_by_its_last_term_and_then_by_its_length(
    mine: list[int], theirs: list[int]
) -> None:
    log = log_of(*mine)
    last = theirs[-1] if theirs else 0
    own = mine[-1] if mine else 0
    expected = last > own or (last == own and len(theirs) >= len(mine))
    assert log.is_up_to_date(len(theirs), last) == expected


# --- merging --------------------------------------------------------------------------------------


@settings(deadline=None)
@given(rising_terms, rising_terms, st.data())
def test_accepting_is_what_figure_2_says(
    mine: list[int], theirs: list[int], data: st.DataObject
) -> None:
    """The twin follows AppendEntries steps 3 and 4 one entry at a time, and forgets nothing."""
    same = [a == b for a, b in zip(mine, theirs, strict=False)]
    agreed = (*same, False).index(False)
    assume(not any(same[agreed:]))  # the log matching property: whoever parted never meets again
    prev = data.draw(st.integers(0, agreed))
    count = data.draw(st.integers(0, len(theirs) - prev))
    compacted = data.draw(st.integers(0, agreed))
    sent = entries(*theirs)[prev : prev + count]
    twin = list(mine)
    for entry in sent:
        if len(twin) >= entry.index and twin[entry.index - 1] != entry.term:
            del twin[entry.index - 1 :]
        if len(twin) < entry.index:
            twin.append(entry.term)
    log = compacted_log(mine, compacted)
    assert log.accept(prev, sent) == prev + count
    assert terms_of(log) == twin[compacted:]
    assert log.stable_index == log.written_index <= max(len(mine), prev)
    written = log.take_unwritten()
    assert [e.term for e in written] == twin[len(twin) - len(written) :]


def test_an_append_that_brings_nothing_new_leaves_the_tail_alone() -> None:
    log = log_of(1, 1, 2, 2)
    log.accept(1, entries(1, first=2))
    log.accept(4, ())
    log.accept(0, entries(1, 1))
    assert terms_of(log) == [1, 1, 2, 2]
    assert log.take_unwritten() == ()


def test_a_conflict_replaces_the_whole_tail() -> None:
    log = log_of(1, 1, 2, 2, 2)
    assert log.accept(2, entries(3, first=3)) == 3
    assert terms_of(log) == [1, 1, 3]
    assert log.stable_index == 2
    assert log.take_unwritten() == entries(3, first=3)


def test_a_committed_entry_is_never_replaced() -> None:
    log = log_of(1, 1, 2, commit=2)
    with pytest.raises(ProtocolError):
        log.accept(1, entries(3, first=2))
    assert terms_of(log) == [1, 1, 2]


def test_entries_that_were_compacted_away_count_as_known() -> None:
    log = log_of(1, 1, 1, 1, commit=4)
    durable(log)
    log.take_committed(10**6)
    log.compact(meta(3, 1), 4)
    assert log.accept(1, entries(1, 1, 1, 2, first=2)) == 5
    assert terms_of(log) == [1, 2]


def test_a_malformed_membership_changes_nothing() -> None:
    log = log_of(1, 2)
    with pytest.raises(ProtocolError):
        log.accept(1, [Entry(2, 3, int(EntryKind.MEMBERSHIP), b"nonsense")])
    assert terms_of(log) == [1, 2]


def test_the_membership_of_a_truncated_entry_is_rolled_back() -> None:
    log = log_of(1)
    abc = Membership(voters=("a", "b", "c"))
    log.accept(1, [Entry(2, 1, int(EntryKind.MEMBERSHIP), encode_membership(abc))])
    assert (log.membership, log.membership_index, log.membership_pending) == (abc, 2, True)
    log.accept(1, entries(2, first=2))
    assert (log.membership, log.membership_index, log.membership_pending) == (AB, 0, False)


# --- duties ---------------------------------------------------------------------------------------


def test_only_what_is_committed_and_durable_is_given_out_to_be_applied_and_once() -> None:
    log = log_of()
    log.append(entries(1, 1, 1))
    log.commit_to(2)
    assert log.take_committed(10**6) == ()
    durable(log)
    assert log.take_committed(10**6) == entries(1, 1)
    assert log.take_committed(10**6) == ()
    log.commit_to(3)
    assert log.take_committed(10**6) == entries(1, first=3)


def test_what_is_given_out_to_be_applied_is_bounded_in_bytes() -> None:
    log = log_of(1, 1, 1, commit=3)
    assert log.take_committed(0) == entries(1)
    assert log.take_committed(0) == entries(1, first=2)


def test_a_write_whose_end_was_replaced_does_not_count() -> None:
    log = log_of(1)
    log.append(entries(1, 1, first=2))
    log.take_unwritten()
    log.accept(1, entries(2, 2, first=2))
    log.persisted(3, 1)
    assert log.stable_index == 1
    log.take_unwritten()
    log.persisted(3, 2)
    assert log.stable_index == 3


def test_what_was_not_handed_to_the_storage_is_not_durable() -> None:
    log = log_of(1)
    log.append(entries(1, first=2))
    log.persisted(2, 1)
    assert log.stable_index == 1


def test_the_commit_index_cannot_pass_the_end() -> None:
    log = log_of(1, 1)
    assert not log.commit_to(0)
    assert log.commit_to(2)
    with pytest.raises(ProtocolError):
        log.commit_to(3)
    assert log.commit_index == 2


# --- snapshots ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 6))
def test_compaction_forgets_only_what_it_may(index: int, keep: int) -> None:
    log = log_of(1, 1, 2, 2, 3, 3, commit=6)
    log.take_committed(10**6)
    keep_from = min(keep, index + 1)
    log.compact(meta(index, (0, 1, 1, 2, 2, 3, 3)[index]), keep_from)
    assert log.first_index == keep_from
    assert terms_of(log) == [1, 1, 2, 2, 3, 3][keep_from - 1 :]
    assert log.term_at(keep_from - 1) == (0, 1, 1, 2, 2, 3, 3)[keep_from - 1]
    if keep_from > 1:
        assert log.term_at(keep_from - 2) is None
    assert log.slice(keep_from, 9, 10**6) == entries(1, 1, 2, 2, 3, 3)[keep_from - 1 :]


def test_compaction_past_what_was_applied_or_with_a_gap_is_refused() -> None:
    log = log_of(1, 1, 1, commit=2)
    log.take_committed(10**6)
    with pytest.raises(ValueError, match="cannot compact"):
        log.compact(meta(3, 1), 4)
    with pytest.raises(ValueError, match="cannot compact"):
        log.compact(meta(1, 1), 3)
    assert log.first_index == 1


def test_an_older_snapshot_changes_nothing() -> None:
    log = log_of(1, 1, 1, commit=3)
    log.take_committed(10**6)
    log.compact(meta(2, 1), 3)
    log.compact(meta(1, 1), 2)
    assert log.snapshot == meta(2, 1)


def test_restoring_a_snapshot_replaces_everything_before_the_storage_says_so() -> None:
    log = log_of(1, 1, 2, 2, 2)
    abc = Membership(voters=("a", "b", "c"))
    log.restore(SnapshotMeta(3, 3, abc))
    assert (log.base_index, log.last_index, log.commit_index) == (3, 3, 3)
    assert log.membership == abc
    assert log.stable_index < 3
    log.persisted(5, 2)  # a write of the old log
    assert log.stable_index < 3
    log.append(entries(3, first=4))
    durable(log)
    log.commit_to(4)
    assert log.take_committed(10**6) == entries(3, first=4)


def test_the_meta_of_a_snapshot_names_the_membership_of_its_time() -> None:
    log = log_of(1)
    abc = Membership(voters=("a", "b", "c"))
    log.append([Entry(2, 1, int(EntryKind.MEMBERSHIP), encode_membership(abc))])
    log.append(entries(1, first=3))
    log.commit_to(2)
    assert log.snapshot_meta(1) == SnapshotMeta(1, 1, AB)
    assert log.snapshot_meta(2) == SnapshotMeta(2, 1, abc)
    with pytest.raises(Conflict):
        log.snapshot_meta(3)


# --- starting -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "snapshot", "applied", "expected"),
    [(0, 0, 0, 0), (2, 0, 0, 2), (9, 0, 0, 4), (0, 3, 3, 3), (1, 0, 4, 4), (0, 0, 9, 4)],
)
def test_the_commit_index_of_a_restart_is_the_best_that_is_known(
    hint: int, snapshot: int, applied: int, expected: int
) -> None:
    kept = entries(1, 1, 1, 1)[snapshot:]
    log = Log(StoredLog(HardState(1, "", hint), meta(snapshot, int(snapshot > 0)), kept), applied)
    assert log.commit_index == expected


def test_the_log_may_begin_before_the_snapshot() -> None:
    log = Log(StoredLog(HardState(1), meta(3, 1), entries(1, 1, 1, 1, 1)[1:]), 3)
    assert (log.first_index, log.last_index, log.commit_index) == (3, 5, 3)
    assert log.slice(3, 9, 10**6) == entries(1, 1, 1, first=3)


def test_memberships_in_the_log_are_known_after_a_restart() -> None:
    abc = Membership(voters=("a", "b", "c"))
    stored = (*entries(1), Entry(2, 1, int(EntryKind.MEMBERSHIP), encode_membership(abc)))
    log = Log(StoredLog(HardState(1), founding("ab"), stored), 0)
    assert (log.membership, log.membership_index) == (abc, 2)


@pytest.mark.parametrize(
    ("snapshot", "kept", "applied"),
    [
        (meta(2, 1), entries(1, 1, first=4), 2),  # a gap after the snapshot
        (meta(0, 0), (*entries(1), *entries(1, first=3)), 0),  # a gap inside
        (meta(5, 1), entries(1, 1, first=2), 5),  # entries end before the snapshot
        (meta(2, 7), entries(1, 1, 1), 2),  # another history than the snapshot's
        (meta(4, 1), entries(1, first=5), 3),  # the state is behind what was compacted
    ],
)
def test_a_log_that_does_not_hold_together_is_refused(
    snapshot: SnapshotMeta, kept: tuple[Entry, ...], applied: int
) -> None:
    with pytest.raises(CorruptStorage):
        Log(StoredLog(HardState(1), snapshot, kept), applied)
