"""The format level at which this cluster works: the lowest of its members' newest levels.

Every node says its newest level in each heartbeat, and registers it, so that it is also known while
the node is away. All nodes work the same level out for themselves: a follower so as not to ask for
what an older leader would only understand in part, the leader before it writes the log. What needs
more is refused, naming the nodes to update; all else goes on. See `tasks.levels`.

A cluster does not go back to an older level by taking in an older node: `admitting` turns newcomers
of a level below the cluster's away, and a member that was set back to an older version stops at the
first entry that it does not know.
"""

import json
import sqlite3
from collections.abc import Callable, Collection
from typing import Final

from paceline.clock import Clock
from paceline.errors import Conflict
from paceline.ids import NodeId
from paceline.node.vitals import VitalsTable
from paceline.tasks import queries_members
from paceline.tasks.commands import NEWEST_LEVEL, OLDEST_LEVEL, Command
from paceline.tasks.levels import common, level_of

INFO_KEY: Final = "format_level"
"""In the `system_info` that a node registers."""
ADMISSION_LEVEL: Final = 2
"""The level at which admission, and with it the record of a cluster, came in."""
KEPT_MS: Final = 500
"""A level is worked out anew after so long: it changes when somebody updates a machine."""


class ClusterLevel:
    """What the members understand, as far as this node knows."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        members: Callable[[], Collection[NodeId]],
        vitals: VitalsTable,
        connection: sqlite3.Connection,
        clock: Clock,
        name_of: Callable[[NodeId], str],
    ) -> None:
        self._node_id = node_id
        self._members = members
        self._vitals = vitals
        self._connection = connection
        self._clock = clock
        self._name_of = name_of
        self._kept: tuple[int, int] | None = None

    def now(self) -> int:
        """Answer the level of the cluster."""
        now_ms = self._clock.monotonic_ms()
        if self._kept is None or now_ms - self._kept[0] > KEPT_MS:
            self._kept = (now_ms, common(self.of_members().values()))
        return self._kept[1]

    def of_members(self) -> dict[NodeId, int]:
        """Answer the newest level of each member."""
        known = {node_id: self._heard(node_id) for node_id in self._members()}
        if None in known.values():
            recorded = self._recorded()
            known = {node_id: level or recorded(node_id) for node_id, level in known.items()}
        return {node_id: level or OLDEST_LEVEL for node_id, level in known.items()}

    def lagging(self) -> list[str]:
        """Answer the names of the members that keep the cluster below this node's own level."""
        levels = self.of_members()
        return sorted(self._name_of(each) for each, level in levels.items() if level < NEWEST_LEVEL)

    def require(self, command: Command) -> int:
        """Answer the level at which a command is logged. Raise Conflict if it needs a newer one."""
        level = self.now()
        if level < NEWEST_LEVEL and level_of(command) > level:
            self._kept = None  # somebody may just have been updated: look again the next time
            raise Conflict(
                f"this cluster works at format level {level} until all its machines are updated, "
                f"and this needs level {level_of(command)}: update Paceline on "
                f"{', '.join(self.lagging()) or 'every machine'}"
            )
        return level

    def _heard(self, node_id: NodeId) -> int | None:
        if node_id == self._node_id:
            return NEWEST_LEVEL
        heard = self._vitals.get(node_id)
        return heard.vitals.level if heard else None

    def _recorded(self) -> Callable[[NodeId], int]:
        """Answer what the state says of members that this process has not heard of.

        One that never registered has the level of the admission that let it in. A node that has
        only just joined knows nothing of the others yet: that says nothing about their age either,
        since nobody joins a cluster of 0.1. Its leader knows better, and judges again.
        """
        rows = self._connection.execute("SELECT worker_id, system_info FROM workers").fetchall()
        registered = {node_id: _registered(info) for node_id, info in rows}
        of_0_1 = bool(rows) and queries_members.cluster(self._connection) is None
        unregistered = OLDEST_LEVEL if of_0_1 else ADMISSION_LEVEL
        return lambda node_id: registered.get(node_id) or unregistered


def _registered(system_info: str) -> int:
    said = json.loads(system_info).get(INFO_KEY, "1")
    return int(said) if said.isdecimal() else OLDEST_LEVEL
