"""The words of the domain: tasks, subtasks, attempts, workers, and what they carry.

Frozen data only. Statuses and their legal transitions stand in `phases`; what may change the state
stands in `commands`. Times are milliseconds since 1970 (UTC), given by commands, never read here.
Source: the seed's "Database Design", completed by attempts with fencing tokens.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from paceline.later import LATER


class TaskStatus(StrEnum):
    """The seed's seven."""

    PENDING = "pending"
    INITIALIZING = "initializing"
    IN_PROGRESS = "in_progress"
    CHECKPOINT = "checkpoint"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class SubtaskStatus(StrEnum):
    """The seed's six and `cancelled`."""

    PENDING = "pending"
    ALLOCATED = "allocated"
    IN_PROGRESS = "in_progress"
    REVIEW = "review"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AttemptStatus(StrEnum):
    """How one try goes. `lost`: its node was given up; `stale` results are never accepted."""

    ALLOCATED = "allocated"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


class WorkerStatus(StrEnum):
    """The seed's four and `draining`."""

    ONLINE = "online"
    BUSY = "busy"
    OFFLINE = "offline"
    ERROR = "error"
    DRAINING = "draining"


class MemberStatus(StrEnum):
    """Whether a node belongs: `left` may be admitted again, `revoked` never."""

    MEMBER = "member"
    REVOKED = "revoked"
    LEFT = "left"


class Privacy(StrEnum):
    """`sensitive` work runs only on trusted nodes and never reaches a cloud tool."""

    NORMAL = "normal"
    SENSITIVE = "sensitive"


class CheckpointFrequency(StrEnum):
    """How often a person is asked."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class PermissionLevel(StrEnum):
    """What an agent may do in its workspace; each level includes those before it."""

    READ = "read"
    """Look at files and answer."""
    EDIT = "edit"
    """Change files."""
    RUN = "run"
    """Run commands too."""


class ResultStatus(StrEnum):
    """How a tool's run ended (facts: one vocabulary for all tools)."""

    OK = "ok"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    QUOTA = "quota"
    AUTH = "auth"
    DENIED = "denied"
    TURN_LIMIT = "turn_limit"
    ERROR = "error"
    CONFLICT = "conflict"
    """What it depends on cannot be merged, and nobody was there to resolve it."""


class CheckpointType(StrEnum):
    """Why a person is asked."""

    MANUAL = "manual"
    SCHEDULED = "scheduled"
    EVALUATION = "evaluation"
    REVIEW = "review"
    CONFLICT = "conflict"
    BUDGET = "budget"
    PLAN = "plan"


class Decision(StrEnum):
    """What a person, or the time, decides at a checkpoint.

    `accept` lets the work go on as it is, `correct` has the same agent go on with the feedback,
    `reject` has it done anew, with another tool where there is one. `fail` is for checkpoints that
    expire.
    """

    ACCEPT = "accept"
    CORRECT = "correct"
    REJECT = "reject"
    FAIL = "fail"


NOT_RETRIED = frozenset(
    {
        ResultStatus.AUTH,
        ResultStatus.DENIED,
        ResultStatus.CANCELLED,
        ResultStatus.CONFLICT,
    }
)
"""Trying these again on the same terms cannot help."""


@dataclass(frozen=True, slots=True)
class BlobRef:
    """Bytes kept outside the log: SHA-256 in hex, size in bytes, nodes known to hold them."""

    sha256: str
    size: int
    holders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Repository:
    """The git state that a task starts from. `bundle` holds `commit` and its history.

    `source` is what the person named (path or URL), for show only: no node relies on it.
    """

    source: str
    ref: str
    commit: str
    bundle: BlobRef
    folder: str = field(default="", metadata=LATER)
    """Where in it the work is done; empty = at its top. Level 2."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a subtask hands to its dependents: inline when small, else by reference."""

    inline: bytes = b""
    blob: BlobRef | None = None

    @property
    def size(self) -> int:
        """Answer the size in bytes."""
        return self.blob.size if self.blob else len(self.inline)


