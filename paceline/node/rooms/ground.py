"""What a node stands on: its settings, its network, its place in the log; and how it ends.

The rooms of a node are built upon each other, in the order in which a node comes to life: ground,
work, stewardship, serving, and `app` above them. Each knows what lies below it and nothing else.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from paceline.clock import SystemClock
from paceline.errors import PacelineError
from paceline.node import farewell
from paceline.node.cluster_level import ClusterLevel
from paceline.node.consensus import Consensus, ConsensusSettings
from paceline.node.data_dir import DataDir
from paceline.node.meters import Meters
from paceline.node.network import Network
from paceline.node.proposals import Proposals
from paceline.node.twins import Life, twin_found
from paceline.node.vitals import VitalsTable
from paceline.node.web.auth import read_or_make_token
from paceline.settings import NodeSettings
from paceline.tasks import queries_external
from paceline.tasks.model import Resources, Vitals

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Ground:
    """The lowest room: everything else of a node is built on it."""

    _group: asyncio.TaskGroup
    """Owns every task of the node; set by `app` while the node runs."""

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

    def _open_anew(self, data_dir: DataDir) -> None:
        """Make sure that the directory is of a node that is in, or will be in, a cluster."""
        if self._settings.anew:
            farewell.set_aside(data_dir)
        farewell.require_not_left(data_dir)

    def _start(self, work: Coroutine[Any, Any, object], name: str) -> None:
        self._background.append(self._group.create_task(work, name=name))

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

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a part without which the node is of no use; its failure stops the node."""
        try:
            await work
        except PacelineError as error:
            self._failed(error)

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

    def _via(self, worker_id: str) -> str:
        return queries_external.via_of(self._consensus.machine.connection, worker_id)

    def _leading_term(self) -> int:
        loop = self._consensus.loop
        return loop.status.term if loop.leads and loop.status.quorum_active else 0

    def _live_members(self) -> list[str]:
        return [node_id for node_id in self._network.members.ids if self._vitals.alive(node_id)]

    def _last_vitals(self) -> Vitals | None:
        heard = self._vitals.get(self._network.node_id)
        return heard.vitals if heard else None

    def _secrets(self) -> list[str]:
        """Answer what must never be in a log: the keys to this node and to its cluster."""
        token = read_or_make_token(self._settings.api_token_file)
        return [token, *([self._settings.token] if self._settings.token else [])]
