"""Two clusters of one token: when one of them gives itself up for the other.

They come about when nodes with one preset token are started while the network between them is
broken, or slower than their patience. Whoever meets a node of another cluster with its own hint
proves itself to it, and it to us, by the first half of an admission (see `admission`); so both know
for certain which cluster the other is in, and whether anything was ever submitted there.

A cluster in which something was submitted is never given up: people must decide, and the status
says so. An empty one gives way to one with work, and of two empty ones the one with the larger id.
Its followers leave it one by one, as by `paceline node leave`; its last node, which by then is
alone, looks through its own files (see `giving_up`). So even a submission at the last moment stays
in a cluster that goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import structlog

from paceline.clock import Clock
from paceline.discovery.record import Contact, without_scoped
from paceline.errors import PacelineError
from paceline.ids import NodeId
from paceline.node.admission import Standing, Visit
from paceline.node.founding import ask
from paceline.node.token import TokenKeys

LOOK_S: Final = 1.0
AGAIN_MS: Final = 5_000
"""Between two meetings with one node."""
NEWS_MS: Final = 60_000
"""So long a meeting is worth a warning."""
TIMEOUT_S: Final = 2.0
AT_ONCE: Final = 8
MET_LIMIT: Final = 256

log = structlog.get_logger(__name__)


class Verdict(Enum):
    """What two clusters of one token come to."""

    SAME = "same"
    STAY = "stay"
    GIVE_UP = "give up"
    PEOPLE_DECIDE = "people decide"


def judge(own_id: str, own_work: bool, other_id: str, other_work: bool) -> Verdict:
    """Answer what this cluster does; the other one, asked about us, comes to what fits."""
    if not other_id or own_id == other_id:
        return Verdict.SAME
    if own_work and other_work:
        return Verdict.PEOPLE_DECIDE
    if own_work != other_work:
        return Verdict.STAY if own_work else Verdict.GIVE_UP
    return Verdict.STAY if own_id < other_id else Verdict.GIVE_UP


@dataclass(frozen=True, slots=True)
class Cluster:
    """This node's own cluster, as it stands now."""

    cluster_id: str
    has_work: bool
    members: frozenset[NodeId]
    alone: bool
    leads: bool
    """Of a leader its followers go first."""


@dataclass(slots=True)
class _Meeting:
    at_ms: int
    contact: Contact
    standing: Standing | None = None


class Merging:
    """Looks for other clusters of this node's token, for as long as `run` runs."""

    def __init__(
        self,
        *,
        own: Callable[[], Contact],
        keys: Callable[[], TokenKeys | None],
        cluster: Callable[[], Cluster],
        known: Callable[[], tuple[Contact, ...]],
        leave: Callable[[], Awaitable[object]],
        give_up: Callable[[], None],
        clock: Clock,
    ) -> None:
        """Wire it: `leave` takes this node out of a cluster of several, `give_up` does the rest."""
        self._own = own
        self._keys = keys
        self._cluster = cluster
        self._known = known
        self._leave = leave
        self._give_up = give_up
        self._clock = clock
        self._met: dict[NodeId, _Meeting] = {}

    async def run(self) -> None:
        """Look until this node has given up its cluster."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self._meet_all()
            if self._should_give_up() and await self._goes():
                return

    def warnings(self) -> list[str]:
        """Answer, for the status, what people must decide."""
        return sorted({_apart(meeting) for meeting in self._apart()})

    # --- meeting ----------------------------------------------------------------------------------

    async def _meet_all(self) -> None:
        keys, now_ms = self._keys(), self._clock.monotonic_ms()
        if keys is None:
            return
        strangers = self._strangers(keys, now_ms)
        for contact in strangers:
            self._met[contact.node_id] = _Meeting(now_ms, contact)
        self._forget(now_ms)
        await asyncio.gather(*(self._meet(contact, keys) for contact in strangers))

    def _strangers(self, keys: TokenKeys, now_ms: int) -> list[Contact]:
        members = self._cluster().members
        found = [
            contact
            for contact in self._known()
            if contact.joins
            and contact.cluster_hint == keys.hint
            and contact.node_id not in members
            and not self._met_lately(contact.node_id, now_ms)
        ]
        return found[:AT_ONCE]

    def _met_lately(self, node_id: NodeId, now_ms: int) -> bool:
        meeting = self._met.get(node_id)
        return meeting is not None and now_ms - meeting.at_ms < AGAIN_MS

    def _forget(self, now_ms: int) -> None:
        for node_id, meeting in list(self._met.items()):
            if now_ms - meeting.at_ms > NEWS_MS or len(self._met) > MET_LIMIT:
                del self._met[node_id]

    async def _meet(self, contact: Contact, keys: TokenKeys) -> None:
        cluster = self._cluster()
        visit = Visit(
            without_scoped(self._own()),
            keys,
            cluster_id=cluster.cluster_id,
            has_work=cluster.has_work,
        )
        try:
            answer = await ask(contact.joins[0], visit.opening, TIMEOUT_S)
            standing = visit.meet(answer).standing
        except PacelineError as error:
            log.debug("no meeting", node_id=contact.node_id, reason=str(error))
            return
        if standing.contact.node_id in self._met:
            self._met[standing.contact.node_id].standing = standing

    # --- deciding ---------------------------------------------------------------------------------

    def _verdicts(self) -> list[tuple[Verdict, _Meeting]]:
        own, now_ms = self._cluster(), self._clock.monotonic_ms()
        return [
            (
                judge(
                    own.cluster_id,
                    own.has_work,
                    meeting.standing.cluster_id,
                    meeting.standing.has_work,
                ),
                meeting,
            )
            for meeting in self._met.values()
            if meeting.standing is not None and now_ms - meeting.at_ms <= NEWS_MS
        ]

    def _apart(self) -> list[_Meeting]:
        return [met for verdict, met in self._verdicts() if verdict is Verdict.PEOPLE_DECIDE]

    def _should_give_up(self) -> bool:
        own = self._cluster()
        if own.leads and not own.alone:
            return False
        return any(verdict is Verdict.GIVE_UP for verdict, _ in self._verdicts())

    async def _goes(self) -> bool:
        """Leave, if there is somebody to leave; then give up. Answer whether that was done."""
        try:
            if not self._cluster().alone:
                await self._leave()
        except PacelineError as error:
            log.info("cannot leave an empty cluster yet", reason=str(error))
            return False
        self._give_up()
        return True


def _apart(meeting: _Meeting) -> str:
    assert meeting.standing is not None
    return (
        f"another cluster of this token, {meeting.standing.cluster_id}, has work of its own "
        f"({meeting.contact.name or meeting.contact.node_id} at {meeting.contact.joins[0]} is in "
        "it); they stay apart. To bring its machines here: let its work end, then on each of them "
        "`paceline node leave` and `paceline node start --anew` with the token"
    )
