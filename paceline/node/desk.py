"""What an attempt is given: the work itself, and what the node has to do it with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paceline.clock import Clock
from paceline.ids import NodeId
from paceline.node.assessing import Assessing
from paceline.node.blobs import BlobStore
from paceline.node.logs import LogKey, LogStore
from paceline.node.redaction import Redactor
from paceline.node.repository import Repositories
from paceline.node.sessions import Sessions
from paceline.tasks.draft import KEEP_CHANGES, MUST_CHANGE
from paceline.tasks.model import Output, PermissionLevel, Privacy, SubtaskSpec, TaskSpec
from paceline.tasks.queries_quality import Briefing
from paceline.tasks.queries_results import NamedChange
from paceline.tools.isolation import Isolation
from paceline.tools.registry import Registry

OUTPUT_LIMIT_BYTES = 1024 * 1024 * 1024

BUDGET = "budget_usd"
LEAST_BUDGET_USD = 0.000_001
"""Agents take no budget of nothing. None begins without one: see `queries_usage.overspent`."""


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One attempt at one subtask. `inputs` are the outputs of what it needs, by name.

    `changes` are what it begins with in the repository, to be merged in this order. `spec` is what
    this attempt is to do, `asked` the subtask as it was submitted; `briefing` is what made the
    difference.
    """

    task: TaskSpec
    spec: SubtaskSpec
    attempt: int
    token: int
    tool: str
    inputs: Mapping[str, Output] = field(default_factory=dict)
    changes: tuple[NamedChange, ...] = ()
    takes_later: bool = False
    """Where these meet in the same lines, a person wants the later ones'."""
    submitted: SubtaskSpec | None = None
    briefing: Briefing = field(default_factory=Briefing)
    resumes: bool = False
    """Its tool's session may go on in another attempt here."""
    budget_usd: float | None = None
    """What the task may still cost; None = no bound."""

    @property
    def asked(self) -> SubtaskSpec:
        """Answer the subtask as it was submitted."""
        return self.submitted or self.spec

    @property
    def key(self) -> LogKey:
        """Answer the name of its log."""
        return LogKey(self.spec.subtask_id, self.attempt, self.token)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Answer the subtask's settings, its budget being no more than the task has left."""
        if self.budget_usd is None:
            return self.spec.settings
        own = self.spec.settings.get(BUDGET)
        most = min(own, self.budget_usd) if isinstance(own, int | float) else self.budget_usd
        return {**self.spec.settings, BUDGET: max(most, LEAST_BUDGET_USD)}

    @property
    def must_change(self) -> bool:
        """Answer whether it fails unless it changes files of the repository."""
        return self.task.repository is not None and bool(self.spec.settings.get(MUST_CHANGE))

    @property
    def keeps_changes(self) -> bool:
        """Answer whether what it changes is wanted: not of one that was only to read."""
        if self.spec.settings.get("permission") == PermissionLevel.READ:
            return False
        return self.spec.settings.get(KEEP_CHANGES, True) is not False

    @property
    def sensitive(self) -> bool:
        """Answer whether its words must not leave trusted machines."""
        return (self.spec.privacy or self.task.privacy) is Privacy.SENSITIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One node's means. `environment` is the node's own: little of it reaches a tool."""

    node_id: NodeId
    directory: Path
    """Where attempts have their directories."""
    environment: Mapping[str, str]
    tools: Registry
    blobs: BlobStore
    logs: LogStore
    repositories: Repositories
    redactor: Redactor
    clock: Clock
    output_limit_bytes: int = OUTPUT_LIMIT_BYTES
    isolation: Isolation = field(default_factory=Isolation)
    """What this machine can do to keep agents apart; see `walls`."""
    sandbox: str = "auto"
    """What its owner wishes of that."""
    hidden: tuple[Path, ...] = ()
    """What no agent may see besides its owner's home: the node's data."""
    carries_changes: Callable[[], bool] = _always
    """Whether all members understand changes of a repository; in 0.1 there were none."""
    assessing: Assessing = field(default_factory=Assessing)

    sessions: Sessions | None = None
    """Homes that wait for another attempt; None = none is kept."""

    def place_of(self, work: Work) -> Path:
        """Answer where that attempt works, or worked: see `resuming` for those that share it."""
        key = work.key
        name = f"with-{work.tool}" if work.resumes else f"{key.attempt}-{key.token}"
        return self.directory / key.subtask_id / name
