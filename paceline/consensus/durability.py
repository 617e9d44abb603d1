"""What this node has written, and what of it is on the disk.

Disks are asynchronous here: a second write may be handed out before the first is done. Everything
that depends on a write waits for its token. A token of an earlier term is not believed about
entries: those that it covered may have been replaced since, and put back again by a later write
that is not done (the ABA problem of asynchronous appends). Nothing is lost by that: the change of
term is itself a later write, and its token covers the whole log as it was then. Within one term the
log matching property leaves no room for it: what has the last entry in common has all before it.
"""

from collections import deque

from paceline.consensus.log import Log
from paceline.consensus.messages import HardState
from paceline.consensus.ready import PersistToken
from paceline.ids import NodeId


class Durability:
    """The writes of one node's hard state and log that are under way or done."""

    def __init__(self, log: Log, stored: HardState) -> None:
        self._log = log
        self._written = stored
        self._under_way: deque[tuple[PersistToken, int]] = deque()
        self.term = stored.term
        """The latest term that is on the disk."""

    def changed_hard_state(self, term: int, vote: NodeId, *, writing: bool) -> HardState | None:
        """Answer the hard state if it must be written, or can be along with something else.

        A new commit index alone is not worth a write: after a restart the leader tells it again.
        """
        written, commit = self._written, self._log.commit_index
        if (
            written.term == term
            and written.vote == vote
            and (written.commit == commit or not writing)
        ):
            return None
        self._written = HardState(term, vote, commit)
        return self._written

    @property
    def pending(self) -> bool:
        """Answer whether a write is under way."""
        return bool(self._under_way)

    def begin(self, term: int, now: int) -> PersistToken:
        """Answer the token of a write that begins at tick `now`."""
        token = PersistToken(term, self._log.last_index, self._log.last_term)
        self._under_way.append((token, now))
        return token

    def age(self, now: int) -> int:
        """Answer for how many ticks the oldest write has been under way."""
        return now - self._under_way[0][1] if self._under_way else 0

    def complete(self, token: PersistToken, term: int) -> bool:
        """Take note that a write, and every earlier one, is done; answer if it is of this term."""
        if all(waiting != token for waiting, _ in self._under_way):
            return False
        while self._under_way.popleft()[0] != token:
            pass
        self.term = max(self.term, token.term)
        if token.term != term:
            return False
        self._log.persisted(token.last_index, token.last_term)
        return True
