"""A node that has lost its log must not go on as if nothing had happened."""

import asyncio
from pathlib import Path

import pytest

from paceline.clock import SystemClock
from paceline.errors import CorruptStorage, InvalidSettings
from paceline.node.belonging import belong, remember
from paceline.node.data_dir import DataDir
from paceline.node.founding import Settled
from paceline.node.network import Network
from paceline.settings import NodeSettings


def ask(settings: NodeSettings, data_dir: DataDir) -> tuple[Settled, bool]:
    async def work() -> tuple[Settled, bool]:
        network = Network(settings=settings, clock=SystemClock())
        return await belong(
            settings=settings, network=network, data_dir=data_dir, clock=SystemClock()
        )

    return asyncio.run(work())


def test_a_lost_log_is_refused_with_what_to_do(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    remember(Settled("c1", founded=True), data_dir)
    with pytest.raises(CorruptStorage, match=r"raft\.db, is gone.*start anew"):
        ask(NodeSettings(data_dir=tmp_path, name="n"), data_dir)
    data_dir.close()


def test_joining_without_a_token_is_refused_with_what_to_do(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    with pytest.raises(InvalidSettings, match=r"token show.*PACELINE_TOKEN"):
        ask(NodeSettings(data_dir=tmp_path, name="n", join=("127.0.0.1:9",)), data_dir)
    data_dir.close()
