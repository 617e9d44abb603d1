"""How a reviewer's answer is read."""

import pytest

from paceline.errors import InputError
from paceline.tasks.model import Finding, Review, SubtaskSpec
from paceline.tasks.peer_review import instructions, read_answer, review_line, reviewers

REVISE = (
    '{"verdict": "revise", "summary": "one fault", "findings": [{"file": "a.py", "line": 3, '
    '"severity": "high", "message": "{never} closed"}]}'
)
FOUND = Review(False, "one fault", (Finding("a.py", 3, "high", "{never} closed"),))


@pytest.mark.parametrize(
    "said",
    [
        REVISE,
        f"I have read it all.\n\n{REVISE}\n",
        f"It goes like {{this}}:\n```json\n{REVISE}\n```",
        f'First {{"verdict": "maybe"}} but then:\n{REVISE}',
    ],
)
def test_the_answer_is_found(said: str) -> None:
    assert read_answer(said) == FOUND


def test_an_approval_needs_no_findings() -> None:
    assert read_answer('{"verdict": "approve"}') == Review(approved=True)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Looks good to me.",
        "[1, 2]",
        '{"verdict": "perhaps"}',
        '{"verdict": "revise"}',
        '{"verdict": "revise", "findings": {}}',
        '{"verdict": "revise", "findings": ["x"]}',
        '{"verdict": "revise", "findings": [{"message": "x", "severity": "awful"}]}',
        '{"verdict": "revise", "findings": [{"message": "x", "line": "3"}]}',
        '{"verdict": "approve", "summary": 7}',
        "[" * 100_000,
    ],
)
def test_what_is_no_review_is_refused(said: str) -> None:
    with pytest.raises(InputError):
        read_answer(said)


def test_who_reviews() -> None:
    def spec(*tools: str, **settings: object) -> SubtaskSpec:
        return SubtaskSpec("s", "s", tools, settings=settings)

    assert reviewers(spec("gemini_cli", "ollama")) == ("gemini_cli", "ollama")
    assert "claude_code" in reviewers(spec("command"))
    named = spec("command", reviewer={"tools": ["command"], "run": "./review"})
    assert (reviewers(named), review_line(named)) == (("command",), "./review")


def test_braces_in_what_was_asked_are_words() -> None:
    told = instructions("use {x} and {{y}}", cycle=2, earlier="- a.py:1: {z}")
    assert "use {x} and {{y}}" in told
    assert "- a.py:1: {z}" in told
