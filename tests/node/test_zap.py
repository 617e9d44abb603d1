"""Answers to libzmq's questions who may connect, asked as libzmq asks them."""

from collections.abc import Callable

import pytest
import zmq

from paceline.ids import NodeId
from paceline.node.sockets import ZAP_DOMAIN, Context
from paceline.node.zap import ENDPOINT, ZapHandler
from tests.node.transports import run, until

KEY = bytes(range(32))
QUESTION = [b"1.0", b"7", ZAP_DOMAIN, b"10.0.0.1", b"", b"CURVE", KEY]


def ask(
    question: list[bytes], admit: Callable[[bytes], NodeId | None] = lambda key: "node"
) -> list[bytes]:
    """Put one question to a handler and answer what it says."""

    async def body() -> list[bytes]:
        context: Context = zmq.Context()
        handler = ZapHandler(context=context, admit=admit)
        socket = context.socket(zmq.REQ)
        socket.connect(ENDPOINT)
        socket.send_multipart(question)
        await until(lambda: socket.poll(0) > 0)
        answer = socket.recv_multipart()
        socket.close()
        handler.close()
        context.term()
        return answer

    return run(body())


def test_a_member_gets_its_node_id_as_user_id() -> None:
    asked: list[bytes] = []

    def admit(key: bytes) -> NodeId | None:
        asked.append(key)
        return "thenodeid"

    answer = ask(QUESTION, admit)
    assert answer == [b"1.0", b"7", b"200", b"", b"thenodeid", b""]
    assert asked == [KEY]


def test_a_stranger_is_refused() -> None:
    assert ask(QUESTION, lambda key: None)[2] == b"400"


@pytest.mark.parametrize(
    ("position", "value"),
    [(0, b"2.0"), (2, b""), (2, b"other"), (5, b"NULL"), (5, b"PLAIN"), (6, b""), (6, KEY + b"x")],
)
def test_any_other_question_is_answered_with_a_refusal(position: int, value: bytes) -> None:
    question = list(QUESTION)
    question[position] = value
    assert ask(question)[2] == b"400"


@pytest.mark.parametrize("question", [[b""], QUESTION[:-1], [*QUESTION, b"x"]])
def test_a_question_of_another_shape_is_refused(question: list[bytes]) -> None:
    assert ask(question)[2] == b"400"


def test_a_membership_check_that_fails_lets_nobody_in() -> None:
    def broken(key: bytes) -> NodeId | None:
        raise RuntimeError("planted")

    assert ask(QUESTION, broken)[2] == b"400"
