"""Which cluster a node belongs to: from before, or settled at its first start.

`cluster.json` is written only after the log's file is there. So a node that has the one without the
other has lost its log, and with it its memory of whom it voted for; it must not go on under its old
identity, and says what to do.
"""

import contextlib
import sqlite3

from paceline.clock import Clock
from paceline.errors import CorruptStorage, InvalidSettings
from paceline.node.data_dir import DataDir
from paceline.node.founding import Founding, Settled
from paceline.node.network import Network
from paceline.settings import NodeSettings
from paceline.tasks import queries_members

FILE = "cluster.json"


def kept_token(data_dir: DataDir) -> str | None:
    """Answer the cluster's token as the state had it when this node last ran; None if it has none.

    To be called before anything else opens the state.
    """
    path = data_dir.path / "state.db"
    if not path.exists() or data_dir.read_json(FILE) is None:
        return None
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            record = queries_members.cluster(connection)
    except sqlite3.Error:  # an older layout, or a damaged file, which others will complain of
        return None
    return record.token if record is not None else None


async def belong(
    *,
    settings: NodeSettings,
    network: Network,
    data_dir: DataDir,
    clock: Clock,
    gave_up: str = "",
) -> tuple[Settled, bool]:
    """Answer the node's cluster, and whether it is new to it; asks around for as long as it takes.

    `gave_up` is a cluster to which it does not go back.

    Raise CorruptStorage if the node's log is gone, InvalidSettings if it has no token to join with,
    Conflict if another process has this node's identity.
    """
    known = data_dir.read_json(FILE)
    if known is not None:
        if not (data_dir.path / "raft.db").exists():
            raise CorruptStorage(
                f"{data_dir.path} belongs to a cluster but its log, raft.db, is gone. Put it back, "
                "or move the directory away and start anew: the node then joins as another one"
            )
        network.members.belong(str(known["cluster_id"]), map(str, known.get("members", ())))
        await network.twin_watch(str(known["cluster_id"])).before_start()
        return Settled(str(known["cluster_id"]), founded=bool(known.get("founded"))), False
    settled = await _settle(settings, network, clock, gave_up)
    for contact in settled.members:
        network.discovery.learn(contact)
    network.members.belong(settled.cluster_id, (each.node_id for each in settled.members))
    return settled, True


def remember(settled: Settled, data_dir: DataDir) -> None:
    """Write down where this node belongs, now that its log is there."""
    data_dir.write_json(
        FILE,
        {
            "cluster_id": settled.cluster_id,
            "founded": settled.founded,
            "members": sorted(each.node_id for each in settled.members),
        },
    )


async def _settle(settings: NodeSettings, network: Network, clock: Clock, gave_up: str) -> Settled:
    keys = network.credentials.keys
    if keys is None:
        if settings.join:
            raise InvalidSettings(
                "joining a cluster takes its token: `paceline token show` on a member prints it; "
                "give it with --token-file, PACELINE_TOKEN or --token"
            )
        return Founding.alone()
    if not settings.join and not settings.mdns and not network.discovery.contacts:
        return Founding.alone()  # there is no way in which another could be found
    founding = Founding(
        own=lambda: network.discovery.own,
        addresses=settings.join,
        known=lambda: network.discovery.contacts,
        learn=network.discovery.learn,
        keys=keys,
        clock=clock,
        gave_up=gave_up,
    )
    return await founding.settle()
