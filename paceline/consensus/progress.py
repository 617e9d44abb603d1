"""What a leader knows of one follower, and how fast it may send to it.

    PROBE       the match point is not known: one append at a time, until it is answered
    REPLICATE   it is known: appends are sent ahead of their answers, within a window
    SNAPSHOT    the follower needs what was compacted away: nothing but heartbeats until it has it

    PROBE -- append accepted --> REPLICATE -- rejected, or unreachable --> PROBE
    PROBE or REPLICATE -- needs a compacted entry --> SNAPSHOT
    SNAPSHOT -- an answer shows that the logs connect --> REPLICATE
    SNAPSHOT -- the transfer ended, well or not --> PROBE

Messages may be lost, repeated or reordered, so nothing here trusts their order: `match` only grows
while this leader leads, and a rejection counts only if it fits what is being tried now. A window
that is full of lost messages is reopened by heartbeats: the answer to one prompts an empty append,
whose rejection (or acceptance) tells where the follower really is.
"""

from collections import deque
from enum import Enum


class ProgressState(Enum):
    """How a follower is being brought up to date."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Inflight:
    """Appends sent and not yet answered, bounded by their number and by their bytes."""

    __slots__ = ("_bytes", "_max_bytes", "_max_messages", "_sent")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._sent: deque[tuple[int, int]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def full(self) -> bool:
        """Answer whether nothing more may be sent until something is answered."""
        return len(self._sent) >= self._max_messages or self._bytes >= self._max_bytes

    def add(self, last_index: int, size_bytes: int) -> None:
        """Note an append that ends at `last_index`; the indexes must grow."""
        self._sent.append((last_index, size_bytes))
        self._bytes += size_bytes

    def release(self, index: int) -> None:
        """Forget every append that ends at or before `index`."""
        sent = self._sent
        while sent and sent[0][0] <= index:
            self._bytes -= sent.popleft()[1]

    def clear(self) -> None:
        """Forget all of them."""
        self._sent.clear()
        self._bytes = 0


class Progress:
    """One follower, as its leader sees it. Invariant: `match < next_index`."""

    __slots__ = (
        "commit_sent",
        "heard",
        "inflight",
        "match",
        "next_index",
        "nudge",
        "paused",
        "pending_snapshot",
        "read_context",
        "state",
    )

    def __init__(self, next_index: int, inflight: Inflight, heard: int) -> None:
        self.match = 0
        """The follower's log is durably equal to the leader's up to here."""
        self.next_index = next_index
        """The next entry to send."""
        self.state = ProgressState.PROBE
        self.inflight = inflight
        self.paused = False
        """A probe is out and not yet answered."""
        self.nudge = False
        """An append is due even if it is empty: the follower may have missed something."""
        self.pending_snapshot = 0
        """In state SNAPSHOT: the index of the snapshot that is on its way."""
        self.commit_sent = 0
        """The largest commit index that an append told the follower."""
        self.read_context = 0
        """The largest heartbeat context that the follower repeated."""
        self.heard = heard
        """The leader's tick at which the follower was last heard."""

    def acknowledge(self, match: int) -> bool:
        """Take note that the follower has the log up to `match`; answer whether that is news."""
        self.inflight.release(match)
        if match <= self.match:
            return False
        self.paused = False
        self.match = match
        self.next_index = max(self.next_index, match + 1)
        return True

    def reject(self, prev_index: int, hint_index: int) -> bool:
        """Go back to probing after the follower refused `prev_index`; answer whether it counts.

        `hint_index` is where the logs may agree. A rejection at or below `match`, or of a probe
        other than the one that is out, is an old message.
        """
        if prev_index <= self.match or self.state is ProgressState.SNAPSHOT:
            return False
        if self.state is ProgressState.PROBE and prev_index != self.next_index - 1:
            return False
        self.probe()
        self.next_index = max(self.match + 1, min(prev_index, hint_index + 1))
        return True

    def sent(self, last_index: int, size_bytes: int) -> None:
        """Note that an append up to `last_index` is on its way."""
        if self.state is ProgressState.PROBE:
            self.paused = True
        elif last_index >= self.next_index:
            self.next_index = last_index + 1
            self.inflight.add(last_index, size_bytes)

    def probe(self) -> None:
        """Find the match point anew: right after the snapshot that was sent, if there was one."""
        self.next_index = max(self.match, self.pending_snapshot) + 1
        self._enter(ProgressState.PROBE)

    def replicate(self) -> None:
        """Send ahead of the answers from now on."""
        self.next_index = self.match + 1
        self._enter(ProgressState.REPLICATE)

    def await_snapshot(self, index: int) -> None:
        """Hold everything until the snapshot of `index` has arrived."""
        self._enter(ProgressState.SNAPSHOT)
        self.pending_snapshot = index

    def end_snapshot(self, ok: bool) -> None:
        """Probe after a transfer has ended, but not before the follower is heard again."""
        if not ok:
            self.pending_snapshot = 0
        self.probe()
        self.paused = True

    def _enter(self, state: ProgressState) -> None:
        self.state = state
        self.paused = False
        self.pending_snapshot = 0
        self.inflight.clear()
