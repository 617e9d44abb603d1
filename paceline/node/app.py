"""The composition root: builds the parts of a node, runs them, and takes them down in order.

Start: data directory (locked), keys, sockets, then a cluster (founded, joined or remembered), then
consensus on its disk, then everything that acts, then REST; `ready` is said last. Stop: the worker
gives back what it runs, leadership is handed over, and all tasks end with the one group that owns
them. A part that fails in a way that makes the node untrustworthy stops the whole node.
"""

import asyncio
import gc
import os
import platform
import signal
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from random import Random, SystemRandom
from typing import Any

import structlog

from paceline import __version__
from paceline.clock import SystemClock
from paceline.discovery.discovery import Discovery
from paceline.discovery.record import Contact, join_address
from paceline.errors import PacelineError, Unavailable
from paceline.node.autopilot import Autopilot
from paceline.node.calls import Calls
from paceline.node.cluster_status import ClusterStatus
from paceline.node.consensus import Consensus, ConsensusSettings
from paceline.node.coordinator import Coordinator
from paceline.node.data_dir import DataDir
from paceline.node.death_watch import DeathWatch
from paceline.node.founding import Founding, Settled, cluster_hint
from paceline.node.greeting import Greeting, Hello, HelloReply, greet
from paceline.node.keys import NodeKeys, load_or_create_keys
from paceline.node.log_feed import LogFeed
from paceline.node.logging import configure
from paceline.node.members import Members
from paceline.node.planning import Planning
from paceline.node.ports import candidate_ports, remember_port
from paceline.node.proposals import Proposals
from paceline.node.registration import Registration
from paceline.node.service import Service
from paceline.node.state_reader import StateReader
from paceline.node.transport import Transport
from paceline.node.vitals import Heartbeats, Lease, VitalsTable, read_resources
from paceline.node.web.server import WebServer
from paceline.node.workshop import Workshop
from paceline.settings import NodeSettings
from paceline.tasks.model import Resources, Vitals
from paceline.tasks.view import PlanningSettings, Thresholds

GREET_TIMEOUT_S = 2.0
RESOURCES_MS = 1_000
"""How long a reading of the machine's load is good for."""
GIVE_BACK_S = 3.0

log = structlog.get_logger(__name__)


def run(settings: NodeSettings) -> None:
    """Run a node until it is told to stop. Raise PacelineError for what a person must mend."""
    configure(settings.log_level, settings.log_format)
    asyncio.run(_serve(settings))


async def _serve(settings: NodeSettings) -> None:
    node = Node(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, node.stop)
    await node.run()


