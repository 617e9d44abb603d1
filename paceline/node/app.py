"""The composition root: builds the parts of a node, runs them, and takes them down in order.

Start: data directory (locked), keys, sockets, then a cluster (founded, joined or remembered), then
consensus on its disk, then everything that acts, then REST; `ready` is said last. Stop: the worker
gives back what it runs, leadership is handed over, and all tasks end with the one group that owns
them. A part that fails in a way that makes the node untrustworthy stops the whole node.
"""

import asyncio
import gc
import os
import signal
import sys
from contextlib import AsyncExitStack

import structlog

from paceline import __version__
from paceline.discovery.record import join_address
from paceline.node import giving_up
from paceline.node.belonging import belong, kept_token, remember
from paceline.node.data_dir import DataDir
from paceline.node.founding import Settled
from paceline.node.log_rotation import rotate_for_ever
from paceline.node.logging import configure, somebody_reads
from paceline.node.rooms.serving import Serving
from paceline.node.web.server import WebServer
from paceline.settings import NodeSettings

GIVE_BACK_S = 3.0

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


class Node(Serving):
    """One node. `run` returns when it has been stopped, and raises what made it stop."""

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