@dataclass(frozen=True, slots=True)
class SubtaskSpec:
    """One subtask as it was asked for; never changes after submission.

    `tools` is an ordered list of preference. `run` is a shell line for the tool `command`,
    `instructions` the words for an agent. `needs` are names within the same task.
    """

    subtask_id: str
    name: str
    tools: tuple[str, ...]
    needs: tuple[str, ...] = ()
    description: str = ""
    instructions: str = ""
    run: str = ""
    priority: int = 50
    complexity: int = 1
    timeout_s: float = 3600.0
    max_attempts: int = 3
    labels: dict[str, str] = field(default_factory=dict)
    privacy: Privacy | None = None
    """None = as the task."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What later versions and tools add (model, permission level, ...)."""
    start_timeout_s: float | None = field(default=None, metadata=LATER)
    """How long it may be ready without an attempt being given out; None = for ever. Level 2."""
    not_labels: dict[str, str] = field(default_factory=dict, metadata=LATER)
    """Labels that its node must not have. Level 2."""
    foreach: str = field(default="", metadata=LATER)
    """The one of its `needs` whose output lists items: it is done once for each. Level 2."""


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task as it was asked for; never changes after submission."""

    task_id: str
    description: str
    type: str
    """A template's name, or `plan` for a person's own subtasks."""
    subtasks: tuple[SubtaskSpec, ...]
    repository: Repository | None = None
    privacy: Privacy = Privacy.NORMAL
    checkpoint_frequency: CheckpointFrequency = CheckpointFrequency.MEDIUM
    tool_preferences: tuple[str, ...] = ()
    priority: int = 50
    metadata: dict[str, Any] = field(default_factory=dict)
    budget_usd: float | None = field(default=None, metadata=LATER)
    """What all its attempts together may cost; reached, none begins any more. Level 2."""
    deadline_ms: int | None = field(default=None, metadata=LATER)
    """When it fails if it has not ended by then, by the wall clock. Level 2."""


@dataclass(frozen=True, slots=True)
class RepositoryChange:
    """What an attempt did to the repository: the commits from `base`, its task's, to `commit`.

    `start` is where the attempt itself began: `base`, or the merge of what it depends on. `bundle`
    is a git bundle of all that `commit` has and `base` has not, so that it can be used by whoever
    has `base`. `files`, `insertions` and `deletions` count from `start` to `commit`.
    """

    base: str
    start: str
    commit: str
    bundle: BlobRef
    files: int = 0
    insertions: int = 0
    deletions: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an evaluator or a reviewer holds against a change.

    `line` is 1-based in the resulting file; 0 = the file, or the change, at all. `severity` is
    critical, high, medium or low; `source` the evaluator, or the tool that reviewed.
    """

    file: str
    line: int
    severity: str
    message: str
    rule: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the worker's evaluators say of the change that an attempt made; see `gates`.

    `score` is 0-10, None where nobody could judge. `doubts` are reasons that ask for a person
    whatever the score. The thresholds are the repository's own. `diff` is the beginning of the
    change, for people to look at: what builds on it takes the whole from the attempt's `change`.
    """

    score: float | None
    scores: dict[str, float] = field(default_factory=dict)
    """By evaluator, of those that had something to judge."""
    findings: tuple[Finding, ...] = ()
    doubts: tuple[str, ...] = ()
    tests_failed: bool = False
    checkpoint_below: float = 7.0
    retry_below: float = 5.0
    files: int = 0
    diff: str = ""


@dataclass(frozen=True, slots=True)
class Review:
    """What a reviewer says of a change: good as it is, or to be revised because of the findings."""

    approved: bool
    summary: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt came to. `retryable_after_ms` is set where a provider names a reset."""

    status: ResultStatus
    text: str = ""
    """The tool's own words, or the reason of a failure; at most 16 KiB."""
    output: Output = field(default_factory=Output)
    exit_code: int | None = None
    usage: dict[str, int] = field(default_factory=dict)
    cost_usd: float | None = None
    duration_ms: int = 0
    log_tail: str = ""
    """The last 4 KiB of the log, so that something can be shown when its node is gone."""
    session: str = ""
    retryable_after_ms: int | None = None
    details: dict[str, Any] = field(default_factory=dict)
    change: RepositoryChange | None = field(default=None, metadata=LATER)
    """None where nothing was changed, or there is no repository."""
    evaluation: Evaluation | None = field(default=None, metadata=LATER)
    """Of the change, where there is one."""
    review: Review | None = field(default=None, metadata=LATER)
    """Of an attempt that was to review another's."""


@dataclass(frozen=True, slots=True)
class ToolState:
    """One tool on one node, as its owner reports it."""

    name: str
    healthy: bool = True
    version: str = ""
    reason: str = ""
    """Why it is not healthy."""
    slots: int = 0
    """How many at once; 0 = as many as the node has slots."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a machine has left, as psutil sees it. Percentages are 0-100 of the whole machine."""

    cpu_percent: float = 0.0
    memory_percent: float = 0.0
    disk_percent: float = 0.0
    cpu_count: int = 1
    memory_bytes: int = 0
    disk_free_bytes: int = 0
    load_1m: float = 0.0


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt that a worker says it holds."""

    subtask_id: str
    attempt: int
    token: int


@dataclass(frozen=True, slots=True)
class Vitals:
    """One heartbeat of a worker: what it can do and what it is doing. Never enters the log."""

    node_id: str
    incarnation: int
    """Start time of the process in milliseconds: a restarted worker runs nothing from before."""
    sequence: int
    resources: Resources
    tools: tuple[ToolState, ...]
    slots: int
    running: tuple[Running, ...]
    labels: dict[str, str] = field(default_factory=dict)
    applied_index: int = 0
    caches: tuple[str, ...] = ()
    """Commits whose repository data is already here."""
    level: int = 1
    """The newest format level that its program knows; release 0.1 did not say."""
