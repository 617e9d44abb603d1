"""Fixed addresses: those of `--join` and those remembered from the last run, greeted for ever.

This is what works where multicast does not. An address leads to a node, the node tells whom it
knows, and so one good address is enough.
"""

import asyncio
import contextlib
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import Final

import structlog

from paceline.clock import Clock
from paceline.discovery.peers import GreetingSchedule, Source
from paceline.discovery.record import Contact, split_address
from paceline.errors import InputError, PacelineError

Greet = Callable[[str], Awaitable[Sequence[Contact]]]
"""Greets at `HOST:PORT` and answers the contact of the node there, then those that it knows."""
Learn = Callable[[Contact, Source], None]

IDLE_S: Final = 3600.0

log = structlog.get_logger(__name__)


class FixedAddresses:
    """Greets fixed addresses and hands on what is learnt."""

    def __init__(
        self,
        *,
        join: Iterable[str],
        remembered: Iterable[Contact],
        greet: Greet,
        learn: Learn,
        clock: Clock,
        random: Random,
    ) -> None:
        self._greet = greet
        self._learn = learn
        self._clock = clock
        self._schedule = GreetingSchedule(random=random)
        self._changed = asyncio.Event()
        self.unanswered: dict[str, str] = {}
        """Why an address did not answer the last time."""
        now_ms = clock.monotonic_ms()
        self._schedule.want(join, now_ms)
        for contact in remembered:
            self._schedule.want(contact.joins, now_ms)

    def want(self, addresses: Iterable[str]) -> None:
        """Greet these too."""
        self._schedule.want(addresses, self._clock.monotonic_ms())
        self._changed.set()

    def hurry(self) -> None:
        """Greet all soon: the network has changed."""
        self._schedule.hurry(self._clock.monotonic_ms())
        self._changed.set()

    async def run(self) -> None:
        """Greet until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._changed.clear()
                for address in self._schedule.due(self._clock.monotonic_ms()):
                    tasks.create_task(self._greet_one(address))
                await self._wait()

    async def _wait(self) -> None:
        wait_ms = self._schedule.wait_ms(self._clock.monotonic_ms())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_S if wait_ms is None else wait_ms / 1000):
                await self._changed.wait()

    async def _greet_one(self, address: str) -> None:
        try:
            contacts = await self._greet(address)
        except PacelineError as error:
            if address not in self.unanswered:
                log.info("a fixed address does not answer", address=address, reason=str(error))
            self.unanswered[address] = str(error)
            self._schedule.failed(address, self._clock.monotonic_ms())
        else:
            self.unanswered.pop(address, None)
            self._schedule.answered(address, self._clock.monotonic_ms())
            self._learn_all(address, contacts)
        self._changed.set()

    def _learn_all(self, address: str, contacts: Sequence[Contact]) -> None:
        for position, contact in enumerate(contacts):
            if position == 0:
                self._learn(with_proven_host(contact, address), Source.GREETING)
            else:
                self._learn(contact, Source.GOSSIP)


def with_proven_host(contact: Contact, address: str) -> Contact:
    """Answer the contact with the address at which it was just reached, which it may not know."""
    try:
        host, port = split_address(address)
        proven = str(ipaddress.ip_address(host))
    except (InputError, ValueError):  # a host name
        return contact
    if port != contact.join_port or proven in contact.hosts:
        return contact
    return replace(contact, hosts=(proven, *contact.hosts))
