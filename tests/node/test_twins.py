"""Who is who, where two processes have one key; and what somebody without it can do: nothing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import ProtocolError
from paceline.node.keys import new_keys
from paceline.node.twins import BOOT_BYTES, Identity, Life

KEYS = new_keys()


class Process:
    """One process of a node."""

    def __init__(self, started_ms: int = 1000) -> None:
        self.met: list[Life] = []
        self.identity = Identity(keys=KEYS, started_ms=started_ms, on_twin=self.met.append)


def test_two_processes_of_one_node_find_each_other_out() -> None:
    first, second = Process(1000), Process(2000)
    question = second.identity.question()
    found = second.identity.judge(question, first.identity.answer(question))
    assert found == first.identity.life
    assert first.met == [second.identity.life]


def test_a_process_that_meets_itself_has_no_twin() -> None:
    process = Process()
    question = process.identity.question()
    assert process.identity.judge(question, process.identity.answer(question)) is None
    assert process.met == []


def test_nobody_without_the_key_is_answered_or_believed() -> None:
    process, question = Process(), Process().identity.question()
    stranger = Identity(keys=new_keys(), started_ms=0, on_twin=lambda life: None)
    with pytest.raises(ProtocolError, match="without the key"):
        process.identity.answer(stranger.question())
    with pytest.raises(ProtocolError, match="without the key"):
        process.identity.answer(replace(question, started_ms=0))
    ours = process.identity.question()
    with pytest.raises(ProtocolError):
        process.identity.judge(ours, stranger.answer(stranger.question()))
    assert process.met == []


def test_a_recorded_answer_does_not_fit_another_question() -> None:
    first, second = Process(), Process()
    recorded = first.identity.answer(second.identity.question())
    with pytest.raises(ProtocolError, match="without this node's key"):
        second.identity.judge(second.identity.question(), recorded)


def test_a_question_is_no_answer() -> None:
    first, second = Process(), Process()
    question = first.identity.question()
    echoed = second.identity.answer(question)
    with pytest.raises(ProtocolError):
        first.identity.judge(question, replace(echoed, mac=question.mac))


LIVES = st.builds(
    Life, st.binary(min_size=BOOT_BYTES, max_size=BOOT_BYTES), st.integers(0, 3), st.booleans()
)


@given(LIVES, LIVES)
def test_exactly_one_of_two_gives_way(one: Life, other: Life) -> None:
    if one.boot != other.boot:
        assert one.gives_way_to(other) != other.gives_way_to(one)


def test_one_that_starts_gives_way_to_one_at_work_whatever_their_clocks_say() -> None:
    at_work, starting = Life(b"a" * 16, 9000, True), Life(b"b" * 16, 1000, False)
    assert starting.gives_way_to(at_work)
    assert not at_work.gives_way_to(starting)
