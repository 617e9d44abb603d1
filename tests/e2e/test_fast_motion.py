"""A day of five machines in fast motion; `tests.e2e.fast_motion` says how to live it longer."""

import os
import random
from pathlib import Path

import pytest

from tests.e2e.fast_motion import live
from tests.rigs.fixtures import MakeLan

pytestmark = [pytest.mark.e2e, pytest.mark.netns, pytest.mark.timeout(420)]

ACTIONS = int(os.environ.get("PACELINE_DAY_ACTIONS", "40"))


@pytest.mark.timeout(300 + 20 * ACTIONS)
def test_nothing_is_lost_in_a_day_of_joins_leaves_sleeps_and_partitions(
    make_lan: MakeLan, tmp_path: Path
) -> None:
    seed = int(os.environ.get("PACELINE_DAY_SEED", "0")) or random.randrange(1 << 32)
    live(make_lan(5), tmp_path, actions=ACTIONS, seed=seed)