class Node:
    """One node. `run` returns when it has been stopped, and raises what made it stop."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._started_ms = self._clock.now_ms()
        self._stopping = asyncio.Event()
        self._slots = settings.slots
        self._failure: BaseException | None = None
        self._background: list[asyncio.Task[None]] = []
        self._resources: tuple[int, Resources] = (0, Resources())

    def stop(self) -> None:
        """Begin to end."""
        self._stopping.set()

    def _failed(self, error: BaseException) -> None:
        """Stop because a part cannot be trusted any more."""
        log.error("the node must stop", reason=str(error))
        self._failure = self._failure or error
        self._stopping.set()

    async def run(self) -> None:
        """Start, serve until told to stop, and take everything down again."""
        async with AsyncExitStack() as stack:
            data_dir = DataDir(self._settings.data_dir)
            stack.callback(data_dir.close)
            await self._open_network(data_dir, stack)
            async with asyncio.TaskGroup() as group:
                self._group = group
                try:
                    await self._live(data_dir, stack)
                finally:
                    for task in self._background:
                        task.cancel()
        if self._failure is not None:
            raise self._failure

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._background.append(self._group.create_task(work, name=name))

    # --- the network ------------------------------------------------------------------------------

    async def _open_network(self, data_dir: DataDir, stack: AsyncExitStack) -> None:
        keys = load_or_create_keys(data_dir.path)
        self._node_id = keys.node_id
        await self._open_sockets(keys, data_dir, stack)
        self._discovery = self._make_discovery(data_dir, keys.public)
        self._members = Members(
            node_id=self._node_id,
            transport=self._transport,
            calls=self._calls,
            discovery=self._discovery,
        )

    async def _open_sockets(self, keys: NodeKeys, data_dir: DataDir, stack: AsyncExitStack) -> None:
        """Listen for strangers and for members, at ports that can be had."""
        for port in candidate_ports(self._settings.port, data_dir):
            greeting = Greeting(
                bind_host=self._settings.bind, port=port, answer=self._answer, join=self._join
            )
            transport = Transport(
                keys=keys, bind_host=self._settings.bind, port=port, allowed=self._allowed
            )
            try:
                await greeting.open()
                await transport.open()
                break
            except Unavailable:
                greeting.close()
                if port in (0, self._settings.port):
                    raise
        self._greeting, self._transport = greeting, transport
        stack.callback(greeting.close)
        stack.callback(transport.close)
        self._calls = Calls(transport=transport)
        remember_port(greeting.port, data_dir)

    # The sockets are open before there are members to ask.

    def _allowed(self, public_key: bytes) -> bool:
        return self._members.allowed(public_key)

    def _answer(self, hello: Hello) -> HelloReply:
        return self._members.answer(hello)

    async def _join(self, body: bytes, address: str) -> bytes:
        return await self._members.handle_join(body, address)

    def _make_discovery(self, data_dir: DataDir, public_key: bytes) -> Discovery:
        settings = self._settings
        own = Contact(
            node_id=self._node_id,
            public_key=public_key,
            hosts=(),
            join_port=self._greeting.port,
            control_port=self._transport.control_port,
            bulk_port=self._transport.bulk_port,
            cluster_hint=cluster_hint(settings.token),
            name=settings.name,
            version=__version__,
            founded=data_dir.read_json("cluster.json") is not None,
        )
        return Discovery(
            own=own,
            data_dir=data_dir.path,
            greet=self._greet,
            connected=self._transport.connected,
            clock=self._clock,
            random=Random(SystemRandom().getrandbits(64)),
            bind_host=settings.bind,
            mdns=settings.mdns,
        )

    async def _greet(self, address: str) -> list[Contact]:
        reply = await greet(address, Hello(self._discovery.own), GREET_TIMEOUT_S)
        return [reply.hello.contact, *reply.members]

    # --- belonging --------------------------------------------------------------------------------

    async def _live(self, data_dir: DataDir, stack: AsyncExitStack) -> None:
        self._start(self._calls.run(), "calls")
        self._start(self._greeting.run(), "greeting")
        self._start(self._discovery.run(), "discovery")
        settled = await self._unless_stopped(self._belong(data_dir))
        if settled is not None:
            await self._act(data_dir, stack, settled)

    async def _unless_stopped(self, work: Coroutine[Any, Any, Settled]) -> Settled | None:
        """Answer what the work answers, or None if the node is stopped first."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return None

    async def _belong(self, data_dir: DataDir) -> Settled:
        """Answer the cluster that this node belongs to, from before or from now on."""
        known = data_dir.read_json("cluster.json")
        if known is not None:
            settled = Settled(str(known["cluster_id"]), founded=bool(known.get("founded")))
            members = {str(node_id) for node_id in known.get("members", ())}
        else:
            settled = await self._settle()
            members = {contact.node_id for contact in settled.members}
            data_dir.write_json(
                "cluster.json",
                {
                    "cluster_id": settled.cluster_id,
                    "founded": settled.founded,
                    "members": sorted(members),
                },
            )
        for contact in settled.members:
            self._discovery.learn(contact)
        self._members.belong(settled.cluster_id, members)
        self._discovery.announce(replace(self._discovery.own, founded=True))
        self._discovery.join(self._settings.join)
        return settled

    async def _settle(self) -> Settled:
        settings = self._settings
        if not settings.join and settings.token is None and not settings.insecure_lan:
            return Founding.alone()
        founding = Founding(
            own=lambda: self._discovery.own,
            addresses=settings.join,
            known=lambda: self._discovery.contacts,
            learn=self._discovery.learn,
            clock=self._clock,
        )
        return await founding.settle()

    # --- acting -----------------------------------------------------------------------------------

    async def _act(self, data_dir: DataDir, stack: AsyncExitStack, settled: Settled) -> None:
        consensus = Consensus(
            settings=ConsensusSettings(
                node_id=self._node_id,
                directory=data_dir.path,
                profile=self._settings.profile,
                founder=settled.founded,
            ),
            transport=self._transport,
            clock=self._clock,
            failed=self._failed,
        )
        stack.callback(consensus.close)
        self._consensus = consensus
        self._members.attach(consensus.loop)
        self._vitals = VitalsTable(
            clock=self._clock, applied_index=lambda: consensus.progress.index
        )
        self._proposals = Proposals(
            node_id=self._node_id,
            replica_loop=consensus.loop,
            calls=self._calls,
            progress=consensus.progress,
            clock=self._clock,
        )
        self._start(self._watched(consensus.loop.run()), "consensus")
        await self._open_work(data_dir, stack)
        web = await self._open_web(data_dir, stack)
        self._say_ready(data_dir, web)
        await self._stopping.wait()
        await self._wind_down()

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a part without which the node is of no use; its failure stops the node."""
        try:
            await work
        except PacelineError as error:
            self._failed(error)

    async def _open_work(self, data_dir: DataDir, stack: AsyncExitStack) -> None:
        settings = self._settings
        self._workshop = Workshop(
            node_id=self._node_id,
            data_dir=data_dir,
            transport=self._transport,
            calls=self._calls,
            clock=self._clock,
            live_members=self._live_members,
        )
        await self._workshop.sweep()
        lease = Lease(clock=self._clock, lease_ms=settings.lease_ms)
        self._coordinator = self._make_coordinator()
        self._registration = Registration(
            introduction=self._introduction, proposals=self._proposals
        )
        self._heartbeats = Heartbeats(
            node_id=self._node_id,
            transport=self._transport,
            table=self._vitals,
            lease=lease,
            clock=self._clock,
            own_vitals=self._own_vitals,
            members=lambda: tuple(self._members.ids),
            leading_term=self._leading_term,
            on_beat=lambda node_id: self._coordinator.beat(),
        )
        self._worker, outbox = await self._workshop.open_worker(
            consensus=self._consensus,
            proposals=self._proposals,
            lease=lease,
            on_change=self._heartbeats.hurry,
        )
        stack.push_async_callback(outbox.close)
        self._start_work()

    def _start_work(self) -> None:
        self._consensus.progress.listen(lambda changes: self._coordinator.wake())
        self._consensus.progress.listen(lambda changes: self._worker.wake())
        watch = DeathWatch(transport=self._transport, on_death=self._died)
        pilot = Autopilot(
            replicas=self._consensus.loop,
            alive=self._vitals.alive,
            clock=self._clock,
            max_voters=self._settings.max_voters,
        )
        self._start(self._heartbeats.run(), "heartbeats")
        self._start(self._coordinator.run(), "coordinator")
        self._start(self._worker.run(), "worker")
        self._start(self._registration.run(), "registration")
        self._start(self._workshop.watch_tools(self._registration.wake), "tools")
        self._start(watch.run(), "death watch")
        self._start(pilot.run(), "autopilot")

    def _make_coordinator(self) -> Coordinator:
        settings = self._settings
        planning = Planning(
            connection=self._consensus.machine.connection,
            vitals=self._vitals,
            clock=self._clock,
            settings=PlanningSettings(
                # A busy processor makes work slow, not impossible: it costs score, no more.
                thresholds=Thresholds(cpu_percent=100.0),
                lease_ms=settings.lease_ms,
                grace_ms=settings.grace_ms,
            ),
        )
        return Coordinator(
            replicas=self._consensus.loop,
            proposals=self._proposals,
            planning=planning,
            clock=self._clock,
        )

    async def _open_web(self, data_dir: DataDir, stack: AsyncExitStack) -> WebServer:
        consensus = self._consensus
        reader = await StateReader.open(data_dir.path / "state.db")
        stack.push_async_callback(reader.close)
        status = ClusterStatus(
            node_id=self._node_id,
            replicas=consensus.loop,
            members=self._members,
            vitals=self._vitals,
            connection=consensus.machine.connection,
            discovery=lambda: self._discovery.status,
        )
        service = Service(
            node_id=self._node_id,
            connection=consensus.machine.connection,
            reader=reader,
            proposals=self._proposals,
            repositories=self._workshop.repositories,
            progress=consensus.progress,
            status=status,
            log_feed=LogFeed(
                node_id=self._node_id,
                store=self._workshop.logs,
                calls=self._calls,
                connection=consensus.machine.connection,
                progress=consensus.progress,
            ),
            on_stop=self.stop,
        )
        web = WebServer(
            service=service,
            host="127.0.0.1",
            port=self._settings.web_port,
            token_path=self._settings.api_token_file,
        )
        await web.start()
        stack.push_async_callback(web.stop)
        return web

    def _say_ready(self, data_dir: DataDir, web: WebServer) -> None:
        host = self._discovery.own.hosts[0]
        document = {
            "pid": os.getpid(),
            "node_id": self._node_id,
            "name": self._settings.name,
            "address": join_address(host, self._greeting.port),
            "page_url": f"http://{web.address}/",
            "cluster_id": self._members.cluster_id,
            "version": __version__,
            "started_ms": self._started_ms,
        }
        data_dir.write_json("node.json", document)
        print(f"ready {self._node_id} {document['page_url']}", flush=True)
        print(f"add a machine: paceline node start --join {document['address']}", file=sys.stderr)
        gc.freeze()  # what is here now stays: no collection needs to look at it again

    async def _wind_down(self) -> None:
        """Leave the others in order: work is given back, leadership handed over."""
        log.info("stopping")
        if self._failure is None:
            self._slots = 0  # said before the work is given back, or it would be given to us again
            self._heartbeats.beat()
            await self._worker.give_up(timeout_s=GIVE_BACK_S)
            await self._consensus.hand_over()

    # --- what the parts ask of the whole ----------------------------------------------------------

    def _leading_term(self) -> int:
        loop = self._consensus.loop
        return loop.status.term if loop.leads and loop.status.quorum_active else 0

    def _live_members(self) -> list[str]:
        return [node_id for node_id in self._members.ids if self._vitals.alive(node_id)]

    def _died(self, node_id: str) -> None:
        self._vitals.mark_dead(node_id)
        self._coordinator.wake()

    def _own_vitals(self, sequence: int) -> Vitals:
        return Vitals(
            node_id=self._node_id,
            incarnation=self._started_ms,
            sequence=sequence,
            resources=self._read_resources(),
            tools=self._workshop.tools,
            slots=self._slots,
            running=self._worker.running,
            labels=dict(self._settings.labels),
            applied_index=self._consensus.progress.index,
            caches=self._workshop.repositories.commits,
        )

    def _read_resources(self) -> Resources:
        read_ms, resources = self._resources
        now_ms = self._clock.monotonic_ms()
        if now_ms - read_ms >= RESOURCES_MS:
            resources = read_resources(str(self._settings.data_dir))
            self._resources = (now_ms, resources)
        return resources

    def _introduction(self) -> dict[str, Any]:
        """Answer what `RegisterWorker` says of this node."""
        return {
            "node_id": self._node_id,
            "name": self._settings.name,
            "address": self._discovery.own.joins[0],
            "slots": self._settings.slots,
            "tools": self._workshop.tools,
            "labels": dict(self._settings.labels),
            "system_info": {
                "system": platform.system(),
                "release": platform.release(),
                "machine": platform.machine(),
                "python": platform.python_version(),
            },
            "version": __version__,
        }
