"""What one node says of itself and of its ways to the others, when it is asked."""

from dataclasses import dataclass, field

from paceline.ids import NodeId


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether a port of another node could be connected to."""

    address: str
    """The one that was connected to, or the last that was tried, as HOST:PORT."""
    connect_ms: float | None
    """None = it could not."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """One node's way to one other."""

    to: NodeId
    up: bool
    """There is a proven connection on which messages are sent."""
    control: Reach
    bulk: Reach
    refusals: int = 0
    """How often the other refused this node's key."""


@dataclass(frozen=True, slots=True)
class ToolReport:
    """A tool as its node sees it; an agent that is not logged in is not healthy, and says so."""

    name: str
    healthy: bool
    version: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """One node's answer."""

    node_id: NodeId
    name: str
    versions: dict[str, str] = field(default_factory=dict)
    level: int = 1
    ways: tuple[Way, ...] = ()
    tools: tuple[ToolReport, ...] = ()
    disk_free_bytes: int = 0
    state_ahead_ms: int = 0
    """How far the replicated state's time is ahead of this node's clock; negative if it is not."""
    multicast: str = ""
    isolation: str = ""
    """How agents are kept apart there; empty = it does not say."""
    no_sandbox: str = ""
    """Why files are not kept apart; empty = they are, or nobody wishes it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What asking one node gave: its report, or why there is none; and its clock."""

    node_id: NodeId
    name: str
    report: Report | None
    error: str = ""
    offset_ms: float | None = None
    """Its clock minus the asker's, by the midpoint of the quickest of some round trips."""
    round_trip_ms: float | None = None
