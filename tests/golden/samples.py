"""One value of everything that 0.1 sends to a peer or keeps in a row, made by the current types.

The values name only what 0.1 had. A type that has grown fills in its defaults, which must mean what
0.1 meant; that is what comparing with the recorded bytes shows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paceline import codec
from paceline.consensus.messages import (
    PEER_MESSAGES,
    Append,
    AppendReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Membership,
    Message,
    ReadReply,
    ReadRequest,
    SnapshotMeta,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from paceline.consensus.transfer import (
    SNAPSHOT_MESSAGES,
    SnapshotChunk,
    SnapshotCredit,
    SnapshotMessage,
    SnapshotOffer,
    SnapshotResult,
)
from paceline.discovery import gossip
from paceline.discovery.record import Contact
from paceline.ids import fingerprint
from paceline.node import calls
from paceline.node.hello import GreetingKind, Hello, HelloReply, decode_greeting, encode_greeting
from paceline.node.log_feed import PageRequest
from paceline.node.logs import LogKey, LogLine, LogPage
from paceline.node.proposals import Answered, Forwarded
from paceline.node.sharing import Chunk, ChunkRequest
from paceline.node.vitals import Beat, BeatReply
from paceline.node.wire import Kind, decode_frame, encode_frame
from paceline.tasks import commands
from paceline.tasks.commands import COMMANDS, Command, Envelope, decode_envelope, encode_envelope
from paceline.tasks.model import (
    BlobRef,
    CheckpointFrequency,
    Outcome,
    Output,
    Privacy,
    Repository,
    Resources,
    ResultStatus,
    Running,
    SubtaskSpec,
    TaskSpec,
    ToolState,
    Vitals,
)

LIMIT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """A value, its bytes in the current code, and how the current code reads bytes of its kind."""

    family: str
    value: Any
    data: bytes
    decode: Callable[[bytes], Any]


def _typed(family: str, value: Any) -> Sample:
    kind = type(value)
    return Sample(family, value, codec.encode(value), lambda data: codec.decode(kind, data))


def _greeting(kind: GreetingKind) -> Sample:
    data = encode_greeting(kind, b"12345678", b"body")
    value = (int(kind), b"12345678", b"body")
    return Sample("greeting", value, data, lambda data: decode_greeting(data, LIMIT))


def _raft(message: Message) -> Sample:
    return Sample("raft", message, PEER_MESSAGES.encode(message), PEER_MESSAGES.decode)


def _snapshot(message: SnapshotMessage) -> Sample:
    return Sample("snapshot", message, SNAPSHOT_MESSAGES.encode(message), SNAPSHOT_MESSAGES.decode)


def envelope_of(command: Command) -> Envelope:
    """Answer a command as it stands in the log."""
    return Envelope(bytes(range(16)), 41, NOW_MS, A, command)


def _logged(command: Command) -> Sample:
    envelope = envelope_of(command)
    return Sample("log_entry", envelope, encode_envelope(envelope), decode_envelope)


NOW_MS = 1_700_000_000_000
KEY_A, KEY_B = bytes(range(32)), bytes(range(32, 64))
A, B, C = "a" * 26, "b" * 26, "c" * 26

CONTACT = Contact(
    node_id=fingerprint(KEY_A),
    public_key=KEY_A,
    hosts=("192.0.2.7", "2001:db8::7"),
    join_port=7171,
    control_port=7172,
    bulk_port=7173,
    cluster_hint="3f2a9c",
    name="élan",
    version="0.1.0",
    founded=True,
    stamp_ms=NOW_MS,
)
NEWCOMER = Contact(fingerprint(KEY_B), KEY_B, ("192.0.2.8",), 1, 2, 3)
HELLO = Hello(CONTACT, "cluster-1", {"claim": "words"})

MEMBERSHIP = Membership(
    voters=(A, B), learners=(C,), outgoing=(A, C), learners_next=(C,), auto_leave=True
)
META = SnapshotMeta(index=41, term=3, membership=MEMBERSHIP)
ENTRIES = (Entry(42, 3, 0, b""), Entry(43, 3, 1, b"command"), Entry(44, 3, 2, b"membership"))
SHA256 = bytes(range(100, 132))

BLOB = BlobRef("ab" * 32, 12_345, (A, B))
REPOSITORY = Repository("/home/ann/work", "main", "c0ffee" * 6 + "beef", BLOB)
BUILD = SubtaskSpec(
    subtask_id="task-1-build",
    name="build",
    tools=("command", "ollama"),
    needs=(),
    description="Build it",
    instructions="Build it well",
    run="make",
    priority=60,
    complexity=2,
    timeout_s=90.5,
    max_attempts=2,
    labels={"os": "linux"},
    privacy=Privacy.SENSITIVE,
    settings={"model": "small", "limits": [1, 2.5, None, True]},
)
CHECK = SubtaskSpec(subtask_id="task-1-check", name="check", tools=("command",), needs=("build",))
CHECK_ALONE = SubtaskSpec(subtask_id="task-2-check", name="check", tools=("command",))
TASK = TaskSpec(
    task_id="task-1",
    description="Make it work",
    type="plan",
    subtasks=(BUILD, CHECK),
    repository=REPOSITORY,
    privacy=Privacy.NORMAL,
    checkpoint_frequency=CheckpointFrequency.LOW,
    tool_preferences=("command",),
    priority=70,
    metadata={"ticket": 17},
)
REF = commands.AttemptRef("task-1-build", 1, 44)
OUTCOME = Outcome(
    status=ResultStatus.OK,
    text="done",
    output=Output(inline=b"\x00bytes", blob=BLOB),
    exit_code=0,
    usage={"input_tokens": 12},
    cost_usd=0.25,
    duration_ms=1_500,
    log_tail="the end",
    session="s-1",
    retryable_after_ms=60_000,
    details={"branch": "paceline/1"},
)
TOOLS = (ToolState("command", True, "5.2", "", 4), ToolState("ollama", False, "", "not found", 0))
REGISTER = commands.RegisterWorker(
    node_id=A,
    name="élan",
    address="192.0.2.7:7171",
    slots=4,
    tools=TOOLS,
    labels={"os": "linux"},
    system_info={"system": "Linux"},
    version="0.1.0",
)
VITALS = Vitals(
    node_id=A,
    incarnation=NOW_MS,
    sequence=7,
    resources=Resources(12.5, 40.0, 71.0, 8, 16_000_000_000, 5_000_000_000, 0.75),
    tools=TOOLS,
    slots=4,
    running=(Running("task-1-build", 1, 44),),
    labels={"os": "linux"},
    applied_index=44,
    caches=("c0ffee",),
)

COMMAND_SAMPLES: tuple[Command, ...] = (
    commands.SubmitTask(TASK, "key-1", "ann"),
    commands.Allocate((commands.Placement("task-1-build", 1, A, "command", 8.25),)),
    commands.StartAttempts((REF,), A),
    commands.FinishAttempt(REF, A, OUTCOME),
    commands.LoseAttempts((REF,), "its node is gone"),
    commands.CancelTask("task-1", "no longer wanted"),
    commands.RetryTask("task-1", "task-1-build"),
    REGISTER,
    commands.SetWorkerStatus(A, "draining", "maintenance"),
    commands.ForgetWorker(A),
)
RAFT_SAMPLES: tuple[Message, ...] = (
    VoteRequest(A, B, 4, last_index=43, last_term=3, pre=True, transfer=True),
    VoteReply(B, A, 4, granted=True, pre=True),
    Append(A, B, 3, prev_index=41, prev_term=2, commit=40, entries=ENTRIES),
    AppendReply(B, A, 3, match=0, rejected=True, prev_index=41, hint_index=39, hint_term=2),
    Heartbeat(A, B, 3, commit=40, context=9),
    HeartbeatReply(B, A, 3, context=9),
    InstallSnapshot(A, B, 3, META),
    TimeoutNow(A, B, 3),
    ReadRequest(B, A, 3, context=9),
    ReadReply(A, B, 3, context=9, index=43),
)
SNAPSHOT_SAMPLES: tuple[SnapshotMessage, ...] = (
    SnapshotOffer(3, META, 1_000_000, SHA256),
    SnapshotCredit(SHA256, 4_096, 1_052_672),
    SnapshotChunk(SHA256, 4_096, b"pages"),
    SnapshotResult(SHA256, "the snapshot is too large"),
)
CALL_SAMPLES: tuple[tuple[str, Any], ...] = (
    ("request", calls._Request(5, "propose", 3_000, {"any": [1, "x", b"y", None]})),
    ("response", calls._Response(5, [1, 2])),
    ("error", calls._Error(5, "NotLeader", "not the leader", A, 12)),
    ("cancel", calls._Cancel(5)),
    ("propose", Forwarded(b"request", 41, COMMANDS.to_plain(commands.ForgetWorker(A)))),
    ("proposed", Answered(44, {"status": "pending"})),
    ("blob_request", ChunkRequest(1, BLOB.sha256, 0, 65_536)),
    ("blob_chunk", Chunk(1, b"bytes")),
    ("blob_hold", BLOB),
    ("log_request", PageRequest(LogKey("task-1-build", 1, 44), 0, True)),
    ("log_page", LogPage((LogLine(NOW_MS, "stdout", "hello"),), 64, True)),
    ("beat", Beat(VITALS, 123_456)),
    ("beat_reply", BeatReply(123_456, 3)),
)
OTHER_SAMPLES: tuple[tuple[str, Any], ...] = (
    ("hello", HELLO),
    ("hello_reply", HelloReply(HELLO, (NEWCOMER,))),
    ("membership", MEMBERSHIP),
    ("snapshot_meta", META),
    ("gossip", gossip._Gossip((CONTACT, NEWCOMER))),
    ("subtask_spec", BUILD),
    ("repository", REPOSITORY),
    ("output", OUTCOME.output),
    ("outcome", OUTCOME),
)
FRAME_KINDS_0_1 = (1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 18)


def _frame() -> Sample:
    value: list[Any] = []
    for number in FRAME_KINDS_0_1:
        value += [Kind(number), b"body %d" % number]
    return Sample("frame", value, encode_frame(value), lambda data: decode_frame(data, LIMIT))


def samples() -> dict[str, Sample]:
    """Answer every sample by the name under which its bytes are recorded."""
    found = {"frame": _frame()}
    found |= {f"greeting {kind.name}": _greeting(kind) for kind in list(GreetingKind)[:4]}
    found |= {f"raft {type(each).__name__}": _raft(each) for each in RAFT_SAMPLES}
    found |= {f"snapshot {type(each).__name__}": _snapshot(each) for each in SNAPSHOT_SAMPLES}
    found |= {f"log {type(each).__name__}": _logged(each) for each in COMMAND_SAMPLES}
    found |= {family: _typed(family, value) for family, value in CALL_SAMPLES + OTHER_SAMPLES}
    return found
