"""A node that is out of its cluster for good: how its directory says so, and how it starts anew.

One that has left must not come back by an accidental start: the others have forgotten it, and its
log is of a cluster that it is no part of. So its directory carries a mark, and a start says what
can be done. `--anew` moves everything aside, keys and all, and begins with a new identity; nothing
is deleted.
"""

import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final

import structlog

from paceline.clock import Clock
from paceline.errors import Conflict
from paceline.ids import NodeId
from paceline.node.data_dir import PRIVATE_DIRECTORY, DataDir

FILE: Final = "left.json"
KEPT: Final = frozenset({"lock", "node.log"})
"""What the running process itself has open."""
ASIDE: Final = "before-"

log = structlog.get_logger(__name__)


def mark(data_dir: DataDir, *, node_id: NodeId, cluster_id: str, clock: Clock) -> None:
    """Note that this directory's node has left its cluster."""
    document = {"node_id": node_id, "cluster_id": cluster_id, "left_at": clock.now_ms()}
    data_dir.write_json(FILE, document)


def require_not_left(data_dir: DataDir) -> None:
    """Raise Conflict, saying what to do, if this directory's node has left its cluster."""
    document = data_dir.read_json(FILE)
    if document is None:
        return
    left = datetime.fromtimestamp(int(document["left_at"]) / 1000, UTC)
    raise Conflict(
        f"the node of {data_dir.path} left the cluster {document['cluster_id']} on"
        f" {left:%Y-%m-%d} and is no member any more. To start this machine as a new node, say"
        " --anew: what is there is moved aside, nothing is deleted"
    )


def revoked(path: Path) -> Conflict:
    """Answer what a node says that was thrown out of its cluster."""
    return Conflict(
        f"the node of {path} was revoked by its cluster and cannot come back. To use this machine"
        " in the cluster again, start it as a new node: --anew, with the present token"
    )


def set_aside(data_dir: DataDir) -> Path | None:
    """Move all that the directory holds into one below it; answer which, None if it was empty."""
    found = [
        path
        for path in data_dir.path.iterdir()
        if path.name not in KEPT and not path.name.startswith(ASIDE)
    ]
    if not found:
        return None
    target = _fresh(data_dir.path, f"{ASIDE}{time.strftime('%Y%m%dT%H%M%S')}")
    target.mkdir(mode=PRIVATE_DIRECTORY)
    for path in found:
        path.rename(target / path.name)
    log.info("starts anew", old=str(target))
    return target


def _fresh(directory: Path, name: str) -> Path:
    """Answer a path of that name, with a number where there is one already."""
    numbered = (directory / (f"{name}-{number}" if number else name) for number in count())
    return next(path for path in numbered if not path.exists())
