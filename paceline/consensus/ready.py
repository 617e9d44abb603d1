"""What the pure core wants done, and in which order.

The one rule that everything else rests on: nothing that reveals a term, a vote or an entry may
leave this node before it is on disk. So a `Ready` has two lists of messages. The leader's own
appends and heartbeats reveal nothing about its disk and may go at once, in parallel with its own
write (the dissertation, section 10.2.1); the leader counts itself towards a commit only when it is
told `persisted`. Everything else waits in `after_sync`.

The shell's duty, in this order:
1. install `snapshot` if there is one (its bytes have been received and verified before);
2. hand `hard_state` and `entries` to the storage as ONE atomic write (entries replace whatever the
   log has from `entries[0].index` on);
3. send `messages` any time; send `after_sync` once that write, and every earlier one, is durable;
   then call `core.persisted(token)`;
4. apply `committed` in order, then call `core.applied(index)`; the core names an entry here only
   when it is committed AND durable on this node, so applied state never runs ahead of the log;
5. answer `reads` once their index is applied.
A second Ready may be taken while an earlier write is under way; writes complete in order.
"""

from dataclasses import dataclass

from paceline.consensus.messages import Entry, HardState, Message, SnapshotMeta


@dataclass(frozen=True, slots=True)
class PersistToken:
    """Names one write. An old append's completion must not make newer entries count (ABA).

    `term` is the term in which the append was accepted, `last_index`/`last_term` the end of the log
    as that write leaves it.
    """

    term: int
    last_index: int
    last_term: int


@dataclass(frozen=True, slots=True)
class ReadState:
    """The read numbered `context` may be served once `index` is applied."""

    context: int
    index: int


@dataclass(frozen=True, slots=True)
class Ready:
    """One turn's worth of work; see the module's head for the order."""

    hard_state: HardState | None
    """To be written, or None if nothing in it changed."""
    snapshot: SnapshotMeta | None
    """Replace log and state by this snapshot, or None."""
    entries: tuple[Entry, ...]
    """To be written; the first one's index may be inside the stored log, whose tail then goes."""
    messages: tuple[Message, ...]
    """May be sent at once."""
    after_sync: tuple[Message, ...]
    """May be sent only when the write of this Ready is durable."""
    committed: tuple[Entry, ...]
    """To be applied, in order; bounded in bytes per Ready."""
    reads: tuple[ReadState, ...]
    """Reads that may be served once their index is applied."""
    token: PersistToken | None
    """To be given to `core.persisted` after the write, or None if there is nothing to write."""

    @property
    def must_sync(self) -> bool:
        """Answer whether the write must reach the disk before `after_sync` may go."""
        return self.token is not None
