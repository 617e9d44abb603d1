"""Tells the cluster what this node can do: at the start, and whenever that changes."""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from paceline.errors import PacelineError, Unavailable
from paceline.node.proposals import Proposals
from paceline.tasks.commands import RegisterWorker

PAUSE_S = 0.5
TIMEOUT_S = 10.0

log = structlog.get_logger(__name__)


class Registration:
    """Keeps this node's row among the workers true."""

    def __init__(self, *, introduction: Callable[[], dict[str, Any]], proposals: Proposals) -> None:
        """`introduction` answers the fields of `RegisterWorker`, as they are now."""
        self._introduction = introduction
        self._proposals = proposals
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Say it again: something has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Register whenever woken, and until it has worked."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                command = RegisterWorker(**self._introduction())
                await self._proposals.propose(command, timeout_s=TIMEOUT_S)
            except Unavailable:
                await asyncio.sleep(PAUSE_S)
                self._wake.set()
            except PacelineError as error:
                log.warning("this node was not registered", reason=str(error))
