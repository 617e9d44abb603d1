"""What may stand in a request: pydantic models at the edge, turned into the requests of `ports`.

Unknown members are refused: a misspelt option that is silently dropped is worse than an error.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from paceline.errors import InputError
from paceline.node.web.errors import Refused
from paceline.node.web.ports import (
    CheckpointDecision,
    RepositoryRequest,
    TaskChange,
    TaskQuery,
    TaskRequest,
)
from paceline.tasks.agent_terms import BUDGET_LIMIT_USD, IDLE_LIMIT_S, TURNS_LIMIT
from paceline.tasks.model import CheckpointFrequency, PermissionLevel, Privacy, TaskStatus
from paceline.tasks.plan_fields import DEADLINE_LIMIT_S
from paceline.tasks.plan_subtasks import START_LIMIT_S, TIMEOUT_LIMIT_S

M = TypeVar("M", bound=BaseModel)

PLAN_LIMIT = 1024 * 1024
LIST_LIMIT = 1000

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[!-~]+$")]
Name = Annotated[str, StringConstraints(max_length=200)]
Words = Annotated[str, StringConstraints(max_length=64 * 1024)]


class Schema(BaseModel):
    """The common ground: no surplus members."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Deadline = Annotated[str, StringConstraints(max_length=64)] | Annotated[float, Field(gt=0)]


class RepositoryBody(Schema):
    """A git repository: a path on the node's machine or a URL, and what to start from."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    ref: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = "HEAD"
    folder: Annotated[str, StringConstraints(max_length=4096)] = ""

    def to_request(self) -> RepositoryRequest:
        """Answer it as the node knows it."""
        return RepositoryRequest(self.path, self.ref, self.folder)


class TaskBody(Schema):
    """A submission: `plan` and `format`, or `description` and `type`."""

    plan: Annotated[str, StringConstraints(max_length=PLAN_LIMIT)] = ""
    format: Literal["", "yaml", "toml"] = ""
    description: Words = ""
    type: Name = ""
    repository: RepositoryBody | None = None
    directory: Annotated[str, StringConstraints(max_length=4096, pattern="^(/.*)?$")] = ""
    dirty: Literal["refuse", "include", "leave"] = "refuse"
    idempotency_key: Name = ""
    privacy: Privacy | None = None
    checkpoint_frequency: CheckpointFrequency | None = None
    tool_preferences: Annotated[list[Identifier], Field(max_length=32)] = []
    priority: Annotated[int, Field(ge=0, le=100)] | None = None
    metadata: dict[str, Any] = {}
    permission: PermissionLevel | None = None
    model: Name = ""
    max_turns: Annotated[int, Field(ge=1, le=TURNS_LIMIT)] | None = None
    idle_timeout_s: Annotated[float, Field(ge=0, le=IDLE_LIMIT_S)] | None = None
    budget_usd: Annotated[float, Field(gt=0, le=BUDGET_LIMIT_USD)] | None = None
    deadline: Deadline | None = None
    deadline_s: Annotated[float, Field(gt=0, le=DEADLINE_LIMIT_S)] | None = None
    timeout_s: Annotated[float, Field(ge=0.1, le=TIMEOUT_LIMIT_S)] | None = None
    start_timeout_s: Annotated[float, Field(gt=0, le=START_LIMIT_S)] | None = None

    def to_request(self) -> TaskRequest:
        """Answer the request; raise InputError where its two halves do not fit together."""
        self._check_halves()
        return TaskRequest(
            plan=self.plan,
            format=self.format or ("yaml" if self.plan else ""),
            description=self.description,
            type=self.type,
            repository=self.repository.to_request() if self.repository else None,
            directory=self.directory,
            dirty=self.dirty,
            idempotency_key=self.idempotency_key,
            privacy=self.privacy and self.privacy.value,
            checkpoint_frequency=self.checkpoint_frequency and self.checkpoint_frequency.value,
            tool_preferences=tuple(self.tool_preferences),
            priority=self.priority,
            metadata=self.metadata,
            budget_usd=self.budget_usd,
            deadline=self.deadline if self.deadline is not None else self.deadline_s,
            limits={"timeout_s": self.timeout_s, "start_timeout_s": self.start_timeout_s},
            terms=self._terms(),
        )

    def _terms(self) -> dict[str, Any]:
        said = {
            "permission": self.permission and self.permission.value,
            "model": self.model or None,
            "max_turns": self.max_turns,
            "idle_timeout_s": self.idle_timeout_s,
        }
        return {name: value for name, value in said.items() if value is not None}

    def _check_halves(self) -> None:
        if self.plan and self.type:
            raise InputError("`plan` and `type` exclude each other: a plan has its own subtasks")
        if not self.plan and not (self.description.strip() and self.type):
            raise InputError("a task needs a `plan`, or a `description` and a `type` of template")
        if self.format and not self.plan:
            raise InputError("`format` belongs to a `plan`")


class TaskChangeBody(Schema):
    """What is to be otherwise; what is left out stays. `status` is the seed's way to say it."""

    status: Literal["paused", "in_progress", "cancelled"] | None = None
    paused: bool | None = None
    priority: Annotated[int, Field(ge=0, le=100)] | None = None
    deadline: Deadline | Literal[""] | None = None
    deadline_s: Annotated[float, Field(gt=0, le=DEADLINE_LIMIT_S)] | None = None

    def to_change(self) -> TaskChange:
        """Answer the change; raise InputError where nothing, or two different things, are said."""
        if not self.model_fields_set:
            raise InputError("say what is to change: status, paused, priority or deadline")
        wanted = {"paused": True, "in_progress": False}.get(self.status or "")
        if None not in (wanted, self.paused) and wanted != self.paused:
            raise InputError("`status` and `paused` contradict each other")
        return TaskChange(
            paused=self.paused if wanted is None else wanted,
            cancel=self.status == "cancelled",
            priority=self.priority,
            deadline=self.deadline if self.deadline is not None else self.deadline_s,
        )


