"""Who should vote: the leader's decision about the cluster's members, as a pure function.

A picture of the cluster goes in (`Situation`), at most one next step comes out. The steps are safe
by themselves, since each is one membership change of the log (joint consensus where more than one
voter differs); what is decided here is whether a step is *wise*: that the cluster goes on serving
while it is made and survives no fewer failures afterwards.

The rule above all others: a change of voters is begun only if those who answer now are a majority
of the voters as they are and of the voters as they will be. Otherwise the change could not be
committed, and a leader that has begun one it cannot commit has stopped its cluster.

In order of urgency:

1. Who was revoked or has left, by the replicated state, is no member any more.
2. Who wants to leave (or is about to be revoked) is made a learner first, while its voice still
   counts. So a departure is never what a quorum is missing, wherever it is cut short. A leader that
   is to go has a voter lead in its place; where there is none, a learner becomes one.
3. A voter that is missing for longer than a person thinks tolerable is replaced by a learner, in
   one change. It stays a learner: when it is back and has caught up, it is as welcome as any other.
4. Where nobody can take its place, missing voters are taken out only if the cluster survives more
   failures without them: three of four or of five are better off as three of three, while two of
   three are not as two of two.
5. Learners become voters as long as there are fewer than `max_voters`, all that are ready in one
   change. An even number survives no more failures than the odd one below it; it is accepted all
   the same, since each further voter is a disk more that has what is acknowledged, and a voter that
   is gone for long is taken out again (rules 3 and 4). With two, either's failure stops the cluster
   (`status` warns).

Nothing else is a reason: four healthy voters stay four, and a leader never demotes itself as long
as it is wanted.
"""

from collections.abc import Set
from dataclasses import dataclass

from paceline.ids import NodeId


@dataclass(frozen=True, slots=True)
class Situation:
    """The cluster as its leader sees it, outside of a change of membership.

    `answering`: who is heard of and acknowledges entries, the leader among them. `steady`: the
    learners that have been caught up and alive for a moment, the longest first. `missing`: those
    silent for longer than `--replace-after`. `departing`: who asked to leave, or is about to be
    revoked. `gone`: who was revoked or has left; whatever they say is not heard any more.
    """

    leader: NodeId
    voters: frozenset[NodeId]
    learners: frozenset[NodeId]
    answering: frozenset[NodeId]
    steady: tuple[NodeId, ...] = ()
    missing: frozenset[NodeId] = frozenset()
    departing: frozenset[NodeId] = frozenset()
    gone: frozenset[NodeId] = frozenset()
    max_voters: int = 5

    @property
    def unwanted(self) -> frozenset[NodeId]:
        """Answer the members that are on their way out or are out already."""
        return (self.departing | self.gone) & (self.voters | self.learners)

    @property
    def heard(self) -> frozenset[NodeId]:
        """Answer whose acknowledgements count: a revoked node's are refused."""
        return self.answering - self.gone


@dataclass(frozen=True, slots=True)
class Change:
    """Ask the log for these members."""

    voters: frozenset[NodeId]
    learners: frozenset[NodeId]
    reason: str


@dataclass(frozen=True, slots=True)
class HandOver:
    """Have another voter lead."""

    heirs: frozenset[NodeId]
    reason: str


Step = Change | HandOver


def majority(voters: Set[NodeId]) -> int:
    """Answer how many of them decide."""
    return len(voters) // 2 + 1


def tolerance(voters: Set[NodeId], answering: Set[NodeId]) -> int:
    """Answer how many more of the voters may fail; negative = there is no quorum now."""
    return len(voters & answering) - majority(voters)


def feasible(situation: Situation, voters: Set[NodeId]) -> bool:
    """Answer whether a change to these voters can be committed by those who answer now.

    If at most one voter differs, the log needs only the new majority (Ongaro's dissertation,
    section 4.1); the old one decides all the same whether the leader goes on leading meanwhile,
    except where it is alone afterwards and so needs nobody.
    """
    if tolerance(voters, situation.heard) < 0:
        return False
    alone = set(voters) == {situation.leader} and len(situation.voters) <= 2
    return alone or tolerance(situation.voters, situation.heard) >= 0


def decide(situation: Situation) -> Step | None:
    """Answer the one step to make now, or None where all is well or nothing safe can be done."""
    if situation.leader in situation.unwanted:
        return _without_the_leader(situation)
    return (
        _drop_the_gone(situation)
        or _demote_the_departing(situation)
        or _replace_a_missing_one(situation)
        or _shrink(situation)
        or _promote(situation)
    )


