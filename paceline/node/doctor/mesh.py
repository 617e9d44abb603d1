"""The examination of a running cluster: each node is asked about itself and its ways to the others.

Any node may ask. Each tries the ports of the others from where it stands, since that is what a
firewall decides by, and none can tell for another.
"""

import asyncio
import errno
import sqlite3
from collections.abc import Callable, Collection
from typing import Any, Final

from paceline.clock import Clock
from paceline.codec import from_plain, to_plain
from paceline.discovery.record import Contact, join_address
from paceline.errors import PacelineError
from paceline.ids import NodeId
from paceline.node.calls import Calls
from paceline.node.doctor.cluster import judge
from paceline.node.doctor.finding import Finding
from paceline.node.doctor.machine import versions
from paceline.node.doctor.report import Answer, Reach, Report, ToolReport, Way
from paceline.node.members import Members
from paceline.node.transport import Transport
from paceline.tasks.commands import NEWEST_LEVEL
from paceline.tasks.model import Vitals

REPORT, CLOCK = "doctor.report", "doctor.clock"
CONNECT_TIMEOUT_S: Final = 2.0
REPORT_TIMEOUT_S: Final = 15.0
CLOCK_TIMEOUT_S: Final = 2.0
ROUND_TRIPS: Final = 5
HOSTS_LIMIT: Final = 4
"""Addresses of one node that are tried."""
AT_ONCE: Final = 64
"""Connections that one node tries at one time."""


class Mesh:
    """One node's part in examinations of the cluster."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        members: Members,
        transport: Transport,
        calls: Calls,
        connection: sqlite3.Connection,
        clock: Clock,
        own_vitals: Callable[[], Vitals | None],
        multicast: Callable[[], str],
        isolation: Callable[[], tuple[str, str]],
    ) -> None:
        """Wire it: `multicast` says in words whether multicast works here.

        `isolation` answers how agents are kept apart, and why not better.
        """
        self._node_id = node_id
        self._members = members
        self._transport = transport
        self._calls = calls
        self._connection = connection
        self._clock = clock
        self._own_vitals = own_vitals
        self._multicast = multicast
        self._isolation = isolation
        self._trying = asyncio.Semaphore(AT_ONCE)
        calls.serve(REPORT, self._serve_report)
        calls.serve(CLOCK, self._serve_clock)

    async def examine(self) -> list[Finding]:
        """Ask every member, this node included, and judge what they say."""
        members = sorted(self._members.ids)
        return judge(await asyncio.gather(*(self._ask(node_id) for node_id in members)))

    # --- asking -----------------------------------------------------------------------------------

    async def _ask(self, node_id: NodeId) -> Answer:
        name = self._members.name_of(node_id)
        if node_id == self._node_id:
            return Answer(node_id, name, await self.report(), offset_ms=0.0, round_trip_ms=0.0)
        try:
            round_trip_ms, offset_ms = await self._compare_clocks(node_id)
            plain = await self._calls.call(node_id, REPORT, timeout_s=REPORT_TIMEOUT_S)
            report = from_plain(Report, plain)
        except PacelineError as error:
            return Answer(node_id, name, None, str(error))
        return Answer(node_id, name, report, "", offset_ms, round_trip_ms)

    async def _compare_clocks(self, node_id: NodeId) -> tuple[float, float]:
        """Answer the shortest of some round trips, and the clock's difference by its midpoint.

        The other's clock was read somewhere within the round trip, so the error of the difference
        is at most half of it (Cristian 1989).
        """
        return min([await self._round_trip(node_id) for _ in range(ROUND_TRIPS)])

    async def _round_trip(self, node_id: NodeId) -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        began_ms, began_s = self._clock.now_ms(), loop.time()
        theirs_ms = from_plain(
            int, await self._calls.call(node_id, CLOCK, timeout_s=CLOCK_TIMEOUT_S)
        )
        round_trip_ms = (loop.time() - began_s) * 1000
        return round_trip_ms, theirs_ms - (began_ms + round_trip_ms / 2)

    # --- answering --------------------------------------------------------------------------------

    async def _serve_clock(self, sender: NodeId, body: Any) -> Any:
        return self._clock.now_ms()

    async def _serve_report(self, sender: NodeId, body: Any) -> Any:
        return to_plain(await self.report())

    async def report(self) -> Report:
        """Answer what this node says of itself; it tries its ways to all others first."""
        vitals = self._own_vitals()
        kind, no_sandbox = self._isolation()
        tools = vitals.tools if vitals else ()
        return Report(
            node_id=self._node_id,
            name=self._members.name_of(self._node_id),
            versions=versions(),
            level=NEWEST_LEVEL,
            ways=await self._ways(self._members.ids - {self._node_id}),
            tools=tuple(ToolReport(t.name, t.healthy, t.version, t.reason) for t in tools),
            disk_free_bytes=vitals.resources.disk_free_bytes if vitals else 0,
            state_ahead_ms=self._state_time_ms() - self._clock.now_ms(),
            multicast=self._multicast(),
            isolation=kind,
            no_sandbox=no_sandbox,
        )

    def _state_time_ms(self) -> int:
        return int(self._connection.execute("SELECT now_ms FROM meta").fetchone()[0])

    async def _ways(self, others: Collection[NodeId]) -> tuple[Way, ...]:
        ways = await asyncio.gather(*(self._way(node_id) for node_id in sorted(others)))
        return tuple(ways)

    async def _way(self, node_id: NodeId) -> Way:
        contact = self._members.contact(node_id)
        nowhere = Reach("", None, "its address is not known")
        control, bulk = nowhere, nowhere
        if contact is not None and contact.hosts:
            control = await self._reach(contact, contact.control_port)
            bulk = await self._reach(contact, contact.bulk_port)
        stats = self._transport.link_stats(node_id)
        refusals = stats.refusals if stats else 0
        return Way(node_id, self._transport.connected(node_id), control, bulk, refusals)

    async def _reach(self, contact: Contact, port: int) -> Reach:
        """Try the addresses one after the other, until one can be connected to."""
        found = Reach("", None, "its address is not known")
        for host in contact.hosts[:HOSTS_LIMIT]:
            found = await self._connect(host, port)
            if found.connect_ms is not None:
                break
        return found

    async def _connect(self, host: str, port: int) -> Reach:
        address, loop = join_address(host, port), asyncio.get_running_loop()
        async with self._trying:
            began_s = loop.time()
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    _, writer = await asyncio.open_connection(host, port)
            except TimeoutError:
                return Reach(address, None, "no answer")
            except OSError as error:
                refused = error.errno == errno.ECONNREFUSED
                return Reach(address, None, "refused" if refused else str(error.strerror or error))
            took_ms = (loop.time() - began_s) * 1000
            writer.close()
        return Reach(address, took_ms)
