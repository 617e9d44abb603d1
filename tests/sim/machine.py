"""A small state machine with everything that makes a real one difficult.

Keys hold a register or a list. Clients have sessions: the machine remembers the last request of
each and its result, so that a request that is in the log twice takes effect once. Applied state is
durable later than it is visible (as SQLite's is in WAL mode with `synchronous=NORMAL`): when the
power goes, it falls back to some earlier point, but never behind the last `make_durable`.

`chain` is a digest of every command and result up to the applied index: two machines with the same
index must have the same chain.
"""

import copy
import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from paceline.codec import decode, encode, pack, unpack
from paceline.consensus.messages import Entry, EntryKind, SnapshotMeta
from paceline.consensus.spool import MemorySource
from paceline.consensus.storage.protocol import SnapshotSource
from paceline.errors import Busy, StorageFull
from tests.sim.world import MILLISECOND, World

NOBODY = ""
"""A client without a session: its requests take effect as often as they are in the log."""

BUSY = 0.05
"""The chance that a copy of the state is refused, since others are being made."""

Post = Callable[[Callable[[], None]], None]
OnApply = Callable[[Entry, "KvState", bool], None]


class Command(NamedTuple):
    """What a client asks for. `request` grows by one per client."""

    client: str
    request: int
    op: str
    key: str
    value: Any


def encode_command(command: Command) -> bytes:
    """Answer the data of a COMMAND entry."""
    return pack(list(command))


def decode_command(data: bytes) -> Command:
    """Read what `encode_command` made."""
    return Command(*unpack(data))


class KvState:
    """The state: keys, sessions, and what it stands for."""

    def __init__(self) -> None:
        self.index = 0
        self.chain = b""
        self.keys: dict[str, Any] = {}
        self.sessions: dict[str, tuple[int, Any]] = {}
        self.repeats = 0
        """Requests that had taken effect before. Not part of the state."""

    def apply(self, entry: Entry) -> tuple[Any, bool]:
        """Apply the next entry; answer its result, and whether a command took effect."""
        result, effect = None, False
        if entry.kind == EntryKind.COMMAND:
            result, effect = self._once(decode_command(entry.data))
        self.index = entry.index
        text = f"{entry.index} {entry.term} {result!r}".encode()
        self.chain = hashlib.blake2b(self.chain + text + entry.data, digest_size=8).digest()
        return result, effect

    def _once(self, command: Command) -> tuple[Any, bool]:
        if command.client == NOBODY:
            return self._execute(command), False
        last, result = self.sessions.get(command.client, (0, None))
        if command.request <= last:
            self.repeats += 1
            return (result if command.request == last else "superseded"), False
        result = self._execute(command)
        self.sessions[command.client] = (command.request, result)
        return result, True

    def _execute(self, command: Command) -> Any:
        key, value = command.key, command.value
        if command.op == "append":
            self.keys[key] = [*self.keys.get(key, ()), value]
            return len(self.keys[key])
        if command.op == "cas":
            expected, new = value
            if self.keys.get(key) != expected:
                return False
            self.keys[key] = new
            return True
        self.keys[key] = value
        return True

    def encode(self) -> bytes:
        """Answer the whole state as bytes, the same bytes for the same state."""
        keys = [[key, self.keys[key]] for key in sorted(self.keys)]
        sessions = [[client, *self.sessions[client]] for client in sorted(self.sessions)]
        return pack([self.index, self.chain, keys, sessions])

    @classmethod
    def decode(cls, data: bytes) -> "KvState":
        """Read what `encode` made."""
        state = cls()
        state.index, state.chain, keys, sessions = unpack(data)
        state.keys = dict(keys)
        state.sessions = {client: (request, result) for client, request, result in sessions}
        return state


