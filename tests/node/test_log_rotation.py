"""The log of a node in the background does not grow without end."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.node.log_rotation import KEPT, rotate, rotate_for_ever


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.log"


@pytest.fixture
def descriptor(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    yield opened
    os.close(opened)


def test_a_log_over_the_limit_is_put_aside_and_written_on(path: Path, descriptor: int) -> None:
    os.write(descriptor, b"a" * 100)
    assert not rotate(path, descriptor, limit_bytes=100)
    for letter in "bcdef":
        os.write(descriptor, letter.encode() * 100)
        assert rotate(path, descriptor, limit_bytes=99)
        os.write(descriptor, b"on ")

    assert path.read_bytes() == b"on "
    names = sorted(each.name for each in path.parent.iterdir())
    assert names == ["node.log", *(f"node.log.{number}" for number in range(1, KEPT + 1))]
    assert b"f" * 100 in path.with_name("node.log.1").read_bytes()
    assert path.with_name("node.log.1").stat().st_mode & 0o077 == 0


def test_a_stream_that_is_not_that_file_is_left_alone(path: Path, descriptor: int) -> None:
    other = os.open(os.devnull, os.O_WRONLY)
    try:
        asyncio.run(asyncio.wait_for(rotate_for_ever(path, other), 30))
        path.rename(path.with_name("moved"))
        asyncio.run(asyncio.wait_for(rotate_for_ever(path, descriptor), 30))
    finally:
        os.close(other)
