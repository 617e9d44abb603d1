"""Elections: who is voted for, when to stand, and when to leave a live leader alone.

The paper's rules (section 5.2, 5.4.1) with three additions.

* Pre-vote (dissertation, section 9.6). Before it raises its term, a node asks whether it would be
  voted for. A node that was cut off, or whose log is behind, cannot force an election that way.
* A live leader is left alone (section 4.2.3 and, for the leader's half of the bargain, 6.2): a node
  that heard a leader within the shortest election timeout refuses both kinds of vote. Only an
  election that the leader itself asked for (3.10) is exempt.
* A leader may be forgotten. When the connection to it drops, its process has most likely died, and
  the follower stands within a few ticks instead of waiting out the timeout. Where the leader lives
  after all, the others still hear it and refuse, and its next message is followed again. But that
  message may be the last of a dead process, read after the news of its death; so until another one
  comes the leader is on probation, which is much shorter than the election timeout. Two that forget
  at once may split the vote; each may therefore hurry a few times, and no more.

Nothing is asked and no vote is told before the term and the vote are on disk, and that includes a
candidate's vote for itself: a lone voter that led before its new term was durable could lead
twice in one term.
"""

from random import Random

from paceline.consensus.log import Log
from paceline.consensus.messages import NOBODY, Membership, Message, VoteReply, VoteRequest
from paceline.consensus.quorum import Outcome, outcome, voters_of
from paceline.ids import NodeId

HURRIES = 2
"""How often a node stands early after it has forgotten its leader and was then refused."""


class ElectionTimer:
    """Counts ticks of silence up to a random timeout in [base, 2 * base)."""

    def __init__(self, base_ticks: int, random: Random) -> None:
        self._base_ticks = base_ticks
        self._random = random
        self.elapsed = 0
        self.timeout = base_ticks
        self.restart()

    @property
    def fresh(self) -> bool:
        """Answer whether less than the shortest timeout has passed since the last restart."""
        return self.elapsed < self._base_ticks

    def restart(self) -> None:
        """Begin anew with a new random timeout."""
        self.elapsed = 0
        self.timeout = self._random.randrange(self._base_ticks, 2 * self._base_ticks)

    def hurry(self, most_ticks: int) -> None:
        """Begin anew with a random timeout of at least one tick and at most `most_ticks`."""
        self.elapsed = 0
        self.timeout = self._random.randint(1, most_ticks)

    def shorten(self, ticks: int, most_ticks: int) -> None:
        """Begin anew as if most of the timeout had passed: `fresh` for only so many ticks more."""
        self.hurry(most_ticks)
        self.elapsed = max(0, self._base_ticks - ticks)
        self.timeout += self._base_ticks

    def tick(self) -> bool:
        """Count a tick; answer whether time is up."""
        self.elapsed += 1
        return self.elapsed >= self.timeout


class Candidacy:
    """One (pre-)election in which this node stands."""

    def __init__(self, *, pre: bool, transfer: bool) -> None:
        self.pre = pre
        self.transfer = transfer
        self.votes: dict[NodeId, bool] = {}
        self.hurried = False

    def outcome(self, membership: Membership) -> Outcome:
        """Answer how it stands."""
        return outcome(membership, self.votes)


