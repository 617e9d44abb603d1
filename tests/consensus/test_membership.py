"""Steps of membership change: each is safe by itself, and the trail remembers them all."""

from itertools import combinations, pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from paceline.consensus.membership import (
    MembershipTrail,
    decode_membership,
    encode_membership,
    leave_joint,
    memberships_in,
    next_membership,
)
from paceline.consensus.messages import Entry, EntryKind, Membership
from paceline.consensus.quorum import is_quorum
from paceline.errors import Conflict, InputError, ProtocolError

NODES = "abcde"
ABC = Membership(voters=("a", "b", "c"))
targets = st.tuples(
    st.sets(st.sampled_from(NODES), min_size=1), st.sets(st.sampled_from(NODES))
).map(lambda pair: (pair[0], pair[1] - pair[0]))


def quorums(membership: Membership) -> list[set[str]]:
    groups = (set(g) for size in range(6) for g in combinations(NODES, size))
    return [group for group in groups if is_quorum(membership, group)]


@settings(deadline=None)
@given(targets, targets, st.booleans())
def test_any_quorum_before_a_step_shares_a_node_with_any_quorum_after_it(
    before: tuple[set[str], set[str]], after: tuple[set[str], set[str]], joint: bool
) -> None:
    current = next_membership(Membership(voters=tuple(sorted(before[0]))), *before)
    step = next_membership(current, *after, joint=joint)
    steps = [current, step] + ([leave_joint(step)] if step.joint else [])
    for one, other in pairwise(steps):
        assert all(a & b for a in quorums(one) for b in quorums(other))
    assert steps[-1] == Membership(tuple(sorted(after[0])), tuple(sorted(after[1])))


@settings(deadline=None)
@given(targets, targets)
def test_the_joint_state_is_used_only_for_more_than_one_voter(
    before: tuple[set[str], set[str]], after: tuple[set[str], set[str]]
) -> None:
    current = Membership(tuple(sorted(before[0])), tuple(sorted(before[1])))
    step = next_membership(current, *after)
    assert step.joint == (len(before[0] ^ after[0]) > 1)
    assert step.auto_leave == step.joint


@settings(deadline=None)
@given(targets, targets)
def test_nobody_is_voter_and_learner_at_once(
    before: tuple[set[str], set[str]], after: tuple[set[str], set[str]]
) -> None:
    current = Membership(tuple(sorted(before[0])), tuple(sorted(before[1])))
    step = next_membership(current, *after, joint=True)
    voting = {*step.voters, *step.outgoing}
    assert not voting & set(step.learners)
    assert set(step.learners_next) <= set(step.outgoing)
    assert set(step.members) == voting | set(step.learners)


def test_a_leaving_voter_becomes_a_learner_only_when_the_joint_state_is_left() -> None:
    step = next_membership(ABC, ["a", "d"], ["b", "e"])
    assert step == Membership(("a", "d"), ("e",), ("a", "b", "c"), ("b",), auto_leave=True)
    assert leave_joint(step) == Membership(("a", "d"), ("b", "e"))


def test_one_voter_may_become_a_learner_in_one_step() -> None:
    assert next_membership(ABC, ["a", "b"], ["c"]) == Membership(("a", "b"), ("c",))


def test_only_leaving_is_possible_in_a_joint_state_that_lasts() -> None:
    joint = next_membership(ABC, ["a", "b", "c", "d"], [], joint=True, auto_leave=False)
    with pytest.raises(Conflict):
        next_membership(joint, ["a", "b", "c"], [])
    assert next_membership(joint, ["d", "c", "b", "a"], []) == leave_joint(joint)


def test_a_joint_state_that_ends_by_itself_is_left_alone() -> None:
    joint = next_membership(ABC, ["a", "b", "c", "d"], [], joint=True)
    with pytest.raises(Conflict):
        next_membership(joint, ["a", "b", "c", "d"], [])


@pytest.mark.parametrize(("voters", "learners"), [([], ["a"]), (["a"], ["a"])])
def test_sets_that_make_no_sense_are_refused(voters: list[str], learners: list[str]) -> None:
    with pytest.raises(InputError):
        next_membership(ABC, voters, learners)


def test_a_membership_entry_carries_all_of_it() -> None:
    joint = next_membership(ABC, ["a", "d"], ["b"])
    assert decode_membership(encode_membership(joint)) == joint
    with pytest.raises(ProtocolError):
        memberships_in([Entry(1, 1, int(EntryKind.MEMBERSHIP), b"nonsense")])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), targets), max_size=8), st.data())
def test_the_trail_agrees_with_a_list_of_all_indexes(
    steps: list[tuple[int, tuple[set[str], set[str]]]], data: st.DataObject
) -> None:
    """The twin knows the membership of every index; truncation cuts it, compaction its start."""
    first = Membership(voters=("a",))
    trail, twin = MembershipTrail(0, first), [first]
    for gap, (voters, learners) in steps:
        twin += [twin[-1]] * (gap - 1)
        membership = Membership(tuple(sorted(voters)), tuple(sorted(learners)))
        twin.append(membership)
        trail.record([(len(twin) - 1, membership)])
    compacted = data.draw(st.integers(0, len(twin) - 1))
    trail.compact(compacted)
    cut = data.draw(st.integers(compacted + 1, len(twin)))
    trail.truncate(cut)
    del twin[cut:]
    assume(twin)
    assert trail.current == twin[-1]
    for index in range(compacted, len(twin)):
        assert trail.at(index) == twin[index]
        later = twin[index:]
        assert trail.members_since(index) == tuple(sorted({n for m in later for n in m.members}))
        for node in NODES:
            assert trail.is_voter_since(index, node) == any(node in m.voters for m in later)
