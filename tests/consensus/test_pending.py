"""Whoever asks is answered, exactly once, in bounded time, and with what is true."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.consensus.messages import Append, Entry, EntryKind
from paceline.consensus.pending import Decision, PendingProposals, Proposal, WaitingReads
from paceline.consensus.replica import ReplicaLimits
from paceline.errors import NoQuorum, NotLeader, PacelineError, Unavailable
from tests.consensus.replica_cluster import Cluster

RETRY, TIMEOUT = 2, 6
LOST = NotLeader("somebody else")


class Asked:
    """Reads with a leader that only counts the questions put to it."""

    def __init__(self) -> None:
        self.contexts: list[int] = []
        self.reads = WaitingReads(1, self._ask)
        self.refusing = False

    def _ask(self, context: int) -> None:
        if self.refusing:
            raise LOST
        self.contexts.append(context)

    def read(self) -> list[PacelineError | None]:
        answers: list[PacelineError | None] = []
        self.reads.add(answers.append)
        return answers

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.reads.tick(RETRY, TIMEOUT)


# --- reads ----------------------------------------------------------------------------------------


def test_a_confirmed_read_whose_index_never_comes_is_given_up() -> None:
    asked = Asked()
    answers = asked.read()
    asked.reads.ask()
    asked.reads.answered(1, 7)
    asked.tick(TIMEOUT - 1)
    asked.reads.serve(6)
    assert answers == []
    asked.tick()
    assert isinstance(answers[0], Unavailable)
    assert "entry 7" in str(answers[0])
    assert "ask another node" in str(answers[0])
    asked.reads.serve(7)
    assert len(answers) == 1
    assert len(asked.reads) == 0


def test_both_waits_of_a_read_count_towards_one_age() -> None:
    asked = Asked()
    answers = asked.read()
    asked.reads.ask()
    asked.tick(TIMEOUT - 1)
    asked.reads.answered(1, 7)
    assert answers == []
    asked.tick()
    assert isinstance(answers[0], Unavailable)


def test_a_read_that_no_turn_asks_for_is_given_up_too() -> None:
    asked = Asked()
    answers = asked.read()
    asked.tick(TIMEOUT)
    assert isinstance(answers[0], NoQuorum)


def test_giving_one_read_up_leaves_the_others_in_order() -> None:
    asked = Asked()
    first = asked.read()
    asked.reads.ask()
    asked.reads.answered(1, 5)
    asked.tick(3)
    later = [asked.read() for _ in range(3)]
    for context, (answers, index) in enumerate(zip(later, (9, 6, 7), strict=True), start=2):
        assert answers == []
        asked.reads.ask()
        asked.reads.answered(context, index)
    asked.tick(3)
    assert isinstance(first[0], Unavailable)
    asked.reads.serve(9)
    assert later == [[None], [None], [None]]


def test_a_read_that_nobody_confirms_is_given_up_as_before() -> None:
    asked = Asked()
    answers = asked.read()
    asked.reads.ask()
    asked.tick(TIMEOUT)
    assert isinstance(answers[0], NoQuorum)
    assert asked.contexts == [1, 2, 3]
    asked.reads.answered(2, 1)
    asked.reads.serve(9)
    assert len(answers) == 1


def test_a_callback_may_end_everything_while_reads_time_out() -> None:
    """A node that closes because of the first failure fails the other batches from inside."""
    asked, seen = Asked(), list[str]()

    def close(error: PacelineError | None) -> None:
        seen.append("first")
        asked.reads.fail_all(Unavailable("closed"))

    asked.reads.add(close)
    asked.reads.ask()
    asked.reads.add(lambda error: seen.append("second"))
    asked.reads.ask()
    asked.tick(2 * TIMEOUT)
    assert seen == ["first", "second"]
    assert len(asked.reads) == 0


@dataclass(slots=True)
class Twin:
    """What the dumb twin knows of one read; `least` is the smallest index named since it asked."""

    age: int = 0
    least: int = 99
    answers: list[PacelineError | None] = field(default_factory=list)


STEP = st.one_of(
    st.sampled_from(("read", "ask", "tick", "lose", "refuse", "accept")),
    st.tuples(st.just("answer"), st.integers(1, 12), st.integers(1, 6)),
    st.tuples(st.just("apply"), st.integers(1, 6), st.just(0)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=60))
def test_every_read_is_answered_once_in_time_and_never_too_early(
    steps: list[str | tuple[str, int, int]],
) -> None:
    asked, twins, applied = Asked(), list[Twin](), 0
    for step in steps:
        kind, number, index = (step, 0, 0) if isinstance(step, str) else step
        open_before = [twin for twin in twins if not twin.answers]
        match kind:
            case "read":
                twins.append(Twin())
                asked.reads.add(twins[-1].answers.append)
            case "ask":
                asked.reads.ask()
            case "tick":
                asked.tick()
                for twin in open_before:
                    twin.age += 1
            case "lose":
                asked.reads.fail_unanswered(LOST)
            case "refuse" | "accept":
                asked.refusing = kind == "refuse"
            case "answer":
                asked.reads.answered(number, index)
                for twin in open_before:
                    twin.least = min(twin.least, index)
            case _:
                applied = max(applied, number)
                asked.reads.serve(applied)
        served = [twin for twin in open_before if twin.answers == [None]]
        assert not served or kind == "apply"
        assert all(twin.least <= applied for twin in served)
        assert all(len(twin.answers) <= 1 for twin in twins)
        assert all(twin.answers for twin in twins if twin.age >= TIMEOUT)
        assert len(asked.reads) == sum(not twin.answers for twin in twins)
    asked.reads.fail_all(LOST)
    assert all(len(twin.answers) == 1 for twin in twins)


def test_a_read_on_a_node_that_was_removed_meanwhile_is_answered() -> None:
    """The leader has confirmed the index, then stops sending: it has taken the node out."""
    cluster = Cluster(limits=ReplicaLimits(read_timeout_ticks=12))
    leader = cluster.elect()
    removed = next(node for node in cluster.nodes.values() if node is not leader)
    cluster.cut_off(removed.name)
    cluster.commit(leader, b"x")
    cluster.heal()
    cluster.without = (Append,)
    answers: list[PacelineError | None] = []
    removed.replica.read(answers.append)
    cluster.run(4)
    assert answers == []
    cluster.cut_off(removed.name)
    cluster.until(lambda: bool(answers), ticks=12)
    assert isinstance(answers[0], Unavailable)
    assert "has not applied" in str(answers[0])
    assert removed.replica.status().applied_index < leader.replica.status().applied_index


# --- proposals ------------------------------------------------------------------------------------


def pending(*indexes: int, term: int = 1) -> tuple[PendingProposals, list[Decision]]:
    proposals, decisions = PendingProposals(), list[Decision]()
    for index in indexes:
        proposals.add(index, term, Proposal(b"data", decisions.append))
    return proposals, decisions


def test_a_proposal_is_answered_with_the_result_of_its_own_entry() -> None:
    proposals, decisions = pending(4)
    proposals.settle(4, 1, "result", LOST)
    assert decisions == [Decision(4, 1, "result")]
    assert (len(proposals), proposals.bytes) == (0, 0)


@pytest.mark.parametrize("term", [0, 2])
def test_a_proposal_whose_index_another_entry_took_is_lost(term: int) -> None:
    proposals, decisions = pending(4)
    proposals.settle(4, term, "somebody else's result", LOST)
    assert decisions == [Decision(4, 1, None, LOST)]
    assert (len(proposals), proposals.bytes) == (0, 0)


def test_an_index_that_nobody_waits_for_is_nobodys() -> None:
    proposals, decisions = pending(4)
    proposals.settle(5, 1, "result", LOST)
    assert decisions == []
    assert (len(proposals), proposals.bytes) == (1, 4)


@pytest.mark.parametrize(
    ("fail", "lost", "kept"),
    [
        (lambda p: p.fail_after(5, LOST), [6, 7], [4, 5]),
        (lambda p: p.fail_through(5, LOST), [4, 5], [6, 7]),
    ],
)
def test_giving_up_on_a_side_leaves_the_other(
    fail: Callable[[PendingProposals], None], lost: list[int], kept: list[int]
) -> None:
    proposals, decisions = pending(4, 5, 6, 7)
    fail(proposals)
    assert decisions == [Decision(index, 1, None, LOST) for index in lost]
    for index in kept:
        proposals.settle(index, 1, index, LOST)
    assert decisions[len(lost) :] == [Decision(index, 1, index) for index in kept]
    assert proposals.bytes == 0


def test_an_append_that_replaces_and_commits_at_once_does_not_answer_with_its_own_result() -> None:
    """The next leader's append takes the index and names it committed, before any pump.

    Then the loss of leadership alone fails nothing, since nothing is after the commit index: only
    the comparison of terms tells that what was applied there is not what was proposed.
    """
    cluster = Cluster()
    old = cluster.elect()
    cluster.cut_off(old.name)
    decisions = cluster.propose(old, b"mine")
    cluster.settle()
    at = old.replica.status()
    assert (decisions, at.last_index) == ([], at.commit_index + 1)
    winner = next(name for name in cluster.nodes if name != old.name)
    term, index = at.term + 1, at.last_index
    theirs = Entry(index, term, EntryKind.COMMAND, b"theirs")
    append = Append(winner, old.name, term, index - 1, at.term, index, (theirs,))
    old.replica.receive(append)
    old.replica.pump()
    assert old.machine.commands == [b"theirs"]
    assert [(d.index, d.term, d.result, type(d.error)) for d in decisions] == [
        (index, at.term, None, NotLeader)
    ]
