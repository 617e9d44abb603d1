"""Bytes kept by what they are: each blob is a file named by its SHA-256.

    blobs/ab/abcd...      complete, verified when it was written, never changed
    blobs/partial/...     being written or fetched; a fetch goes on where it stopped

A blob is durable (fsync of file and directory) before its name exists. It is verified again when it
is read as a whole; one that is not what its name says is put aside and counts as absent. Chunks are
served unverified: whoever fetches verifies the whole, and asks another holder if it is wrong.
Everything that touches the disk runs in a thread.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from paceline.errors import (
    CorruptStorage,
    InputError,
    NotFound,
    ProtocolError,
    StorageFull,
    Unavailable,
)
from paceline.ids import NodeId
from paceline.node.disk import out_of_space, sync_directory
from paceline.tasks.model import BlobRef

CHUNK_BYTES = 256 * 1024
"""Asked for at once while fetching, and held in memory."""

CHUNK_LIMIT_BYTES = 4 * 1024 * 1024
"""The most that `read` answers."""

ROUNDS = 3
"""How often a fetch goes through all holders before it gives up."""

YOUNG_S = 3600.0
"""Collection spares what is younger: its outcome may not be committed yet."""

_NAME = re.compile(r"[0-9a-f]{64}")

ReadChunk = Callable[[NodeId, str, int, int], Awaitable[bytes]]
"""Asks a node for `limit` bytes of a blob from `offset`. Raises Unavailable or NotFound."""

Find = Callable[[str], Awaitable[Collection[NodeId]]]
"""Asks all members which of them hold a blob now."""

Replicate = Callable[[BlobRef], Awaitable[Collection[NodeId]]]
"""Has other nodes take a copy, and answers which of them have it."""


class BlobStore:
    """The blobs of one node, within `budget_bytes` of disk."""

    def __init__(
        self,
        *,
        directory: Path,
        node_id: NodeId,
        budget_bytes: int,
        read_chunk: ReadChunk | None = None,
        replicate: Replicate | None = None,
        find: Find | None = None,
    ) -> None:
        self._directory = directory
        self._partial = directory / "partial"
        self._partial.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._node_id = node_id
        self._budget_bytes = budget_bytes
        self._read_chunk = read_chunk
        self._replicate = replicate
        self._find = find
        self._used_bytes = sum(file.stat().st_size for file in self._files())
        self._accounting = threading.Lock()
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @property
    def used_bytes(self) -> int:
        """Answer the size of all complete blobs."""
        return self._used_bytes

    def path(self, sha256: str) -> Path:
        """Answer where that blob is, or would be. Raise ProtocolError if it is no SHA-256."""
        if not _NAME.fullmatch(sha256):
            raise ProtocolError("a blob is named by 64 lower-case hexadecimal digits")
        return self._directory / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Answer whether the blob is here, complete."""
        return self.path(sha256).is_file()

    # --- writing ---

    async def put(self, data: bytes) -> BlobRef:
        """Store bytes. Raise StorageFull."""
        return await asyncio.to_thread(self._put, iter((data,)), len(data))

    async def put_file(self, file: Path) -> BlobRef:
        """Store a copy of a file. Raise StorageFull."""
        return await asyncio.to_thread(self._put_file, file)

    async def replicate(self, ref: BlobRef) -> BlobRef:
        """Answer the reference with all who hold it, after others have been asked to take a copy.

        A failure to copy is no failure here: the reference then names fewer holders.
        """
        if self._replicate is None:
            return ref
        others = await self._replicate(ref)
        return replace(ref, holders=tuple(dict.fromkeys((*ref.holders, *others))))

    def _put_file(self, file: Path) -> BlobRef:
        with file.open("rb") as source:
            return self._put(_chunks(source), os.fstat(source.fileno()).st_size)

    def _put(self, chunks: Iterator[bytes], expected_bytes: int) -> BlobRef:
        self._make_room(expected_bytes)
        temporary = self._partial / f"put-{secrets.token_hex(8)}"
        try:
            with out_of_space():
                sha256, size = _write(temporary, chunks)
                self._make_room(size)
                self._keep(temporary, sha256)
        finally:
            temporary.unlink(missing_ok=True)
        return BlobRef(sha256, size, (self._node_id,))

    def _keep(self, temporary: Path, sha256: str) -> None:
        """Give a complete file its name, durably. Of two with one name, either is as good."""
        target = self.path(sha256)
        if not target.parent.is_dir():
            target.parent.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self._directory)
        with self._accounting:  # looked at and renamed as one: others may bring the same bytes now
            if not target.exists():
                self._used_bytes += temporary.stat().st_size
            os.replace(temporary, target)
        sync_directory(target.parent)

    def _make_room(self, size: int) -> None:
        if self._used_bytes + size > self._budget_bytes:
            raise StorageFull(
                f"{size} bytes do not fit: {self._used_bytes} of the {self._budget_bytes} bytes "
                "for blobs are used; raise the budget or let old tasks expire"
            )

    # --- reading ---

    async def read(self, sha256: str, offset: int, limit: int) -> bytes:
        """Answer up to `limit` bytes from `offset`; fewer at the end. Raise NotFound."""
        return await asyncio.to_thread(self._read, sha256, offset, min(limit, CHUNK_LIMIT_BYTES))

    async def get(self, sha256: str, limit_bytes: int = CHUNK_LIMIT_BYTES) -> bytes:
        """Answer a whole small blob, verified. Raise NotFound, CorruptStorage, InputError."""
        return await asyncio.to_thread(self._get, sha256, limit_bytes)

    async def copy(self, sha256: str, target: Path) -> None:
        """Write a verified copy to `target`. Raise NotFound, CorruptStorage, StorageFull."""
        await asyncio.to_thread(self._copy, sha256, target)

    def _read(self, sha256: str, offset: int, limit: int) -> bytes:
        with self._open(sha256) as file:
            file.seek(offset)
            return file.read(limit)

    def _get(self, sha256: str, limit_bytes: int) -> bytes:
        with self._open(sha256) as file:
            data = file.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise InputError(f"blob {sha256} is longer than the {limit_bytes} bytes asked for")
        if hashlib.sha256(data).hexdigest() != sha256:
            self._put_aside(sha256)
        return data

    def _copy(self, sha256: str, target: Path) -> None:
        with self._open(sha256) as source, out_of_space():
            found, _ = _write(target, _chunks(source), sync=False)
        if found != sha256:
            target.unlink()
            self._put_aside(sha256)

    @contextmanager
    def _open(self, sha256: str) -> Iterator[IO[bytes]]:
        try:
            file = self.path(sha256).open("rb")
        except FileNotFoundError:
            raise NotFound(f"blob {sha256} is not on this node") from None
        with file:
            yield file

    def _put_aside(self, sha256: str) -> None:
        """Make a corrupt blob absent, and keep it for whoever looks into it. Always raise."""
        path = self.path(sha256)
        with contextlib.suppress(FileNotFoundError), self._accounting:
            size = path.stat().st_size
            os.replace(path, self._partial / f"corrupt-{sha256}")
            self._used_bytes -= size
        raise CorruptStorage(f"blob {sha256} is not what it was: the disk changed it")

    # --- fetching ---

    async def fetch(self, ref: BlobRef) -> Path:
        """Bring a blob here, unless it is, and answer its path.

        Asks the holders in turn, goes on where an earlier fetch stopped, and verifies the whole.
        Fetches of one blob at the same time share the work. Raise Unavailable if no holder gave
        it, StorageFull.
        """
        path = self.path(ref.sha256)
        async with self._alone(ref.sha256):
            if not path.is_file():
                self._make_room(ref.size)
                await self._fetch(ref)
        return path

    async def _fetch(self, ref: BlobRef) -> None:
        known = [holder for holder in ref.holders if holder != self._node_id]
        reasons: list[str] = []
        if await self._fetch_from_any(known, ref, ROUNDS, reasons):
            return
        others = await self._others(ref.sha256, known)
        if await self._fetch_from_any(others, ref, 1, reasons):
            return
        reason = reasons[-1] if reasons else "nobody else holds it"
        raise Unavailable(f"blob {ref.sha256} cannot be fetched; {reason}")

    async def _fetch_from_any(
        self, holders: list[NodeId], ref: BlobRef, rounds: int, reasons: list[str]
    ) -> bool:
        """Answer whether one of them gave it; why each did not is added to the reasons."""
        left = list(holders)
        for _ in range(rounds):
            for holder in tuple(left):
                try:
                    await self._fetch_from(holder, ref)
                except CorruptStorage as error:
                    left.remove(holder)
                    reasons.append(f"{holder}: {error}")
                except (Unavailable, NotFound, ProtocolError) as error:
                    reasons.append(f"{holder}: {error}")
                else:
                    return True
        return False

    async def _others(self, sha256: str, known: Collection[NodeId]) -> list[NodeId]:
        """Answer who holds it by now: its holders may have gone, and others taken copies."""
        found = await self._find(sha256) if self._find else ()
        return [each for each in found if each not in known and each != self._node_id]

    async def _fetch_from(self, holder: NodeId, ref: BlobRef) -> None:
        """Have one holder complete it. Raise CorruptStorage if all that it sent is wrong.

        If the beginning came from somebody else, that may be what is wrong: begin anew, once.
        """
        partial = self._partial / ref.sha256
        there = await asyncio.to_thread(_size, partial)
        await self._read_rest(holder, ref, partial, there)
        if await asyncio.to_thread(self._accept, partial, ref):
            return
        if there:
            await self._read_rest(holder, ref, partial, 0)
        if not there or not await asyncio.to_thread(self._accept, partial, ref):
            raise CorruptStorage("what it sent is not that blob")

    async def _read_rest(self, holder: NodeId, ref: BlobRef, partial: Path, offset: int) -> None:
        if self._read_chunk is None:
            raise Unavailable("this node has no connection to others")
        while offset < ref.size:
            wanted = min(CHUNK_BYTES, ref.size - offset)
            data = await self._read_chunk(holder, ref.sha256, offset, wanted)
            if not data or len(data) > wanted:
                raise ProtocolError(f"asked for {wanted} bytes at {offset}, got {len(data)}")
            await asyncio.to_thread(_append, partial, offset, data)
            offset += len(data)

    def _accept(self, partial: Path, ref: BlobRef) -> bool:
        """Keep the blob if it is what it should be, else throw it away."""
        with partial.open("ab") as file, out_of_space():
            os.fsync(file.fileno())
        with partial.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != ref.sha256 or _size(partial) != ref.size:
            partial.unlink()
            return False
        self._keep(partial, ref.sha256)
        return True

    @asynccontextmanager
    async def _alone(self, sha256: str) -> AsyncIterator[None]:
        """One at a time per blob; the next one finds the blob, or goes on with the partial one."""
        lock, users = self._locks.get(sha256, (asyncio.Lock(), 0))
        self._locks[sha256] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(sha256)
            if users > 1:
                self._locks[sha256] = (lock, users - 1)

    # --- collecting ---

    async def collect(self, live: Collection[str], *, young_s: float = YOUNG_S) -> int:
        """Delete blobs that are not in `live`, and leftovers, unless young; answer bytes freed."""
        return await asyncio.to_thread(self._collect, frozenset(live), time.time() - young_s)

    def _collect(self, live: frozenset[str], before: float) -> int:
        freed = 0
        for file in (*self._files(), *self._partial.iterdir()):
            with contextlib.suppress(FileNotFoundError), self._accounting:
                found = file.stat()
                if file.name in live or found.st_mtime > before:
                    continue
                file.unlink()
                freed += found.st_size
                if file.parent != self._partial:
                    self._used_bytes -= found.st_size
        return freed

    def _files(self) -> Iterator[Path]:
        return (file for file in self._directory.glob("??/*") if _NAME.fullmatch(file.name))


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    while chunk := source.read(CHUNK_BYTES):
        yield chunk


def _write(target: Path, chunks: Iterator[bytes], *, sync: bool = True) -> tuple[str, int]:
    """Write a file and answer what it then holds: SHA-256 and size."""
    digest = hashlib.sha256()
    with target.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
        if sync:
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest(), file.tell()


def _append(partial: Path, offset: int, data: bytes) -> None:
    with out_of_space(), partial.open("r+b" if offset else "wb") as file:
        file.seek(offset)
        file.write(data)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
