"""The election timer, hurrying after a leader is forgotten, and who may stand."""

from random import Random

import pytest

from paceline.consensus.config import CoreConfig
from paceline.consensus.election import HURRIES, ElectionTimer
from paceline.consensus.messages import Heartbeat, VoteReply, VoteRequest
from paceline.errors import InvalidSettings
from tests.consensus.lab import Lab


def follower(lab: Lab, node_id: str = "b") -> None:
    """Make a the leader of term 1 and let the node have heard it just now."""
    lab.elect("a")
    assert lab[node_id].leader_id == "a"


def test_the_timeout_is_random_in_base_to_twice_base() -> None:
    timer = ElectionTimer(20, Random(1))
    seen = set()
    for _ in range(500):
        timer.restart()
        seen.add(timer.timeout)
    assert seen == set(range(20, 40))


def test_time_is_up_after_exactly_the_timeout() -> None:
    timer = ElectionTimer(20, Random(1))
    ticks = 1
    while not timer.tick():
        ticks += 1
    assert ticks == timer.timeout


def test_hurrying_takes_one_to_so_many_ticks() -> None:
    timer = ElectionTimer(20, Random(1))
    seen = set()
    for _ in range(100):
        timer.hurry(3)
        seen.add(timer.timeout)
        assert timer.elapsed == 0
    assert seen == {1, 2, 3}


def test_every_word_of_the_leader_restarts_the_silence() -> None:
    lab = Lab.of("a", "b", "c")
    follower(lab)
    for _ in range(5):
        lab.tick("b", 19)
        lab["b"].step(Heartbeat("a", "b", 1, 0))
    assert lab["b"].role == "follower"
    lab.tick("b", 20)
    assert lab["b"].role == "pre_candidate"


def test_a_forgotten_leader_that_speaks_twice_is_followed_at_the_usual_pace() -> None:
    lab = Lab.of("a", "b", "c")
    follower(lab)
    lab["b"].forget_leader()
    assert (lab["b"].leader_id, lab["b"].term) == ("", 1)
    lab["b"].step(Heartbeat("a", "b", 1, 0))
    lab.tick("b", 2)
    lab["b"].step(Heartbeat("a", "b", 1, 0))
    lab.tick("b", 19)
    assert (lab["b"].leader_id, lab["b"].role) == ("a", "follower")


def test_the_last_words_of_a_dead_leader_keep_nobody_from_standing() -> None:
    """They may be read after the news that the connection to it has dropped."""
    lab = Lab.of("a", "b", "c")
    follower(lab)
    lab["b"].forget_leader()
    for _ in range(3):
        lab["b"].step(Heartbeat("a", "b", 1, 0))
    request = VoteRequest("c", "b", 2, 1, 1, pre=True)
    for ticks, granted in ((3, False), (1, True)):
        lab.tick("b", ticks)
        lab["b"].step(request)
        assert lab.nodes["b"].take_ready()[1][-1] == VoteReply(
            "b", "c", 2 if granted else 1, granted, pre=True
        )
    lab.tick("b", 1)
    assert lab["b"].role == "pre_candidate"


def test_after_forgetting_a_node_hurries_only_so_often() -> None:
    lab = Lab.of("a", "b", "c")
    follower(lab)
    lab["b"].forget_leader()
    for _ in range(HURRIES + 1):  # the first time, and again after each refusal
        lab.tick("b")
        assert lab["b"].role == "pre_candidate"
        lab["b"].step(VoteReply("a", "b", 1, granted=False, pre=True))
        lab["b"].step(VoteReply("c", "b", 1, granted=False, pre=True))
        assert lab["b"].role == "follower"
    lab.tick("b", 10)
    assert lab["b"].role == "follower"


def test_one_refusal_is_enough_to_hurry_when_the_third_node_is_dead() -> None:
    """Two survivors that stood at once have split the vote, and nobody will ever settle it."""
    lab = Lab.of("a", "b", "c")
    follower(lab)
    lab["b"].forget_leader()
    lab.tick("b")
    lab["b"].step(VoteReply("c", "b", 2, granted=True, pre=True))
    lab.turn("b")
    assert lab["b"].role == "candidate"
    lab["b"].step(VoteReply("c", "b", 2, granted=False))
    lab.tick("b")
    assert (lab["b"].role, lab["b"].term) == ("pre_candidate", 2)


def test_who_waits_for_a_leader_is_not_held_up_by_candidates_that_cannot_win() -> None:
    lab = Lab.of("a", "b", "c")
    follower(lab)
    lab["b"].forget_leader()
    lab["b"].step(Heartbeat("a", "b", 1, 0))
    lab["b"].forget_leader()  # now it waits for one tick
    lab["b"].step(VoteRequest("c", "b", 5, 0, 0))
    assert lab["b"].term == 5
    lab.tick("b")
    assert lab["b"].role == "pre_candidate"


def test_a_learner_and_a_stranger_never_stand() -> None:
    lab = Lab.of("a", "b", learners=["d"])
    lab.join("e")
    for node_id in ("d", "e"):
        lab[node_id].campaign()
        lab.tick(node_id, 100)
        lab[node_id].forget_leader()
        assert not lab.turn(node_id)
    assert lab["d"].role == "learner"
    assert lab["e"].role == "follower"


def test_a_lone_voter_leads_after_one_tick_again_after_a_restart() -> None:
    lab = Lab.of("a")
    for term in (1, 2, 3):
        lab.tick("a")
        lab.settle()
        assert (lab["a"].role, lab["a"].term) == ("leader", term)
        lab.nodes["a"].restart()


@pytest.mark.parametrize(
    "options",
    [
        {"heartbeat_ticks": 20},
        {"heartbeat_ticks": 0},
        {"hurry_ticks": 0},
        {"hurry_ticks": 21},
        {"node_id": ""},
    ],
)
def test_options_that_cannot_work_together_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(InvalidSettings):
        CoreConfig(**{"node_id": "a", **options})  # type: ignore[arg-type]
