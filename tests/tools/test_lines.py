from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from paceline.tools.lines import LineSplitter


def split(data: bytes, cuts: list[int], limit_bytes: int = 1000) -> list[str]:
    splitter = LineSplitter(limit_bytes)
    lines: list[str] = []
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for begin, end in pairwise(places):
        lines += splitter.feed(data[begin:end])
    return lines + splitter.end()


@given(st.binary(), st.lists(st.integers(0, 1000)))
def test_the_pieces_that_arrive_make_no_difference(data: bytes, cuts: list[int]) -> None:
    pieces = data.split(b"\n")
    expected = [piece.removesuffix(b"\r").decode("utf-8", "replace") for piece in pieces]
    if not pieces[-1]:
        expected.pop()
    assert split(data, cuts) == expected


@given(st.integers(0, 40), st.lists(st.integers(0, 1000)))
def test_of_a_line_over_the_limit_the_beginning_is_kept(length: int, cuts: list[int]) -> None:
    line = "x" * length
    shown = line if length <= 10 else f"xxxxxxxxxx [{length - 10} bytes cut]"
    assert split(f"{line}\nnext\n".encode(), cuts, limit_bytes=10) == [shown, "next"]


def test_a_progress_bar_is_one_line() -> None:
    assert split(b"10%\r50%\r100%\r\n", []) == ["10%\r50%\r100%"]
