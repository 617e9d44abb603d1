"""An agent's opinion: asked by a callable, taken only in the fixed form."""

import asyncio
import json
from collections.abc import Callable

import pytest

from paceline.errors import ProtocolError, ToolError
from paceline.evaluators.builtin.judge import Ask, Judge, Opinion, make_prompt, read_opinion
from paceline.evaluators.change import Change, from_texts
from paceline.evaluators.context import Context
from paceline.evaluators.contract import EvaluationResult, Severity

CHANGE = from_texts({"a.py": "x = 1\n" * 20}, {"a.py": "x = 1\n" * 10 + "y = 2\n" * 2})
FINDING = {"file": "a.py", "line": 11, "severity": "high", "message": "y is not used"}


def answering(*answers: str) -> tuple[Ask, list[str]]:
    """An agent that gives these answers in turn, and the prompts that it was given."""
    prompts: list[str] = []

    async def ask(prompt: str) -> Opinion:
        prompts.append(prompt)
        return Opinion(answers[len(prompts) - 1], "other", 100, 10, 0.01)

    return ask, prompts


def judge(ask: Callable[..., object], change: Change = CHANGE) -> EvaluationResult:
    return asyncio.run(Judge({}, ask=ask).evaluate(change, Context(requirements="set y")))  # type: ignore[arg-type]


def test_an_opinion() -> None:
    ask, _ = answering(json.dumps({"score": 6, "summary": "so so", "findings": [FINDING]}))
    result = judge(ask)
    assert result.score == 6
    assert [(i.file, i.line, i.severity) for i in result.issues] == [("a.py", 11, Severity.HIGH)]
    assert result.details == {
        "summary": "so so",
        "tool": "other",
        "attempts": 1,
        "tokens_in": 100,
        "tokens_out": 10,
        "cost_usd": 0.01,
    }


def test_it_may_stand_in_other_words() -> None:
    ask, _ = answering('Here you are:\n```json\n{"score": 9, "findings": []}\n```\n')
    assert judge(ask).score == 9


def test_a_refused_answer_is_asked_for_again_and_both_are_paid() -> None:
    ask, prompts = answering("looks good to me!", '{"score": 8}')
    result = judge(ask)
    assert (result.score, result.details["attempts"], result.details["cost_usd"]) == (8, 2, 0.02)
    assert "Your last answer was refused: there is no JSON object in it" in prompts[1]


def test_no_answer_in_the_form_is_a_failure() -> None:
    ask, prompts = answering("10/10", "11/10")
    with pytest.raises(ToolError, match="gave no answer in the asked form"):
        judge(ask)
    assert len(prompts) == 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("", "no JSON object"),
        ("[1]", "no JSON object"),
        ("{" * 9999 + "}", "no JSON object"),
        ('{"score": 11}', "from 0 to 10"),
        ('{"score": "10"}', "from 0 to 10"),
        ('{"score": true}', "from 0 to 10"),
        ('{"score": NaN}', "from 0 to 10"),
        ('{"score": 1, "findings": {}}', "must be a list"),
        ('{"score": 1, "findings": ["x"]}', "object with a `message`"),
        ('{"score": 1, "findings": [{"message": "m", "severity": "awful"}]}', "must be one of"),
    ],
)
def test_other_forms_are_refused(answer: str, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        read_opinion(answer, CHANGE)


def test_places_outside_of_the_change_are_not_taken() -> None:
    finding = {"file": "/etc/passwd", "line": 3, "message": "m"}
    (issue,) = read_opinion(json.dumps({"score": 1, "findings": [finding]}), CHANGE).issues
    assert (issue.file, issue.line, issue.severity) == ("", 0, Severity.MEDIUM)


def test_the_prompt_has_the_task_and_the_new_lines_behind_a_fence_nobody_can_know() -> None:
    prompt = make_prompt(CHANGE, Context(requirements="set y"))
    assert "set y" in prompt
    assert "+   11 y = 2" in prompt
    assert "2 new lines, 10 gone" in prompt
    fence = next(line for line in prompt.splitlines() if line.startswith("==="))
    assert prompt.count(fence) == 3
    assert fence not in make_prompt(CHANGE, Context())


def test_a_change_that_is_too_long_is_left_out_by_name() -> None:
    large = from_texts({}, {"big.py": "x = 1\n" * 30_000, "small.py": "y = 2\n"})
    prompt = make_prompt(large, Context())
    assert "big.py: left out" in prompt
    assert "y = 2" in prompt
