"""Tables that fit, and the tree of a task."""

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.cli.columns import cut, fitted, lines, width
from paceline.cli.live import tree

RED = click.style("abcdef", fg="red")


@pytest.mark.parametrize(
    ("text", "cells"), [("abc", 3), ("漢字", 4), ("e\u0301", 1), (RED, 6), ("", 0), ("✓", 1)]
)
def test_width_is_in_cells(text: str, cells: int) -> None:
    assert width(text) == cells


def test_what_is_too_long_is_cut_and_its_colour_ended() -> None:
    assert cut("abcdef", 4) == "abc…"
    assert cut("漢字漢字", 4) == "漢…"
    assert cut(RED, 4) == "\x1b[31mabc…\x1b[0m"
    assert cut(RED, 6) == RED


@given(st.text(max_size=40), st.integers(0, 30))
def test_nothing_cut_is_wider_than_it_may_be(text: str, limit: int) -> None:
    assert width(cut(text, limit)) <= limit


@given(st.lists(st.integers(0, 300), min_size=1, max_size=9), st.integers(0, 400))
def test_columns_fit_where_they_can_and_none_grows(widths: list[int], room: int) -> None:
    found = fitted(widths, room)

    assert all(0 <= now <= before for now, before in zip(found, widths, strict=True))
    if sum(min(each, 6) for each in widths) <= room:
        assert sum(found) <= room
    if sum(widths) <= room:
        assert found == widths


def test_the_widest_column_gives_way_first() -> None:
    rows = [["id", "what"], ["1234567890", "long " * 20]]
    for line in lines(rows, 30):
        assert width(line) <= 30
    assert lines(rows, 30)[1].startswith("1234567890  ")
    assert lines(rows, None)[1].endswith("long")


def test_a_subtask_stands_below_the_last_of_those_it_needs() -> None:
    def subtask(name: str, *needs: str) -> dict[str, object]:
        return {"name": name, "dependencies": list(needs)}

    found = tree(
        [
            subtask("code"),
            subtask("review", "code"),
            subtask("tests", "code"),
            subtask("docs", "code", "tests"),
            subtask("alone"),
        ]
    )

    assert [(depth, each["name"]) for depth, each in found] == [
        (0, "code"),
        (1, "review"),
        (1, "tests"),
        (2, "docs"),
        (0, "alone"),
    ]
