import asyncio
import hashlib
import os
import random
import time
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import (
    CorruptStorage,
    InputError,
    NodeUnreachable,
    NotFound,
    ProtocolError,
    StorageFull,
    Unavailable,
)
from paceline.node.blobs import CHUNK_BYTES, BlobStore
from paceline.tasks.model import BlobRef
from tests.tools.children import run

MIB = 1024 * 1024
DATA = random.Random(1).randbytes(3 * MIB + 17)
SHA256 = hashlib.sha256(DATA).hexdigest()


def store(directory: Path, **fields: object) -> BlobStore:
    return BlobStore(
        **{"directory": directory, "node_id": "me", "budget_bytes": 64 * MIB, **fields}  # type: ignore[arg-type]
    )


@dataclass
class Holders:
    """Other nodes: what each of them has, who is away, and what was asked of whom."""

    has: dict[str, bytes]
    away: set[str] = field(default_factory=set)
    fails_at: dict[str, int] = field(default_factory=dict)
    """A node goes away when it is asked for this offset or more."""
    asked: list[tuple[str, int]] = field(default_factory=list)

    async def read_chunk(self, node_id: str, sha256: str, offset: int, limit: int) -> bytes:
        self.asked.append((node_id, offset))
        await asyncio.sleep(0)
        if node_id in self.away or offset >= self.fails_at.get(node_id, offset + 1):
            raise NodeUnreachable(f"{node_id} is away")
        if node_id not in self.has:
            raise NotFound("no such blob")
        return self.has[node_id][offset : offset + limit]


def ref(*holders: str) -> BlobRef:
    return BlobRef(SHA256, len(DATA), holders)


# --- storing ---


@pytest.mark.parametrize("data", [b"", b"\0", DATA])
def test_what_is_put_is_read_back(tmp_path: Path, data: bytes) -> None:
    blobs = store(tmp_path)
    found = run(blobs.put(data))
    assert found == BlobRef(hashlib.sha256(data).hexdigest(), len(data), ("me",))
    assert run(blobs.get(found.sha256)) == data
    assert blobs.path(found.sha256).read_bytes() == data
    assert blobs.used_bytes == len(data)


def test_a_file_is_put_and_copied(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(DATA)
    blobs = store(tmp_path / "blobs")
    found = run(blobs.put_file(tmp_path / "source"))
    run(blobs.copy(found.sha256, tmp_path / "target"))
    assert found.sha256 == SHA256
    assert (tmp_path / "target").read_bytes() == DATA


def test_the_same_bytes_are_kept_once(tmp_path: Path) -> None:
    async def test(blobs: BlobStore) -> None:
        await asyncio.gather(*(blobs.put(DATA) for _ in range(10)))

    blobs = store(tmp_path)
    run(test(blobs))
    run(blobs.put(DATA))
    assert blobs.used_bytes == len(DATA)
    assert store(tmp_path).used_bytes == len(DATA)
    assert list((tmp_path / "partial").iterdir()) == []


def test_chunks(tmp_path: Path) -> None:
    blobs = store(tmp_path)
    run(blobs.put(DATA))
    assert run(blobs.read(SHA256, 10, 5)) == DATA[10:15]
    assert run(blobs.read(SHA256, len(DATA) - 3, 100)) == DATA[-3:]
    assert run(blobs.read(SHA256, len(DATA) + 3, 100)) == b""
    with pytest.raises(NotFound):
        run(blobs.read("0" * 64, 0, 1))


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "0" * 63, "A" * 64, "0" * 64 + "\n"])
def test_a_name_is_a_hash_and_nothing_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProtocolError):
        run(store(tmp_path).read(name, 0, 1))


def test_whole_reads_are_bounded(tmp_path: Path) -> None:
    blobs = store(tmp_path)
    run(blobs.put(DATA))
    with pytest.raises(InputError):
        run(blobs.get(SHA256, limit_bytes=100))


