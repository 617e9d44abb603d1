"""What the REST layer asks of a node, and nothing more.

The node implements `NodeService`; the tests serve the same layer over plain data. Requests are
frozen values, already checked in form (types, bounds, spelling) but not in meaning. Answers are
JSON-ready documents, whose keys docs/architecture.md ("REST of a node") and DESIGN name. Whatever
fails raises a `PacelineError`: its type becomes the HTTP status and the `code` of the problem
document, its words the `detail`.

Every call is bound in time by the node itself (a write without a quorum raises NoQuorum or
TimedOut within some seconds); the REST layer only stops asking when its client is gone, and then
cancels the call or closes the iterator.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

Document = dict[str, Any]
"""A JSON object: text keys; values None, bool, int, float, str, lists and further documents."""


@dataclass(frozen=True, slots=True)
class RepositoryRequest:
    """Where the work starts: an absolute path on this node's machine or a URL, and a ref."""

    path: str
    ref: str = "HEAD"
    folder: str = ""
    """Where in it the work is done; empty = at its top."""


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """One submission. Either `plan` with its `format`, or `description` and `type` (a template).

    Empty strings and None mean "not said": the plan's own words, or the defaults, then hold. What
    is said here wins over what the plan says.
    """

    plan: str = ""
    format: str = ""
    """`yaml` or `toml` where `plan` is given."""
    description: str = ""
    type: str = ""
    repository: RepositoryRequest | None = None
    directory: str = ""
    """Where a relative repository path in the plan starts from; absolute, on this machine."""
    dirty: str = "refuse"
    """What becomes of changes that are not committed: `refuse`, `include` or `leave`."""
    idempotency_key: str = ""
    privacy: str | None = None
    checkpoint_frequency: str | None = None
    tool_preferences: tuple[str, ...] = ()
    priority: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    budget_usd: float | None = None
    deadline: str | float | None = None
    """Seconds from now, or an ISO 8601 moment with its offset."""
    limits: dict[str, float | None] = field(default_factory=dict)
    """`timeout_s` and `start_timeout_s`, as far as they were said."""
    terms: dict[str, Any] = field(default_factory=dict)
    """`permission`, `model`, `max_turns`, `idle_timeout_s`, as far as they were said."""


