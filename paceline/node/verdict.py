"""What a comparison of states comes to. Pure.

All nodes looked at their state behind the same entry of the log, so all must have found the same.
Where they have not, the majority is taken to be right: a disk that returns other bytes than were
written, or a process with a fault in its memory, is one node's misfortune. Nodes whose tables are
of different versions are not compared with each other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from paceline.ids import NodeId
from paceline.tasks.digest import UNREADABLE

REMEDY: Final = (
    "stop it, move its data directory away, and let it join again: the others give it the state"
)


@dataclass(frozen=True, slots=True)
class Taken:
    """What one node found: at which index, and the digest of each table."""

    index: int
    schema: int
    """The version of the tables."""
    tables: dict[str, bytes]
    took_ms: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who agrees, and who does not. `decided`: a majority says who is wrong."""

    index: int
    compared: tuple[NodeId, ...] = ()
    differing: dict[NodeId, tuple[str, ...]] = field(default_factory=dict)
    """The nodes that differ from the majority (all of them, if there is none), and in what."""
    decided: bool = True
    missing: dict[NodeId, str] = field(default_factory=dict)
    """Members that were not compared, and why not."""
    time_ms: int = 0

    @property
    def equal(self) -> bool:
        """Answer whether all that were compared have the same state."""
        return not self.differing


def judge(taken: Mapping[NodeId, Taken], missing: Mapping[NodeId, str], time_ms: int) -> Verdict:
    """Answer who differs from whom. A node that cannot read a table of its own is wrong at once."""
    differing = {node_id: _unreadable(each) for node_id, each in taken.items() if _unreadable(each)}
    decided = True
    for schema in sorted({each.schema for each in taken.values()}):
        group = {
            node_id: each
            for node_id, each in taken.items()
            if each.schema == schema and node_id not in differing
        }
        right = _majority(group)
        decided = decided and (right is not None or not group)
        differing |= _unlike(group, right)
    index = max((each.index for each in taken.values()), default=0)
    return Verdict(index, tuple(sorted(taken)), differing, decided, dict(missing), time_ms)


def _unreadable(taken: Taken) -> tuple[str, ...]:
    return tuple(
        f"{table} is damaged" for table, said in taken.tables.items() if said == UNREADABLE
    )


def _majority(group: Mapping[NodeId, Taken]) -> Taken | None:
    """Answer what more than half of them found, or None."""
    for one in group.values():
        if 2 * sum(not _unequal(one, other) for other in group.values()) > len(group):
            return one
    return None


def _unlike(group: Mapping[NodeId, Taken], right: Taken | None) -> dict[NodeId, tuple[str, ...]]:
    """Answer who found something else than `right`; where nothing is known to be right, all."""
    if right is not None:
        unequal = {node_id: _unequal(each, right) for node_id, each in group.items()}
        return {node_id: what for node_id, what in unequal.items() if what}
    found = list(group.values())
    somewhere = {what for each in found for what in _unequal(each, found[0])}
    return dict.fromkeys(group, tuple(sorted(somewhere)))


def _unequal(one: Taken, other: Taken) -> tuple[str, ...]:
    if one.index != other.index:
        return (f"entry {one.index} instead of {other.index}",)
    names = sorted(one.tables.keys() | other.tables.keys())
    return tuple(name for name in names if one.tables.get(name) != other.tables.get(name))


def warnings(verdict: Verdict, name_of: Callable[[NodeId], str]) -> list[str]:
    """Answer what a person should know of it, a sentence for each."""
    if verdict.equal:
        return []
    if not verdict.decided:
        names = ", ".join(name_of(node_id) for node_id in verdict.differing)
        return [
            f"the states of {names} differ at index {verdict.index}, and no majority says which is "
            "right: stop submitting, keep copies of their data directories, and add a third node "
            "only once it is decided which one to keep"
        ]
    return [
        f"the state of {name_of(node_id)} differs from the others' at index {verdict.index} "
        f"({', '.join(what)}): {REMEDY}"
        for node_id, what in verdict.differing.items()
    ]
