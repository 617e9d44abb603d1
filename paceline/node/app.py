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
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import structlog

from paceline import __version__
from paceline.clock import SystemClock
from paceline.config import templates_directory
from paceline.consensus.replica import ReplicaStatus
from paceline.discovery.record import join_address
from paceline.errors import PacelineError
from paceline.node import farewell, giving_up
from paceline.node.access import Access
from paceline.node.autopilot import Autopilot
from paceline.node.backup import Backups
from paceline.node.belonging import belong, kept_token, remember
from paceline.node.checksum import StateChecksum
from paceline.node.cluster_level import INFO_KEY, ClusterLevel
from paceline.node.cluster_status import ClusterStatus
from paceline.node.consensus import Consensus, ConsensusSettings
from paceline.node.coordinator import Coordinator
from paceline.node.data_dir import DataDir
from paceline.node.death_watch import DeathWatch
from paceline.node.deciding import Deciding
from paceline.node.departures import Departure, Departures
from paceline.node.doctor.mesh import Mesh
from paceline.node.explaining import Explaining
from paceline.node.exposition import Exposition, Sources
from paceline.node.founding import Settled
from paceline.node.guest_watch import GuestWatch
from paceline.node.guest_work import GuestWork
from paceline.node.guests import Guests
from paceline.node.inspection import Inspection
from paceline.node.janitor import Janitor
from paceline.node.log_feed import LogFeed
from paceline.node.log_rotation import rotate_for_ever
from paceline.node.logging import configure, somebody_reads
from paceline.node.members import follow_members
from paceline.node.merging import Cluster, Merging
from paceline.node.meters import Meters
from paceline.node.network import Network
from paceline.node.notifying import Notifier, concerns
from paceline.node.planning import Planning
from paceline.node.previewing import settings_document
from paceline.node.proposals import Proposals
from paceline.node.registration import Registration
from paceline.node.results import Results
from paceline.node.service import Service
from paceline.node.state_reader import StateReader
from paceline.node.stewardship import Stewardship
from paceline.node.toolbox import Toolbox
from paceline.node.twins import Life, twin_found
from paceline.node.upkeep import Upkeep
from paceline.node.vitals import Heartbeats, Lease, VitalsTable, read_resources
from paceline.node.web.auth import read_or_make_token
from paceline.node.web.server import WebServer
from paceline.node.workshop import Workshop, read_work
from paceline.settings import NodeSettings
from paceline.tasks import queries_external, queries_members
from paceline.tasks.commands import NEWEST_LEVEL
from paceline.tasks.effects import Change
from paceline.tasks.model import Resources, Vitals
from paceline.tasks.view import PlanningSettings, Thresholds

RESOURCES_MS = 1_000
"""How long a reading of the machine's load is good for."""
GIVE_BACK_S = 3.0
LEAVE_EMPTY_S = 10.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


def run(settings: NodeSettings) -> None:
    """Run a node until it is told to stop. Raise PacelineError for what a person must mend."""
    os.umask(0o077)  # whatever a node or its agents write is its owner's alone
    configure(settings.log_level, settings.log_format)
    asyncio.run(_serve(settings))


async def _serve(settings: NodeSettings) -> None:
    """Run a node; once more for each cluster that it has given up for another."""
    loop = asyncio.get_running_loop()
    again = True
    while again:
        node = Node(settings)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, node.stop)
        await node.run()
        again = node.joins_another