class MachineDisk:
    """What is on the disk of a machine: a base, and entries whose effect may or may not last."""

    def __init__(self) -> None:
        self.base = KvState()
        self.journal: list[Entry] = []
        self.synced_index = 0
        self.meta: bytes | None = None

    def crash(self, lots: random.Random, *, power: bool) -> int:
        """Fall back to a random point not behind the last sync, if the power went; answer it."""
        keep = max(self.synced_index - self.base.index, 0)
        if power and len(self.journal) > keep:
            del self.journal[lots.randint(keep, len(self.journal)) :]
        return self.base.index + len(self.journal)

    def sync(self, index: int) -> None:
        """Note that the state up to `index` is on the platter; fold that part of the journal."""
        self.synced_index = max(self.synced_index, index)
        fold = self.synced_index - self.base.index
        if fold > 0:
            for entry in self.journal[:fold]:
                self.base.apply(entry)
            del self.journal[:fold]

    def state(self) -> KvState:
        """Answer the state that a process finds when it starts."""
        state = copy.copy(self.base)
        state.keys, state.sessions = dict(self.base.keys), dict(self.base.sessions)
        for entry in self.journal:
            state.apply(entry)
        return state


class KvMachine:
    """One life's `StateMachine` on a `MachineDisk`."""

    def __init__(
        self,
        *,
        world: World,
        name: str,
        disk: MachineDisk,
        post: Post,
        on_apply: OnApply,
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        """Start from a disk; `is_full` answers whether there is no room on it now."""
        self.state = disk.state()
        self._is_full = is_full
        self._world = world
        self._name = name
        self._disk = disk
        self._post = post
        self._on_apply = on_apply
        self._random = world.random(f"machine of {name} at {world.now_us}")

    @property
    def applied_index(self) -> int:
        """See StateMachine."""
        return self.state.index

    @property
    def snapshot_meta(self) -> SnapshotMeta | None:
        """See StateMachine."""
        return None if self._disk.meta is None else decode(SnapshotMeta, self._disk.meta)

    @property
    def durable_index(self) -> int:
        """Answer the index that a loss of power cannot take back."""
        return self._disk.synced_index

    def apply(self, entries: Sequence[Entry]) -> list[Any]:
        """See StateMachine."""
        self._require_room("entries without room")
        return [self._apply(entry) for entry in entries]

    def _apply(self, entry: Entry) -> Any:
        if entry.index <= self.state.index:
            return None
        if entry.index != self.state.index + 1:
            self._world.fail(
                "applied without a gap",
                f"{self._name} applies {entry.index} after {self.state.index}",
            )
        repeats = self.state.repeats
        result, effect = self.state.apply(entry)
        if self.state.repeats > repeats:
            self._world.count("requests found done")
        self._disk.journal.append(entry)
        self._on_apply(entry, self.state, effect)
        return result

    def save(
        self, done: Callable[[SnapshotSource], None], failed: Callable[[StorageFull], None]
    ) -> None:
        """See StateMachine."""
        if self._random.random() < BUSY:
            self._world.count("snapshots not begun")
            raise Busy("too many copies are being made")
        source = MemorySource(self.state.encode())
        self._later(lambda: self._saved(source, done, failed))

    def _saved(
        self,
        source: MemorySource,
        done: Callable[[SnapshotSource], None],
        failed: Callable[[StorageFull], None],
    ) -> None:
        try:
            self._require_room("copies without room")
        except StorageFull as error:
            failed(error)
        else:
            done(source)

    def restore(self, source: SnapshotSource, meta: SnapshotMeta) -> None:
        """See StateMachine."""
        self._require_room("restores without room")
        data = source.read(0, source.size)
        self.state, self._disk.base = KvState.decode(data), KvState.decode(data)
        self._disk.journal.clear()
        self._disk.synced_index = self.state.index
        self._disk.meta = encode(meta)

    def make_durable(self, done: Callable[[int], None]) -> None:
        """See StateMachine."""
        index, disk = self.state.index, self._disk

        def synced() -> None:
            disk.sync(index)
            done(index)

        self._later(synced)

    def digest(self) -> bytes:
        """See StateMachine."""
        return hashlib.sha256(self.state.encode()).digest()

    def _require_room(self, what: str) -> None:
        if self._is_full():
            self._world.count(what)
            raise StorageFull("no room for the state")

    def _later(self, action: Callable[[], None]) -> None:
        delay_us = self._random.randint(1, 20) * MILLISECOND
        self._world.after(delay_us, lambda: self._post(action))
