"""What a leader sends, when, and within which bounds."""

import pytest

from paceline.consensus.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
)
from paceline.errors import Busy, ProtocolError
from tests.consensus.lab import Lab


def led(*voters: str, **options: int) -> Lab:
    lab = Lab.of(*(voters or ("a", "b", "c")), learners=(), **options)
    lab.elect("a")
    return lab


def appends(messages: list[Message], to: str = "b") -> list[Append]:
    return [m for m in messages if isinstance(m, Append) and m.to == to]


def sent_in_one_turn(lab: Lab) -> list[Message]:
    lab.turn("a")
    return lab.drop()


def test_all_proposals_of_a_turn_are_one_append_per_follower() -> None:
    lab = led()
    for number in range(100):
        lab["a"].propose([b"%d" % number])
    sent = sent_in_one_turn(lab)
    assert [(m.to, len(m.entries)) for m in sent if isinstance(m, Append)] == [
        ("b", 100),
        ("c", 100),
    ]


def test_a_new_commit_is_told_at_once_by_one_empty_append() -> None:
    lab = led()
    lab["a"].propose([b"x"])
    lab.turn("a")
    lab.deliver()
    lab.turn("b")
    lab.deliver()
    news = [(m.to, m.commit, m.entries) for m in appends(sent_in_one_turn(lab))]
    assert news == [("b", 2, ())]


def test_a_new_commit_rides_on_entries_if_there_are_any() -> None:
    lab = led()
    lab["a"].propose([b"x"])
    lab.turn("a")
    lab.deliver()
    lab.turn("b")
    lab.deliver()
    lab["a"].propose([b"y"])
    news = [(m.commit, len(m.entries)) for m in appends(sent_in_one_turn(lab))]
    assert news == [(2, 1)]


def test_a_follower_that_has_yet_to_answer_is_told_with_what_comes_next() -> None:
    lab = led()
    lab["a"].propose([b"x"])
    lab.turn("a")
    lab.drop(lambda m: m.to == "c")
    lab.deliver()
    lab.turn("b")
    lab.deliver()
    assert appends(sent_in_one_turn(lab), to="c") == []


def test_an_append_is_bounded_in_entries() -> None:
    lab = led(max_append_entries=10)
    lab["a"].propose([b"x"] * 25)
    assert [len(m.entries) for m in appends(sent_in_one_turn(lab))] == [10, 10, 5]


def test_an_append_is_bounded_in_bytes_but_takes_one_large_entry() -> None:
    lab = led(max_append_bytes=1000)
    lab["a"].propose([bytes(400), bytes(400), bytes(5000), bytes(400)])
    assert [len(m.entries) for m in appends(sent_in_one_turn(lab))] == [2, 1, 1]


def test_the_window_is_bounded_in_messages() -> None:
    lab = led(max_append_entries=1, max_inflight_messages=3)
    lab["a"].propose([b"x"] * 5)
    assert len(appends(sent_in_one_turn(lab))) == 3
    lab["a"].step(AppendReply("b", "a", 1, match=3))
    assert [m.entries[0].index for m in appends(sent_in_one_turn(lab))] == [5, 6]


def test_the_window_is_bounded_in_bytes() -> None:
    lab = led(max_append_entries=1, max_inflight_bytes=1000)
    lab["a"].propose([bytes(600)] * 5)
    assert len(appends(sent_in_one_turn(lab))) == 2


def test_a_probing_leader_waits_for_the_answer() -> None:
    lab = led()
    lab["a"].report_unreachable("b")
    lab["a"].propose([b"x"])
    assert len(appends(sent_in_one_turn(lab))) == 1
    lab["a"].propose([b"y"])
    assert appends(sent_in_one_turn(lab)) == []
    lab["a"].step(HeartbeatReply("b", "a", 1))
    assert [len(m.entries) for m in appends(sent_in_one_turn(lab))] == [2]


