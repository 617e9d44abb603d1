"""Requirements as a checklist, and evidence that words alone cannot give."""

import asyncio

import pytest

from paceline.evaluators.analysis.requirements import checklist, stem
from paceline.evaluators.builtin.completeness import Completeness
from paceline.evaluators.change import from_texts
from paceline.evaluators.context import Context
from paceline.evaluators.contract import EvaluationResult

TASK = "- `parse_size(text)` in `sizes.py` reads `10k` and `2M`\n- raise `ValueError` otherwise\n"

DONE = '''
UNITS = {"k": 1000, "M": 1000000}


def parse_size(text):
    """Answer the number of bytes in `10k`, `2M`."""
    unit = UNITS.get(text[-1:])
    if unit is None or not text[:-1].isdigit():
        raise ValueError(f"{text} is no size")
    return int(text[:-1]) * unit


EXAMPLES = [parse_size("10k"), parse_size("2M")]
'''


def judged(
    after: dict[str, str], requirements: str = TASK, before: dict[str, str] | None = None
) -> EvaluationResult:
    change = from_texts(before or {}, after)
    context = Context(requirements=requirements)
    return asyncio.run(Completeness({}).evaluate(change, context))


def score(after: dict[str, str], requirements: str = TASK) -> float:
    found = judged(after, requirements).score
    assert found is not None
    return found


def rules(result: EvaluationResult) -> set[str]:
    return {issue.rule for issue in result.issues}


def test_done() -> None:
    result = judged({"sizes.py": DONE})
    assert result.score is not None
    assert result.score > 9
    assert [item["status"] for item in result.details["checklist"]] == ["met", "met"]
    assert "parse_size: sizes.py:5" in result.details["checklist"][0]["evidence"]
    assert result.issues == ()


WORDS = "parse_size text 10k 2M ValueError sizes raise reads"
FOOLS = {
    "docstring": f'def parse_size(text):\n    """{WORDS}."""\n    pass\n',
    "comment": f"def parse_size(text):\n    # {WORDS}\n    return None\n",
    "strings": f'PARSE_SIZE = "{WORDS}"\nDOC = """{WORDS}"""\n',
    "names": "def parse_size(text, sizes=None, reads=None): ...\n\n\nclass ValueErrorRaise: ...\n",
    "module docstring": f'"""{WORDS}"""\n',
    "not implemented": f'def parse_size(text):\n    raise NotImplementedError("{WORDS}")\n',
    "exported": "__all__ = ['parse_size']\n\n\ndef parse_size(text):\n    pass\n",
}


@pytest.mark.parametrize("how", FOOLS)
def test_words_alone_are_no_evidence(how: str) -> None:
    assert score({"sizes.py": FOOLS[how]}) < 5 < score({"sizes.py": DONE})


def test_files_that_were_named_and_not_touched() -> None:
    result = judged({"other.py": DONE})
    assert any("sizes.py" in issue.message for issue in result.issues) or (
        "sizes.py" in result.details["checklist"][0]["missing"]
    )


def test_errors_that_are_asked_for_and_not_raised() -> None:
    quiet = DONE.replace('raise ValueError(f"{text} is no size")', "return 0")
    assert "missing-error-handling" in rules(judged({"sizes.py": quiet}))


def test_no_requirements() -> None:
    assert score({"a.py": DONE}, "") == 10
    assert score({"a.py": "def f(a):\n    pass\n"}, "") < 6
    assert judged({"README.md": "words\n"}, "").score is None


def test_nothing_was_changed() -> None:
    result = judged({"a.py": "x = 1\n"}, TASK, {"a.py": "x = 1\n"})
    assert (result.score, rules(result)) == (0, {"nothing-changed"})


def test_what_is_to_be_removed() -> None:
    before = {
        "a.py": "import os\n\n\ndef old_way():\n    return os.name\n\n\ndef kept():\n    os\n"
    }
    gone = {"a.py": "import os\n\n\ndef kept():\n    os\n"}
    task = "- remove `old_way` from `a.py`\n"
    removed = judged(gone, task, before)
    assert removed.details["checklist"][0]["score"] >= 0.5
    assert "old_way" not in removed.details["checklist"][0]["missing"]
    kept = judged({"a.py": before["a.py"] + "\n\nx = 1\n"}, task, before)
    assert "old_way" in kept.details["checklist"][0]["missing"]


def test_tests_that_are_asked_for() -> None:
    task = TASK + "- add tests\n"
    with_tests = {"sizes.py": DONE, "tests/test_sizes.py": "def test_a():\n    assert f(1)\n"}
    assert "missing-requirement" not in rules(judged(with_tests, task))
    assert "missing-requirement" in rules(judged({"sizes.py": DONE}, task))


def test_documents_that_are_asked_for() -> None:
    task = "Document the configuration of proxies in `README.md`."
    assert score({"README.md": "# Proxies\n\nHow to configure a proxy.\n"}, task) > 8


def test_todos_stubs_and_placeholders_are_told() -> None:
    code = DONE + "\n\ndef later(a):\n    # TODO: this\n    return 0\n\n\ndef never():\n    ...\n"
    assert {"todo", "stub", "placeholder"} <= rules(judged({"sizes.py": code}))


def test_abstract_methods_and_callbacks_are_no_stubs() -> None:
    code = '''
from abc import ABC, abstractmethod
from typing import Protocol, overload


class Shape(ABC):
    @abstractmethod
    def area(self): ...


class Port(Protocol):
    def send(self, data): ...


@overload
def f(a: int) -> int: ...


@click.group()
def node() -> None:
    """Start or stop a node."""


def _nothing(event):
    """Is called where nobody listens."""
'''
    script = "list.forEach(() => {});\nclass A { constructor(b) {} }\n"
    assert rules(judged({"a.py": code, "a.js": script}, "")) == set()


def test_a_list_is_the_checklist_and_sentences_are_one_without() -> None:
    text = (
        "Do this:\n\n1. add `one`\n   which goes on\n2) add `two`\n- [ ] add `three`\n\nThanks.\n"
    )
    assert [item.text for item in checklist(text)] == [
        "add `one` which goes on", "add `two`", "add `three`",
    ]  # fmt: skip
    assert [item.names for item in checklist("Add `one`. Then drop `two_words`.")] == [
        ("one",),
        ("two_words",),
    ]


def test_what_a_requirement_names() -> None:
    (item,) = checklist('Add `--dry-run` to cli/main.py, `Client.send(x)` says "nothing sent".')
    assert item.paths == ("cli/main.py",)
    assert item.names == ("send",)
    assert {"--dry-run", "nothing sent"} <= set(item.literals)


def test_examples_in_fences_ask_for_nothing() -> None:
    assert checklist("```\n- `not_this`\n```\nAdd `this_one`.")[0].names == ("this_one",)


def test_bounds() -> None:
    assert (
        len(checklist("- add `thing`\n" * 3 + "\n".join(f"- add `n{i}`" for i in range(999))))
        <= 100
    )


def test_stems_join_forms_of_a_word() -> None:
    assert len({stem(word) for word in ("cache", "caches", "cached", "caching")}) == 1
    assert len({stem(word) for word in ("retry", "retries", "retried")}) == 1
