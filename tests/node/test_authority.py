"""Nobody speaks for another."""

import pytest

from paceline.errors import Conflict
from paceline.node.authority import require_own_name
from paceline.tasks.commands import (
    AttachWorker,
    AttemptRef,
    CancelTask,
    Command,
    FinishAttempt,
    FoundCluster,
    RecoverCluster,
    RegisterWorker,
    RemoveMember,
    RevokeMember,
    RotateToken,
    StartAttempts,
    TrustMember,
)
from paceline.tasks.model import Outcome, ResultStatus

REF = AttemptRef("s", 1, 7)
IN_THE_NAME_OF_A = [
    AttachWorker("w", "a", "machine", "name", 1, ()),
    TrustMember("b", True, "a"),
    RotateToken("token", "a"),
    RevokeMember("b", "token", "a"),
    RemoveMember("a", "a"),
    FoundCluster("c", "token", "a", b"key", "name"),
    RegisterWorker("a", "name", "address", 1, ()),
    StartAttempts((REF,), "a"),
    FinishAttempt(REF, "a", Outcome(ResultStatus.OK)),
]


@pytest.mark.parametrize("command", IN_THE_NAME_OF_A, ids=lambda each: type(each).__name__)
def test_each_speaks_for_itself(command: Command) -> None:
    require_own_name(command, "a")
    with pytest.raises(Conflict, match="cannot speak for a"):
        require_own_name(command, "b")


def test_nobody_removes_another_in_his_own_name() -> None:
    with pytest.raises(Conflict):
        require_own_name(RemoveMember("a", "b"), "b")
    with pytest.raises(Conflict):
        require_own_name(RemoveMember("a", "b"), "a")


def test_a_recovery_is_never_proposed() -> None:
    with pytest.raises(Conflict, match="at rest"):
        require_own_name(RecoverCluster("c", "token", "a", b"key", "name"), "a")


def test_what_anybody_may_ask_passes() -> None:
    require_own_name(CancelTask("t"), "anybody")


def test_for_an_external_worker_speaks_the_node_that_it_is_attached_to() -> None:
    start = StartAttempts((REF,), "w")
    require_own_name(start, "a", lambda worker_id: "a")
    with pytest.raises(Conflict, match="b cannot speak for w"):
        require_own_name(start, "b", lambda worker_id: "a")
    with pytest.raises(Conflict, match="a cannot speak for b"):
        require_own_name(StartAttempts((REF,), "b"), "a", lambda worker_id: "")
