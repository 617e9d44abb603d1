"""Finding the other nodes, by every means at once: multicast, fixed addresses, memory, gossip.

All means feed one book of contacts; whoever wants to know is called back with what is news. What is
said of this node itself goes the other way: one record, announced by multicast and handed out by
the node's greeting socket, that follows the machine's addresses as they change.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

import structlog

from paceline.clock import Clock
from paceline.discovery.addresses import local_hosts
from paceline.discovery.fixed import FixedAddresses, Greet
from paceline.discovery.gossip import next_stamp
from paceline.discovery.mdns import Mdns
from paceline.discovery.peers import PeerBook, Source
from paceline.discovery.record import Contact
from paceline.discovery.remembered import REMEMBERED_LIMIT, read_remembered, write_remembered
from paceline.ids import NodeId

WATCH_S: Final = 3.0
"""Between looks at the machine's own addresses."""
REMEMBER_S: Final = 2.0
"""Between writes of what is remembered, at least."""

OUTBID_MS: Final = 5000
"""Between new stamps that old records of this node force upon it."""

ContactHandler = Callable[[Contact], None]

log = structlog.get_logger(__name__)


class Discovery:
    """Finds nodes and makes this one findable. For one event loop.

    `own` says who this node is; its hosts are filled in here from `bind_host`. `greet(address)`
    says hello at a `HOST:PORT` and answers the contact of the node there and those that it knows.
    `connected(node_id)` says with whom messages can be exchanged now; those are not searched for.
    With `mdns` off, only fixed addresses and gossip are used.
    """

    def __init__(
        self,
        *,
        own: Contact,
        data_dir: Path,
        greet: Greet,
        connected: Callable[[NodeId], bool],
        clock: Clock,
        random: Random,
        bind_host: str = "*",
        join: Iterable[str] = (),
        mdns: bool = True,
    ) -> None:
        self._clock = clock
        self._data_dir = data_dir
        self._bind_host = bind_host
        self._handlers: list[ContactHandler] = []
        self._own_handlers: list[ContactHandler] = []
        self._book = PeerBook()
        self._to_remember = asyncio.Event()
        self._outbid_ms = clock.monotonic_ms() - OUTBID_MS
        self.twin: Contact | None = None
        """Another process with this node's key, if one was met: somebody copied the directory."""
        self._own = replace(own, hosts=local_hosts(bind_host), stamp_ms=clock.now_ms())
        remembered = [c for c in read_remembered(data_dir) if c.node_id != own.node_id]
        for contact in remembered:
            self._book.learn(contact, Source.REMEMBERED, clock.monotonic_ms())
        self._fixed = FixedAddresses(
            join=join,
            remembered=remembered,
            greet=greet,
            learn=self.learn,
            clock=clock,
            random=random,
        )
        self._mdns = Mdns(
            contact=self._own,
            learn=lambda contact: self.learn(contact, Source.MDNS),
            connected=connected,
            random=random,
            bind_host=None if bind_host in {"", "*", "::", "0.0.0.0"} else bind_host,
        )
        self._use_mdns = mdns

    @property
    def own(self) -> Contact:
        """Answer what this node says of itself now."""
        return self._own

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """Answer everybody that is known, sorted by node id."""
        return self._book.contacts

    @property
    def book(self) -> PeerBook:
        """Answer the book, for those who ask how and when somebody was heard of."""
        return self._book

    @property
    def status(self) -> str:
        """Answer, for people, whether multicast works."""
        return self._mdns.status if self._use_mdns else "multicast is switched off"

    @property
    def unanswered(self) -> dict[str, str]:
        """Answer the fixed addresses where nobody answered the last time, and why."""
        return dict(self._fixed.unanswered)

    def get(self, node_id: NodeId) -> Contact | None:
        """Answer where a node is, as far as known."""
        return self._book.get(node_id)

    def on_contact(self, handler: ContactHandler) -> None:
        """Have `handler(contact)` called for each node that is new, or of which something is."""
        self._handlers.append(handler)

    def on_own_contact(self, handler: ContactHandler) -> None:
        """Have `handler(contact)` called when there is news of this node itself.

        Multicast carries it to those it reaches; the others have to be told.
        """
        self._own_handlers.append(handler)

    def announce(self, contact: Contact) -> None:
        """Say this of the own node from now on; hosts and stamp are filled in here."""
        self._say(replace(contact, hosts=self._own.hosts), heard_ms=0)

    def learn(self, contact: Contact, source: Source = Source.GOSSIP) -> None:
        """Take note of a contact that passed `record.checked`."""
        if contact.node_id == self._own.node_id:
            self._hear_of_self(contact, source)
            return
        news = self._book.learn(contact, source, self._clock.monotonic_ms())
        if news is not None:
            self._to_remember.set()
            for handler in self._handlers:
                handler(news)

    def keep(self, node_ids: Iterable[NodeId]) -> None:
        """Never forget these: the members."""
        self._book.keep(node_ids)

    def join(self, addresses: Iterable[str]) -> None:
        """Greet these `HOST:PORT` too, for ever."""
        self._fixed.want(addresses)

    async def run(self) -> None:
        """Search and be found until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._fixed.run())
                tasks.create_task(self._watch_addresses())
                tasks.create_task(self._remember())
                if self._use_mdns:
                    tasks.create_task(self._mdns.run())
        finally:
            self._write_remembered()

    # --- inside -----------------------------------------------------------------------------------

    def _say(self, contact: Contact, *, heard_ms: int, interfaces_changed: bool = False) -> None:
        stamp_ms = next_stamp(self._own.stamp_ms, heard_ms, self._clock.now_ms())
        self._own = replace(contact, stamp_ms=stamp_ms)
        self._mdns.announce(self._own, interfaces_changed=interfaces_changed)
        for handler in self._own_handlers:
            handler(self._own)

    def _hear_of_self(self, contact: Contact, source: Source) -> None:
        """Outbid a record of this node's past, which others would otherwise take for the newer."""
        if contact.stamp_ms < self._own.stamp_ms or _same_but_hosts(contact, self._own):
            return
        if source.direct:
            if self.twin is None:
                log.error("another process uses this node's key", joins=contact.joins)
            self.twin = contact
            return
        now_ms = self._clock.monotonic_ms()
        if now_ms - self._outbid_ms >= OUTBID_MS:
            self._outbid_ms = now_ms
            self._say(self._own, heard_ms=contact.stamp_ms)

    async def _watch_addresses(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            hosts = local_hosts(self._bind_host)
            if set(hosts) != set(self._own.hosts):
                log.info("this machine's addresses have changed", hosts=hosts)
                own = replace(self._own, hosts=hosts)
                self._say(own, heard_ms=0, interfaces_changed=True)
                self._fixed.hurry()

    async def _remember(self) -> None:
        while True:
            await self._to_remember.wait()
            self._to_remember.clear()
            contacts = self._book.worth_remembering(REMEMBERED_LIMIT)
            try:
                await asyncio.to_thread(self._write, contacts)
            except asyncio.CancelledError:
                self._to_remember.set()  # a thread that had not begun yet never will
                raise
            await asyncio.sleep(REMEMBER_S)

    def _write_remembered(self) -> None:
        if self._to_remember.is_set():
            self._write(self._book.worth_remembering(REMEMBERED_LIMIT))

    def _write(self, contacts: tuple[Contact, ...]) -> None:
        try:
            write_remembered(self._data_dir, contacts)
        except OSError as error:
            log.warning("addresses cannot be remembered", reason=os.strerror(error.errno or 0))


def _same_but_hosts(one: Contact, other: Contact) -> bool:
    return replace(one, hosts=other.hosts) == other