@dataclass(frozen=True, slots=True)
class TaskChange:
    """What a person wants otherwise of a task under way; None = as it is.

    `deadline`: seconds from now, an ISO 8601 moment, or an empty string for none any more.
    """

    paused: bool | None = None
    cancel: bool = False
    priority: int | None = None
    deadline: str | float | None = None


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """A page of tasks, newest first. `cursor` is the `next_cursor` of the page before."""

    status: str = ""
    type: str = ""
    search: str = ""
    limit: int = 50
    cursor: str = ""
    ids: tuple[str, ...] = ()
    """Only these (whole ids), where any are named."""
    since: str = ""
    """An ISO 8601 moment with its offset: only tasks submitted then or later."""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Lines of one task. `subtask` is an id, a unique prefix of one, or a name; empty = all."""

    task_id: str
    subtask: str = ""
    attempt: int | None = None
    """None = every attempt."""
    follow: bool = False
    """Go on until the task (or the one subtask) has ended."""


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Events after a `log_id`, oldest first; of one task, or of all where `task_id` is empty."""

    after: int = 0
    task_id: str = ""
    follow: bool = False
    """Go on for as long as the client listens."""
    newest: int = 0
    """Begin with no more than so many of those there are already; 0 = with all of them."""
    actions: frozenset[str] = frozenset()
    """Only of these kinds; empty = all."""
    node_id: str = ""
    """Only what a node did or befell it; empty = all."""

    def wants(self, event: Document) -> bool:
        """Answer whether an event is one of those that were asked for."""
        return (not self.actions or event["action"] in self.actions) and (
            not self.node_id or event["worker_id"] == self.node_id
        )


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Sums of what was used `by` task, node, tool or day, since a moment."""

    by: str = "tool"
    since_ms: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """`healthy`: storage and loops work. `ready`: this node can also serve reads and writes."""

    healthy: bool
    ready: bool
    reason: str = ""
    """What is missing, for a person; empty when ready."""


@dataclass(frozen=True, slots=True)
class Download:
    """Bytes to be sent: an open file, closed by whoever sends it, and what it is.

    `commit` and `ref` name what is in it, where it is of a repository.
    """

    file: IO[bytes]
    size: int
    media_type: str
    name: str
    commit: str = ""
    ref: str = ""


class ResultService(Protocol):
    """What tasks came to. A subtask is named by its id, a unique beginning of it, or its name."""

    async def document(self, task_id: str, subtask: str) -> Document:
        """Answer what a task (or one subtask) came to so far; see docs/results.md."""
        ...

    async def patch(self, task_id: str, subtask: str) -> Download:
        """Answer the change as a patch. Raise NotFound where there is none, Conflict."""
        ...

    async def bundle(self, task_id: str, subtask: str, since: str) -> Download:
        """Answer the commits that `since` has not as a git bundle. Raise likewise, InputError."""
        ...

    async def output(self, subtask_id: str) -> Download:
        """Answer what a subtask gave out, byte for byte. Raise NotFound."""
        ...


@dataclass(frozen=True, slots=True)
class CheckpointDecision:
    """`accept`, `correct` or `reject`, with words; `comments` are (file, line, text)."""

    decision: str
    feedback: str = ""
    comments: tuple[tuple[str, int, str], ...] = ()


class DecidingService(Protocol):
    """How work was judged, and where people decide. Raise NotFound, InputError for ids."""

    async def checkpoints(self, status: str, task_id: str) -> list[Document]:
        """Answer the checkpoints in brief; empty words = any."""
        ...

    async def checkpoint(self, wanted: str) -> Document:
        """Answer one with all that a person needs to decide."""
        ...

    async def resolve(self, wanted: str, decision: CheckpointDecision) -> Document:
        """Decide. Raise Conflict where somebody has decided before, NoQuorum, TimedOut."""
        ...

    async def open(self, task_id: str, subtask: str, reason: str) -> Document:
        """Have a task, or one subtask that has not begun, wait. Raise Conflict where it cannot."""
        ...

    async def evaluation(self, subtask_id: str) -> Document:
        """Answer `evaluation`, the latest or None, and `evaluations`."""
        ...


class ToolService(Protocol):
    """The tools of all nodes, and what the work costs."""

    async def tools(self) -> list[Document]:
        """Answer `name, healthy, version, reason, node_id, isolation, throttled_until` at least."""
        ...

    async def check(self) -> Document:
        """Have all nodes look at their tools anew. Answer `tools`, and `unanswered` by node."""
        ...

    async def usage(self, query: UsageQuery) -> Document:
        """Answer `by, since, rows, more, total`; see `queries_usage.usage`. Raise InputError."""
        ...

    async def set_budget(self, task_id: str, budget_usd: float | None) -> Document:
        """Answer `task_id, budget_usd, changed`. Raise NotFound, InputError, Conflict."""
        ...


class AccessService(Protocol):
    """Who gets in. Everything here raises Unavailable while the cluster cannot decide."""

    async def token(self) -> Document:
        """Answer `token, version, cluster_id, approve, join, command`."""
        ...

    async def rotate_token(self) -> Document:
        """Answer the same of a new token; the old one is void."""
        ...

    async def pending(self) -> list[Document]:
        """Answer `node_id, name, address, code` of each newcomer that waits for approval."""
        ...

    async def approve(self, newcomer: str) -> Document:
        """Let one in and answer it. Raise NotFound, InputError."""
        ...


class StewardService(Protocol):
    """The nodes that are in. Each is named by its id, a unique beginning of it, or its name.

    Raise NotFound for a node that is none, InputError for an ambiguous name, Conflict where the
    cluster could not go on or this node may not decide it, NoQuorum and TimedOut.
    """

    async def drain(self, wanted: str, *, on: bool, timeout_s: float | None = None) -> Document:
        """Answer `node_id, name, status`; what still runs after `timeout_s` goes elsewhere."""
        ...

    async def trust(self, wanted: str, *, trusted: bool) -> Document:
        """Answer `node_id, name, trusted, changed`."""
        ...

    async def revoke(self, wanted: str, reason: str) -> Document:
        """Answer `node_id, name, token_version` once the node is out and the token another."""
        ...

    async def leave(self, timeout_s: float) -> Document:
        """Answer `node_id, finished` once this node is out; it ends right after that."""
        ...


class InspectionService(Protocol):
    """What may be looked at more closely."""

    async def compare(self) -> Document:
        """Compare the state of all nodes; answer `equal`, `differing` and more.

        Raise NoQuorum, TimedOut.
        """
        ...

    async def findings(self) -> list[Document]:
        """Answer `level, area, text, advice, subject` of all that was examined, good or bad."""
        ...


@dataclass(frozen=True, slots=True)
class Registration:
    """What an external worker says of itself. `running`: what it has in hand; None = not said."""

    machine_id: str
    machine_name: str = ""
    tools: tuple[str, ...] = ()
    system_info: dict[str, str] = field(default_factory=dict)
    slots: int = 1
    version: str = ""
    running: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ExternalBeat:
    """A heartbeat of an external worker. Percentages are of the whole machine."""

    status: str = ""
    current_task: str = ""
    """The subtask that it works on, where it says so."""
    cpu_percent: float = 0.0
    memory_percent: float = 0.0
    disk_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class ExternalLine:
    """A line of the log of what an external worker does."""

    text: str
    level: str = "info"


@dataclass(frozen=True, slots=True)
class ExternalResult:
    """What an external worker's work came to; the seed leaves the form of `result` open."""

    worker_id: str = ""
    status: str = ""
    success: bool | None = None
    result: Any = None
    output: Any = None
    error: str = ""
    usage: dict[str, int] = field(default_factory=dict)
    cost_usd: float | None = None


