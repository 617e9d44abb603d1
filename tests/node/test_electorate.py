"""Who should vote: the rules one by one, and in random situations what must hold of any step."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.node.electorate import (
    Change,
    HandOver,
    Situation,
    decide,
    majority,
    obstacle,
    tolerance,
)

NODES = "abcdefghi"


def situation(
    voters: str,
    learners: str = "",
    *,
    silent: str = "",
    steady: tuple[str, ...] | None = None,
    missing: str = "",
    departing: str = "",
    gone: str = "",
    max_voters: int = 5,
) -> Situation:
    """All answer but the silent; the first voter leads; sets of nodes are given as words."""
    ready = tuple(node for node in learners if node not in silent)
    return Situation(
        leader=voters[0],
        voters=frozenset(voters),
        learners=frozenset(learners),
        answering=frozenset(voters + learners) - frozenset(silent),
        steady=ready if steady is None else steady,
        missing=frozenset(missing),
        departing=frozenset(departing),
        gone=frozenset(gone),
        max_voters=max_voters,
    )


def change(voters: str, learners: str = "") -> tuple[frozenset[str], frozenset[str]]:
    return frozenset(voters), frozenset(learners)


def decided(seen: Situation) -> tuple[frozenset[str], frozenset[str]] | None:
    step = decide(seen)
    if step is None:
        return None
    assert isinstance(step, Change)
    return step.voters, step.learners


# --- promotion ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("voters", "learners", "max_voters", "expected"),
    [
        ("a", "b", 5, change("ab")),
        ("ab", "c", 5, change("abc")),
        ("abc", "d", 5, change("abcd")),
        ("abc", "de", 5, change("abcde")),
        ("abc", "def", 5, change("abcde", "f")),
        ("abcd", "e", 5, change("abcde")),
        ("abcd", "", 5, None),
        ("abc", "de", 4, change("abcd", "e")),
        ("abc", "de", 3, None),
        ("a", "bc", 1, None),
        ("a", "bc", 2, change("ab", "c")),
        ("abcde", "fg", 7, change("abcdefg")),
    ],
)
def test_learners_are_promoted_as_far_as_there_is_room(
    voters: str, learners: str, max_voters: int, expected: object
) -> None:
    assert decided(situation(voters, learners, max_voters=max_voters)) == expected


def test_only_steady_learners_are_promoted_the_longest_first() -> None:
    assert decided(situation("a", "bc", steady=("c", "b"), max_voters=2)) == change("ac", "b")
    assert decided(situation("a", "bc", steady=("c", "b"))) == change("abc")
    assert decided(situation("a", "bc", steady=())) is None
    assert decided(situation("a", "bc", silent="b", steady=("b", "c"))) == change("ac", "b")


def test_nobody_is_promoted_into_a_cluster_that_could_not_commit_it() -> None:
    assert decided(situation("ab", "c", silent="b")) is None
    assert decided(situation("abcde", silent="cde", missing="cde")) is None


# --- missing voters -------------------------------------------------------------------------------


def test_a_missing_voter_is_replaced_in_one_change_and_stays_a_learner() -> None:
    seen = situation("abc", "d", silent="c", missing="c", max_voters=3)
    assert decided(seen) == change("abd", "c")
    assert decided(replace(seen, missing=frozenset())) is None, "not before its time"


def test_one_of_several_missing_is_replaced_at_a_time() -> None:
    assert decided(situation("abcde", "fg", silent="de", missing="de")) == change("abcef", "dg")


def test_a_learner_that_is_missing_itself_replaces_nobody() -> None:
    assert decided(situation("abc", "d", silent="cd", missing="cd")) is None


def test_missing_voters_are_taken_out_only_where_that_helps() -> None:
    assert decided(situation("abc", silent="c", missing="c")) is None
    assert decided(situation("abcd", silent="d", missing="d")) == change("abc", "d")
    assert decided(situation("abcde", silent="e", missing="e")) is None
    assert decided(situation("abcde", silent="de", missing="de")) == change("abc", "de")
    assert decided(situation("abcde", silent="de", missing="e")) is None


def test_one_that_returns_is_welcome_again() -> None:
    returned = situation("ab", "c", max_voters=3)
    assert decided(returned) == change("abc")
    spare = situation("abd", "c", max_voters=3)
    assert decided(spare) is None


# --- departures -----------------------------------------------------------------------------------


def test_who_leaves_is_made_a_learner_first() -> None:
    assert decided(situation("abc", departing="c")) == change("ab", "c")
    assert decided(situation("ab", departing="b")) == change("a", "b")
    assert decided(situation("ab", "c", departing="c")) is None, "it does not vote and will not"


def test_a_leader_that_goes_hands_over() -> None:
    step = decide(situation("abc", departing="a", silent="c"))
    assert step == HandOver(frozenset("b"), "the leader is on its way out")


def test_a_lone_leader_that_goes_has_a_learner_vote_first() -> None:
    assert decided(situation("a", "bc", departing="a", steady=("c", "b"))) == change("ac", "b")
    assert decide(situation("a", "b", departing="a", steady=())) is None


def test_who_is_gone_is_no_member_any_more() -> None:
    assert decided(situation("abc", "d", gone="bd")) == change("ac")
    assert decided(situation("ab", gone="b")) == change("a"), "needs nobody but the leader"


def test_the_revoked_do_not_count_as_answering() -> None:
    assert decided(situation("abcd", gone="cd")) is None
    assert decided(situation("abcde", gone="de")) == change("abc")


def test_a_stolen_machine_goes_though_another_one_is_off() -> None:
    assert decided(situation("abc", silent="b", departing="c")) == change("a", "bc")


@pytest.mark.parametrize(
    ("seen", "node", "words"),
    [
        (situation("a"), "a", "the last member"),
        (situation("ab", "c", gone="bc"), "a", "the last member"),
        (situation("a", "b", steady=()), "a", "ready to vote"),
        (situation("a", "b"), "a", ""),
        (situation("ab"), "b", ""),
        (situation("ab", silent="a"), "b", "a cannot be reached"),
        (situation("abc", silent="b"), "c", "b cannot be reached"),
        (situation("abc", silent="b"), "b", ""),
        (situation("abcd", silent="b"), "c", ""),
        (situation("ab", "c", silent="b"), "c", ""),
    ],
)
def test_why_one_cannot_leave(seen: Situation, node: str, words: str) -> None:
    found = obstacle(seen, node)
    assert words in found
    assert bool(found) == bool(words)


@pytest.mark.parametrize(
    ("seen", "node", "words"),
    [
        (situation("a"), "a", "the last member"),
        (situation("abc", silent="b"), "c", ""),
        (situation("abc", silent="b"), "a", ""),
        (situation("abc", silent="bc"), "c", "b cannot be reached"),
        (situation("abcde", silent="de"), "c", ""),
        (situation("abcde", silent="cde"), "b", "c, d, e cannot be reached"),
        (situation("ab", silent="b"), "b", ""),
        (situation("ab", silent="b"), "a", "b cannot be reached"),
    ],
)
def test_why_one_cannot_be_thrown_out(seen: Situation, node: str, words: str) -> None:
    found = obstacle(seen, node, forced=True)
    assert words in found
    assert bool(found) == bool(words)


# --- whatever the situation -----------------------------------------------------------------------


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    size = draw(st.integers(1, len(NODES)))
    members = frozenset(NODES[:size])
    voters = frozenset(draw(st.sets(st.sampled_from(sorted(members)), min_size=1)))
    leader = draw(st.sampled_from(sorted(voters)))

    def some(of: frozenset[str]) -> frozenset[str]:
        return frozenset(draw(st.sets(st.sampled_from(sorted(of))))) if of else frozenset()

    answering = some(members) | {leader}
    learners = members - voters
    return Situation(
        leader=leader,
        voters=voters,
        learners=learners,
        answering=answering,
        steady=tuple(draw(st.permutations(sorted(some(learners))))),
        missing=some(members - answering),
        departing=some(members) if draw(st.booleans()) else frozenset(),
        gone=some(members) if draw(st.booleans()) else frozenset(),
        max_voters=draw(st.integers(1, 9)),
    )


@settings(max_examples=250, deadline=None)
@given(situations())
def test_every_change_can_be_committed_by_those_who_answer(seen: Situation) -> None:
    step = decide(seen)
    if not isinstance(step, Change):
        return
    assert seen.leader in step.voters, "who leads is never voted out by itself"
    assert not step.voters & step.learners
    assert len(seen.heard & step.voters) >= majority(step.voters)
    differing = seen.voters ^ step.voters
    if len(differing) > 1 or len(step.voters) > 1:
        assert len(seen.heard & seen.voters) >= majority(seen.voters)


@settings(max_examples=250, deadline=None)
@given(situations())
def test_every_change_is_for_the_better(seen: Situation) -> None:
    step = decide(seen)
    if not isinstance(step, Change):
        return
    before, after = seen.voters | seen.learners, step.voters | step.learners
    assert before - after <= seen.gone, "nobody else is forgotten"
    assert after <= before
    new = step.voters - seen.voters
    assert new <= set(seen.steady) & seen.learners & seen.heard - seen.unwanted
    heir = seen.leader in seen.unwanted  # one more may vote, so that somebody can lead instead
    assert len(step.voters) <= max(len(seen.voters) + heir, seen.max_voters)
    if not seen.unwanted & seen.voters:
        assert tolerance(step.voters, seen.heard) >= tolerance(seen.voters, seen.heard)
        assert seen.voters - step.voters <= seen.missing - seen.answering


@settings(max_examples=250, deadline=None)
@given(situations())
def test_leadership_moves_only_because_the_leader_goes(seen: Situation) -> None:
    step = decide(seen)
    if isinstance(step, HandOver):
        assert seen.leader in seen.unwanted
        assert step.heirs
        assert step.heirs <= (seen.voters & seen.heard) - seen.unwanted


def after(seen: Situation, step: Change | HandOver) -> Situation:
    """What the next look sees when the step was made and nothing else happened."""
    if isinstance(step, HandOver):
        return replace(seen, leader=min(step.heirs), answering=seen.answering | step.heirs)
    members = step.voters | step.learners
    return replace(
        seen,
        voters=step.voters,
        learners=step.learners,
        answering=seen.answering & members,
        steady=tuple(node for node in seen.steady if node in step.learners),
    )


def settled(seen: Situation) -> Situation:
    for _ in range(4 * len(NODES)):
        step = decide(seen)
        if step is None:
            return seen
        seen = after(seen, step)
    raise AssertionError(f"it never comes to rest: {seen}")


@settings(max_examples=250, deadline=None)
@given(situations())
def test_it_comes_to_rest_without_ever_losing_the_quorum(seen: Situation) -> None:
    end = settled(seen)
    if tolerance(seen.voters, seen.heard) >= 0:
        assert tolerance(end.voters, end.heard) >= 0
        assert not end.gone & end.voters or end.leader in end.unwanted


@settings(max_examples=250, deadline=None)
@given(situations(), st.sampled_from(NODES))
def test_who_may_leave_can_leave(seen: Situation, node: str) -> None:
    seen = replace(seen, departing=frozenset(), gone=frozenset())
    if node not in seen.voters | seen.learners or tolerance(seen.voters, seen.heard) < 0:
        return
    if not obstacle(seen, node):
        end = settled(replace(seen, departing=frozenset({node})))
        assert node not in end.voters
        assert tolerance(end.voters, end.heard) >= 0
