"""What proves that a process is gone, and what does not."""

import asyncio
import socket

from paceline.node.probe import refuses
from tests.node.transports import LOOPBACK, run


def test_a_port_that_nobody_owns_refuses() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
    assert run(refuses(LOOPBACK, port))


def test_a_server_that_speaks_does_not() -> None:
    async def test() -> None:
        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"x")
            await reader.read()
            writer.close()

        async with await asyncio.start_server(speak, LOOPBACK, 0) as server:
            assert not await refuses(LOOPBACK, server.sockets[0].getsockname()[1])

    run(test())


def test_a_server_that_is_silent_does_not() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        assert not run(refuses(LOOPBACK, server.getsockname()[1]))


def test_a_server_that_hangs_up_is_asked_again_until_it_refuses() -> None:
    async def test() -> None:
        accepted = 0

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal accepted
            accepted += 1
            if accepted == 3:
                server.close()
            writer.close()

        server = await asyncio.start_server(hang_up, LOOPBACK, 0)
        assert await refuses(LOOPBACK, server.sockets[0].getsockname()[1])
        assert accepted >= 3

    run(test())
