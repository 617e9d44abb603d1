"""What the outside may ask of a node: the service, REST, the page and the metrics."""

import os
from contextlib import AsyncExitStack

from paceline.config import templates_directory
from paceline.consensus.replica import ReplicaStatus
from paceline.node.access import Access
from paceline.node.backup import Backups
from paceline.node.cluster_status import ClusterStatus
from paceline.node.data_dir import DataDir
from paceline.node.deciding import Deciding
from paceline.node.explaining import Explaining
from paceline.node.exposition import Exposition, Sources
from paceline.node.janitor import Janitor
from paceline.node.log_feed import LogFeed
from paceline.node.previewing import settings_document
from paceline.node.results import Results
from paceline.node.rooms.stewardship import Steward
from paceline.node.service import Service
from paceline.node.state_reader import StateReader
from paceline.node.toolbox import Toolbox
from paceline.node.upkeep import Upkeep
from paceline.node.web.server import WebServer


class Serving(Steward):
    """A node that answers."""

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
