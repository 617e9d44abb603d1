"""When a learner becomes a voter."""

import asyncio

from paceline.consensus.config import PeerProgress
from paceline.consensus.messages import Membership
from paceline.consensus.replica import ReplicaStatus
from paceline.node.autopilot import LAG_ENTRIES, STABLE_MS, Autopilot, caught_up
from paceline.node.replica_loop import ReplicaLoop
from tests.clocks import ManualClock

ONE_AND_A_LEARNER = Membership(voters=("a",), learners=("b",))


def status(
    role: str = "leader", match: int = 100, membership: Membership = ONE_AND_A_LEARNER
) -> ReplicaStatus:
    peer = PeerProgress("b", match, match + 1, "replicate", recently_active=True)
    return ReplicaStatus(
        node_id="a",
        role=role,
        term=1,
        leader_id="a",
        commit_index=100,
        applied_index=100,
        last_index=100,
        membership=membership,
        quorum_active=True,
        peers=(peer,),
        pending=0,
        stalled=False,
    )


def pilot(clock: ManualClock, *, alive: bool = True, max_voters: int = 5) -> Autopilot:
    async def make() -> Autopilot:
        loop = ReplicaLoop(clock=clock)
        return Autopilot(
            replicas=loop, alive=lambda node_id: alive, clock=clock, max_voters=max_voters
        )

    return asyncio.run(make())


def promoted_after(autopilot: Autopilot, clock: ManualClock, seen: ReplicaStatus) -> str | None:
    """Answer whom it would promote after having seen the same for long enough."""
    autopilot.candidate(seen)
    clock.advance(STABLE_MS)
    return autopilot.candidate(seen)


def test_a_learner_that_is_caught_up_and_stable_is_promoted() -> None:
    clock = ManualClock()
    autopilot = pilot(clock)
    assert autopilot.candidate(status()) is None, "not before it has been stable"
    clock.advance(STABLE_MS)
    assert autopilot.candidate(status()) == "b"


def test_one_that_lags_or_is_silent_is_not() -> None:
    clock = ManualClock()
    behind = status(match=100 - LAG_ENTRIES - 1)
    assert caught_up(behind) == frozenset()
    assert promoted_after(pilot(clock), clock, behind) is None
    assert promoted_after(pilot(clock, alive=False), clock, status()) is None


def test_there_are_never_more_voters_than_wanted() -> None:
    clock = ManualClock()
    assert promoted_after(pilot(clock, max_voters=1), clock, status()) is None


def test_only_the_leader_decides_and_not_in_the_middle_of_a_change() -> None:
    clock = ManualClock()
    assert promoted_after(pilot(clock), clock, status(role="follower")) is None
    joint = status(membership=Membership(("a", "c"), ("b",), outgoing=("a",)))
    assert promoted_after(pilot(clock), clock, joint) is None


def test_a_lapse_starts_the_wait_anew() -> None:
    clock = ManualClock()
    autopilot = pilot(clock)
    autopilot.candidate(status())
    clock.advance(STABLE_MS)
    autopilot.candidate(status(match=-LAG_ENTRIES - 1))
    assert autopilot.candidate(status()) is None
