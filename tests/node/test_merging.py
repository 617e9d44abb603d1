"""Which of two clusters gives way: both sides always come to what fits together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.node.merging import Verdict, judge

IDS = st.sampled_from(["a", "b", "c"])
FITS = {
    (Verdict.STAY, Verdict.GIVE_UP),
    (Verdict.GIVE_UP, Verdict.STAY),
    (Verdict.PEOPLE_DECIDE, Verdict.PEOPLE_DECIDE),
    (Verdict.SAME, Verdict.SAME),
}


@given(IDS, st.booleans(), IDS, st.booleans())
def test_both_come_to_what_fits(one: str, one_work: bool, other: str, other_work: bool) -> None:
    verdicts = (judge(one, one_work, other, other_work), judge(other, other_work, one, one_work))
    assert verdicts in FITS


@given(IDS, IDS, st.booleans())
def test_a_cluster_with_work_is_never_given_up(one: str, other: str, other_work: bool) -> None:
    assert judge(one, True, other, other_work) is not Verdict.GIVE_UP


@pytest.mark.parametrize(
    ("own", "other", "verdict"),
    [
        (("a", False), ("b", False), Verdict.STAY),
        (("b", False), ("a", False), Verdict.GIVE_UP),
        (("a", False), ("b", True), Verdict.GIVE_UP),
        (("b", True), ("a", False), Verdict.STAY),
        (("a", True), ("b", True), Verdict.PEOPLE_DECIDE),
        (("a", True), ("a", False), Verdict.SAME),
        (("a", True), ("", False), Verdict.SAME),
    ],
)
def test_the_empty_one_gives_way_and_of_two_the_one_with_the_larger_id(
    own: tuple[str, bool], other: tuple[str, bool], verdict: Verdict
) -> None:
    assert judge(*own, *other) is verdict