class WorkerLine(Protocol):
    """Messages to an external worker."""

    reason: str
    """Why it was closed."""

    async def next(self) -> Document | None:
        """Answer the next message; None once the line is closed."""
        ...


class GuestService(Protocol):
    """External workers: programs that speak the seed's protocol with this node.

    A worker or subtask that is not there raises NotFound; what only repeating can help raises
    Unavailable.
    """

    async def register(self, registration: Registration) -> Document:
        """Attach a worker; answer it with its `worker_id`. Raise Conflict for one too many."""
        ...

    async def heartbeat(self, worker_id: str, beat: ExternalBeat) -> Document:
        """Answer `worker_id, status, node_id`."""
        ...

    async def unregister(self, worker_id: str) -> None:
        """Forget a worker. Raise Conflict for one that is a node."""
        ...

    async def connect(self, worker_id: str) -> WorkerLine:
        """Open the line of a worker, and close an older one of it."""
        ...

    def parted(self, worker_id: str, line: Any) -> None:
        """Note that a line has ended."""
        ...

    async def hear(self, worker_id: str, message: Document) -> None:
        """Take what a worker says over its line."""
        ...

    async def write_log(self, subtask_id: str, line: ExternalLine) -> None:
        """Append a line to the log of what a worker does."""
        ...

    async def take_result(self, subtask_id: str, result: ExternalResult) -> Document:
        """Answer `subtask_id, status, attempt, accepted` once the result counts.

        Raise Conflict where the work is somebody else's by now.
        """
        ...


