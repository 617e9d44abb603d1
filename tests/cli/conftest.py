from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Node
from tests.node.web.served import serving


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node's REST layer over plain data, found by its data directory like any node."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    with serving(data_dir) as served:
        yield Node(data_dir, served)
