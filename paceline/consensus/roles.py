"""What a node is in its term: follower, candidate or leader, and how it becomes another.

A node that leads has a `Leadership`, one that does not has none; the rest (term, vote, who leads,
whether this node stands) is the `Election`'s to know. This file moves a node from one to the other.
"""

from paceline.consensus.config import CoreConfig
from paceline.consensus.durability import Durability
from paceline.consensus.election import Election
from paceline.consensus.leadership import Leadership
from paceline.consensus.log import Log
from paceline.consensus.messages import NOBODY, Message
from paceline.consensus.outbox import Outbox
from paceline.consensus.quorum import Outcome
from paceline.errors import NotLeader
from paceline.ids import NodeId


class Roles:
    """One node's role. `leadership` is there exactly while it leads."""

    def __init__(
        self,
        *,
        config: CoreConfig,
        log: Log,
        election: Election,
        durability: Durability,
        outbox: Outbox,
    ) -> None:
        self.leadership: Leadership | None = None
        self._config = config
        self._node_id = config.node_id
        self._log = log
        self._election = election
        self._durability = durability
        self._outbox = outbox

    @property
    def role(self) -> str:
        """Answer leader, candidate, pre_candidate, learner or follower."""
        if self.leadership is not None:
            return "leader"
        candidacy = self._election.candidacy
        if candidacy is not None:
            return "pre_candidate" if candidacy.pre else "candidate"
        is_learner = self._node_id in self._log.membership.learners
        return "learner" if is_learner else "follower"

    def lead(self) -> Leadership:
        """Answer the leadership. Raise NotLeader if this node does not lead."""
        if self.leadership is None:
            raise NotLeader(self._election.leader_id or None)
        return self.leadership

    def tick(self, now: int) -> None:
        """Let a tick pass; `now` is its number. Stand, or stop leading, if it is time to."""
        if self.leadership is None:
            if self._election.tick():
                self.stand(pre=True)
        elif not self.leadership.tick():
            self.follow(self._election.term, NOBODY)
        elif self._durability.age(now) >= self._config.stall_ticks:
            self.resign()  # heartbeats would go on for ever, while no write does

    def persisted(self) -> None:
        """Take note that the node's own entries, or its own vote, are durable."""
        if self.leadership is not None:
            self.leadership.replication.persisted()
        elif self._election.count_own_vote():
            self.settle_election()

    def take_turn(self) -> None:
        """Do what a leader does before its messages are made."""
        if self.leadership is not None:
            self.leadership.turn()
            if self.leadership.deposed:
                self.resign()

    def follow(self, term: int, leader_id: NodeId) -> None:
        """Be a follower in that term."""
        self.leadership = None
        self._election.follow(term, leader_id)

    def resign(self) -> None:
        """Stop leading, if there is another voter, and let it stand at once.

        Otherwise the others would wait for a leader that they take for alive.
        """
        if self.leadership is not None and self.leadership.abdicate():
            self.follow(self._election.term, NOBODY)

    def stand(self, *, pre: bool, transfer: bool = False) -> None:
        """Ask the other voters for their votes, or whether they would give them (`pre`)."""
        requests = self._election.stand(pre=pre, transfer=transfer)
        if pre:
            for request in requests:
                self.send_with_term(request)
        else:
            self._outbox.after_sync.extend(requests)
        self.settle_election()

    def settle_election(self) -> None:
        """Act on how the election stands."""
        candidacy = self._election.candidacy
        if candidacy is None:
            return
        outcome = candidacy.outcome(self._log.membership)
        if outcome is Outcome.LOST:
            self._election.lose()
        elif outcome is Outcome.WON and candidacy.pre:
            self.stand(pre=False)
        elif outcome is Outcome.WON:
            self._election.win()
            self.leadership = Leadership(
                config=self._config, log=self._log, term=self._election.term, outbox=self._outbox
            )

    def send_with_term(self, message: Message) -> None:
        """Send what reveals nothing but the term: at once if that is durable."""
        durable = self._durability.term >= self._election.term
        (self._outbox.now if durable else self._outbox.after_sync).append(message)