class Election:
    """Term, vote, leader and candidacy of one node."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        log: Log,
        term: int,
        vote: NodeId,
        timer: ElectionTimer,
        hurry_ticks: int,
        probation_ticks: int,
    ) -> None:
        self._node_id = node_id
        self._log = log
        self._hurry_ticks = hurry_ticks
        self._probation_ticks = probation_ticks
        self._hurries_left = 0
        self._forgotten = NOBODY
        self._heard_at = 0
        self.term = term
        self.vote = vote
        self.leader_id = NOBODY
        self.timer = timer
        self.candidacy: Candidacy | None = None

    @property
    def leader_lives(self) -> bool:
        """Answer whether a leader was heard too recently for anybody to stand against it."""
        return self.leader_id != NOBODY and self.timer.fresh

    @property
    def may_stand(self) -> bool:
        """Answer whether this node is a voter as far as is committed, or by what is not yet.

        A voter whose removal is not committed must still stand (4.2.2): it may be the only one with
        the entry that removes it, and then nobody else gets its vote. Its own vote does not count.
        """
        return self._log.is_voter(self._node_id)

    def tick(self) -> bool:
        """Count a tick of silence; answer whether it is time to stand.

        A lone voter waits for nobody: whoever else might lead would need its vote.
        """
        alone = voters_of(self._log.membership) == (self._node_id,)
        up = self.timer.tick() or (alone and self.candidacy is None)
        return up and self.may_stand

    # --- following --------------------------------------------------------------------------------

    def follow(self, term: int, leader_id: NodeId) -> None:
        """Be a follower in `term`. The vote is kept unless the term is new: one vote per term.

        The timer goes on if this node was waiting for a leader anyway, so that somebody who cannot
        win does not keep the others from standing.
        """
        waiting = self.candidacy is None and self.leader_id == NOBODY == leader_id
        if term > self.term:
            self.term = term
            self._forgotten = NOBODY
            self.vote = NOBODY
        self.candidacy = None
        self.leader_id = leader_id
        if not waiting:
            self.timer.restart()

    def lose(self) -> None:
        """Give the candidacy up. The timer goes on: it was started when this node stood."""
        self.candidacy = None

    def win(self) -> None:
        """Be the leader of this term."""
        self.candidacy = None
        self.leader_id = self._node_id
        self._hurries_left = 0
        self.timer.restart()

    def hear(self, leader_id: NodeId) -> None:
        """Take note of a message of the current term's leader."""
        if self._forgotten == leader_id:
            self._hear_again(leader_id)
        elif self.leader_id == leader_id:
            self.timer.elapsed = 0
        else:
            self.follow(self.term, leader_id)
            self._hurries_left = 0

    def _hear_again(self, leader_id: NodeId) -> None:
        """Follow a leader that was taken for dead; believe it when it is heard a second time."""
        if self.leader_id != leader_id:
            self.follow(self.term, leader_id)
            self.timer.shorten(self._probation_ticks, self._hurry_ticks)
            self._heard_at = self.timer.elapsed
        elif self.timer.elapsed > self._heard_at:  # not just more of what was on its way
            self._forgotten = NOBODY
            self._hurries_left = 0
            self.timer.restart()

    def forget_leader(self) -> None:
        """Take the leader for dead, in the same term, and stand soon."""
        self._forgotten, self.leader_id = self.leader_id, NOBODY
        self._hurries_left = HURRIES
        self.timer.hurry(self._hurry_ticks)

    # --- voting -----------------------------------------------------------------------------------

    def consider(self, request: VoteRequest) -> VoteReply:
        """Vote on a request of this term (or, for a pre-vote, of any term not below it).

        Membership is not asked: a voter may not know yet that it is one, and the candidate counts
        only the votes of voters. Granting a pre-vote promises nothing and so changes nothing.
        """
        ahead = request.pre and request.term > self.term
        free = self.vote == request.sender or self.vote == self.leader_id == NOBODY
        granted = (free or ahead) and self._log.is_up_to_date(request.last_index, request.last_term)
        if granted and not request.pre:
            self.vote = request.sender
            self.timer.restart()
        return self._reply(request, granted)

    def refuse(self, request: VoteRequest) -> VoteReply:
        """Answer a request with a no that tells this node's term."""
        return self._reply(request, granted=False)

    def _reply(self, request: VoteRequest, granted: bool) -> VoteReply:
        term = request.term if granted else self.term
        return VoteReply(self._node_id, request.sender, term, granted, request.pre)

    # --- standing ---------------------------------------------------------------------------------

    def stand(self, *, pre: bool, transfer: bool = False) -> list[VoteRequest]:
        """Become a (pre-)candidate; answer the requests to send to the other voters.

        The own pre-vote counts at once, the own vote when it is durable (`count_own_vote`).
        """
        self.candidacy = Candidacy(pre=pre, transfer=transfer)
        self.leader_id = NOBODY
        self.timer.restart()
        if pre:
            self.candidacy.votes[self._node_id] = True
        else:
            self.term += 1
            self.vote = self._node_id
        term = self.term + 1 if pre else self.term
        log = self._log
        return [
            VoteRequest(self._node_id, voter, term, log.last_index, log.last_term, pre, transfer)
            for voter in voters_of(log.membership)
            if voter != self._node_id
        ]

    def count_own_vote(self) -> bool:
        """Take note that this node's vote for itself is on disk; answer whether there is one."""
        if self.candidacy is None or self.candidacy.pre:
            return False
        self.candidacy.votes[self._node_id] = True
        return True

    def count(self, reply: VoteReply) -> None:
        """Take note of somebody's vote; only the first one of each counts."""
        candidacy = self.candidacy
        if candidacy is None or candidacy.pre != reply.pre:
            return
        if reply.pre and reply.granted and reply.term != self.term + 1:
            return  # granted to an earlier attempt, from before this node's term rose
        candidacy.votes.setdefault(reply.sender, reply.granted)
        if not reply.granted and not candidacy.hurried and self._hurries_left > 0:
            candidacy.hurried = True
            self._hurries_left -= 1
            self.timer.hurry(2 * self._hurry_ticks)


def is_prospective(message: Message) -> bool:
    """Answer whether the message's term is one that nobody has entered yet (a pre-vote's)."""
    if isinstance(message, VoteRequest):
        return message.pre
    return isinstance(message, VoteReply) and message.pre and message.granted
