"""The data directory: private, locked, and never half written."""

import stat
from pathlib import Path

import pytest

from paceline.errors import Conflict, CorruptStorage, StorageError
from paceline.node.data_dir import DataDir, write_atomically


def test_it_is_private(tmp_path: Path) -> None:
    directory = DataDir(tmp_path / "deep" / "data")
    directory.write_json("node.json", {"a": 1})
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory.path / "node.json").stat().st_mode) == 0o600
    directory.close()


def test_a_second_node_in_one_directory_is_refused(tmp_path: Path) -> None:
    first = DataDir(tmp_path)
    with pytest.raises(Conflict, match="already runs with"):
        DataDir(tmp_path)
    first.close()
    DataDir(tmp_path).close()


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="--data-dir"):
        DataDir(tmp_path / "file" / "data")


def test_json_comes_back_and_damage_is_told(tmp_path: Path) -> None:
    directory = DataDir(tmp_path)
    assert directory.read_json("cluster.json") is None
    directory.write_json("cluster.json", {"cluster_id": "c"})
    assert directory.read_json("cluster.json") == {"cluster_id": "c"}
    (tmp_path / "cluster.json").write_text('{"cluster_id"')
    with pytest.raises(CorruptStorage, match=r"cluster\.json"):
        directory.read_json("cluster.json")
    directory.close()


def test_a_replaced_file_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "one")
    write_atomically(tmp_path / "a", "two")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "two"


def test_node_json_goes_with_the_node(tmp_path: Path) -> None:
    directory = DataDir(tmp_path)
    directory.write_json("node.json", {"pid": 1})
    directory.close()
    assert not (tmp_path / "node.json").exists()
