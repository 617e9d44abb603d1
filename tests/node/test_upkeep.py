"""Copies of what tasks refer to: made again when a holder goes, by one node, not at once."""

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path

from paceline.errors import NodeUnreachable
from paceline.node.blobs import BlobStore
from paceline.node.state_reader import StateReader
from paceline.node.upkeep import Upkeep
from paceline.tasks.model import BlobRef
from tests.node.test_janitor import state_with


class Members:
    """Nodes with real stores; who is away neither answers nor counts as alive."""

    def __init__(self, directory: Path, *names: str) -> None:
        self.away: set[str] = set()
        self.copied: list[tuple[str, str]] = []
        self.blobs = {name: self._store(directory / name, name) for name in names}

    def _store(self, directory: Path, name: str) -> BlobStore:
        async def replicate(ref: BlobRef) -> Collection[str]:
            for other in sorted(self.live()):
                if other != name:
                    self.copied.append((name, other))
                    await self.blobs[other].put(await self.blobs[name].get(ref.sha256))
                    return [other]
            return []

        return BlobStore(
            directory=directory, node_id=name, budget_bytes=1 << 20, replicate=replicate
        )

    def live(self) -> Collection[str]:
        return [name for name in self.blobs if name not in self.away]

    async def ask_held(self, node_id: str, wanted: Sequence[str]) -> Collection[str]:
        if node_id in self.away:
            raise NodeUnreachable("away")
        return {each for each in wanted if self.blobs[node_id].has(each)}

    def upkeep(self, name: str, reader: StateReader) -> Upkeep:
        return Upkeep(
            node_id=name,
            blobs=self.blobs[name],
            reader=reader,
            live_members=self.live,
            ask_held=self.ask_held,
        )


def test_a_lost_holder_is_replaced_once(tmp_path: Path) -> None:
    async def test() -> None:
        members = Members(tmp_path, "a", "b", "c")
        for name in ("a", "b"):
            ref = await members.blobs[name].put(b"wanted")
        await members.blobs["a"].put(b"nobody refers to it")
        state_with(tmp_path, ref)
        reader = await StateReader.open(tmp_path / "state.db")
        looks = {name: members.upkeep(name, reader) for name in members.blobs}

        async def look() -> int:
            return sum(
                [await each.look() for name, each in looks.items() if name in members.live()]
            )

        assert [await look(), await look()] == [0, 0], "there are enough"
        members.away = {"b"}
        assert await look() == 0, "it may come back"
        assert await look() == 1
        assert members.copied == [("a", "c")]
        assert members.blobs["c"].has(ref.sha256)
        assert [await look(), await look()] == [0, 0]
        members.away = {"b", "c"}
        assert [await look(), await look()] == [0, 0], "alone, there is nobody to ask"
        await reader.close()

    asyncio.run(test())


def test_a_short_absence_copies_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        members = Members(tmp_path, "a", "b", "c")
        for name in ("a", "b"):
            ref = await members.blobs[name].put(b"wanted")
        state_with(tmp_path, ref)
        reader = await StateReader.open(tmp_path / "state.db")
        upkeep = members.upkeep("a", reader)
        for away in ({"b"}, set[str](), {"b"}, set[str]()):
            members.away = away
            assert await upkeep.look() == 0
        assert members.copied == []
        await reader.close()

    asyncio.run(test())