def test_the_budget(tmp_path: Path) -> None:
    blobs = store(tmp_path, budget_bytes=4 * MIB)
    run(blobs.put(DATA))
    with pytest.raises(StorageFull, match="do not fit"):
        run(blobs.put(DATA[:-1]))
    assert list((tmp_path / "partial").iterdir()) == []
    run(blobs.collect([], young_s=0))
    run(blobs.put(DATA[:-1]))


WHOLE_READS: tuple[Callable[[BlobStore, Path], Coroutine[Any, Any, object]], ...] = (
    lambda blobs, _: blobs.get(SHA256),
    lambda blobs, target: blobs.copy(SHA256, target),
)


@pytest.mark.parametrize("damage", ["flip", "cut", "extend", "empty"])
def test_a_corrupt_blob_is_refused_and_absent(tmp_path: Path, damage: str) -> None:
    blobs = store(tmp_path)
    for whole_read in WHOLE_READS:
        path = blobs.path(run(blobs.put(DATA)).sha256)
        data = {
            "flip": DATA[:1000] + bytes([DATA[1000] ^ 1]) + DATA[1001:],
            "cut": DATA[:-1],
            "extend": DATA + b"\0",
            "empty": b"",
        }[damage]
        path.write_bytes(data)
        with pytest.raises(CorruptStorage):
            run(whole_read(blobs, tmp_path / "target"))
        assert not (tmp_path / "target").exists()
        assert not blobs.has(SHA256)
        with pytest.raises(NotFound):
            run(blobs.get(SHA256))


# --- fetching ---


def test_fetched_once_for_all_who_ask(tmp_path: Path) -> None:
    holders = Holders({"a": DATA})
    blobs = store(tmp_path, read_chunk=holders.read_chunk)

    async def test() -> None:
        paths = await asyncio.gather(*(blobs.fetch(ref("me", "a")) for _ in range(20)))
        assert {path.read_bytes() for path in paths} == {DATA}

    run(test())
    offsets = [offset for _, offset in holders.asked]
    assert offsets == list(range(0, len(DATA), CHUNK_BYTES))
    assert blobs.used_bytes == len(DATA)
    assert blobs._locks == {}


def test_it_goes_on_with_another_holder(tmp_path: Path) -> None:
    holders = Holders({"a": DATA, "b": DATA}, fails_at={"a": MIB})
    blobs = store(tmp_path, read_chunk=holders.read_chunk)
    run(blobs.fetch(ref("away", "a", "b")))
    assert run(blobs.get(SHA256)) == DATA
    first_of_b = next(offset for node, offset in holders.asked if node == "b")
    assert first_of_b == MIB


def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    holders = Holders({"a": DATA}, fails_at={"a": 2 * MIB})
    with pytest.raises(Unavailable, match="a is away"):
        run(store(tmp_path, read_chunk=holders.read_chunk).fetch(ref("a")))
    again = Holders({"a": DATA})
    run(store(tmp_path, read_chunk=again.read_chunk).fetch(ref("a")))
    assert again.asked[0] == ("a", 2 * MIB)


def test_a_cancelled_fetch_is_taken_up_by_who_waits(tmp_path: Path) -> None:
    holders = Holders({"a": DATA})
    blobs = store(tmp_path, read_chunk=holders.read_chunk)

    async def test() -> None:
        first = asyncio.create_task(blobs.fetch(ref("a")))
        second = asyncio.create_task(blobs.fetch(ref("a")))
        while len(holders.asked) < 4:
            await asyncio.sleep(0)
        first.cancel()
        assert (await second).read_bytes() == DATA
        with pytest.raises(asyncio.CancelledError):
            await first

    run(test())


LIE = bytes(len(DATA))


def test_a_liar_is_passed_over(tmp_path: Path) -> None:
    holders = Holders({"liar": LIE, "a": DATA})
    blobs = store(tmp_path, read_chunk=holders.read_chunk)
    run(blobs.fetch(ref("liar", "a")))
    assert run(blobs.get(SHA256)) == DATA


