"""A directory whose node has left, and starting anew in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.errors import Conflict
from paceline.node import farewell
from paceline.node.data_dir import DataDir
from tests.clocks import ManualClock


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[DataDir]:
    opened = DataDir(tmp_path / "node")
    yield opened
    opened.close()


def test_an_ordinary_directory_is_let_pass(data_dir: DataDir) -> None:
    farewell.require_not_left(data_dir)


def test_one_that_left_says_what_to_do(data_dir: DataDir) -> None:
    farewell.mark(data_dir, node_id="n", cluster_id="c1", clock=ManualClock(1_700_000_000_000))
    with pytest.raises(Conflict, match=r"left the cluster c1 on 2023-11-14.*--anew"):
        farewell.require_not_left(data_dir)


def test_anew_moves_everything_aside_and_deletes_nothing(data_dir: DataDir) -> None:
    farewell.mark(data_dir, node_id="n", cluster_id="c1", clock=ManualClock())
    (data_dir.path / "node.key").write_text("secret")
    (data_dir.directory("blobs") / "x").write_text("bytes")
    (data_dir.path / "node.log").write_text("what is being written")
    old = farewell.set_aside(data_dir)
    assert old is not None
    assert sorted(path.name for path in data_dir.path.iterdir()) == sorted(
        [old.name, "lock", "node.log"]
    )
    assert (old / "node.key").read_text() == "secret"
    assert (old / "blobs" / "x").read_text() == "bytes"
    assert old.stat().st_mode & 0o777 == 0o700
    farewell.require_not_left(data_dir)


def test_anew_in_an_empty_directory_does_nothing(data_dir: DataDir) -> None:
    assert farewell.set_aside(data_dir) is None


def test_twice_anew_in_one_second_keeps_both(data_dir: DataDir) -> None:
    for content in ("first", "second"):
        (data_dir.path / "node.key").write_text(content)
        farewell.set_aside(data_dir)
    kept = [path.read_text() for path in data_dir.path.glob("before-*/node.key")]
    assert sorted(kept) == ["first", "second"]
