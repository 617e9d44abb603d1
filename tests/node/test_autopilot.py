"""What the autopilot sees and remembers; what it decides from that is in `test_electorate`."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from paceline.consensus.config import PeerProgress
from paceline.consensus.messages import Membership
from paceline.consensus.replica import ReplicaStatus
from paceline.errors import NotLeader, Unavailable
from paceline.node.autopilot import (
    HAND_OVER_MS,
    LAG_ENTRIES,
    LINGER_MS,
    SETTLED_MS,
    STABLE_MS,
    Autopilot,
    caught_up,
)
from paceline.node.electorate import Change, HandOver
from paceline.node.replica_loop import ReplicaLoop
from tests.clocks import ManualClock

ONE_AND_A_LEARNER = Membership(voters=("a",), learners=("b",))
THREE_AND_A_LEARNER = Membership(voters=("a", "b", "c"), learners=("d",))
REPLACE_MS = 300_000
PROMOTED = frozenset({"a", "b"})


def status(
    role: str = "leader",
    match: int = 100,
    membership: Membership = ONE_AND_A_LEARNER,
    term: int = 1,
) -> ReplicaStatus:
    peers = tuple(
        PeerProgress(node_id, match, match + 1, "replicate", recently_active=True)
        for node_id in membership.members
        if node_id != "a"
    )
    return ReplicaStatus(
        node_id="a",
        role=role,
        term=term,
        leader_id="a",
        commit_index=100,
        applied_index=100,
        last_index=100,
        membership=membership,
        quorum_active=True,
        peers=peers,
        pending=0,
        stalled=False,
    )


class FixedLoop(ReplicaLoop):
    """A loop whose status is what the test says."""

    def refresh(self) -> None:
        """Keep it."""


def pilot(
    clock: ManualClock,
    *,
    alive: Callable[[str], bool] = lambda node_id: True,
    max_voters: int = 5,
    revoked: frozenset[str] = frozenset(),
    left: frozenset[str] = frozenset(),
) -> Autopilot:
    async def make() -> Autopilot:
        loop = FixedLoop(clock=clock)
        loop.status = status()
        return Autopilot(
            replicas=loop,
            alive=alive,
            clock=clock,
            max_voters=max_voters,
            replace_after_ms=REPLACE_MS,
            revoked=lambda: revoked,
            left=lambda: left,
        )

    return asyncio.run(make())


def voters_after(
    autopilot: Autopilot, clock: ManualClock, seen: ReplicaStatus
) -> frozenset[str] | None:
    """Answer what it wants after having seen the same for long enough; None = no change."""
    autopilot.next_step(seen)
    clock.advance(STABLE_MS)
    step = autopilot.next_step(seen)
    return step.voters if isinstance(step, Change) else None


def test_a_learner_that_is_caught_up_and_stable_is_promoted() -> None:
    clock = ManualClock()
    autopilot = pilot(clock)
    assert autopilot.next_step(status()) is None, "not before it has been stable"
    clock.advance(STABLE_MS)
    assert autopilot.next_step(status()) == Change(PROMOTED, frozenset(), "caught up")


def test_one_that_lags_or_is_silent_is_not() -> None:
    clock = ManualClock()
    behind = status(match=100 - LAG_ENTRIES - 1)
    assert caught_up(behind) == frozenset()
    assert voters_after(pilot(clock), clock, behind) is None
    assert voters_after(pilot(clock, alive=lambda node_id: False), clock, status()) is None


def test_there_are_never_more_voters_than_wanted() -> None:
    clock = ManualClock()
    assert voters_after(pilot(clock, max_voters=1), clock, status()) is None


def test_only_the_leader_decides_and_not_in_the_middle_of_a_change() -> None:
    clock = ManualClock()
    assert voters_after(pilot(clock), clock, status(role="follower")) is None
    joint = status(membership=Membership(("a", "c"), ("b",), outgoing=("a",)))
    assert voters_after(pilot(clock), clock, joint) is None


def test_a_lapse_starts_the_wait_anew() -> None:
    clock = ManualClock()
    autopilot = pilot(clock)
    autopilot.next_step(status())
    clock.advance(STABLE_MS)
    autopilot.next_step(status(match=-LAG_ENTRIES - 1))
    assert autopilot.next_step(status()) is None


def test_a_new_term_starts_all_waits_anew() -> None:
    clock = ManualClock()
    autopilot = pilot(clock)
    autopilot.next_step(status())
    clock.advance(STABLE_MS)
    assert autopilot.next_step(status(term=2)) is None


def test_a_voter_counts_as_missing_after_the_time_that_was_set() -> None:
    clock = ManualClock()
    autopilot = pilot(clock, max_voters=3, alive=lambda node_id: node_id != "c")
    seen = status(membership=THREE_AND_A_LEARNER)
    autopilot.next_step(seen)
    clock.advance(REPLACE_MS - 1)
    assert autopilot.next_step(seen) is None
    clock.advance(1)
    step = autopilot.next_step(seen)
    assert step == Change(frozenset("abd"), frozenset("c"), "c is missing")


def test_a_voter_that_was_heard_of_meanwhile_is_not_missing() -> None:
    clock = ManualClock()
    silent = {"c"}
    autopilot = pilot(clock, max_voters=3, alive=lambda node_id: node_id not in silent)
    seen = status(membership=THREE_AND_A_LEARNER)
    autopilot.next_step(seen)
    clock.advance(REPLACE_MS - 1)
    silent.clear()
    autopilot.next_step(seen)
    silent.add("c")
    clock.advance(REPLACE_MS - 1)
    assert autopilot.next_step(seen) is None


def test_one_that_beats_but_acknowledges_nothing_does_not_answer() -> None:
    clock = ManualClock()
    seen = status(membership=Membership(voters=("a", "b", "c")))
    deaf = tuple(replace(peer, recently_active=peer.node_id != "c") for peer in seen.peers)
    situation = pilot(clock).situation(replace(seen, peers=deaf))
    assert situation.answering == frozenset("ab")


def test_the_revoked_are_taken_out_at_once() -> None:
    clock = ManualClock()
    autopilot = pilot(clock, revoked=frozenset("b"))
    step = autopilot.next_step(status())
    assert step == Change(frozenset("a"), frozenset(), "revoked or left")


def test_who_has_left_may_linger_to_hear_of_it_but_never_votes_again() -> None:
    clock = ManualClock()
    autopilot = pilot(clock, left=frozenset("b"))
    autopilot.next_step(status())
    clock.advance(LINGER_MS - 1)
    assert autopilot.next_step(status()) is None
    clock.advance(1)
    assert autopilot.next_step(status()) == Change(frozenset("a"), frozenset(), "revoked or left")


def test_a_leader_of_a_moment_does_not_say_that_others_are_missing() -> None:
    clock = ManualClock()
    autopilot = pilot(clock, alive=lambda node_id: node_id != "c")
    seen = status(membership=Membership(voters=("a", "b", "c")))
    autopilot._replicas.status = seen
    autopilot.next_step(seen)
    assert autopilot.obstacle("c") == ""
    with pytest.raises(Unavailable, match="c cannot be reached"):
        autopilot.obstacle("b")
    clock.advance(SETTLED_MS)
    assert "c cannot be reached" in autopilot.obstacle("b")


def test_obstacles_are_told_by_the_leader_only() -> None:
    clock = ManualClock()
    autopilot = pilot(clock)
    autopilot.next_step(status())
    clock.advance(SETTLED_MS)
    assert autopilot.obstacle("b") == ""
    autopilot._replicas.status = status(match=-LAG_ENTRIES - 1)
    assert "ready to vote" in autopilot.obstacle("a")
    autopilot._replicas.status = status(role="follower")
    with pytest.raises(NotLeader):
        autopilot.obstacle("b")
    autopilot._replicas.status = status(membership=Membership(("a", "c"), ("b",), outgoing=("a",)))
    with pytest.raises(Unavailable, match="under way"):
        autopilot.obstacle("b")


def test_a_departing_voter_is_without_vote_inside_the_block_and_not_promoted() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        loop = FixedLoop(clock=clock)
        loop.status = status(membership=Membership(voters=("a", "b")))
        autopilot = Autopilot(
            replicas=loop,
            alive=lambda node_id: True,
            clock=clock,
            max_voters=5,
            replace_after_ms=REPLACE_MS,
            revoked=frozenset,
            left=frozenset,
        )
        entered = asyncio.Event()

        async def see_off() -> None:
            async with autopilot.without_vote("b"):
                entered.set()
                assert voters_after(autopilot, clock, loop.status) is None

        waiting = asyncio.create_task(see_off())
        await asyncio.sleep(0)
        step = autopilot.next_step(loop.status)
        assert step == Change(frozenset("a"), frozenset("b"), "on its way out")
        assert not entered.is_set()
        loop.status = status()
        looking = asyncio.create_task(autopilot.run())
        await waiting
        assert entered.is_set()
        looking.cancel()
        assert voters_after(autopilot, clock, loop.status) == PROMOTED, "afterwards it may again"

    asyncio.run(scenario())


def test_a_transfer_under_way_is_left_alone() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        loop = FixedLoop(clock=clock)
        loop.status = status(membership=Membership(voters=("a", "b", "c")))
        started: list[str] = []
        loop.replica = Transfers(started)  # type: ignore[assignment]  # only `transfer` is used
        autopilot = Autopilot(
            replicas=loop,
            alive=lambda node_id: True,
            clock=clock,
            max_voters=5,
            replace_after_ms=REPLACE_MS,
            revoked=frozenset,
            left=frozenset,
        )
        step = HandOver(frozenset("bc"), "the leader is on its way out")
        for _ in range(3):
            await autopilot._make(step)
        assert len(started) == 1
        clock.advance(HAND_OVER_MS)
        await autopilot._make(step)
        assert len(started) == 2

    asyncio.run(scenario())


class Transfers:
    """Takes note of what it is asked."""

    def __init__(self, started: list[str]) -> None:
        self.transfer = started.append

    def pump(self) -> None:
        """Have nothing to do."""


def test_a_departing_leader_hands_over() -> None:
    clock = ManualClock()
    autopilot = pilot(clock)
    autopilot._departing["a"] += 1
    step = autopilot.next_step(status(membership=Membership(voters=("a", "b"))))
    assert isinstance(step, HandOver)
    assert step.heirs == {"b"}
