"""The engine in a seeded world; `make sim-engine` plays thousands of these."""

import pytest

from tests.engine.world import run


@pytest.mark.parametrize("seed", range(1, 9))
def test_everything_ends_as_predicted_whatever_happens(seed: int) -> None:
    world = run(seed)
    assert len(world.expected) > 5
