"""Taking the output of an attempt: small ones go into the outcome, larger ones become blobs."""

import asyncio
import errno
import os
import stat
from pathlib import Path

import structlog

from paceline.errors import InputError, PacelineError
from paceline.node.blobs import BlobStore
from paceline.tasks.model import BlobRef, Output

log = structlog.get_logger(__name__)

INLINE_LIMIT_BYTES = 32 * 1024
"""What a log entry may carry; every node keeps it."""

REPLICATE_TIMEOUT_S = 60.0
REPLICATE_BYTES_PER_S = 1024 * 1024
"""So slow a network may be before a result is told without its copy."""


async def collect(file: Path, blobs: BlobStore, limit_bytes: int) -> Output:
    """Answer what the tool left as its output; nothing if it left none.

    Raise InputError for what is no plain file or too large, StorageFull.
    """
    size = await asyncio.to_thread(_size, file)
    if size > limit_bytes:
        raise InputError(f"the output has {size} bytes; at most {limit_bytes} are taken")
    if size <= INLINE_LIMIT_BYTES:
        return Output(await asyncio.to_thread(file.read_bytes) if size else b"")
    return Output(blob=await replicated(await blobs.put_file(file), blobs))


async def replicated(ref: BlobRef, blobs: BlobStore) -> BlobRef:
    """Have others take a copy; a result is not lost because nobody could just now.

    Who holds it later is seen to by `upkeep`.
    """
    try:
        async with asyncio.timeout(REPLICATE_TIMEOUT_S + ref.size / REPLICATE_BYTES_PER_S):
            return await blobs.replicate(ref)
    except (PacelineError, TimeoutError) as error:
        log.warning("a blob has no copy on another node", sha256=ref.sha256, error=str(error))
        return ref


def _size(file: Path) -> int:
    """Answer the size of a plain file, 0 if there is none. Nothing is followed or waited for."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return 0
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise InputError("the output is not a plain file (a link or a socket)") from error
        raise
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise InputError("the output is not a plain file")
    return found.st_size