class Node:
    """One node. `run` returns when it has been stopped, and raises what made it stop."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._meters = Meters()
        self._network = Network(settings=settings, clock=self._clock, on_twin=self._met_twin)
        self._started_ms = self._clock.now_ms()
        self._stopping = asyncio.Event()
        self._slots = settings.slots
        self._made_token = False
        self._left = False
        self.joins_another = False
        """It has given up an empty cluster, and is to be run anew."""
        self._failure: BaseException | None = None
        self._background: list[asyncio.Task[Any]] = []
        self._resources: tuple[int, Resources] = (0, Resources())

    def stop(self) -> None:
        """Begin to end."""
        self.joins_another = False
        self._stopping.set()

    def _failed(self, error: BaseException) -> None:
        """Stop because a part cannot be trusted any more."""
        log.error("the node must stop", reason=str(error))
        self._failure = self._failure or error
        self._stopping.set()

    def _met_twin(self, other: Life) -> None:
        if self._network.identity.life.gives_way_to(other):
            self._failed(twin_found(""))

    async def run(self) -> None:
        """Start, serve until told to stop, and take everything down again."""
        async with AsyncExitStack() as stack:
            data_dir = DataDir(self._settings.data_dir)
            stack.callback(data_dir.close)
            self._open_anew(data_dir)
            self._resumed = giving_up.resume(data_dir)
            token = self._resumed.token or kept_token(data_dir)
            await self._network.open(data_dir, stack, token=token)
            async with asyncio.TaskGroup() as group:
                self._group = group
                try:
                    await self._live(data_dir, stack)
                finally:
                    for task in self._background:
                        task.cancel()
        if self._failure is not None:
            raise self._failure

    def _open_anew(self, data_dir: DataDir) -> None:
        """Make sure that the directory is of a node that is in, or will be in, a cluster."""
        if self._settings.anew:
            farewell.set_aside(data_dir)
        farewell.require_not_left(data_dir)

    def _start(self, work: Coroutine[Any, Any, object], name: str) -> None:
        self._background.append(self._group.create_task(work, name=name))

    # --- living -----------------------------------------------------------------------------------

    async def _live(self, data_dir: DataDir, stack: AsyncExitStack) -> None:
        network = self._network
        self._start(rotate_for_ever(self._settings.log_file), "log rotation")
        self._start(network.calls.run(), "calls")
        self._start(network.greeting.run(), "greeting")
        self._start(network.discovery.run(), "discovery")
        belonging = await self._unless_stopped(
            belong(
                settings=self._settings,
                network=network,
                data_dir=data_dir,
                clock=self._clock,
                gave_up=self._resumed.gave_up,
            )
        )
        if belonging is not None:
            await self._act(data_dir, stack, *belonging)

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
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

    # --- acting -----------------------------------------------------------------------------------

    async def _act(
        self, data_dir: DataDir, stack: AsyncExitStack, settled: Settled, new: bool
    ) -> None:
        await self._open_consensus(data_dir, stack, founder=settled.founded and new)
        if new:
            remember(settled, data_dir)
        self._announce()
        await self._open_work(data_dir, stack)
        await self._take_identity(settled, new=new)
        self._merging = self._make_merging(data_dir)
        web = await self._open_web(data_dir, stack)
        self._network.identity.establish()
        self._start(self._network.twin_watch(settled.cluster_id).run(), "twins")
        if not self._resumed.refused:
            self._start(self._merging.run(), "merging")
        self._say_ready(data_dir, web)
        await self._stopping.wait()
        await self._wind_down()

    def _announce(self) -> None:
        """Tell strangers that there is a cluster here, and keep asking where we were told to."""
        discovery = self._network.discovery
        discovery.announce(replace(discovery.own, founded=True))
        discovery.join(self._settings.join)

    async def _open_consensus(
        self, data_dir: DataDir, stack: AsyncExitStack, *, founder: bool
    ) -> None:
        consensus = Consensus(
            settings=ConsensusSettings(
                node_id=self._network.node_id,
                directory=data_dir.path,
                profile=self._settings.profile,
                founder=founder,
            ),
            transport=self._network.transport,
            clock=self._clock,
            failed=self._failed,
        )
        stack.callback(consensus.close)
        self._consensus = consensus
        self._network.members.attach(consensus.loop)
        self._vitals = VitalsTable(
            clock=self._clock, applied_index=lambda: consensus.progress.index
        )
        members = self._network.members
        self._level = ClusterLevel(
            node_id=self._network.node_id,
            members=lambda: members.ids,
            vitals=self._vitals,
            connection=consensus.machine.connection,
            clock=self._clock,
            name_of=members.name_of,
        )
        self._proposals = Proposals(
            node_id=self._network.node_id,
            replica_loop=consensus.loop,
            calls=self._network.calls,
            progress=consensus.progress,
            clock=self._clock,
            level_for=self._level.require,
            via=self._via,
            meter=self._meters.proposal,
        )
        self._start(self._watched(consensus.loop.run()), "consensus")

    async def _take_identity(self, settled: Settled, *, new: bool) -> None:
        """Follow what the log says of token and members; a founder writes its first words."""
        network, consensus = self._network, self._consensus
        connection = consensus.machine.connection
        follow_members(network.members, connection, consensus.progress)
        network.admitting.attach(consensus.loop, self._proposals, connection, self._level.now)
        network.credentials.on_token(self._workshop.redactor.register)
        founding = network.credentials.found(
            connection=connection,
            proposals=self._proposals,
            replicas=consensus.loop,
            cluster_id=settled.cluster_id,
            node_id=network.node_id,
            public_key=network.keys.public,
            name=self._settings.name,
            approve=self._settings.approve,
        )
        if settled.founded and new:
            self._made_token = self._settings.token is None
            record = await self._unless_stopped(founding)
            if record is not None:
                await network.credentials.use(record.token)
        else:
            self._start(founding, "founding")
        self._start(network.credentials.follow(connection, consensus.progress), "credentials")

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a part without which the node is of no use; its failure stops the node."""
        try:
            await work
        except PacelineError as error:
            self._failed(error)

    async def _open_work(self, data_dir: DataDir, stack: AsyncExitStack) -> None:
        settings = self._settings
        self._workshop = Workshop(
            node_id=self._network.node_id,
            data_dir=data_dir,
            transport=self._network.transport,
            calls=self._network.calls,
            clock=self._clock,
            live_members=self._live_members,
            secrets=self._secrets(),
            settings=settings,
            level=self._level.now,
            meter=self._meters.outcome,
        )
        await self._workshop.sweep()
        lease = Lease(clock=self._clock, lease_ms=settings.lease_ms)
        self._planning = self._make_planning()
        self._coordinator = Coordinator(
            node_id=self._network.node_id,
            replicas=self._consensus.loop,
            proposals=self._proposals,
            planning=self._planning,
            clock=self._clock,
        )
        self._registration = Registration(
            introduction=self._introduction, proposals=self._proposals
        )
        self._heartbeats = Heartbeats(
            node_id=self._network.node_id,
            transport=self._network.transport,
            table=self._vitals,
            lease=lease,
            clock=self._clock,
            own_vitals=self._own_vitals,
            members=lambda: tuple(self._network.members.ids),
            leading_term=self._leading_term,
            on_beat=lambda node_id: self._coordinator.beat(),
            guests=self._guest_vitals,
            via=self._via,
        )
        self._guests = self._make_guests(lease)
        self._worker, outbox = await self._workshop.open_worker(
            consensus=self._consensus,
            proposals=self._proposals,
            lease=lease,
            on_change=self._heartbeats.hurry,
        )
        stack.push_async_callback(outbox.close)
        self._start_work()

    def _heed_revocation(self) -> None:
        """End, saying why, when this node reads of its own revocation; others refuse it anyway."""
        connection, node_id = self._consensus.machine.connection, self._network.node_id
        if queries_members.is_revoked(connection, node_id):
            self._failed(farewell.revoked(self._settings.data_dir))

    def _start_work(self) -> None:
        self._consensus.progress.listen(lambda changes: self._heed_revocation())
        self._heed_revocation()
        self._consensus.progress.listen(self._forget_workers)
        self._consensus.progress.listen(self._coordinator.changed)
        self._consensus.progress.listen(lambda changes: self._worker.wake())
        self._consensus.progress.listen(lambda changes: self._guest_watch.wake())
        watch = DeathWatch(transport=self._network.transport, on_death=self._died)
        connection = self._consensus.machine.connection
        self._pilot = Autopilot(
            replicas=self._consensus.loop,
            alive=self._vitals.alive,
            clock=self._clock,
            max_voters=self._settings.max_voters,
            replace_after_ms=self._settings.replace_after_s * 1000,
            revoked=lambda: queries_members.revoked(connection),
            left=lambda: queries_members.left(connection),
        )
        self._start(self._heartbeats.run(), "heartbeats")
        self._start(self._coordinator.run(), "coordinator")
        self._start(self._watched(self._worker.run()), "worker")
        self._start(self._guest_watch.run(), "external workers")
        self._start(self._registration.run(), "registration")
        self._start(self._workshop.watch_tools(self._registration.wake), "tools")
        self._start(watch.run(), "death watch")
        self._start(self._pilot.run(), "autopilot")
        self._start_notifying()

    def _start_notifying(self) -> None:
        consensus, quality = self._consensus, self._workshop.quality
        if not quality.notify.wanted:
            return
        self._workshop.redactor.register(quality.notify.secret)
        notifier = Notifier(
            settings=quality.notify,
            connection=consensus.machine.connection,
            cursor_file=self._settings.data_dir / "notified",
            environment=os.environ,
            clock=self._clock,
        )

        def look(changes: Sequence[Change]) -> None:
            if concerns(changes):
                notifier.wake()

        consensus.progress.listen(look)
        self._start(notifier.run(), "notifications")

    def _make_guests(self, lease: Lease) -> Guests:
        connection, workshop = self._consensus.machine.connection, self._workshop
        work = GuestWork(
            connection=connection,
            proposals=self._proposals,
            read_work=partial(read_work, connection),
            logs=workshop.logs,
            blobs=workshop.blobs,
            redactor=workshop.redactor,
            clock=self._clock,
            on_change=self._heartbeats.hurry,
        )
        self._guest_watch = GuestWatch(
            node_id=self._network.node_id,
            connection=connection,
            work=work,
            lease=lease,
            clock=self._clock,
            applied_index=lambda: self._consensus.progress.index,
        )
        return Guests(
            node_id=self._network.node_id,
            connection=connection,
            work=work,
            watch=self._guest_watch,
            redactor=workshop.redactor,
            clock=self._clock,
            on_change=self._heartbeats.hurry,
        )

    def _guest_vitals(self) -> list[Vitals]:
        return self._guest_watch.vitals()

    def _forget_workers(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if (change.kind, change.status) == ("worker", "forgotten"):
                self._vitals.forget(change.node_id)

    def _via(self, worker_id: str) -> str:
        return queries_external.via_of(self._consensus.machine.connection, worker_id)

    def _make_planning(self) -> Planning:
        settings = self._settings
        return Planning(
            connection=self._consensus.machine.connection,
            vitals=self._vitals,
            clock=self._clock,
            settings=PlanningSettings(
                # A busy processor makes work slow, not impossible: it costs score, no more.
                thresholds=Thresholds(cpu_percent=100.0),
                lease_ms=settings.lease_ms,
                grace_ms=settings.grace_ms,
            ),
            trusted=lambda: queries_members.trusted(self._consensus.machine.connection),
        )

    async def _open_web(self, data_dir: DataDir, stack: AsyncExitStack) -> WebServer:
        consensus = self._consensus
        reader = await StateReader.open(data_dir.path / "state.db")
        stack.push_async_callback(reader.close)
        janitor = Janitor(
            reader=reader,
            blobs=self._workshop.blobs,
            repositories=self._workshop.repositories,
            remotes=self._workshop.remotes,
            logs=self._workshop.logs,
            sessions=self._workshop.sessions,
        )
        self._start(janitor.run(), "janitor")
        upkeep = Upkeep(
            node_id=self._network.node_id,
            blobs=self._workshop.blobs,
            reader=reader,
            live_members=self._live_members,
            ask_held=self._workshop.sharing.ask_held,
        )
        self._start(upkeep.run(), "upkeep")
        status = ClusterStatus(
            node_id=self._network.node_id,
            replicas=consensus.loop,
            members=self._network.members,
            vitals=self._vitals,
            connection=consensus.machine.connection,
            discovery=lambda: self._network.discovery.status,
            clock=self._clock,
        )
        service = Service(
            node_id=self._network.node_id,
            connection=consensus.machine.connection,
            reader=reader,
            proposals=self._proposals,
            sources=self._workshop.sources,
            progress=consensus.progress,
            status=status,
            log_feed=LogFeed(
                node_id=self._network.node_id,
                store=self._workshop.logs,
                calls=self._network.calls,
                connection=consensus.machine.connection,
                progress=consensus.progress,
            ),
            guests=self._guests,
            results=Results(
                directory=data_dir.directory("results"),
                connection=consensus.machine.connection,
                repositories=self._workshop.repositories,
                blobs=self._workshop.blobs,
            ),
            templates=templates_directory(os.environ),
            backups=Backups(state=data_dir.path / "state.db", blobs=self._workshop.blobs),
            explaining=Explaining(
                connection=consensus.machine.connection,
                planning=self._planning,
                replicas=consensus.loop,
                clock=self._clock,
            ),
            steward=self._make_stewardship(data_dir, status),
            deciding=Deciding(
                node_id=self._network.node_id,
                connection=consensus.machine.connection,
                proposals=self._proposals,
            ),
            access=Access(
                node_id=self._network.node_id,
                connection=consensus.machine.connection,
                proposals=self._proposals,
                admitting=self._network.admitting,
                address=lambda: self._network.discovery.own.joins[0],
                apart=self._merging.warnings,
            ),
            inspection=self._make_inspection(data_dir),
            toolbox=Toolbox(
                node_id=self._network.node_id,
                connection=consensus.machine.connection,
                reader=reader,
                vitals=self._vitals,
                calls=self._network.calls,
                proposals=self._proposals,
                clock=self._clock,
                members=self._live_members,
                look=self._workshop.look,
            ),
            exposition=self._make_exposition(data_dir, reader),
            settings=lambda: settings_document(self._settings),
            on_stop=self.stop,
        )
        web = WebServer(
            service=service,
            host="127.0.0.1",
            port=self._settings.web_port,
            token_path=self._settings.api_token_file,
            meter=self._meters.request,
        )
        await web.start()
        stack.push_async_callback(web.stop)
        return web

    def _make_exposition(self, data_dir: DataDir, reader: StateReader) -> Exposition:
        transport, replicas = self._network.transport, self._consensus.loop
        known_leader = ""

        def leader_changed(status: ReplicaStatus) -> None:
            nonlocal known_leader
            if status.leader_id and status.leader_id != known_leader:
                known_leader = status.leader_id
                self._meters.leader_changes.inc()

        replicas.on_role(leader_changed)
        return Exposition(
            sources=Sources(
                node_id=self._network.node_id,
                data_dir=data_dir.path,
                consensus=lambda: replicas.status,
                transport=transport.stats,
                link=transport.link_stats,
                members=lambda: self._network.members.ids,
                own_vitals=self._last_vitals,
                blob_bytes=lambda: self._workshop.blobs.used_bytes,
            ),
            meters=self._meters,
            reader=reader,
            clock=self._clock,
        )

    def _make_merging(self, data_dir: DataDir) -> Merging:
        network, consensus = self._network, self._consensus
        node_id = network.node_id
        self._departures = Departures(
            node_id=node_id,
            replicas=consensus.loop,
            autopilot=self._pilot,
            proposals=self._proposals,
            progress=consensus.progress,
            calls=network.calls,
        )

        def cluster() -> Cluster:
            return Cluster(
                cluster_id=network.members.cluster_id,
                has_work=queries_members.has_work(consensus.machine.connection),
                members=network.members.ids,
                alone=consensus.loop.status.membership.members == (node_id,),
                leads=consensus.loop.leads,
            )

        def give_up() -> None:
            cluster_id = network.members.cluster_id
            giving_up.mark(data_dir, cluster_id=cluster_id, token=network.credentials.token)
            self._left = self.joins_another = True
            self._stopping.set()

        return Merging(
            own=lambda: network.discovery.own,
            keys=lambda: network.credentials.keys,
            cluster=cluster,
            known=lambda: network.discovery.contacts,
            leave=lambda: self._departures.ask(Departure(node_id), timeout_s=LEAVE_EMPTY_S),
            give_up=give_up,
            clock=self._clock,
        )

    def _make_inspection(self, data_dir: DataDir) -> Inspection:
        consensus, members = self._consensus, self._network.members
        checksum = StateChecksum(
            node_id=self._network.node_id,
            machine=consensus.machine,
            replicas=consensus.loop,
            calls=self._network.calls,
            proposals=self._proposals,
            data_dir=data_dir,
            clock=self._clock,
            members=lambda: members.ids,
            name_of=members.name_of,
            hand_over=consensus.hand_over,
        )
        self._start(checksum.run(), "checksum")
        mesh = Mesh(
            node_id=self._network.node_id,
            members=members,
            transport=self._network.transport,
            calls=self._network.calls,
            connection=consensus.machine.connection,
            clock=self._clock,
            own_vitals=self._last_vitals,
            multicast=lambda: self._network.discovery.status,
            isolation=lambda: self._workshop.isolation,
        )
        state = data_dir.path / "state.db"
        return Inspection(checksum=checksum, members=members, mesh=mesh, state=state)

    def _last_vitals(self) -> Vitals | None:
        heard = self._vitals.get(self._network.node_id)
        return heard.vitals if heard else None

    def _make_stewardship(self, data_dir: DataDir, status: ClusterStatus) -> Stewardship:
        node_id, consensus = self._network.node_id, self._consensus

        def has_left() -> None:
            cluster_id = self._network.members.cluster_id
            farewell.mark(data_dir, node_id=node_id, cluster_id=cluster_id, clock=self._clock)
            self._left = True
            self.stop()

        return Stewardship(
            node_id=node_id,
            connection=consensus.machine.connection,
            proposals=self._proposals,
            departures=self._departures,
            progress=consensus.progress,
            members=status.members,
            has_left=has_left,
        )

    def _say_ready(self, data_dir: DataDir, web: WebServer) -> None:
        host = self._network.discovery.own.hosts[0]
        document = {
            "pid": os.getpid(),
            "node_id": self._network.node_id,
            "name": self._settings.name,
            "address": join_address(host, self._network.greeting.port),
            "page_url": f"http://{web.address}/",
            "cluster_id": self._network.members.cluster_id,
            "version": __version__,
            "started_ms": self._started_ms,
        }
        data_dir.write_json("node.json", document)
        print(f"ready {self._network.node_id} {document['page_url']}", flush=True)
        self._say_how_to_join(str(document["address"]))
        gc.freeze()  # what is here now stays: no collection needs to look at it again

    def _say_how_to_join(self, address: str) -> None:
        """Print the command that adds a machine, with the token if this node has just made it.

        A file keeps what is written to it, and so does a journal: there the token is not said.
        """
        show = self._made_token and somebody_reads(sys.stderr)
        token = f" --token {self._network.credentials.token}" if show else ""
        how = "" if show else "  (with the token that `paceline token show` prints)"
        print(f"add a machine: paceline node start --join {address}{token}{how}", file=sys.stderr)

    async def _wind_down(self) -> None:
        """Leave the others in order: work is given back, leadership handed over."""
        log.info("stopping")
        if self._failure is None and not self._left:
            self._slots = 0  # said before the work is given back, or it would be given to us again
            self._heartbeats.beat()
            await self._worker.give_up(timeout_s=GIVE_BACK_S)
            await self._consensus.hand_over()

    # --- what the parts ask of the whole ----------------------------------------------------------

    def _secrets(self) -> list[str]:
        """Answer what must never be in a log: the keys to this node and to its cluster."""
        token = read_or_make_token(self._settings.api_token_file)
        return [token, *([self._settings.token] if self._settings.token else [])]

    def _leading_term(self) -> int:
        loop = self._consensus.loop
        return loop.status.term if loop.leads and loop.status.quorum_active else 0

    def _live_members(self) -> list[str]:
        return [node_id for node_id in self._network.members.ids if self._vitals.alive(node_id)]

    def _died(self, node_id: str) -> None:
        self._vitals.mark_dead(node_id)
        self._coordinator.wake()

    def _own_vitals(self, sequence: int) -> Vitals:
        return Vitals(
            node_id=self._network.node_id,
            incarnation=self._started_ms,
            sequence=sequence,
            resources=self._read_resources(),
            tools=self._workshop.tools,
            slots=self._slots,
            running=self._worker.running,
            labels=dict(self._settings.labels),
            applied_index=self._consensus.progress.index,
            caches=self._workshop.repositories.commits,
            level=NEWEST_LEVEL,
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
            "node_id": self._network.node_id,
            "name": self._settings.name,
            "address": self._network.discovery.own.joins[0],
            "slots": self._settings.slots,
            "tools": self._workshop.tools,
            "labels": dict(self._settings.labels),
            "system_info": {
                "system": platform.system(),
                "release": platform.release(),
                "machine": platform.machine(),
                "python": platform.python_version(),
                INFO_KEY: str(NEWEST_LEVEL),
                **self._workshop.info,
            },
            "version": __version__,
        }
