"""When a quorum is lost for good: one node goes on alone, as a new cluster with the old work.

The cluster's voters as the log knows them decide nothing any more, since too few of them exist. So
their decision is replaced by a person's: this node's log is told, offline, that this node alone is
the membership. What that can cost, and why it must be a person who says it:

* What the lost voters had acknowledged and this node does not have yet, is gone. Everything in this
  node's own log is kept, also what was not committed: some of it may have been acknowledged.
* Should the others not be lost after all, there are two clusters from then on, and both do the work
  that was open. They cannot mix: the new one has another id and another token, its log another
  term, and neither takes the other's nodes for members.

Two entries at the end of the log do it, in a term that no old leader can have used up here: a
membership of this node alone, and `RecoverCluster`, by which the state forgets the others. Both are
committed by the node itself when it is next started. Until they are on the disk nothing has
happened; that is one atomic write. Doing it twice makes a third cluster, which does no harm.
"""

import os
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from paceline.clock import Clock
from paceline.codec import decode, encode
from paceline.consensus.messages import Entry, EntryKind, HardState, Membership, SnapshotMeta
from paceline.consensus.recovery import recover as agree
from paceline.consensus.storage.protocol import LogWrite, StoredLog
from paceline.consensus.storage.sqlite import SqliteLogStorage
from paceline.errors import NotFound, StorageError, StorageFull
from paceline.ids import new_id
from paceline.node import belonging, farewell
from paceline.node.data_dir import DataDir
from paceline.node.keys import load_or_create_keys
from paceline.node.token import new_token
from paceline.tasks import queries, queries_members
from paceline.tasks.commands import Envelope, RecoverCluster, encode_envelope
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import MemberStatus

WRITE_TIMEOUT_S: Final = 10.0
TERM_STEP: Final = 1_000
"""So much the term is raised: elections that the lost nodes held unseen are below it."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a recovery would start from, for the person who decides."""

    node_id: str
    cluster_id: str
    others: tuple[str, ...]
    """The names (or ids) of the members that would be given up."""
    tasks: int
    last_index: int
    commit: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """The new cluster. The token admits newcomers, the lost nodes among them."""

    cluster_id: str
    token: str = field(repr=False)
    term: int


class Recovery:
    """One node's directory, locked; close it when done."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        """Open log and state. Raise Conflict if the node runs, NotFound if there is none.

        Raise Conflict also for a node that has left or was revoked: its cluster goes on without it.
        """
        if not (path / "raft.db").exists() or not (path / belonging.FILE).exists():
            raise NotFound(f"{path} holds no node of a cluster; name its directory with --data-dir")
        self._clock = clock
        self._failure: StorageError | None = None
        with ExitStack() as stack:
            self._data_dir = DataDir(path)
            stack.callback(self._data_dir.close)
            farewell.require_not_left(self._data_dir)
            self._keys = load_or_create_keys(path)
            self._machine = TaskMachine(path / "state.db", meta_type=SnapshotMeta)
            stack.callback(self._machine.close)
            self._storage = self._open_log(path / "raft.db")
            stack.callback(self._storage.close)
            self._stored = agree(self._storage, self._machine)
            self._require_member()
            self._open = stack.pop_all()

    def _open_log(self, path: Path) -> SqliteLogStorage:
        return SqliteLogStorage(path, loop_call=lambda call: call(), on_failure=self._failed)

    def _failed(self, error: StorageError) -> None:
        self._failure = error

    def _require_member(self) -> None:
        if queries_members.is_revoked(self._machine.connection, self._keys.node_id):
            raise farewell.revoked(self._data_dir.path)

    def close(self) -> None:
        """Let go of everything."""
        self._open.close()

    @property
    def outlook(self) -> Outlook:
        """Answer what is at stake."""
        connection = self._machine.connection
        names = {
            member.node_id: member.name or member.node_id
            for member in queries_members.members(connection)
            if member.status is MemberStatus.MEMBER
        }
        names |= {node_id: names.get(node_id, node_id) for node_id in members_of(self._stored)}
        names.pop(self._keys.node_id, None)
        record = queries_members.cluster(connection)
        return Outlook(
            node_id=self._keys.node_id,
            cluster_id=record.cluster_id if record else "",
            others=tuple(sorted(names.values())),
            tasks=sum(queries.task_counts(connection).values()),
            last_index=last_of(self._stored)[0],
            commit=self._stored.hard_state.commit,
        )

    def carry_out(self) -> Recovered:
        """Make this node a cluster of its own. Raise StorageError, StorageFull for the disk."""
        recovered = Recovered(new_id(), new_token(), self._next_term())
        self._write(self._entries(recovered), recovered.term)
        self._remember(recovered)
        return recovered

    def _next_term(self) -> int:
        return max(self._stored.hard_state.term, last_of(self._stored)[1]) + TERM_STEP

    def _entries(self, recovered: Recovered) -> tuple[Entry, Entry]:
        keys, (last_index, _) = self._keys, last_of(self._stored)
        command = RecoverCluster(
            recovered.cluster_id, recovered.token, keys.node_id, keys.public, self._name()
        )
        # Nobody's: whatever the end of the log still says of this node, the person has decided.
        envelope = Envelope(os.urandom(16), last_index, self._clock.now_ms(), "", command)
        alone = encode(Membership(voters=(keys.node_id,)))
        return (
            Entry(last_index + 1, recovered.term, EntryKind.MEMBERSHIP, alone),
            Entry(last_index + 2, recovered.term, EntryKind.COMMAND, encode_envelope(envelope)),
        )

    def _name(self) -> str:
        workers = queries.workers(self._machine.connection)
        return next((w["name"] for w in workers if w["node_id"] == self._keys.node_id), "")

    def _write(self, entries: tuple[Entry, Entry], term: int) -> None:
        """Write all or nothing, and wait until it is on the disk."""
        written = threading.Event()
        commit = self._stored.hard_state.commit
        hard_state = HardState(term=term, vote=self._keys.node_id, commit=commit)
        self._storage.write(LogWrite(hard_state, None, entries), written.set)
        if not written.wait(WRITE_TIMEOUT_S):
            raise self._failure or StorageFull(
                f"the log cannot be written within {WRITE_TIMEOUT_S:g} s; make room on the disk"
            )

    def _remember(self, recovered: Recovered) -> None:
        """Say in the small file what the log says; should this be cut off, the log still rules."""
        known = self._data_dir.read_json(belonging.FILE) or {}
        known |= {"cluster_id": recovered.cluster_id, "founded": True, "members": []}
        self._data_dir.write_json(belonging.FILE, known)


def members_of(stored: StoredLog) -> tuple[str, ...]:
    """Answer the members by the newest membership in the log, committed or not."""
    found = [entry for entry in stored.entries if entry.kind == EntryKind.MEMBERSHIP]
    if found:
        return decode(Membership, found[-1].data).members
    return stored.snapshot.membership.members if stored.snapshot else ()


def last_of(stored: StoredLog) -> tuple[int, int]:
    """Answer index and term of the last entry."""
    if stored.entries:
        return stored.entries[-1].index, stored.entries[-1].term
    return (stored.snapshot.index, stored.snapshot.term) if stored.snapshot else (0, 0)