def test_heartbeats_go_to_everybody_in_their_rhythm() -> None:
    lab = led(heartbeat_ticks=3)
    beats = []
    for _ in range(9):
        lab.tick("a")
        beats.append(len([m for m in sent_in_one_turn(lab) if isinstance(m, Heartbeat)]))
    assert beats == [0, 0, 2, 0, 0, 2, 0, 0, 2]


def test_heartbeats_that_fell_into_one_turn_are_one() -> None:
    lab = led()
    lab.tick("a", 10)
    assert len([m for m in sent_in_one_turn(lab) if isinstance(m, Heartbeat)]) == 2


def test_proposals_are_refused_while_too_much_is_uncommitted() -> None:
    lab = led(max_uncommitted_bytes=1000)
    lab.isolate("a")
    lab["a"].propose([bytes(2000)])  # one that is larger is taken if nothing else waits
    with pytest.raises(Busy):
        lab["a"].propose([b"x"])
    assert lab["a"].status().last_index == 2
    lab.turn("a")
    lab.heal()
    lab.tick("a", 2)
    lab.settle()
    assert lab["a"].propose([b"x"]) == 3


def test_a_snapshot_is_sent_once_and_again_when_its_transfer_failed() -> None:
    lab = led()
    lab.isolate("c")
    lab["a"].propose([b"x"])
    lab.settle()
    lab["a"].compact(lab["a"].snapshot_meta(2), 3)
    lab.heal()
    lab["a"].report_unreachable("c")
    snapshots = [m for m in sent_in_one_turn(lab) if isinstance(m, InstallSnapshot)]
    assert [(m.to, m.meta.index) for m in snapshots] == [("c", 2)]
    lab["a"].propose([b"y"])
    lab["a"].step(HeartbeatReply("c", "a", 1))
    assert not [m for m in sent_in_one_turn(lab) if m.to == "c"]
    lab["a"].report_snapshot("c", ok=False)
    assert not [m for m in sent_in_one_turn(lab) if m.to == "c"]
    lab["a"].step(HeartbeatReply("c", "a", 1))
    assert [type(m) for m in sent_in_one_turn(lab) if m.to == "c"] == [InstallSnapshot]


def test_after_a_transfer_the_entries_behind_the_snapshot_are_probed() -> None:
    lab = led()
    lab.isolate("c")
    lab["a"].propose([b"x"])
    lab.settle()
    lab["a"].compact(lab["a"].snapshot_meta(2), 3)
    lab["a"].report_unreachable("c")
    lab.turn("a")
    lab["a"].report_snapshot("c", ok=True)
    lab["a"].propose([b"y"])
    lab["a"].step(HeartbeatReply("c", "a", 1))
    lab.heal()
    assert [(m.prev_index, len(m.entries)) for m in appends(sent_in_one_turn(lab), "c")] == [(2, 1)]


def test_an_acknowledgement_of_what_was_never_sent_is_an_error() -> None:
    lab = led()
    with pytest.raises(ProtocolError):
        lab["a"].step(AppendReply("b", "a", 1, match=99))


def test_answers_of_strangers_are_ignored() -> None:
    lab = led()
    lab["a"].propose([b"x"])
    lab["a"].step(AppendReply("z", "a", 1, match=2))
    lab["a"].step(HeartbeatReply("z", "a", 1))
    lab.turn("a")
    assert lab["a"].commit_index == 1
    assert [peer.node_id for peer in lab["a"].status().peers] == ["b", "c"]


def test_a_follower_that_is_not_heard_is_shown_as_silent() -> None:
    lab = led()
    lab.tick("a", 19)
    lab["a"].step(HeartbeatReply("b", "a", 1))
    lab.tick("a", 1)
    peers = {peer.node_id: peer.recently_active for peer in lab["a"].status().peers}
    assert peers == {"b": True, "c": False}
    assert lab["a"].status().quorum_active
