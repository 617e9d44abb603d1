"""Runs scenario files: commands to a few cores, and exactly what comes of them.

A file is paragraphs of comments (`# ...`) and commands (`> ...`); the lines after a command, up to
an empty line, a comment or the next command, are its output. To write the outputs anew (and then
read the difference before believing it):

    PACELINE_REWRITE_SCENARIOS=1 pytest tests/consensus/test_scenarios.py

Commands

    nodes a b c [learners d] [option=number]    found a cluster; options are CoreConfig's
    node d [option=number]                      a node that knows nothing yet
    node a voters=a,b,c log=1,1,2 term=2 [commit=1] [vote=b]     one with a stored log, by its terms
    campaign a | tick a [n] | propose a x y | read a 7 | transfer a b | forget a
    change a voters a b [learners c] [joint] [stay]     `stay`: do not leave the joint state alone
    compact a 5 [4]                             forget what is before 4 (or 6), state 5 is durable
    snapshot-sent a b ok|failed | unreachable a b
    append a b 3 1/1 0 2/1 3/3                  hand b an Append of a: term 3, after 1/1, commit 0
    turn a      let it do what is waiting       slow a, fast a, sync a     its disk
    deliver [from a] [to b] | drop [from a] [to b] | settle     the messages on the wire
    isolate a [b] | cut a b | heal | restart a
    status [a ...] | log [a ...] | peers a
    quietly COMMAND                             show nothing of it

Output

    a -> b  Append t2 3/1 c2: 4/2 "x"           term 2, after entry 3/1, commit 2
    b -> a  AppendReply t2 match 4
    a writes term 2 vote a; 4/2 empty           (`starts to write` where the disk is slow)
    a applies 4/2 empty
    a: leader of term 2                         role, term and leader whenever they change
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from paceline.consensus.core import Core, CoreConfig
from paceline.consensus.membership import decode_membership
from paceline.consensus.messages import (
    Append,
    AppendReply,
    Entry,
    EntryKind,
    HardState,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Membership,
    Message,
    ReadReply,
    ReadRequest,
    SnapshotMeta,
    VoteReply,
    VoteRequest,
)
from paceline.consensus.ready import Ready
from paceline.consensus.storage.protocol import StoredLog
from paceline.errors import PacelineError
from tests.consensus.lab import Lab, Node, entries, founding


def run(text: str) -> str:
    """Answer the scenario with the outputs that it has now."""
    scenario = Scenario()
    out: list[str] = []
    for line in text.splitlines():
        if line.startswith("> "):
            out += [line, *scenario.execute(line[2:])]
        elif not line or line.startswith("#"):
            out.append(line)
    return "\n".join(out) + "\n"


class Scenario:
    """The cluster of one file."""

    def __init__(self) -> None:
        self._lab = Lab(self._trace)
        self._output: list[str] = []
        self._roles: dict[str, str] = {}

    def execute(self, command: str) -> list[str]:
        """Answer the output of one command."""
        name, *words = command.split()
        if name == "quietly":
            self.execute(" ".join(words))
            return []
        self._output = []
        handler: Callable[..., None] = getattr(self, "_do_" + name.replace("-", "_"))
        try:
            handler(*words)
        except PacelineError as error:
            self._output.append(f"{type(error).__name__}: {error}")
        self._note_roles()
        return self._output

    # --- what is shown ----------------------------------------------------------------------------

    def _trace(self, node_id: str, event: Any) -> None:
        if isinstance(event, Ready):
            self._output += show_ready(node_id, event, slow=not self._lab.nodes[node_id].fast)
        elif isinstance(event, tuple):
            message, lost = event
            self._output.append(show_message(message) + ("  (lost)" if lost else ""))
        self._note_roles()

    def _note_roles(self) -> None:
        for node_id, node in self._lab.nodes.items():
            role = show_role(node.core)
            if self._roles.get(node_id) != role:
                self._roles[node_id] = role
                self._output.append(f"{node_id}: {role}")

    # --- nodes ------------------------------------------------------------------------------------

    def _do_nodes(self, *words: str) -> None:
        names, options = _options(words)
        groups = _groups(names, "voters", "learners")
        meta = founding(groups["voters"], groups["learners"])
        for node_id in [*groups["voters"], *groups["learners"]]:
            stored = StoredLog(HardState(), meta, ())
            self._lab.add(Node(CoreConfig(node_id, **options), stored))

    def _do_node(self, node_id: str, *words: str) -> None:
        given = dict(word.split("=") for word in words)
        voters = given.pop("voters", None)
        terms = [int(term) for term in given.pop("log", "").split(",") if term]
        hard_state = HardState(
            int(given.pop("term", 0)), given.pop("vote", ""), int(given.pop("commit", 0))
        )
        options: dict[str, Any] = {name: int(value) for name, value in given.items()}
        meta = founding(voters.split(",")) if voters else None
        stored = StoredLog(hard_state, meta, entries(*terms))
        self._lab.add(Node(CoreConfig(node_id, **options), stored))

    def _do_restart(self, node_id: str) -> None:
        self._lab.nodes[node_id].restart()

    def _do_slow(self, node_id: str) -> None:
        self._lab.nodes[node_id].fast = False

    def _do_fast(self, node_id: str) -> None:
        self._lab.nodes[node_id].fast = True

    def _do_sync(self, node_id: str) -> None:
        self._lab.sync(node_id)

    # --- wishes -----------------------------------------------------------------------------------

    def _do_campaign(self, node_id: str) -> None:
        self._lab[node_id].campaign()

    def _do_tick(self, node_id: str, ticks: str = "1") -> None:
        self._lab.tick(node_id, int(ticks))

    def _do_propose(self, node_id: str, *commands: str) -> None:
        self._lab[node_id].propose([command.encode() for command in commands])

    def _do_read(self, node_id: str, context: str) -> None:
        self._lab[node_id].read_index(int(context))

    def _do_transfer(self, node_id: str, target: str) -> None:
        self._lab[node_id].transfer(target)

    def _do_forget(self, node_id: str) -> None:
        self._lab[node_id].forget_leader()

    def _do_change(self, node_id: str, *words: str) -> None:
        flags = {word for word in words if word in ("joint", "stay")}
        rest = [word for word in words if word not in flags]
        groups = _groups(rest, "voters", "learners")
        self._lab[node_id].change_membership(
            groups["voters"],
            groups["learners"],
            joint=bool(flags),
            auto_leave="stay" not in flags,
        )

    def _do_compact(self, node_id: str, index: str, keep_from: str | None = None) -> None:
        node = self._lab.nodes[node_id]
        meta = node.core.snapshot_meta(int(index))
        keep = int(keep_from or meta.index + 1)
        node.core.compact(meta, keep)
        node.disk.compact(meta, keep)

    def _do_snapshot_sent(self, node_id: str, to: str, outcome: str) -> None:
        self._lab[node_id].report_snapshot(to, outcome == "ok")

    def _do_unreachable(self, node_id: str, peer: str) -> None:
        self._lab[node_id].report_unreachable(peer)

    # --- work and wire ----------------------------------------------------------------------------

    def _do_turn(self, node_id: str) -> None:
        self._lab.turn(node_id)

    def _do_settle(self) -> None:
        self._lab.settle()

    def _do_deliver(self, *words: str) -> None:
        self._lab.deliver(_wanted(words))

    def _do_drop(self, *words: str) -> None:
        self._output += [f"lost: {show_message(m)}" for m in self._lab.drop(_wanted(words))]

    def _do_append(
        self, sender: str, to: str, term: str, prev: str, commit: str, *made: str
    ) -> None:
        prev_index, prev_term = map(int, prev.split("/"))
        terms = [int(name.split("/")[1]) for name in made]
        followed = entries(*terms, first=prev_index + 1)
        self._lab.step(Append(sender, to, int(term), prev_index, prev_term, int(commit), followed))

    def _do_isolate(self, *node_ids: str) -> None:
        self._lab.isolate(*node_ids)

    def _do_cut(self, sender: str, to: str) -> None:
        self._lab.cut.add((sender, to))

    def _do_heal(self) -> None:
        self._lab.heal()

    # --- looking ----------------------------------------------------------------------------------

    def _do_status(self, *node_ids: str) -> None:
        for node_id in node_ids or self._lab.nodes:
            core = self._lab[node_id]
            status = core.status()
            self._output.append(
                f"{node_id}: {show_role(core)}, log {status.first_index}..{status.last_index},"
                f" commit {status.commit_index}, applied {status.applied_index},"
                f" {show_membership(status.membership)}"
            )

    def _do_log(self, *node_ids: str) -> None:
        for node_id in node_ids or self._lab.nodes:
            disk = self._lab.nodes[node_id].disk
            start = disk.snapshot.index if disk.snapshot else 0
            shown = [f"snapshot {start}"] if start else []
            shown += [show_entry(entry) for entry in disk.entries]
            self._output.append(f"{node_id}: {', '.join(shown) or 'empty'}")

    def _do_peers(self, node_id: str) -> None:
        for peer in self._lab[node_id].status().peers:
            active = "" if peer.recently_active else " silent"
            self._output.append(
                f"{peer.node_id}: {peer.state} match {peer.match} next {peer.next_index}{active}"
            )


# --- words ----------------------------------------------------------------------------------------


def show_role(core: Core) -> str:
    led = f", led by {core.leader_id}" if core.leader_id and core.role != "leader" else ""
    return f"{core.role.replace('_', '-')} of term {core.term}{led}"


def show_membership(membership: Membership) -> str:
    words = ["voters", *membership.voters]
    for name in ("learners", "outgoing", "learners_next"):
        if nodes := getattr(membership, name):
            words += [name.replace("_", "-"), *nodes]
    if membership.joint and not membership.auto_leave:
        words.append("stay")
    return " ".join(words)


def show_entry(entry: Entry) -> str:
    head = f"{entry.index}/{entry.term}"
    if entry.kind == EntryKind.EMPTY:
        return f"{head} empty"
    if entry.kind == EntryKind.MEMBERSHIP:
        return f"{head} ({show_membership(decode_membership(entry.data))})"
    text = entry.data.decode()
    return head if text == head else f'{head} "{text}"'


def show_snapshot(meta: SnapshotMeta) -> str:
    return f"snapshot {meta.index}/{meta.term} ({show_membership(meta.membership)})"


def show_ready(node_id: str, ready: Ready, *, slow: bool) -> list[str]:
    lines = []
    writes = []
    if ready.snapshot is not None:
        writes.append(show_snapshot(ready.snapshot))
    if ready.hard_state is not None:
        state = ready.hard_state
        writes.append(f"term {state.term} vote {state.vote or '-'} commit {state.commit}")
    if ready.entries:
        writes.append(", ".join(map(show_entry, ready.entries)))
    if ready.token is not None:
        verb = "starts to write" if slow else "writes"
        lines.append(f"{node_id} {verb} {'; '.join(writes) or 'nothing new'}")
    if ready.committed:
        lines.append(f"{node_id} applies {', '.join(map(show_entry, ready.committed))}")
    lines += [f"{node_id} serves read {read.context} at {read.index}" for read in ready.reads]
    return lines


def show_message(message: Message) -> str:
    head = f"{message.sender} -> {message.to}  {_name(message)} t{message.term}"
    return " ".join([head, *_details(message)])


def _name(message: Message) -> str:
    pre = "Pre" if isinstance(message, VoteRequest | VoteReply) and message.pre else ""
    return pre + type(message).__name__


def _details(message: Message) -> Iterable[str]:
    match message:
        case VoteRequest() | VoteReply():
            return _vote_details(message)
        case Append():
            shown = ", ".join(map(show_entry, message.entries)) or "nothing"
            return [f"{message.prev_index}/{message.prev_term} c{message.commit}: {shown}"]
        case AppendReply(rejected=True):
            hint = f"{message.hint_index}/{message.hint_term}"
            return [f"no to {message.prev_index}, try {hint}"]
        case AppendReply():
            return [f"match {message.match}"]
        case InstallSnapshot():
            return [show_snapshot(message.meta)]
        case ReadReply():
            return [f"read {message.context} at {message.index}"]
    return _context_details(message)


def _vote_details(message: VoteRequest | VoteReply) -> Iterable[str]:
    if isinstance(message, VoteReply):
        return ["yes" if message.granted else "no"]
    asked = ["at the leader's wish"] if message.transfer else []
    return [f"log {message.last_index}/{message.last_term}", *asked]


def _context_details(message: Message) -> Iterable[str]:
    if isinstance(message, Heartbeat):
        yield f"c{message.commit}"
    if isinstance(message, Heartbeat | HeartbeatReply | ReadRequest) and message.context:
        yield f"read {message.context}"


def _options(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    options = dict(word.split("=") for word in words if "=" in word)
    return [word for word in words if "=" not in word], {k: int(v) for k, v in options.items()}


def _groups(words: Sequence[str], first: str, second: str) -> dict[str, list[str]]:
    """Split `[first] a b second c` at the names of the groups."""
    groups: dict[str, list[str]] = {first: [], second: []}
    group = first
    for word in words:
        if word in groups:
            group = word
        else:
            groups[group].append(word)
    return groups


def _wanted(words: Sequence[str]) -> Callable[[Message], bool]:
    """Read `[from a] [to b] [Kind]` into a choice of messages."""
    sender = words[words.index("from") + 1] if "from" in words else None
    to = words[words.index("to") + 1] if "to" in words else None
    return lambda m: sender in (None, m.sender) and to in (None, m.to)
