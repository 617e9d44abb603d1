"""What keeps a cluster whole: merging, departures, comparing of states, what a person may do."""

from paceline.node import farewell, giving_up
from paceline.node.checksum import StateChecksum
from paceline.node.cluster_status import ClusterStatus
from paceline.node.data_dir import DataDir
from paceline.node.departures import Departure, Departures
from paceline.node.doctor.mesh import Mesh
from paceline.node.inspection import Inspection
from paceline.node.merging import Cluster, Merging
from paceline.node.rooms.work import Work
from paceline.node.stewardship import Stewardship
from paceline.tasks import queries_members

LEAVE_EMPTY_S = 10.0


class Steward(Work):
    """A node that looks after its cluster."""

    _merging: Merging
    """Set by `app`, once the node has its place in the cluster."""

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
