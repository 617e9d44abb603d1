"""`.paceline/evaluators.toml`: what is read, and which line a mistake is found on."""

import pytest

from paceline.errors import InvalidSettings
from paceline.evaluators.aggregate import Thresholds
from paceline.evaluators.config import Choice, Commands, Config, Limits, parse

WHOLE = """
[thresholds]
checkpoint = 8
retry = 4.5

[limits]
time_s = 20
memory_mib = 512

[commands]
test = ["pytest -q", "tox"]
lint = "ruff check ."
time_s = 100
memory_mib = 2048

[evaluators.security]
weight = 4
minimum = 6
required = false

[evaluators.testability]
enabled = false

[evaluators.architecture]
layers = ["a", "b"]
"""


def test_all_of_it() -> None:
    assert parse(WHOLE) == Config(
        thresholds=Thresholds(8.0, 4.5),
        limits=Limits(20.0, 512),
        commands=Commands(("pytest -q", "tox"), ("ruff check .",), 100.0, 2048),
        evaluators={
            "security": Choice(weight=4.0, minimum=6.0, required=False),
            "testability": Choice(enabled=False),
            "architecture": Choice(options={"layers": ["a", "b"]}),
        },
    )


def test_nothing_is_the_defaults() -> None:
    assert parse("") == Config()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\na = [\n", "line 2: Invalid value"),
        ("a = 1\nb = \n", "line 2: Invalid value"),
        ("\n[threshold]\n", r"line 2: threshold: there is no such key; there are thresholds,"),
        ("[thresholds]\nretry = 11\n", "line 2: thresholds.retry: write a number from 0 to 10"),
        ("[thresholds]\nretry = nan\n", "line 2: thresholds.retry: write a number"),
        ("[thresholds]\nretry = true\n", "line 2: thresholds.retry: write a number"),
        ("[thresholds]\nretry = 8\n", "line 2: thresholds.retry: must not be above checkpoint"),
        ("[limits]\n\ntime_s = 0\n", "line 3: limits.time_s: write a number from 1 to 3600"),
        ("[limits]\nmemory_mib = 1.5\n", "line 2: limits.memory_mib: write a whole number"),
        ("[limits]\nspeed = 1\n", "line 2: limits.speed: there is no such key"),
        ("[commands]\ntest = [1]\n", "line 2: commands.test: write a list of commands"),
        ('[commands]\ntest = [" "]\n', "line 2: commands.test: a command must not be empty"),
        ("evaluators = 3\n", r"line 1: evaluators: write a table: \[evaluators\]"),
        ("[evaluators]\nsecurity = 3\n", "line 2: evaluators.security: write a table"),
        ("[evaluators.security]\nenabled = 1\n", "line 2: .*: write true or false"),
        ("[evaluators.security]\nweight = -1\n", "line 2: .*: write a number from 0 to 100"),
        ('[evaluators."x y"]\n', "line 1: .*: the name of an evaluator has letters"),
        ("x = " + "[" * 5000, "evaluators.toml"),
        ("#" * 70_000, "is larger than"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(InvalidSettings, match=said) as caught:
        parse(text)
    assert str(caught.value).startswith(".paceline/evaluators.toml")
