"""What a comparison of states comes to, on plain data."""

import pytest

from paceline.codec import decode, encode
from paceline.node.verdict import Taken, Verdict, judge, warnings
from paceline.tasks.digest import UNREADABLE


def taken(*, index: int = 9, schema: int = 2, tasks: bytes = b"t", workers: bytes = b"w") -> Taken:
    return Taken(index, schema, {"tasks": tasks, "workers": workers})


def verdict(**found: Taken) -> Verdict:
    return judge(found, {}, 0)


def test_all_agree() -> None:
    assert verdict(a=taken(), b=taken(), c=taken()).equal
    assert verdict(a=taken()).equal
    assert verdict().equal


def test_the_majority_is_right() -> None:
    found = verdict(a=taken(), b=taken(tasks=b"x"), c=taken())
    assert found.differing == {"b": ("tasks",)}
    assert found.decided


def test_of_two_nobody_knows_who_is_right() -> None:
    found = verdict(a=taken(), b=taken(workers=b"x"))
    assert found.differing == {"a": ("workers",), "b": ("workers",)}
    assert not found.decided


def test_half_is_no_majority() -> None:
    found = verdict(a=taken(), b=taken(), c=taken(tasks=b"x"), d=taken(tasks=b"x"))
    assert set(found.differing) == set("abcd")
    assert not found.decided


def test_a_large_minority_is_no_majority() -> None:
    found = verdict(a=taken(), b=taken(), c=taken(tasks=b"x"), d=taken(tasks=b"y"))
    assert not found.decided
    assert found.differing["a"] == ("tasks",)


def test_a_damaged_table_is_wrong_even_against_one() -> None:
    found = verdict(a=taken(), b=taken(tasks=UNREADABLE))
    assert found.differing == {"b": ("tasks is damaged",)}
    assert found.decided


def test_damage_does_not_agree_with_damage() -> None:
    found = verdict(a=taken(), b=taken(tasks=UNREADABLE), c=taken(tasks=UNREADABLE))
    assert set(found.differing) == {"b", "c"}


def test_tables_of_different_versions_are_not_compared() -> None:
    old = Taken(9, 1, {"tasks": b"t"})
    assert verdict(a=taken(), b=taken(), c=old).equal
    assert set(verdict(a=taken(), b=taken(tasks=b"x"), c=taken(), d=old).differing) == {"b"}


def test_another_index_behind_the_same_entry_is_a_difference() -> None:
    found = verdict(a=taken(), b=taken(index=8), c=taken())
    assert found.differing == {"b": ("entry 8 instead of 9",)}


def test_a_table_that_is_not_there_is_a_difference() -> None:
    less = Taken(9, 2, {"tasks": b"t"})
    assert verdict(a=taken(), b=less, c=taken()).differing == {"b": ("workers",)}


def test_a_verdict_travels() -> None:
    found = judge({"a": taken(), "b": taken(tasks=b"x")}, {"c": "away"}, 12)
    assert decode(Verdict, encode(found)) == found


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (verdict(a=taken(), b=taken(tasks=b"x"), c=taken()), ["B differs", "(tasks)", "move its"]),
        (verdict(a=taken(), b=taken(tasks=b"x")), ["A, B differ", "no majority"]),
    ],
)
def test_a_warning_names_the_node_and_what_to_do(found: Verdict, words: list[str]) -> None:
    (warning,) = warnings(found, str.upper)
    assert all(word in warning for word in words)


def test_nothing_is_said_of_equal_states() -> None:
    assert warnings(verdict(a=taken(), b=taken()), str.upper) == []
