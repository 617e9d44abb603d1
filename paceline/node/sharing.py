"""Blobs between nodes: given out in chunks on the bulk lane, taken in, and doubled.

A chunk is asked for by a small call on the control lane; its bytes come on the bulk lane, so that a
gigabyte on its way never delays a heartbeat. One call asks for one chunk of at most 256 KiB and the
next is sent when it has come: the asker's pace is the flow control.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import structlog

from paceline.codec import decode, encode, from_plain, to_plain
from paceline.errors import NotFound, PacelineError, ProtocolError, TimedOut, Unavailable
from paceline.ids import NodeId
from paceline.node.blobs import CHUNK_BYTES, BlobStore
from paceline.node.calls import Calls
from paceline.node.transport import Transport
from paceline.node.wire import Kind, Lane
from paceline.tasks.model import BlobRef

READ = "blob.read"
HOLD = "blob.hold"
HAVE = "blob.have"
HAVE_LIMIT = 500
"""So many blobs are asked about in one call."""
HAVE_TIMEOUT_S = 10.0
CHUNK_TIMEOUT_S = 15.0
HOLD_TIMEOUT_S = 600.0
COPIES = 2
"""So many nodes have a blob before an outcome that refers to it counts, where there are so many."""
OUTSTANDING_LIMIT = 64

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ChunkRequest:
    """Which bytes, and the number under which the asker waits for them."""

    ticket: int
    sha256: str
    offset: int
    limit: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """The bytes of a ticket."""

    ticket: int
    data: bytes


class Sharing:
    """Serves this node's blobs to members, and gets theirs."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        transport: Transport,
        calls: Calls,
        live_members: Callable[[], Collection[NodeId]],
    ) -> None:
        """`live_members` answers who is alive now, this node included."""
        self._node_id = node_id
        self._transport = transport
        self._calls = calls
        self._live_members = live_members
        self._tickets = count(1)
        self._waiting: dict[tuple[NodeId, int], asyncio.Future[bytes]] = {}
        self._blobs: BlobStore
        transport.on(Kind.BLOB, self._on_chunk)
        calls.serve(READ, self._serve_read)
        calls.serve(HOLD, self._serve_hold)
        calls.serve(HAVE, self._serve_have)

    def attach(self, blobs: BlobStore) -> None:
        """Take the store, which was built with this object's `read_chunk` and `replicate`."""
        self._blobs = blobs

    async def read_chunk(self, node_id: NodeId, sha256: str, offset: int, limit: int) -> bytes:
        """Answer bytes of a blob that another node holds. Raise Unavailable, NotFound."""
        if len(self._waiting) >= OUTSTANDING_LIMIT:
            raise Unavailable("too many chunks are on their way already")
        ticket = next(self._tickets)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[node_id, ticket] = future
        request = ChunkRequest(ticket, sha256, offset, limit)
        try:
            await self._calls.call(node_id, READ, to_plain(request), timeout_s=CHUNK_TIMEOUT_S)
            async with asyncio.timeout(CHUNK_TIMEOUT_S):
                return await future
        except TimeoutError:
            raise TimedOut(f"{node_id} did not send its bytes in time") from None
        finally:
            del self._waiting[node_id, ticket]

    async def replicate(self, ref: BlobRef) -> Collection[NodeId]:
        """Have others take copies until there are enough; answer who has it besides this node.

        Each blob has an order of its own in which members are asked, so that all get their share.
        """
        holders: list[NodeId] = []
        for node_id in sorted(self._live_members(), key=lambda each: _turn(each, ref.sha256)):
            if len(holders) + 1 >= COPIES:
                break
            if node_id != self._node_id and await self._ask_to_hold(node_id, ref):
                holders.append(node_id)
        return holders

    async def _ask_to_hold(self, node_id: NodeId, ref: BlobRef) -> bool:
        try:
            await self._calls.call(node_id, HOLD, to_plain(ref), timeout_s=HOLD_TIMEOUT_S)
        except PacelineError as error:
            log.warning("a copy was not taken", node_id=node_id, reason=str(error))
            return False
        return True

    async def ask_held(self, node_id: NodeId, wanted: Sequence[str]) -> Collection[str]:
        """Answer which of these blobs a member holds. Raise Unavailable, ProtocolError."""
        answer = await self._calls.call(node_id, HAVE, list(wanted), timeout_s=HAVE_TIMEOUT_S)
        if not isinstance(answer, list):
            raise ProtocolError("which blobs it holds was not answered by a list")
        return set(wanted).intersection(each for each in answer if isinstance(each, str))

    async def find(self, sha256: str) -> Collection[NodeId]:
        """Answer which members that live hold a blob now, whatever is known of it."""
        found = []
        for node_id in sorted(self._live_members()):
            if node_id != self._node_id:
                with contextlib.suppress(PacelineError):
                    found += [node_id] if await self.ask_held(node_id, [sha256]) else []
        return found

    async def _serve_have(self, sender: NodeId, body: Any) -> Any:
        wanted = from_plain(list[str], body)
        if len(wanted) > HAVE_LIMIT:
            raise ProtocolError(f"more than {HAVE_LIMIT} blobs were asked about at once")
        return await asyncio.to_thread(lambda: [each for each in wanted if self._blobs.has(each)])

    async def _serve_read(self, sender: NodeId, body: Any) -> Any:
        request = from_plain(ChunkRequest, body)
        if not 0 < request.limit <= CHUNK_BYTES or request.offset < 0:
            raise ProtocolError("an impossible range of a blob")
        if not self._blobs.has(request.sha256):
            raise NotFound(f"this node does not hold blob {request.sha256}")
        data = await self._blobs.read(request.sha256, request.offset, request.limit)
        chunk = encode(Chunk(request.ticket, data))
        if not await self._transport.send_when_room(
            sender, Kind.BLOB, chunk, lane=Lane.BULK, timeout_s=CHUNK_TIMEOUT_S
        ):
            raise Unavailable("the bulk lane is full")
        return len(data)

    async def _serve_hold(self, sender: NodeId, body: Any) -> Any:
        ref = from_plain(BlobRef, body)
        await self._blobs.fetch(BlobRef(ref.sha256, ref.size, (sender, *ref.holders)))
        return True

    def _on_chunk(self, sender: NodeId, body: bytes) -> None:
        chunk = decode(Chunk, body)
        future = self._waiting.get((sender, chunk.ticket))
        if future is not None and not future.done():
            future.set_result(chunk.data)


def _turn(node_id: NodeId, sha256: str) -> bytes:
    return hashlib.sha256(f"{sha256} {node_id}".encode()).digest()
