"""What reports of nodes mean when they are put together."""

from dataclasses import replace

import pytest

from paceline.codec import decode, encode
from paceline.node.doctor.cluster import judge
from paceline.node.doctor.finding import Finding, Level
from paceline.node.doctor.report import Answer, Reach, Report, ToolReport, Way

OPEN = Reach("10.0.0.1:7172", 0.4)
PLENTY = 10**12


def way(to: str, **changes: object) -> Way:
    return replace(Way(to, True, OPEN, OPEN), **changes)  # type: ignore[arg-type]


def report(name: str, others: str, **changes: object) -> Report:
    plain = Report(
        node_id=name,
        name=name,
        versions={"paceline": "0.1.0", "levels": "1-2"},
        level=2,
        ways=tuple(way(other) for other in others),
        tools=(ToolReport("command", True, "5.2"),),
        disk_free_bytes=PLENTY,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def answer(said: Report, offset_ms: float = 0.0) -> Answer:
    return Answer(said.node_id, said.name, said, "", offset_ms, 0.5)


def three(**changes: object) -> list[Answer]:
    """Three nodes; `a` differs by the changes."""
    said = [report("a", "bc", **changes), report("b", "ac"), report("c", "ab")]
    return [answer(each) for each in said]


def bad(answers: list[Answer]) -> list[Finding]:
    return [each for each in judge(answers) if each.level is not Level.OK]


def test_all_is_well() -> None:
    assert bad(three()) == []
    texts = [each.text for each in judge(three())]
    assert any("all 6 ways" in text for text in texts)


def test_one_node_alone_has_no_ways() -> None:
    assert bad([answer(report("a", ""))]) == []


def test_a_silent_node_is_named_once() -> None:
    answers = [*three()[:2], Answer("c", "c", None, "not connected")]
    (finding,) = bad(answers)
    assert (finding.level, finding.subject) == (Level.PROBLEM, "c")
    assert "not connected" in finding.text


@pytest.mark.parametrize(
    ("error", "words"),
    [("refused", "nothing listens"), ("no answer", "firewall"), ("No route to host", "no way")],
)
@pytest.mark.parametrize("lane", ["control", "bulk"])
def test_a_closed_way_says_which_and_why(lane: str, error: str, words: str) -> None:
    closed = {lane: Reach("10.0.0.2:7172", None, error)}
    (finding,) = bad(three(ways=(way("b", up=False, **closed), way("c"))))
    assert finding.level is Level.PROBLEM
    assert finding.subject == "a -> b"
    assert f"{lane} port cannot be reached at 10.0.0.2:7172" in finding.text
    assert words in finding.advice


def test_an_open_port_without_a_connection() -> None:
    (finding,) = bad(three(ways=(way("b", up=False, refusals=3), way("c"))))
    assert "refused 3 times" in finding.text


def test_a_slow_way() -> None:
    (finding,) = bad(three(ways=(way("b", bulk=Reach("x:1", 900.0)), way("c"))))
    assert finding.level is Level.WARNING


@pytest.mark.parametrize(("offset_ms", "count"), [(1_900, 0), (-1_900, 0), (2_100, 2), (-9_000, 2)])
def test_clocks_that_differ(offset_ms: float, count: int) -> None:
    answers = three()
    answers[1] = replace(answers[1], offset_ms=offset_ms)
    found = bad(answers)
    assert len(found) == count
    for finding in found:
        assert "b" in finding.subject
        assert ("b is ahead" in finding.text) == (offset_ms > 0)


def test_a_state_ahead_of_its_clock() -> None:
    (finding,) = bad(three(state_ahead_ms=120_000))
    assert "120 s ahead" in finding.text


def test_mixed_versions() -> None:
    (finding,) = bad(three(versions={"paceline": "0.2.0", "levels": "1-2"}))
    assert "0.2.0 on a" in finding.text
    (finding,) = bad(three(versions={"paceline": "0.1.0", "levels": "1-1"}))
    assert "1-1 on a" in finding.text


def test_tools() -> None:
    absent = ToolReport("codex", False, reason="Codex is not installed: no codex on the PATH")
    out = ToolReport("gemini", False, "1.0", "not logged in")
    usable = ToolReport("command", True)
    assert bad(three(tools=(usable, absent))) == []
    (finding,) = bad(three(tools=(usable, out)))
    assert "gemini cannot be used: not logged in" in finding.text
    (finding,) = bad(three(tools=(absent,)))
    assert "no tool can be used (not installed: codex)" in finding.text


def test_a_full_disk_elsewhere() -> None:
    (finding,) = bad(three(disk_free_bytes=10**8))
    assert (finding.area, finding.subject) == ("disk", "a")


def test_a_report_travels() -> None:
    said = report("a", "bc")
    assert decode(Report, encode(said)) == said


def test_where_agents_have_no_sandbox() -> None:
    assert bad(three(isolation="bubblewrap")) == []
    (finding,) = bad(three(isolation="marks", no_sandbox="bwrap is not installed"))
    assert (finding.level, finding.subject) == (Level.WARNING, "a")
    assert "bwrap is not installed" in finding.text
    assert "install bubblewrap" in finding.advice
