"""Multicast DNS (RFC 6762) and service discovery (RFC 6763): nodes of one LAN find each other.

Used as a source of addresses, never as a sign of life: a record outlives its node by up to twenty
minutes, and a node that left a moment ago may still be resolved.

The library asks for services at its start only, at 0, 1, 5 and 14 seconds. Two halves of a network
that are joined later would never hear of each other, so the question is repeated every few seconds.
It names the nodes that need not answer, which are those that this one is connected with: a cluster
that is complete is silent, and one with a node that moved or came back is not.

Multicast is often missing (guest networks, containers, clouds) and sometimes comes later (a laptop
before its Wi-Fi). Neither is an error; `status` says what the matter is.
"""

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Final

import structlog
from zeroconf import (  # type: ignore[attr-defined]  # four are missing from its __all__
    DNSOutgoing,
    DNSPointer,
    DNSQuestion,
    InterfaceChoice,
    InterfacesType,
    IPVersion,
    ServiceStateChange,
    Zeroconf,
    current_time_millis,
)
from zeroconf import Error as ZeroconfError
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from paceline.discovery.addresses import one_spelling
from paceline.discovery.record import SERVICE_TYPE, Contact, from_txt, to_txt
from paceline.errors import ProtocolError
from paceline.ids import NodeId

ASK_S: Final = 5.0
RETRY_S: Final = 5.0
"""Between attempts to use multicast where there is none."""
RESOLVE_MS: Final = 3000
GOODBYE_S: Final = 2.0
PENDING_LIMIT: Final = 256
"""Names waiting to be resolved; a flood of invented ones must not pile up."""
RESOLVERS: Final = 4
QUERY: Final = 0x0000
TYPE_PTR: Final = 12
CLASS_IN: Final = 1
"""Numbers of RFC 1035."""

_INSTANCE = re.compile(r"[a-z2-7]{16}")

log = structlog.get_logger(__name__)