def obstacle(situation: Situation, node_id: NodeId, *, forced: bool = False) -> str:
    """Answer why a member cannot go now, in words for a person; empty = it can.

    For one that leaves of its own will nothing is risked. To throw one out (`forced`), others that
    cannot be reached may lose their votes as well, so that those that can be reached go on.
    """
    rest = situation.voters - {node_id}
    if not (rest | situation.learners) - situation.unwanted - {node_id}:
        return "it is the last member"
    if node_id not in situation.voters:
        return ""
    if not rest:
        return "" if _entrants(situation, 1) else "no other node is ready to vote in its place yet"
    if tolerance(rest, situation.heard) >= 0 or (forced and _can_be_forced(situation, node_id)):
        return ""
    silent = ", ".join(sorted(rest - situation.heard))
    return f"without it the cluster would have no quorum, since {silent} cannot be reached"


def _can_be_forced(situation: Situation, node_id: NodeId) -> bool:
    if node_id == situation.leader:
        return bool((situation.voters & situation.heard) - situation.unwanted - {node_id})
    return _viable(situation, situation.voters - {node_id}) is not None


# --- the steps, in order --------------------------------------------------------------------------


def _without_the_leader(situation: Situation) -> Step | None:
    """Let somebody else lead; the next leader does the rest."""
    heirs = (situation.voters & situation.heard) - situation.unwanted
    if heirs:
        return HandOver(heirs, "the leader is on its way out")
    voters = situation.voters | _entrants(situation, 1)
    if voters == situation.voters or not feasible(situation, voters):
        return None
    return _changed(situation, voters, "somebody has to lead instead")


def _drop_the_gone(situation: Situation) -> Step | None:
    """Take out of the members who is none any more. Learners go without further ado."""
    gone = situation.gone & (situation.voters | situation.learners)
    if not gone:
        return None
    voters = None
    if gone & situation.voters:
        voters = _viable(situation, situation.voters - gone)
    if voters is None and feasible(situation, situation.voters):
        voters = situation.voters
    if voters is None:
        return None
    learners = (situation.learners | situation.voters) - voters - gone
    if voters == situation.voters and learners == situation.learners:
        return None
    return Change(voters, learners, "revoked or left")


def _demote_the_departing(situation: Situation) -> Step | None:
    departing = situation.departing & situation.voters
    if not departing:
        return None
    voters = _viable(situation, situation.voters - departing)
    return None if voters is None else _changed(situation, voters, "on its way out")


def _replace_a_missing_one(situation: Situation) -> Step | None:
    missing = sorted(_missing(situation))
    entrants = _entrants(situation, 1)
    if not missing or not entrants:
        return None
    voters = (situation.voters - {missing[0]}) | entrants
    if not feasible(situation, voters):
        return None
    return _changed(situation, voters, f"{missing[0]} is missing")


def _shrink(situation: Situation) -> Step | None:
    """Take missing voters out where that makes the cluster survive more; as few as will do."""
    voters, best = situation.voters, tolerance(situation.voters, situation.heard)
    missing = sorted(_missing(situation))
    for count in range(1, len(missing) + 1):
        fewer = situation.voters - set(missing[:count])
        if tolerance(fewer, situation.heard) > best and feasible(situation, fewer):
            voters, best = fewer, tolerance(fewer, situation.heard)
    if voters == situation.voters:
        return None
    return _changed(situation, voters, "better off without the missing")


def _promote(situation: Situation) -> Step | None:
    room = situation.max_voters - len(situation.voters)
    entrants = _entrants(situation, max(0, room))
    if not entrants or not feasible(situation, situation.voters | entrants):
        return None
    return _changed(situation, situation.voters | entrants, "caught up")


# --- what they are made of ------------------------------------------------------------------------


def _viable(situation: Situation, voters: frozenset[NodeId]) -> frozenset[NodeId] | None:
    """Answer these voters, or those of them that answer, whichever can go on; None = neither.

    Without this a stolen machine could not be thrown out while another one is switched off.
    """
    for candidates in (voters, voters & situation.heard):
        if situation.leader in candidates and feasible(situation, candidates):
            return candidates
    return None


def _missing(situation: Situation) -> frozenset[NodeId]:
    missing = situation.missing & situation.voters
    return missing - situation.answering - {situation.leader}


def _entrants(situation: Situation, count: int) -> frozenset[NodeId]:
    """Answer the learners that may vote next, `count` at most."""
    fit = [
        node_id
        for node_id in situation.steady
        if node_id in situation.learners & situation.heard - situation.unwanted
    ]
    return frozenset(fit[:count])


def _changed(situation: Situation, voters: frozenset[NodeId], reason: str) -> Change:
    """Answer the change to these voters; whoever votes no more is a learner."""
    everybody = situation.voters | situation.learners
    return Change(voters, everybody - voters, reason)
