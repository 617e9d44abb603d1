"""Everything that a log entry may carry: the only ways in which the replicated state changes.

Each command is a request that the machine may refuse; a refusal is a result, deterministic on every
node. All ids, times and random choices arrive in the command. `Envelope` wraps one with what makes
it exactly-once: a request id, so that a repeated proposal answers what the first one did.
"""

from dataclasses import dataclass, field
from typing import Any

from paceline.codec import Union_, pack, unpack
from paceline.errors import NewerFormat, ProtocolError
from paceline.later import LATER
from paceline.tasks.model import Outcome, TaskSpec, ToolState


@dataclass(frozen=True, slots=True)
class Command:
    """The root of the closed family."""


@dataclass(frozen=True, slots=True)
class SubmitTask(Command):
    """Accept a task with all its subtasks. Result: its id (the first one's, for a repeated key)."""

    spec: TaskSpec
    idempotency_key: str
    submitted_by: str = ""


@dataclass(frozen=True, slots=True)
class Placement:
    """Give `subtask_id`'s next attempt to a node. Void unless the subtask is pending and ready.

    `attempt` is the number that this attempt will have (1 for the first): a guard against planning
    from an old state. `score` is kept to explain the choice.
    """

    subtask_id: str
    attempt: int
    node_id: str
    tool: str
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Allocate(Command):
    """Place many subtasks at once. The entry's index is each attempt's fencing token."""

    placements: tuple[Placement, ...]


@dataclass(frozen=True, slots=True)
class AttemptRef:
    """One attempt, with the token that proves that the speaker still holds it."""

    subtask_id: str
    attempt: int
    token: int


@dataclass(frozen=True, slots=True)
class StartAttempts(Command):
    """The worker has begun these. Stale ones are ignored."""

    attempts: tuple[AttemptRef, ...]
    node_id: str


