"""Whoever runs the cluster: changes its members and hands leadership over, at bad moments too.

The operator asks whichever node says that it leads, and does not wait for the answer. It never
makes a cluster that cannot work: among the voters it asks for, a majority has a disk.
"""

import random
from collections.abc import Callable, Sequence
from typing import Protocol

from paceline.consensus.messages import Membership
from paceline.consensus.replica import Decision
from tests.sim.world import MILLISECOND, World

Change = Callable[[tuple[str, ...], tuple[str, ...]], None]


class Member(Protocol):
    """What the operator sees of a process."""

    name: str
    up: bool

    @property
    def lost(self) -> bool:
        """Answer whether it can never come back."""
        ...

    @property
    def leads(self) -> bool:
        """Answer whether it says that it leads."""
        ...

    @property
    def term(self) -> int:
        """Answer its term."""
        ...

    @property
    def membership(self) -> Membership:
        """Answer the membership in force there."""
        ...

    def change_membership(
        self, voters: Sequence[str], learners: Sequence[str], done: Callable[[Decision], None]
    ) -> None:
        """Ask for a change."""
        ...

    def transfer(self, to: str) -> None:
        """Ask it to hand over."""
        ...


class Operator:
    """Acts at random until `stop`. `add` starts a fresh node and answers its name, or None."""

    def __init__(
        self,
        *,
        world: World,
        members: Callable[[], Sequence[Member]],
        add: Callable[[], str | None],
        kinds: Sequence[str],
        every_ms: int,
        max_voters: int,
    ) -> None:
        self._world = world
        self._members = members
        self._add = add
        self._kinds = [ACTIONS[kind] for kind in kinds]
        self._every_ms = every_ms
        self._max_voters = max_voters
        self._random: random.Random = world.random("operator")
        self._stopped = False

    def start(self) -> None:
        """Begin to act."""
        if self._kinds:
            self._next()

    def stop(self) -> None:
        """Change nothing more."""
        self._stopped = True

    def _next(self) -> None:
        pause_us = self._random.randint(1, 2 * self._every_ms) * MILLISECOND
        self._world.after(pause_us, self._act)

    def _act(self) -> None:
        if self._stopped:
            return
        leader = self.leader()
        if leader is not None:
            self._random.choice(self._kinds)(self, leader)
        self._next()

    def leader(self) -> Member | None:
        """Answer who leads in the highest term, if anybody says so."""
        leaders = [member for member in self._members() if member.up and member.leads]
        return max(leaders, key=lambda member: member.term, default=None)

    # --- actions ----------------------------------------------------------------------------------

    def transfer(self, leader: Member) -> None:
        """Hand leadership to somebody, be it a learner or one who is down."""
        others = [member.name for member in self._members() if member is not leader]
        if others:
            to = self._random.choice(others)
            self._world.tell("operator", "transfer", leader.name, to)
            leader.transfer(to)

    def add_learner(self, leader: Member) -> None:
        """Let a fresh node join."""
        now = leader.membership
        if now.joint:
            return
        name = self._add()
        if name is not None:
            self._ask(leader, list(now.voters), [*now.learners, name])

    def promote(self, leader: Member) -> None:
        """Make a learner a voter, caught up or not."""
        now = leader.membership
        if now.learners and len(now.voters) < self._max_voters:
            name = self._random.choice(now.learners)
            rest = [learner for learner in now.learners if learner != name]
            self._ask(leader, [*now.voters, name], rest)

    def demote(self, leader: Member) -> None:
        """Make a voter a learner; often that is the leader itself."""
        now = leader.membership
        name = self._random.choice((leader.name, *now.voters))
        if name in now.voters:
            voters = [voter for voter in now.voters if voter != name]
            self._ask(leader, voters, [*now.learners, name])

    def remove(self, leader: Member) -> None:
        """Remove a member: one whose disk is lost if there is one, else anybody."""
        now = leader.membership
        members = self._members()
        lost = [member.name for member in members if member.lost and member.name in now.members]
        name = self._random.choice(lost or now.members)
        voters = [voter for voter in now.voters if voter != name]
        self._ask(leader, voters, [learner for learner in now.learners if learner != name])

    def swap(self, leader: Member) -> None:
        """Ask for quite another set of voters and learners, out of the members there are."""
        now = leader.membership
        names = list(now.members)
        self._random.shuffle(names)
        size = self._random.randint(1, min(len(names), self._max_voters))
        keep = self._random.randint(size, len(names))
        self._ask(leader, names[:size], names[size:keep])

    def replace(self, leader: Member) -> None:
        """Replace a voter by a fresh node in one step."""
        now = leader.membership
        if now.joint:
            return
        out = self._random.choice(now.voters)
        name = self._add()
        if name is not None:
            voters = [*(voter for voter in now.voters if voter != out), name]
            self._ask(leader, voters, list(now.learners))

    def _ask(self, leader: Member, voters: list[str], learners: list[str]) -> None:
        lost = {member.name for member in self._members() if member.lost}
        if not voters or sum(voter in lost for voter in voters) * 2 >= len(voters):
            return
        wanted = tuple(sorted(voters)), tuple(sorted(learners))
        self._world.tell("operator", "change", leader.name, " ".join(wanted[0]), *wanted[1])
        leader.change_membership(*wanted, self._hear)

    def _hear(self, decision: Decision) -> None:
        error = "" if decision.error is None else type(decision.error).__name__
        self._world.tell("operator heard", decision.index, error)


ACTIONS: dict[str, Callable[[Operator, Member], None]] = {
    "transfer": Operator.transfer,
    "add_learner": Operator.add_learner,
    "promote": Operator.promote,
    "demote": Operator.demote,
    "remove": Operator.remove,
    "swap": Operator.swap,
    "replace": Operator.replace,
}
"""Everything an operator does, by its name, in a fixed order."""
