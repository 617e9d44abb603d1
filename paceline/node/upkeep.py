"""Keeps as many copies of what tasks refer to as there should be, also when holders go.

Who holds a blob stands in the log as it was when its outcome was told. Later it is asked: each node
looks now and then at what it holds of what the state refers to, asks the members that live who else
does, and of those that hold a blob the first by id sees to it that there are enough. A shortage
must be seen twice in a row before it is acted on: a machine that is started again is no loss.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import structlog

from paceline.errors import PacelineError
from paceline.ids import NodeId
from paceline.node.blobs import BlobStore
from paceline.node.sharing import COPIES, HAVE_LIMIT
from paceline.node.state_reader import StateReader
from paceline.tasks import queries_storage
from paceline.tasks.model import BlobRef

EVERY_S = 60.0
"""Between two looks, if members have come or gone or a shortage was seen."""
CALM_TURNS = 60
"""Else it looks every so many turns: to read the state costs by its size."""
COPIED_AT_ONCE = 64
"""So many blobs at most are doubled in one turn."""

log = structlog.get_logger(__name__)

AskHeld = Callable[[NodeId, Sequence[str]], Awaitable[Collection[str]]]


class Upkeep:
    """Looks after the copies of one node's blobs."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        blobs: BlobStore,
        reader: StateReader,
        live_members: Callable[[], Collection[NodeId]],
        ask_held: AskHeld,
    ) -> None:
        """`ask_held` answers which of these blobs a member holds."""
        self._node_id = node_id
        self._blobs = blobs
        self._reader = reader
        self._live_members = live_members
        self._ask_held = ask_held
        self._short: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Look for ever."""
        seen, calm = frozenset[NodeId](), 0
        while True:
            await asyncio.sleep(EVERY_S)
            live = frozenset(self._live_members())
            calm = calm + 1 if live == seen and not self._short else CALM_TURNS
            if calm < CALM_TURNS:
                continue
            seen, calm = live, 0
            try:
                await self.look()
            except (PacelineError, OSError) as error:
                log.warning("the copies could not be looked after", reason=str(error))

    async def look(self) -> int:
        """Look once; answer how many blobs got another holder."""
        others = [each for each in sorted(self._live_members()) if each != self._node_id]
        if not others:
            self._short = frozenset()
            return 0
        mine = await self._mine()
        held = await self._held_by(others, mine)
        short = {sha256 for sha256 in mine if self._is_for_us_to_double(sha256, held)}
        due = sorted(short & self._short)[:COPIED_AT_ONCE]
        self._short = frozenset(short)
        return sum([await self._double(sha256) for sha256 in due])

    async def _mine(self) -> list[str]:
        live = await self._reader.read(queries_storage.live_storage)
        return await asyncio.to_thread(
            lambda: sorted(sha256 for sha256 in live.blobs if self._blobs.has(sha256))
        )

    async def _held_by(
        self, others: Sequence[NodeId], mine: Sequence[str]
    ) -> Mapping[NodeId, set[str]]:
        held: dict[NodeId, set[str]] = {}
        for node_id in others:
            held[node_id] = set()
            for start in range(0, len(mine), HAVE_LIMIT):
                try:
                    held[node_id] |= set(
                        await self._ask_held(node_id, mine[start : start + HAVE_LIMIT])
                    )
                except PacelineError as error:
                    log.debug("a member did not say what it holds", reason=str(error))
                    break
        return held

    def _is_for_us_to_double(self, sha256: str, held: Mapping[NodeId, set[str]]) -> bool:
        holders = [self._node_id, *(node for node, its in held.items() if sha256 in its)]
        enough = min(COPIES, len(held) + 1)
        return len(holders) < enough and min(holders) == self._node_id

    async def _double(self, sha256: str) -> bool:
        size = (await asyncio.to_thread(self._blobs.path(sha256).stat)).st_size
        ref = await self._blobs.replicate(BlobRef(sha256, size, (self._node_id,)))
        if len(ref.holders) < 2:
            return False
        log.info("a blob has another holder", sha256=sha256, holders=list(ref.holders))
        return True
