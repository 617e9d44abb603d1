"""Figure 2 of the paper, the box "State" and what the RPCs carry, as far as its rules do not say.

The rules are in `test_paper_figure_2.py`.
"""

import pytest

from paceline.consensus.core import CoreConfig
from paceline.consensus.messages import (
    Append,
    AppendReply,
    Entry,
    EntryKind,
    HardState,
    SnapshotMeta,
)
from paceline.consensus.storage.protocol import StoredLog
from paceline.errors import NotLeader
from tests.consensus.lab import Node, founding
from tests.consensus.test_paper_figure_2 import answers, append, leader, node


def acknowledge(led: Node, match: int) -> None:
    led.core.step(AppendReply("a", "b", 2, match))
    led.take_ready()


def progress(led: Node) -> tuple[int, int]:
    """Answer what b knows of a: matchIndex and nextIndex."""
    return next((p.match, p.next_index) for p in led.core.status().peers if p.node_id == "a")


# currentTerm is initialized to 0 on first boot, votedFor is null, the log is empty; commitIndex and
# lastApplied are initialized to 0.
def test_a_new_node_begins_with_nothing() -> None:
    status = Node(CoreConfig("b"), StoredLog(HardState(), founding("abc"), ())).core.status()
    assert (status.term, status.leader_id, status.role) == (0, "", "follower")
    assert (status.last_index, status.commit_index) == (0, 0)


# The first index of the log is 1.
def test_the_first_entry_is_number_one() -> None:
    lone = Node(CoreConfig("b"), StoredLog(HardState(), founding("b"), ()))
    lone.core.campaign()
    ready, _ = lone.take_ready()
    while ready is not None and not ready.entries:
        ready, _ = lone.take_ready()
    assert ready is not None
    assert [(entry.index, entry.term, entry.kind) for entry in ready.entries] == [
        (1, 1, EntryKind.EMPTY)
    ]


# commitIndex and lastApplied increase monotonically, lastApplied behind commitIndex.
def test_an_entry_is_given_out_to_be_applied_once_whatever_is_said_again() -> None:
    follower, given = node(1, 1, 1, term=2), list[int]()
    for commit in (2, 1, 2, 3, 3):
        follower.core.step(Append("a", "b", 2, 3, 1, commit))
        ready, _ = follower.take_ready()
        while ready is not None:
            given += [entry.index for entry in ready.committed]
            ready, _ = follower.take_ready()
    assert given == [1, 2, 3]


# matchIndex increases monotonically.
def test_a_late_acknowledgement_takes_nothing_back() -> None:
    led = leader(terms=(1, 1, 1))
    led.take_ready()
    acknowledge(led, 4)
    assert progress(led) == (4, 5)
    acknowledge(led, 2)
    assert progress(led) == (4, 5)


# AppendEntries' leaderId: so that a follower can redirect clients.
def test_a_follower_says_who_leads() -> None:
    follower = node(1)
    with pytest.raises(NotLeader) as before:
        follower.core.propose([b"x"])
    assert before.value.leader_id is None
    append(follower, Append("c", "b", 1, 1, 1, 0))
    with pytest.raises(NotLeader) as after:
        follower.core.propose([b"x"])
    assert after.value.leader_id == "c"


# entries[]: empty for a heartbeat; may send more than one for efficiency.
def test_one_append_takes_many_entries_along() -> None:
    led = leader(terms=(1,))
    led.take_ready()
    acknowledge(led, 2)
    led.core.propose([b"x", b"y", b"z"])
    _, sent = led.take_ready()
    (message,) = [m for m in sent if isinstance(m, Append) and m.to == "a"]
    assert [entry.data for entry in message.entries] == [b"x", b"y", b"z"]
    assert (message.prev_index, message.prev_term) == (2, 2)


# AppendEntries' leaderCommit is the leader's commitIndex.
def test_an_append_carries_the_commit_index() -> None:
    led = leader(terms=(1,))
    led.take_ready()
    acknowledge(led, 2)
    led.core.propose([b"x"])
    _, sent = led.take_ready()
    assert [m.commit for m in sent if isinstance(m, Append) and m.to == "a"][-1] == 2


# AppendEntries' result: term, for the leader to update itself; success if the entries matched.
def test_the_answer_says_how_far_the_logs_agree_and_in_which_term() -> None:
    follower = node(1, 1, term=2)
    reply = append(follower, Append("a", "b", 2, 2, 1, 0, (Entry(3, 2, EntryKind.EMPTY, b""),)))
    assert (reply.term, reply.rejected, reply.match) == (2, False, 3)
    reply = append(follower, Append("a", "b", 2, 1, 1, 0))
    assert (reply.term, reply.rejected) == (2, False)
    assert reply.match <= 3


def test_a_snapshots_mark_stands_for_what_was_before_it() -> None:
    """Figure 2 counts from 1; after a compaction (section 7) the log goes on where it was."""
    mark = SnapshotMeta(5, 3, founding("abc").membership)
    follower = Node(CoreConfig("b"), StoredLog(HardState(3), mark, ()))
    status = follower.core.status()
    assert (status.last_index, status.commit_index) == (5, 5)
    (reply,) = answers(follower, Append("a", "b", 3, 5, 3, 5, (Entry(6, 3, EntryKind.EMPTY, b""),)))
    assert isinstance(reply, AppendReply)
    assert (reply.rejected, reply.match) == (False, 6)