def test_a_liar_who_leaves_in_the_middle_does_not_spoil_the_rest(tmp_path: Path) -> None:
    holders = Holders({"liar": LIE, "a": DATA}, fails_at={"liar": MIB})
    blobs = store(tmp_path, read_chunk=holders.read_chunk)
    run(blobs.fetch(ref("liar", "a")))
    assert run(blobs.get(SHA256)) == DATA


@pytest.mark.parametrize("data", [LIE, DATA[:-1], DATA[:MIB], b""])
def test_only_liars(tmp_path: Path, data: bytes) -> None:
    holders = Holders({"liar": data})
    blobs = store(tmp_path, read_chunk=holders.read_chunk)
    with pytest.raises(Unavailable):
        run(blobs.fetch(ref("liar")))
    assert not blobs.has(SHA256)
    assert len(holders.asked) < 60


def test_more_than_was_asked_for_is_refused(tmp_path: Path) -> None:
    async def read_chunk(node_id: str, sha256: str, offset: int, limit: int) -> bytes:
        return bytes(limit + 1)

    with pytest.raises(Unavailable, match="asked for"):
        run(store(tmp_path, read_chunk=read_chunk).fetch(ref("liar")))


def test_nobody_has_it(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nobody else"):
        run(store(tmp_path).fetch(ref("me")))
    with pytest.raises(Unavailable, match="no connection"):
        run(store(tmp_path).fetch(ref("a")))


def test_who_holds_it_by_now_is_asked_for_when_those_who_did_are_gone(tmp_path: Path) -> None:
    holders = Holders({"new": DATA}, away={"old"})

    async def find(sha256: str) -> Collection[str]:
        return ["old", "new"] if sha256 == SHA256 else []

    blobs = store(tmp_path, read_chunk=holders.read_chunk, find=find)
    assert run(blobs.fetch(ref("old"))).read_bytes() == DATA
    assert [node for node, _ in holders.asked][:3] == ["old"] * 3, "who is known goes first"


def test_too_large_for_the_budget_is_not_begun(tmp_path: Path) -> None:
    holders = Holders({"a": DATA})
    blobs = store(tmp_path, read_chunk=holders.read_chunk, budget_bytes=MIB)
    with pytest.raises(StorageFull):
        run(blobs.fetch(ref("a")))
    assert holders.asked == []


def test_an_empty_blob_is_fetched(tmp_path: Path) -> None:
    holders = Holders({"a": b""})
    blobs = store(tmp_path, read_chunk=holders.read_chunk)
    empty = BlobRef(hashlib.sha256(b"").hexdigest(), 0, ("a",))
    assert run(blobs.fetch(empty)).read_bytes() == b""


# --- keeping ---


def test_replication_adds_holders(tmp_path: Path) -> None:
    async def replicate(_: BlobRef) -> Collection[str]:
        return ["b", "me"]

    async def test(blobs: BlobStore) -> BlobRef:
        return await blobs.replicate(await blobs.put(b"x"))

    assert run(test(store(tmp_path, replicate=replicate))).holders == ("me", "b")
    assert run(test(store(tmp_path))).holders == ("me",)


def test_collecting_spares_the_live_and_the_young(tmp_path: Path) -> None:
    blobs = store(tmp_path)
    live, dead, young = (run(blobs.put(data)) for data in (b"live", b"dead", b"young"))
    leftover = tmp_path / "partial" / "put-crashed"
    leftover.write_bytes(b"half")
    hours_ago = time.time() - 10_000
    for file in (blobs.path(live.sha256), blobs.path(dead.sha256), leftover):
        os.utime(file, (hours_ago, hours_ago))
    assert run(blobs.collect({live.sha256})) == len(b"dead") + len(b"half")
    assert blobs.has(live.sha256)
    assert blobs.has(young.sha256)
    assert not blobs.has(dead.sha256)
    assert not leftover.exists()
    assert blobs.used_bytes == len(b"live") + len(b"young")
