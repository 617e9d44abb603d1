"""Each file in `scenarios` still gives exactly the outputs that stand in it."""

import os
from pathlib import Path

import pytest

from tests.consensus.scenario_runner import run

FILES = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    expected = path.read_text()
    actual = run(expected)
    if os.environ.get("PACELINE_REWRITE_SCENARIOS"):
        path.write_text(actual)
        return
    assert actual == expected


def test_the_scenarios_are_there() -> None:
    assert len(FILES) >= 27