class NodeService(Protocol):
    """A node as the outside sees it. Ids may be given as unique prefixes everywhere.

    An id that nothing has raises NotFound, an ambiguous prefix InputError.
    """

    @property
    def toolbox(self) -> ToolService:
        """Answer the part that is about tools and money."""
        ...

    @property
    def steward(self) -> StewardService:
        """Answer the part that is about the nodes that are in."""
        ...

    @property
    def access(self) -> AccessService:
        """Answer who gets in."""
        ...

    @property
    def guests(self) -> GuestService:
        """Answer the part that is about external workers."""
        ...

    @property
    def results(self) -> ResultService:
        """Answer the part that is about what tasks came to."""
        ...

    @property
    def deciding(self) -> DecidingService:
        """Answer the part that is about checkpoints and evaluations."""
        ...

    @property
    def inspection(self) -> InspectionService:
        """Answer what can be examined."""
        ...

    def health(self) -> Health:
        """Answer at once, from memory."""
        ...

    async def status(self) -> Document:
        """Answer the document of `status --json`."""
        ...

    async def nodes(self) -> list[Document]:
        """Answer the members of the cluster, as in `members` of the status."""
        ...

    async def running(self) -> list[Document]:
        """Answer what is in some node's hands now, oldest first, with names for people."""
        ...

    async def settings(self) -> Document:
        """Answer how this node is set up; no secret."""
        ...

    async def check(self, request: TaskRequest) -> Document:
        """Answer what a submission would become: `type, description, ..., subtasks, layers`.

        Nothing is submitted. Raise InvalidPlan, InputError.
        """
        ...

    async def submit(self, request: TaskRequest) -> Document:
        """Answer `task_id, status, created, notes` once a quorum has the task on disk.

        `created` is False where the idempotency key was known. Raise InvalidPlan, InputError,
        NoQuorum, TimedOut, Busy.
        """
        ...

    async def tasks(self, query: TaskQuery) -> Document:
        """Answer `tasks` and `next_cursor` (None on the last page)."""
        ...

    async def task(self, task_id: str) -> Document:
        """Answer the document of `show --json`."""
        ...

    async def subtasks(self, task_id: str) -> list[Document]:
        """Answer the task's subtasks as in its document."""
        ...

    async def explain(self, task_id: str) -> Document:
        """Answer `task_id, status, reason, subtasks`; see `tasks.explain`."""
        ...

    async def cancel(self, task_id: str, reason: str, subtask_id: str = "") -> Document:
        """Answer `task_id, status`. Raise Conflict where it has ended.

        With `subtask_id`, only that subtask and what hangs on it; then `subtask_id` and
        `subtask_status` are answered too.
        """
        ...

    async def change(self, task_id: str, change: TaskChange) -> Document:
        """Answer `task_id, status, paused, priority, deadline, changed`. Raise Conflict."""
        ...

    async def dry_run(self, request: TaskRequest) -> Document:
        """Answer what `submit` would make of it and where each subtask would go; change nothing.

        `type, description, layers, subtasks`; see docs/plans.md.
        """
        ...

    async def retry(self, task_id: str, subtask_id: str) -> Document:
        """Try failed subtasks again (all, or the one named). Answer `task_id, status`."""
        ...

    async def logs(self, query: LogQuery) -> AsyncIterator[Document]:
        """Check the ids (raise NotFound here, not later), then answer the lines, oldest first.

        Each is `subtask_id, name, attempt, node_id, time_ms, stream, line`. Awaiting before
        iterating is what lets a wrong id become a 404 and not a broken stream.
        """
        ...

    async def events(self, query: EventQuery) -> AsyncIterator[Document]:
        """Likewise `log_id, task_id, subtask_id, worker_id, action, details, timestamp`."""
        ...

    async def workers(self) -> list[Document]:
        """Answer the registered workers."""
        ...

    async def templates(self, repository: str = "") -> list[Document]:
        """Answer the templates: `name, description, subtasks, origin` at least.

        With those of the repository at that path, and with the `problem` of those that are wrong.
        """
        ...

    async def backup(self, path: str) -> Document:
        """Write a backup to a new file on this machine; answer `path` and what is in it."""
        ...

    async def metrics(self) -> bytes:
        """Answer the node's metrics in Prometheus' text form."""
        ...

    async def stop(self) -> None:
        """Begin to hand over and end; return at once."""
        ...
