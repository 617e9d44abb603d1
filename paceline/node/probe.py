"""Is the process behind a port certainly gone? A machine that is up refuses a port nobody owns."""

import asyncio
import contextlib
from typing import Final

TIMEOUT_S: Final = 0.5
PAUSE_S: Final = 0.005


async def refuses(host: str, port: int) -> bool:
    """Answer whether connecting to a port of a reachable machine is refused.

    A process that is dying closes its connections before its listening socket, so for a moment its
    machine still accepts, and then closes without a word. A live one says its ZMTP greeting at
    once; a frozen one, or an unreachable machine, says nothing, and silence proves nothing.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while not await _speaks(host, port):  # noqa: ASYNC110 - the answer has no event
                await asyncio.sleep(PAUSE_S)
    except ConnectionRefusedError:
        return True
    except OSError:  # TimeoutError is one
        return False
    return False


async def _speaks(host: str, port: int) -> bool:
    """Answer whether something sends a first byte, or else closes the connection."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        return bool(await reader.read(1))
    except ConnectionError:
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
