"""The identity of a node."""

import stat
import threading
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from paceline.errors import CorruptStorage
from paceline.ids import fingerprint
from paceline.node.keys import FILE_NAME, load_or_create_keys, new_keys


def test_keys_are_made_once_and_kept(tmp_path: Path) -> None:
    first = load_or_create_keys(tmp_path / "node")
    assert load_or_create_keys(tmp_path / "node") == first
    assert load_or_create_keys(tmp_path / "other").node_id != first.node_id


def test_the_id_is_sixteen_base32_characters_of_the_keys_hash() -> None:
    # printf '' | sha256sum is e3b0c44298fc1c149afb...; its first ten bytes in base32.
    assert fingerprint(b"") == "4oymiquy7qobjgx3"
    node_id = new_keys().node_id
    assert len(node_id) == 16
    assert set(node_id) <= set("abcdefghijklmnopqrstuvwxyz234567")


def test_the_public_key_is_the_secret_ones() -> None:
    keys = new_keys()
    assert z85.decode(zmq.curve_public(z85.encode(keys.secret))) == keys.public


def test_only_the_owner_can_read_the_key(tmp_path: Path) -> None:
    load_or_create_keys(tmp_path / "node")
    assert stat.S_IMODE((tmp_path / "node").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "node" / FILE_NAME).stat().st_mode) == 0o600


def test_a_directory_that_others_can_read_is_closed(tmp_path: Path) -> None:
    directory = tmp_path / "node"
    directory.mkdir(mode=0o755)
    load_or_create_keys(directory)
    (directory / FILE_NAME).chmod(0o644)
    directory.chmod(0o755)
    load_or_create_keys(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / FILE_NAME).stat().st_mode) == 0o600


def test_the_secret_is_not_printed() -> None:
    keys = new_keys()
    assert repr(keys.secret) not in repr(keys)


def test_no_other_file_is_left(tmp_path: Path) -> None:
    load_or_create_keys(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_of_two_first_starts_at_once_both_get_the_same_key(tmp_path: Path) -> None:
    made: list[str] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        made.append(load_or_create_keys(tmp_path).node_id)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1


@pytest.mark.parametrize("position", range(0, 115, 3))
def test_any_damaged_byte_is_noticed(tmp_path: Path, position: int) -> None:
    load_or_create_keys(tmp_path)
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    content[position] ^= 0x02
    path.write_bytes(content)
    with pytest.raises(CorruptStorage, match="no valid key pair"):
        load_or_create_keys(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n\n", b"paceline-node-key 1\npublic \nsecret \n", b"\xff" * 100, b"x" * 10_000],
)
def test_a_foreign_file_is_refused_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    with pytest.raises(CorruptStorage):
        load_or_create_keys(tmp_path)
    assert path.read_bytes() == content


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    load_or_create_keys(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:70])
    with pytest.raises(CorruptStorage):
        load_or_create_keys(tmp_path)
