"""Majorities, compared with a twin that tries every set of voters."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.consensus.messages import Membership
from paceline.consensus.quorum import Outcome, is_quorum, outcome, reached, voters_of

NODES = "abcdefg"
sets_of_voters = st.sets(st.sampled_from(NODES), min_size=1, max_size=5)
memberships = st.builds(
    lambda voters, outgoing, learners: Membership(
        voters=tuple(sorted(voters)),
        outgoing=tuple(sorted(outgoing)),
        learners=tuple(sorted(learners - voters - outgoing)),
        learners_next=tuple(sorted(learners & outgoing - voters)),
    ),
    sets_of_voters,
    st.one_of(st.just(set[str]()), sets_of_voters),
    st.sets(st.sampled_from(NODES)),
)
"""Learners are there to be ignored."""
numbers = st.dictionaries(st.sampled_from(NODES), st.integers(0, 9))
votes = st.dictionaries(st.sampled_from(NODES), st.booleans())


def majorities(voters: tuple[str, ...]) -> list[set[str]]:
    needed = len(voters) // 2 + 1
    return [
        set(group)
        for size in range(needed, len(voters) + 1)
        for group in combinations(voters, size)
    ]


def decides(membership: Membership, nodes: set[str]) -> bool:
    """The twin: some majority of each half is within the nodes."""
    halves = [membership.voters, *([membership.outgoing] if membership.outgoing else [])]
    return all(any(group <= nodes for group in majorities(half)) for half in halves)


@settings(deadline=None)
@given(memberships, numbers)
def test_the_number_reached_is_the_largest_that_some_quorum_has(
    membership: Membership, values: dict[str, int]
) -> None:
    expected = max(
        number
        for number in range(10)
        if decides(membership, {node for node in NODES if values.get(node, 0) >= number})
    )
    assert reached(membership, values) == expected


@settings(deadline=None)
@given(memberships, votes)
def test_an_election_is_won_or_lost_as_soon_as_no_vote_can_change_it(
    membership: Membership, cast: dict[str, bool]
) -> None:
    yes = {node for node, granted in cast.items() if granted}
    missing = set(NODES) - set(cast)
    if decides(membership, yes):
        expected = Outcome.WON
    elif decides(membership, yes | missing):
        expected = Outcome.OPEN
    else:
        expected = Outcome.LOST
    assert outcome(membership, cast) is expected


@settings(deadline=None)
@given(memberships, st.sets(st.sampled_from(NODES)))
def test_a_quorum_is_a_majority_of_each_half(membership: Membership, nodes: set[str]) -> None:
    assert is_quorum(membership, nodes) == decides(membership, nodes)


def test_without_voters_nothing_is_decided() -> None:
    nobody = Membership()
    assert reached(nobody, {"a": 7}) == 0
    assert outcome(nobody, {"a": True}) is Outcome.LOST
    assert not is_quorum(nobody, {"a"})


def test_in_the_joint_state_both_halves_vote() -> None:
    joint = Membership(voters=("b", "c"), outgoing=("a", "b"), learners=("d",))
    assert voters_of(joint) == ("a", "b", "c")
    assert voters_of(Membership(voters=("b",), learners=("a",))) == ("b",)