@dataclass(frozen=True, slots=True)
class FinishAttempt(Command):
    """The outcome of one attempt. Result: True if it counted, False if its token was stale."""

    ref: AttemptRef
    node_id: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class LoseAttempts(Command):
    """The leader gives these attempts up: their node is gone or does not know them."""

    attempts: tuple[AttemptRef, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class CancelTask(Command):
    """A person wants it to end. Waiting subtasks end now, running ones when their worker says."""

    task_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RetryTask(Command):
    """A person wants failed (or cancelled) subtasks tried again; attempts count from there on."""

    task_id: str
    subtask_id: str = ""


@dataclass(frozen=True, slots=True)
class RegisterWorker(Command):
    """A node introduces itself, or says that what it is has changed."""

    node_id: str
    name: str
    address: str
    slots: int
    tools: tuple[ToolState, ...]
    labels: dict[str, str] = field(default_factory=dict)
    system_info: dict[str, str] = field(default_factory=dict)
    version: str = ""


@dataclass(frozen=True, slots=True)
class SetWorkerStatus(Command):
    """The leader's judgement of a worker, or a person's wish to drain it."""

    node_id: str
    status: str
    reason: str = ""
    limit_ms: int | None = field(default=None, metadata=LATER)
    """With `draining`: what still runs after so long is given to others; None = it may take its
    time. Level 2."""


@dataclass(frozen=True, slots=True)
class ForgetWorker(Command):
    """The node has left for good; its running attempts are lost."""

    node_id: str


@dataclass(frozen=True, slots=True)
class FoundCluster(Command):
    """The first entry of a cluster: what it is called, its token, and its first, trusted member.

    Result: True, or False where this very cluster was founded already. The token is what admits
    newcomers; it is left out of every `repr`, so that no log line can show it. `approve`: a person
    confirms each newcomer.
    """

    cluster_id: str
    token: str = field(repr=False)
    node_id: str
    public_key: bytes
    name: str
    approve: bool = False


@dataclass(frozen=True, slots=True)
class AdmitMember(Command):
    """A newcomer has proved that it knows the token. Result: whether it was no member before.

    A revoked id is never admitted again; one that left is. `admitted_by` is the member that saw
    the proof.
    """

    node_id: str
    public_key: bytes
    name: str
    admitted_by: str


@dataclass(frozen=True, slots=True)
class RevokeMember(Command):
    """Throw a node out for good, and change the token that it knows, in one step.

    What it held is lost, its trust ends, and whatever it still proposes is refused. Result: the
    version of the new token; for a node that was revoked before, of the token as it is.
    """

    node_id: str
    new_token: str = field(repr=False)
    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RotateToken(Command):
    """Change the token: the old one admits nobody any more. Result: the new one's version."""

    token: str = field(repr=False)
    by: str


@dataclass(frozen=True, slots=True)
class TrustMember(Command):
    """Let a member run sensitive work, or no more. Result: whether that was new.

    Only a trusted member may grant it or take it away; the last trusted one cannot be untrusted.
    """

    node_id: str
    trusted: bool
    by: str


@dataclass(frozen=True, slots=True)
class RemoveMember(Command):
    """A node has left of its own will: forget it as a member and as a worker.

    What it still held is lost. Result: whether it was a member. The last member cannot leave.
    """

    node_id: str
    by: str


@dataclass(frozen=True, slots=True)
class RecoverCluster(Command):
    """One node goes on alone after the others are lost for good: a new cluster with the old work.

    Result: the new token's version. All other members have left; this one is trusted.
    """

    cluster_id: str
    token: str = field(repr=False)
    node_id: str
    public_key: bytes
    name: str


@dataclass(frozen=True, slots=True)
class CancelSubtask(Command):
    """A person wants one subtask to end, and with it what hangs on it. The rest goes on.

    Result: `cancelled`, or `cancelling` while its worker has to stop first.
    """

    task_id: str
    subtask_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ChangeTask(Command):
    """A person pauses a task or lets it go on, changes its priority or its deadline.

    None = as it is; a `deadline_ms` of 0 lifts it. Result: the names of what was changed.
    """

    task_id: str
    paused: bool | None = None
    priority: int | None = None
    deadline_ms: int | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class EndOverdue(Command):
    """The leader sees that time is up: tasks past their deadline, subtasks that began too late.

    Each is judged again by the state's own time. Result: how many ended so, `tasks, subtasks`.
    """

    tasks: tuple[str, ...] = ()
    subtasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecallAttempts(Command):
    """The leader wants these back: their node drains, and the time for that is over.

    The worker stops them and gives them back itself, so that no other begins before. Result: how
    many were still active under their token.
    """

    attempts: tuple[AttemptRef, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class SetBudget(Command):
    """A person changes what a task may cost; None = no bound. Result: whether that was new."""

    task_id: str
    budget_usd: float | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class OpenCheckpoint(Command):
    """Ask a person. Result: the checkpoint's id.

    Without `subtask_id` the whole task waits: nothing of it is given out any more, what runs goes
    on. With it, only that subtask (which must be pending) and what hangs on it. `kind` is one of
    `model.CheckpointType`; `data` is shown to the person.
    """

    checkpoint_id: str
    task_id: str
    subtask_id: str = ""
    kind: str = "manual"
    reason: str = ""
    triggered_by: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comment:
    """What a person says of one line of a change; line 0 = of the file."""

    file: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class ResolveCheckpoint(Command):
    """Decide; `decision` is one of `model.Decision`. Result: the new status of subtask or task.

    Raise Conflict where it has been decided already: the first one wins, and is named.
    """

    checkpoint_id: str
    decision: str
    feedback: str = ""
    comments: tuple[Comment, ...] = ()
    by: str = ""


@dataclass(frozen=True, slots=True)
class AttachWorker(Command):
    """A worker that is no node has come to the node `via`, which speaks for it from now on.

    Result: the index of this entry, by which its later comings are told from earlier ones.
    """

    worker_id: str
    via: str
    machine_id: str
    name: str
    slots: int
    tools: tuple[ToolState, ...]
    system_info: dict[str, str] = field(default_factory=dict)
    version: str = ""


COMMANDS: Union_[Command] = Union_(
    {
        1: SubmitTask,
        2: Allocate,
        3: StartAttempts,
        4: FinishAttempt,
        5: LoseAttempts,
        6: CancelTask,
        7: RetryTask,
        8: RegisterWorker,
        9: SetWorkerStatus,
        10: ForgetWorker,
        11: FoundCluster,
        12: AdmitMember,
        13: RevokeMember,
        14: RotateToken,
        15: TrustMember,
        16: RemoveMember,
        17: RecoverCluster,
        18: CancelSubtask,
        19: ChangeTask,
        20: EndOverdue,
        21: RecallAttempts,
        30: OpenCheckpoint,
        31: ResolveCheckpoint,
        50: SetBudget,
        60: AttachWorker,
    }
)
"""The closed family; tags never change meaning."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A command on its way into the log.

    `request_id`: 16 random bytes made once by whoever wants the command; a repetition carries the
    same. `basis`: the proposer's applied index when the request was first made; the machine refuses
    a request older than what it remembers, rather than risk doing it twice. `now_ms`: the leader's
    wall clock at proposal; the machine never lets time run backwards. `level`: of the cluster when
    this was proposed (see `levels`): all nodes apply it as that level does.
    """

    request_id: bytes
    basis: int
    now_ms: int
    origin: str
    command: Command
    level: int = 1


ENVELOPE_VERSION = 1

OLDEST_LEVEL = 1
"""The oldest format level whose entries this program applies; see `levels`."""

NEWEST_LEVEL = 2
"""The newest format level that this program knows."""


def encode_envelope(envelope: Envelope) -> bytes:
    """Answer the bytes of a log entry; at level 1, the very bytes that release 0.1 writes."""
    fields = [
        ENVELOPE_VERSION,
        envelope.request_id,
        envelope.basis,
        envelope.now_ms,
        envelope.origin,
        COMMANDS.to_plain(envelope.command),
    ]
    if envelope.level > 1:
        fields.append(envelope.level)
    return pack(fields)


def decode_envelope(data: bytes) -> Envelope:
    """Read the bytes of a log entry.

    Raise NewerFormat for one that only a newer version understands, which must not be passed over:
    it changes the state of the others. Raise ProtocolError for what no version has written.
    """
    plain = unpack(data)
    match plain:
        case [1, bytes(request_id), int(basis), int(now_ms), str(origin), command, *rest]:
            level = rest[0] if rest else 1
            if COMMANDS.knows(command) and type(level) is int and level <= NEWEST_LEVEL:
                command = COMMANDS.from_plain(command)
                return Envelope(request_id, basis, now_ms, origin, command, level)
    raise _why_not(plain)


def _why_not(plain: object) -> NewerFormat | ProtocolError:
    """Look only at what says how new an entry is: the rest may have another shape by then."""
    match plain:
        case [int(version), *_] if version > ENVELOPE_VERSION:
            return _newer(f"version {version}")
        case [1, _, _, _, _, _, int(level), *_] if level > NEWEST_LEVEL:
            return _newer(f"format level {level}")
        case [1, _, _, _, _, [int(tag), *_]] | [1, _, _, _, _, [int(tag), *_], int(), *_]:
            if type(tag) is int and not COMMANDS.knows([tag]):
                return _newer(f"command {tag}")
    return ProtocolError("malformed log entry")


def _newer(what: str) -> NewerFormat:
    return NewerFormat(
        f"a newer version wrote it ({what}; this one knows format level {NEWEST_LEVEL}): update "
        "Paceline on this machine and start it again; nothing is lost"
    )
