"""The work of a node: tools, worker, heartbeats, the coordinator, and who votes."""

import os
import platform
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from paceline import __version__
from paceline.node import farewell
from paceline.node.autopilot import Autopilot
from paceline.node.cluster_level import INFO_KEY
from paceline.node.coordinator import Coordinator
from paceline.node.data_dir import DataDir
from paceline.node.death_watch import DeathWatch
from paceline.node.founding import Settled
from paceline.node.guest_watch import GuestWatch
from paceline.node.guest_work import GuestWork
from paceline.node.guests import Guests
from paceline.node.members import follow_members
from paceline.node.notifying import Notifier, concerns
from paceline.node.planning import Planning
from paceline.node.registration import Registration
from paceline.node.rooms.ground import Ground
from paceline.node.vitals import Heartbeats, Lease, read_resources
from paceline.node.workshop import Workshop, read_work
from paceline.tasks import queries_members
from paceline.tasks.commands import NEWEST_LEVEL
from paceline.tasks.effects import Change
from paceline.tasks.model import Resources, Vitals
from paceline.tasks.view import PlanningSettings, Thresholds

RESOURCES_MS = 1_000
"""How long a reading of the machine's load is good for."""


class Work(Ground):
    """A node that works; it leads the work of all while it is the leader."""

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
            beat=self._heartbeats.beat,
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

    def _forget_workers(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if (change.kind, change.status) == ("worker", "forgotten"):
                self._vitals.forget(change.node_id)

    def _guest_vitals(self) -> list[Vitals]:
        return self._guest_watch.vitals()

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
