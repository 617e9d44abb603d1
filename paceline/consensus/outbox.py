"""What one turn of the core produces besides writes."""

from paceline.consensus.messages import AppendReply, Message
from paceline.consensus.ready import ReadState


class Outbox:
    """Messages and read states of the present turn; see `consensus.ready` for the two lists."""

    def __init__(self) -> None:
        self.now: list[Message] = []
        self.after_sync: list[Message] = []
        self.reads: list[ReadState] = []

    def __bool__(self) -> bool:
        return bool(self.now or self.after_sync or self.reads)

    def acknowledge(self, reply: AppendReply) -> None:
        """Add the answer to an append; it stands for the one before it, of which it says more."""
        before = self.after_sync[-1] if self.after_sync else None
        if (
            isinstance(before, AppendReply)
            and not before.rejected
            and (before.to, before.term) == (reply.to, reply.term)
            and before.match <= reply.match
        ):
            self.after_sync.pop()
        self.after_sync.append(reply)

    def take(self) -> tuple[list[Message], list[Message], list[ReadState]]:
        """Answer what there is, and start over; the lists stay the same objects."""
        taken = (self.now.copy(), self.after_sync.copy(), self.reads.copy())
        self.now.clear()
        self.after_sync.clear()
        self.reads.clear()
        return taken
