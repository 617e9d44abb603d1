"""Gates in the state: who waits for whom, who decides, and what is kept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import Conflict, InputError, NotFound
from paceline.tasks import queries, queries_quality
from paceline.tasks.commands import (
    NEWEST_LEVEL,
    AttemptRef,
    CancelTask,
    Comment,
    ForgetWorker,
    OpenCheckpoint,
    ResolveCheckpoint,
    SubmitTask,
)
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import (
    BlobRef,
    CheckpointFrequency,
    Evaluation,
    Finding,
    Outcome,
    RepositoryChange,
    ResultStatus,
    Review,
    TaskSpec,
)
from paceline.tasks.queries_work import unblocked_subtask
from tests.tasks.entries import Driver, subtask

WRONG = Finding("a.py", 3, "high", "it is wrong")


def changed(start: str = "start", **fields: Any) -> Outcome:
    change = RepositoryChange("base", start, "commit", BlobRef("ab" * 32, 9), 1, 1, 0)
    return Outcome(ResultStatus.OK, "done", change=change, **fields)


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db")
    driver = Driver(machine, NEWEST_LEVEL)
    driver.register("n1", "n2")
    yield driver
    machine.close()


def checkpoint_of(drive: Driver) -> Any:
    (found,) = queries_quality.checkpoints(drive.machine.connection, status="pending")
    return queries_quality.checkpoint(drive.machine.connection, found["checkpoint_id"])


def resolve(drive: Driver, decision: str, feedback: str = "", **fields: Any) -> Any:
    wanted = checkpoint_of(drive)["checkpoint_id"]
    return drive(ResolveCheckpoint(wanted, decision, feedback, **fields))


def ready(drive: Driver, after_ms: int = 0) -> list[str]:
    now_ms = drive.machine.now_ms + after_ms
    found = queries.ready_subtasks(drive.machine.connection, now_ms)
    return [each.subtask_id for each in found]


def test_before_level_2_there_are_no_gates(tmp_path: Path) -> None:
    machine = TaskMachine(tmp_path / "old.db")
    old = Driver(machine)
    old.register("n1")
    old.submit(subtask("a", settings={"review": True, "checkpoint": True}))
    old.run("a", changed())
    assert (old.status("a"), old.task_status()) == ("completed", "completed")
    machine.close()


def test_only_what_hangs_on_it_waits(drive: Driver) -> None:
    drive.submit(
        subtask("a", settings={"checkpoint": True}), subtask("b", "a"), subtask("c"), subtask("d")
    )
    drive.run("a")
    assert (drive.status("a"), drive.task_status()) == ("review", "checkpoint")
    assert ready(drive) == ["c", "d"]
    drive.run("c")
    assert resolve(drive, "accept", by="n2") == "completed"
    assert (drive.task_status(), ready(drive)) == ("in_progress", ["b", "d"])


def test_the_last_step_of_a_task_asks_where_checkpoints_are_low(drive: Driver) -> None:
    spec = TaskSpec(
        "task",
        "",
        "plan",
        (subtask("a"), subtask("b")),
        checkpoint_frequency=CheckpointFrequency.LOW,
    )
    drive(SubmitTask(spec, ""))
    drive.run("a")
    assert drive.status("a") == "completed"
    drive.run("b")
    assert (drive.status("b"), drive.task_status()) == ("review", "checkpoint")
    assert resolve(drive, "accept") == "completed"
    assert drive.task_status() == "completed"


def test_a_low_score_is_tried_again_once_with_the_findings(drive: Driver) -> None:
    drive.submit(subtask("a"))
    drive.run("a", changed(evaluation=Evaluation(2.0, findings=(WRONG,))))
    assert drive.status("a") == "pending"
    told = queries_quality.briefing(drive.machine.connection, "a", 2)
    assert "a.py:3: high: it is wrong" in told.feedback
    assert (told.review, told.start) == (False, "start")
    assert told.change is not None
    drive.run("a", changed("commit", evaluation=Evaluation(3.0)), attempt=2)
    document = checkpoint_of(drive)
    assert (document["type"], document["score"]) == ("evaluation", 3.0)
    assert queries_quality.briefing(drive.machine.connection, "a", 3) == queries_quality.Briefing()
    found = queries_quality.evaluations(drive.machine.connection, "a")
    assert [each["score"] for each in found] == [2.0, 3.0]


def test_work_that_goes_on_is_judged_from_where_it_began(drive: Driver) -> None:
    drive.submit(subtask("a", settings={"checkpoint": True}))
    drive.run("a", changed("first start"))
    resolve(drive, "correct", "more", comments=(Comment("a.py", 3, "why?"),))
    told = queries_quality.briefing(drive.machine.connection, "a", 2)
    assert told.start == "first start"
    assert "more" in told.feedback
    assert "a.py:3: why?" in told.feedback
    drive.run("a", changed("where the first ended"), attempt=2)
    resolve(drive, "correct", "still more")
    assert queries_quality.briefing(drive.machine.connection, "a", 3).start == "first start"
    drive.run("a", changed("x"), attempt=3)
    resolve(drive, "reject")
    told = queries_quality.briefing(drive.machine.connection, "a", 4)
    assert (told.change, told.start) == (None, "")


def review(drive: Driver, attempt: int, outcome: Outcome, node_id: str = "n2") -> None:
    ref = drive.allocate("a", node_id=node_id, attempt=attempt)
    drive.start(ref, node_id=node_id)
    drive.finish(ref, outcome, node_id=node_id)


def test_a_review_is_an_attempt_by_another(drive: Driver) -> None:
    drive.submit(subtask("a", settings={"review": True}), subtask("b", "a"))
    drive.run("a", changed(evaluation=Evaluation(9.0)))
    (waiting,) = queries.ready_subtasks(drive.machine.connection, drive.machine.now_ms)
    assert waiting.reviewed is not None
    assert (waiting.reviewed.node_id, waiting.avoid_tool) == ("n1", "command")
    unblocked = unblocked_subtask(drive.machine.connection, "a")
    assert unblocked is not None
    assert unblocked.reviewed == waiting.reviewed
    ref = drive.allocate("a", node_id="n2", attempt=2)
    assert ready(drive) == [], "it is given out once"
    assert drive.start(ref, node_id="n2") == 1
    assert drive.status("a") == "review"
    drive.finish(ref, Outcome(ResultStatus.OK, review=Review(False, "no", (WRONG,))), "n2")
    assert drive.status("a") == "pending"
    drive.run("a", changed(evaluation=Evaluation(9.0)), attempt=3)
    review(drive, 4, Outcome(ResultStatus.OK, "approved", review=Review(approved=True)))
    assert (drive.status("a"), ready(drive)) == ("completed", ["b"])
    document = queries.task(drive.machine.connection, "task")["subtasks"][0]
    assert [each["kind"] for each in document["attempts"]] == ["work", "review"] * 2
    assert document["result"]["text"] == "done", "what it came to is the author's"
    assert queries.inputs_of(drive.machine.connection, "b")["a"].size == 0


def test_reviews_that_cannot_be_used_are_asked_for_again_and_then_escalate(drive: Driver) -> None:
    drive.submit(subtask("a", settings={"review": True}))
    drive.run("a", changed())
    for attempt in (2, 3, 4):
        assert ready(drive, after_ms=60_000) == ["a"]
        review(drive, attempt, Outcome(ResultStatus.FAILED, "no JSON"))
    document = checkpoint_of(drive)
    assert document["type"] == "review"
    assert "no JSON" in document["reason"]
    assert [each["verdict"] for each in document["reviews"]] == ["none"] * 3


def test_a_reviewer_that_is_lost_is_replaced(drive: Driver) -> None:
    drive.submit(subtask("a", settings={"review": True}))
    drive.run("a", changed())
    drive.allocate("a", node_id="n2", attempt=2)
    drive(ForgetWorker("n2"))
    assert (drive.status("a"), ready(drive)) == ("review", ["a"])


def test_the_first_decision_counts_and_the_second_hears_whose_it_was(drive: Driver) -> None:
    drive.submit(subtask("a", settings={"checkpoint": True}), subtask("b", "a"))
    drive.run("a")
    wanted = checkpoint_of(drive)["checkpoint_id"]
    assert drive(ResolveCheckpoint(wanted, "accept", by="n2")) == "completed"
    second = drive(ResolveCheckpoint(wanted, "reject", by="n1"))
    assert isinstance(second, Conflict)
    assert "n2 has decided accept" in str(second)


@pytest.mark.parametrize(
    ("decision", "words", "refusal"),
    [("correct", "", InputError), ("perhaps", "x", InputError)],
)
def test_what_is_no_decision(
    drive: Driver, decision: str, words: str, refusal: type[Exception]
) -> None:
    drive.submit(subtask("a", settings={"checkpoint": True}))
    drive.run("a")
    assert isinstance(resolve(drive, decision, words), refusal)
    assert drive.task_status() == "checkpoint"
    assert isinstance(drive(ResolveCheckpoint("none", "accept")), NotFound)


def test_a_person_holds_a_whole_task(drive: Driver) -> None:
    drive.submit(subtask("a"), subtask("b"))
    running = drive.allocate("a")
    drive(OpenCheckpoint("c1", "task", reason="look"))
    assert (drive.task_status(), ready(drive)) == ("checkpoint", [])
    assert isinstance(drive(OpenCheckpoint("c2", "task")), Conflict)
    drive.finish(running)
    assert drive.status("a") == "completed", "what runs goes on"
    assert drive(ResolveCheckpoint("c1", "correct", "shorter")) == "in_progress"
    assert ready(drive) == ["b"]
    assert "shorter" in queries_quality.briefing(drive.machine.connection, "b", 1).feedback


def test_a_task_that_is_held_does_not_end_before_the_person_has_decided(drive: Driver) -> None:
    drive.submit(subtask("a"))
    running = drive.allocate("a")
    drive(OpenCheckpoint("c1", "task"))
    drive.finish(running)
    assert drive.task_status() == "checkpoint"
    assert isinstance(drive(ResolveCheckpoint("c1", "correct", "x")), Conflict)
    assert drive(ResolveCheckpoint("c1", "accept")) == "completed"


def test_a_cancelled_task_asks_nobody_any_more(drive: Driver) -> None:
    drive.submit(subtask("a", settings={"checkpoint": True}), subtask("b", "a"))
    drive.run("a")
    drive(CancelTask("task"))
    assert drive.task_status() == "cancelled"
    assert drive.column("SELECT status FROM checkpoints") == "skipped"


def test_what_cannot_be_merged_waits_for_a_person(drive: Driver) -> None:
    drive.submit(subtask("a"), subtask("b", "a"))
    drive.run("a", Outcome(ResultStatus.CONFLICT, "they do not go together"))
    assert checkpoint_of(drive)["type"] == "conflict"
    assert (drive.status("a"), ready(drive)) == ("pending", [])
    assert resolve(drive, "accept") == "pending"
    assert ready(drive) == ["a"]
    drive.run("a", Outcome(ResultStatus.CONFLICT, "still not"), attempt=2)
    assert resolve(drive, "reject", "never mind") == "failed"
    assert drive.status("b") == "cancelled"


@pytest.mark.parametrize(("policy", "status"), [("accept", "completed"), ("fail", "failed")])
def test_a_checkpoint_expires(drive: Driver, policy: str, status: str) -> None:
    gates = {"expire_s": 60, "on_expiry": policy}
    drive.submit(subtask("a", settings={"checkpoint": True, "gates": gates}))
    drive.run("a")
    connection, now_ms = drive.machine.connection, drive.machine.now_ms
    assert queries_quality.expired(connection, now_ms + 59_000) == []
    ((checkpoint_id, decision),) = queries_quality.expired(connection, now_ms + 61_000)
    assert decision == policy
    assert drive(ResolveCheckpoint(checkpoint_id, decision, "its time was over")) == status
    assert queries_quality.expired(connection, now_ms + 61_000) == []


def test_a_checkpoint_is_named_by_its_beginning_or_its_task(drive: Driver) -> None:
    drive.submit(subtask("a"), subtask("b"))
    drive(OpenCheckpoint("c1", "task", "a"))
    connection = drive.machine.connection
    for wanted in ("c1", "c", "task", "ta"):
        assert queries_quality.resolve_checkpoint_id(connection, wanted) == "c1"
    drive(OpenCheckpoint("c2", "task", "b"))
    for wanted in ("c", "task"):
        with pytest.raises(InputError, match="c1, c2"):
            queries_quality.resolve_checkpoint_id(connection, wanted)
    with pytest.raises(NotFound):
        queries_quality.resolve_checkpoint_id(connection, "x")


def test_a_stale_review_changes_nothing(drive: Driver) -> None:
    drive.submit(subtask("a", settings={"review": True}))
    drive.run("a", changed())
    ref = drive.allocate("a", node_id="n2", attempt=2)
    stale = AttemptRef("a", 2, ref.token + 1)
    approved = Outcome(ResultStatus.OK, review=Review(approved=True))
    assert drive.finish(stale, approved, "n2") is False
    assert drive.status("a") == "review"
    assert drive.finish(ref, approved, "n2") is True
    assert drive.finish(ref, approved, "n2") is True, "said twice, done once"
    assert drive.task_status() == "completed"