class CancelBody(Schema):
    """Why a person cancels; shown with the task. `subtask_id`: only that one; empty = all."""

    subtask_id: Name = ""

    reason: Annotated[str, StringConstraints(max_length=1000)] = ""


class RetryBody(Schema):
    """Which failed subtask to try again; empty = all of them."""

    subtask_id: Name = ""


class CommentBody(Schema):
    """What a person says of one line of a change; line 0 = of the file."""

    file: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    line: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    text: Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class ResolveBody(Schema):
    """A decision at a checkpoint; `correct` needs feedback or comments."""

    decision: Literal["accept", "correct", "reject"]
    feedback: Annotated[str, StringConstraints(max_length=16 * 1024)] = ""
    comments: Annotated[list[CommentBody], Field(max_length=200)] = []

    def to_decision(self) -> CheckpointDecision:
        """Answer it as the node knows it."""
        comments = tuple((each.file, each.line, each.text) for each in self.comments)
        return CheckpointDecision(self.decision, self.feedback, comments)


class OpenBody(Schema):
    """Why a person is asked, and about which subtask; empty = the whole task."""

    subtask: Name = ""
    reason: Annotated[str, StringConstraints(max_length=1000)] = ""


class CheckpointsQuery(Schema):
    """Which checkpoints."""

    status: Literal["", "pending", "resolved", "skipped"] = ""
    task: Name = ""


class ApproveBody(Schema):
    """Which newcomer: its code, its id or a prefix of it, or its name."""

    newcomer: str = Field(min_length=1, max_length=200)


class DrainBody(Schema):
    """Whether it is to drain."""

    on: bool = True
    timeout_s: Annotated[float, Field(ge=0, le=7 * 86_400, strict=False)] | None = None
    """What still runs after so long is given to others; None = it may take its time."""


class TrustBody(Schema):
    """Whether it is to be trusted."""

    trusted: bool


