"""A node that has lost its log must not go on as if nothing had happened."""

import asyncio
from pathlib import Path

import pytest

from paceline.clock import SystemClock
from paceline.errors import CorruptStorage
from paceline.node.belonging import belong, remember
from paceline.node.data_dir import DataDir
from paceline.node.founding import Settled
from paceline.node.network import Network
from paceline.settings import NodeSettings


def ask(settings: NodeSettings, data_dir: DataDir) -> tuple[Settled, bool]:
    network = Network(settings=settings, clock=SystemClock())
    return asyncio.run(
        belong(settings=settings, network=network, data_dir=data_dir, clock=SystemClock())
    )


def test_a_lost_log_is_refused_with_what_to_do(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    remember(Settled("c1", founded=True), data_dir)
    with pytest.raises(CorruptStorage, match=r"raft\.db, is gone.*start anew"):
        ask(NodeSettings(data_dir=tmp_path, name="n"), data_dir)
    data_dir.close()