class Mdns:
    """Announces one contact and reports those of others.

    `learn(contact)` is called for each contact that a multicast answer gives, the node's own
    included. `connected(node_id)` says which nodes need not answer the repeated question.
    `bind_host` restricts everything to one interface, for instance the loopback one.
    """

    def __init__(
        self,
        *,
        contact: Contact,
        learn: Callable[[Contact], None],
        connected: Callable[[NodeId], bool],
        random: Random,
        bind_host: str | None = None,
    ) -> None:
        self._contact = contact
        self._learn = learn
        self._connected = connected
        self._random = random
        self._interfaces: InterfacesType = [bind_host] if bind_host else InterfaceChoice.All
        self._changed = asyncio.Event()
        self._rescan = asyncio.Event()
        self._pending: asyncio.Queue[str] = asyncio.Queue(PENDING_LIMIT)
        self._unresolved: set[str] = set()
        self.status = "not started"
        """For people: `active`, or why not."""
        self.malformed = 0
        """Answers that no correct node gives."""

    def announce(self, contact: Contact, *, interfaces_changed: bool = False) -> None:
        """Say this from now on. With `interfaces_changed`, look for new interfaces first."""
        self._contact = contact
        if interfaces_changed:
            self._rescan.set()
        self._changed.set()

    async def run(self) -> None:
        """Take part until cancelled; then say goodbye. Never fails for want of multicast."""
        while True:
            try:
                async with self._responder() as responder:
                    await self._take_part(responder)
            except* (OSError, RuntimeError, ZeroconfError) as errors:
                self._report(errors)
            await asyncio.sleep(RETRY_S)

    def _report(self, errors: BaseExceptionGroup[Exception]) -> None:
        reason = f"no multicast: {errors.exceptions[0]}"
        if reason != self.status:
            log.warning("discovery by multicast is not possible now", reason=reason)
        self.status = reason

    @contextlib.asynccontextmanager
    async def _responder(self) -> AsyncIterator[AsyncZeroconf]:
        responder = self._open()
        try:
            yield responder
        finally:
            self.status = "stopped"
            with contextlib.suppress(TimeoutError, OSError, ZeroconfError):
                async with asyncio.timeout(GOODBYE_S):
                    await responder.async_close()

    def _open(self) -> AsyncZeroconf:
        """Open the sockets, for IPv4 alone where the machine has no IPv6."""
        # The library logs a traceback per interface that has no route, ::1 on most machines.
        logging.getLogger("zeroconf").setLevel(logging.CRITICAL)
        if isinstance(self._interfaces, list):
            _check_own(str(self._interfaces[0]))
            version = IPVersion.V6Only if ":" in str(self._interfaces[0]) else IPVersion.V4Only
            return AsyncZeroconf(interfaces=self._interfaces, ip_version=version)
        try:
            return AsyncZeroconf(interfaces=self._interfaces, ip_version=IPVersion.All)
        except OSError:
            return AsyncZeroconf(interfaces=self._interfaces, ip_version=IPVersion.V4Only)

    async def _take_part(self, responder: AsyncZeroconf) -> None:
        zeroconf = responder.zeroconf
        await zeroconf.async_wait_for_start()
        if not zeroconf.engine.senders:
            raise OSError("no interface could be used")
        async with asyncio.TaskGroup() as tasks:
            browser = AsyncServiceBrowser(zeroconf, SERVICE_TYPE, handlers=[self._on_change])
            try:
                tasks.create_task(self._keep_announced(responder))
                tasks.create_task(self._keep_asking(zeroconf))
                for _ in range(RESOLVERS):
                    tasks.create_task(self._keep_resolving(zeroconf))
                self.status = "active"
                await asyncio.Event().wait()
            finally:
                await browser.async_cancel()

    # --- speaking ---------------------------------------------------------------------------------

    async def _keep_announced(self, responder: AsyncZeroconf) -> None:
        self._changed.clear()
        # The name is the fingerprint of a key: no two nodes have it, so probing for a conflict
        # (RFC 6762 section 8.1) would only delay the first contact by a second.
        said = await responder.async_register_service(self._service(), cooperating_responders=True)
        await said
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._rescan.is_set():
                self._rescan.clear()
                await responder.async_update_interfaces()
            await (await responder.async_update_service(self._service()))

    def _service(self) -> AsyncServiceInfo:
        contact = self._contact
        return AsyncServiceInfo(
            SERVICE_TYPE,
            f"{contact.node_id}.{SERVICE_TYPE}",
            port=contact.join_port,
            properties=to_txt(contact),
            server=f"{contact.node_id}.local.",
            parsed_addresses=[host.partition("%")[0] for host in contact.hosts],
        )

    async def _keep_asking(self, zeroconf: Zeroconf) -> None:
        while True:
            await asyncio.sleep(ASK_S * self._random.uniform(0.8, 1.2))
            zeroconf.async_send(self._question(zeroconf))
            while self._unresolved:
                self._resolve_later(self._unresolved.pop())

    def _question(self, zeroconf: Zeroconf) -> DNSOutgoing:
        """Answer the question who is there, with the known answers of RFC 6762 section 7.1."""
        question = DNSOutgoing(QUERY)
        question.add_question(DNSQuestion(SERVICE_TYPE, TYPE_PTR, CLASS_IN))
        now = current_time_millis()
        known = zeroconf.cache.get_all_by_details(SERVICE_TYPE, TYPE_PTR, CLASS_IN)
        for record in known:
            if isinstance(record, DNSPointer) and self._connected(_node_id(record.alias)):
                question.add_answer_at_time(record, now)
        return question

    # --- listening --------------------------------------------------------------------------------

    def _on_change(
        self,
        zeroconf: Zeroconf,
        service_type: str,
        name: str,
        state_change: ServiceStateChange,
    ) -> None:
        if state_change is ServiceStateChange.Removed or not _INSTANCE.fullmatch(_node_id(name)):
            return
        self._resolve_later(name)

    def _resolve_later(self, name: str) -> None:
        if not self._pending.full():
            self._pending.put_nowait(name)

    async def _keep_resolving(self, zeroconf: Zeroconf) -> None:
        while True:
            name = await self._pending.get()
            info = AsyncServiceInfo(SERVICE_TYPE, name)
            if await info.async_request(zeroconf, RESOLVE_MS):
                self._resolved(name, info)
            elif len(self._unresolved) < PENDING_LIMIT:
                self._unresolved.add(name)

    def _resolved(self, name: str, info: AsyncServiceInfo) -> None:
        try:
            hosts = [one_spelling(host) for host in info.parsed_scoped_addresses(IPVersion.All)]
            contact = from_txt(_node_id(name), info.properties, hosts)
        except ProtocolError as error:
            self.malformed += 1
            log.debug("a malformed announcement", name=name[:64], reason=str(error))
        else:
            self._learn(contact)


def _node_id(name: str) -> NodeId:
    """Answer the first label of a service instance's name."""
    return name.removesuffix(f".{SERVICE_TYPE}")


def _check_own(host: str) -> None:
    """Raise OSError unless the address is this machine's; the library would leak a socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind(socket.getaddrinfo(host, 0, family, socket.SOCK_DGRAM)[0][4])
