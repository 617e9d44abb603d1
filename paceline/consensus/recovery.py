"""What a node starts from: its log and its state, made to agree.

The log (`raft.db`) and the applied state (`state.db`) are two files, and a crash may fall between
a write to one and a write to the other. Applied state never runs ahead of the log, because the core
names only entries that are durable here, with one exception: a received snapshot is restored into
the state first, and marked in the log afterwards. (The other order would empty the log before there
is a state to stand for it.) A crash in between leaves a state that is ahead of the log, or that
disagrees with the log's entry at its index. The state machine keeps the snapshot's meta beside the
state, so the mark can be written again from there, which is what `recover` does.
"""

from dataclasses import replace

from paceline.consensus.messages import Entry, HardState, Membership, SnapshotMeta
from paceline.consensus.storage.protocol import LogStorage, LogWrite, StateMachine, StoredLog
from paceline.errors import Conflict, CorruptStorage
from paceline.ids import NodeId

NOTHING = SnapshotMeta(0, 0, Membership())
"""What a log without a snapshot starts from."""

START_OVER = (
    "stop the node, move its data directory away, and join again: it gets the whole state from "
    "the others"
)


def found(storage: LogStorage, node_id: NodeId) -> None:
    """Write the log of a cluster's founder. Raise Conflict if there is one already."""
    stored = storage.load()
    if stored.snapshot is not None or stored.entries or stored.hard_state.term:
        raise Conflict("there is a log already: this node belongs to a cluster")
    mark = SnapshotMeta(0, 0, Membership(voters=(node_id,)))
    storage.write(LogWrite(None, mark, ()), _nothing)


def recover(storage: LogStorage, machine: StateMachine) -> StoredLog:
    """Load the log and make it agree with the state. Raise CorruptStorage where that cannot be."""
    stored = storage.load()
    restored = machine.snapshot_meta
    if restored is not None and _unmarked(stored, restored):
        stored = _mark_again(stored, restored)
        storage.write(LogWrite(stored.hard_state, stored.snapshot, ()), _nothing)
    _check_agreement(stored, machine.applied_index)
    return stored


def _nothing() -> None:
    """Nobody waits: what follows is written after it."""


def _unmarked(stored: StoredLog, restored: SnapshotMeta) -> bool:
    """Answer whether the crash fell between restoring a snapshot and marking it in the log."""
    mark = stored.snapshot or NOTHING
    if restored.index <= mark.index:
        return False
    entry = _entry_at(stored, restored.index)
    return entry is None or entry.term != restored.term


def _mark_again(stored: StoredLog, restored: SnapshotMeta) -> StoredLog:
    """Answer the log that the snapshot leaves: none.

    Entries after a disagreeing one were never committed, so none that matters is lost.
    """
    hard_state = stored.hard_state
    if hard_state.term < restored.term:
        hard_state = HardState(term=restored.term)
    hard_state = replace(hard_state, commit=max(hard_state.commit, restored.index))
    return StoredLog(hard_state, restored, ())


def _entry_at(stored: StoredLog, index: int) -> Entry | None:
    offset = index - stored.entries[0].index if stored.entries else -1
    return stored.entries[offset] if 0 <= offset < len(stored.entries) else None


def _check_agreement(stored: StoredLog, applied: int) -> None:
    mark = stored.snapshot or NOTHING
    last = max(mark.index, stored.entries[-1].index if stored.entries else 0)
    if applied < mark.index:
        raise CorruptStorage(
            f"the state has entry {applied} but the log begins after {mark.index}: the state file "
            f"is older than the log (restored from a backup?); {START_OVER}"
        )
    if applied > last:
        raise CorruptStorage(
            f"the state has entry {applied} but the log ends at {last}: the log file is older than "
            f"the state (restored from a backup?); {START_OVER}"
        )