class RevokeBody(Schema):
    """Why; it stands in the activity log."""

    reason: Annotated[str, StringConstraints(max_length=1000)] = ""


class BackupBody(Schema):
    """The file to be written on the node's machine; one that exists is refused."""

    path: Annotated[str, StringConstraints(min_length=2, max_length=4096, pattern="^/")]


class LeaveBody(Schema):
    """How long running work may take to finish."""

    timeout_s: Annotated[float, Field(ge=0, le=86_400, strict=False)] = 60.0


class Empty(Schema):
    """A call that takes nothing."""


class TemplatesQuery(Schema):
    """For work on which repository: an absolute path on the node's machine; empty = none."""

    repository: Annotated[str, StringConstraints(max_length=4096, pattern="^(/.*)?$")] = ""


class SubmitQuery(Schema):
    """Whether only to say what would be done."""

    dry_run: bool = False


class TasksQuery(Schema):
    """Which tasks, and how many at once."""

    status: TaskStatus | Literal[""] = ""
    type: Name = ""
    search: Name = ""
    limit: Annotated[int, Field(ge=1, le=LIST_LIMIT)] = 50
    cursor: Name = ""
    ids: Annotated[str, StringConstraints(max_length=100 * 64)] = ""
    """Separated by commas."""
    since: Annotated[str, StringConstraints(max_length=64)] = ""

    def to_query(self) -> TaskQuery:
        """Answer it as the node knows it."""
        said = self.model_dump(exclude={"ids"})
        return TaskQuery(**said, ids=tuple(filter(None, self.ids.split(","))))


class LogsQuery(Schema):
    """Which lines of a task."""

    subtask: Name = ""
    attempt: Annotated[int, Field(ge=1)] | None = None
    follow: bool = False


class ResultQuery(Schema):
    """Whose result: the task's, or one subtask's."""

    subtask: Name = ""


class BundleQuery(ResultQuery):
    """What the asker has already: a commit, in full; empty = nothing."""

    since: Name = ""


class EventsQuery(Schema):
    """Which events; `action` may name several, separated by commas."""

    after: Annotated[int, Field(ge=0)] = 0
    task: Name = ""
    node: Name = ""
    action: Name = ""
    follow: bool = False
    newest: Annotated[int, Field(ge=0, le=LIST_LIMIT)] = 0


class LiveQuery(Schema):
    """The newest entry that the reader has seen."""

    after: Annotated[int, Field(ge=0, lt=2**63)] = 0


class SumsQuery(Schema):
    """What to sum by, and since when (ISO 8601)."""

    by: Literal["task", "node", "tool", "day"] = "tool"
    since: Annotated[str, StringConstraints(max_length=40)] = ""


class BudgetBody(Schema):
    """What the task may cost in US dollars; null = no bound."""

    budget_usd: Annotated[float, Field(gt=0, le=BUDGET_LIMIT_USD)] | None


class LoginQuery(Schema):
    """The secret of a one-time link."""

    token: Name = ""


def parse_json(model: type[M], text: bytes) -> M:
    """Read a request's body; an empty one is an empty object. Raise InputError."""
    try:
        return model.model_validate_json(text or b"{}", strict=True)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise Refused(400, "InputError", "the body is not JSON") from error
        raise _input_error(error) from error


def parse_query(model: type[M], pairs: Sequence[tuple[str, str]]) -> M:
    """Read a request's query; a name may stand once. Raise InputError."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise InputError("a query parameter was given twice")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _input_error(error) from error


def _input_error(error: ValidationError) -> InputError:
    """Say in one sentence what is wrong; at most three findings, and never the values."""
    findings = [
        f"{'.'.join(map(str, found['loc'])) or 'the body'}: {found['msg']}"
        for found in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    more = f" (and {len(findings) - 3} more)" if len(findings) > 3 else ""
    return InputError("; ".join(findings[:3]) + more)
