"""What is read of the state: documents for people, typed rows for coordinator and worker."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paceline.errors import InputError, NotFound
from paceline.tasks import queries
from paceline.tasks.commands import CancelTask, LoseAttempts, SetWorkerStatus, SubmitTask
from paceline.tasks.documents import iso
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import (
    AttemptStatus,
    BlobRef,
    Outcome,
    Output,
    Privacy,
    Repository,
    ResultStatus,
    TaskSpec,
)
from paceline.tasks.schema import open_reader
from tests.tasks.entries import FAILED, START_MS, Driver, subtask

REPOSITORY = Repository("/src", "main", "c0ffee", BlobRef("ab" * 32, 512))

FAR = 10**15


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db")
    yield Driver(machine)
    machine.close()


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000_001, "2023-11-14T22:13:20.001Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (None, None),
    ],
)
def test_times_are_iso_8601_to_the_millisecond(time_ms: int | None, text: str | None) -> None:
    assert iso(time_ms) == text


# --- documents ------------------------------------------------------------------------------------


def test_the_document_of_a_task_has_what_the_contract_names(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"), subtask("b", "a"))
    usage = {"input_tokens": 7}
    output = Output(b"found it\n")
    drive.run("a", Outcome(ResultStatus.OK, "fine", output, 0, usage, 0.25, 12))
    document = queries.task(drive.machine.connection, "task")
    json.dumps(document, allow_nan=False)
    assert document["task_id"] == "task"
    assert document["type"] == "plan"
    assert document["status"] == "in_progress"
    assert document["progress"] == 50
    assert document["privacy"] == "normal"
    assert document["repository"] is None
    assert document["created_at"] == iso(START_MS + 2)
    assert document["checkpoints"] == []
    first, second = document["subtasks"]
    assert (first["name"], first["status"], first["dependencies"]) == ("a", "completed", [])
    assert (first["tool"], first["node_id"]) == ("command", "n1")
    attempt = first["attempts"][0]
    assert attempt["token"] == 3
    assert attempt["status"] == "succeeded"
    assert attempt["started_at"] == iso(START_MS + 4)
    assert attempt["finished_at"] == iso(START_MS + 5)
    assert (attempt["usage"], attempt["cost_usd"], attempt["exit_code"]) == (usage, 0.25, 0)
    assert first["result"]["text"] == "fine"
    assert first["result"]["output"] == {"size": 9, "text": "found it\n"}
    assert (second["dependencies"], second["attempts"], second["result"]) == (["a"], [], None)
    assert (second["tool"], second["node_id"], second["evaluation"]) == ("command", None, None)


def test_outputs_that_are_no_text_or_lie_elsewhere_are_shown_as_such(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"), subtask("b"))
    blob = BlobRef("cd" * 32, 10_000, ("n1", "n2"))
    drive.run("a", Outcome(ResultStatus.OK, output=Output(b"\xff\x00")))
    drive.run("b", Outcome(ResultStatus.OK, output=Output(blob=blob)))
    first, second = queries.subtasks(drive.machine.connection, "task")
    assert first["result"]["output"] == {"size": 2, "base64": "/wA="}
    assert second["result"]["output"] == {
        "size": 10_000,
        "sha256": "cd" * 32,
        "holders": ["n1", "n2"],
    }


def test_a_task_being_cancelled_says_so_in_its_details(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"))
    ref = drive.allocate("a")
    drive(CancelTask("task", "changed my mind"))
    document = queries.task(drive.machine.connection, "task")
    assert document["details"] == {"cancelling": True, "reason": "changed my mind"}
    assert document["subtasks"][0]["cancel_requested"] is True
    drive.finish(ref, Outcome(ResultStatus.CANCELLED))
    document = queries.task(drive.machine.connection, "task")
    assert document["status"] == "cancelled"
    assert document["details"]["cancelling"] is False


def test_checkpoints_and_evaluations_are_part_of_the_document(drive: Driver) -> None:
    drive.submit(subtask("a"))
    db = drive.machine.connection
    db.execute(
        "INSERT INTO checkpoints VALUES ('c', 'task', 'a', 'manual', 'resolved', 'ann',"
        " '{\"score\": 6.5}', 1000, 2000)"
    )
    db.execute("INSERT INTO corrections VALUES ('r', 'c', 'do better', 'correct', 1500)")
    for score in (5.0, 8.5):
        db.execute(
            "INSERT INTO evaluations VALUES (?, 'a', ?, '{}', '{}', 0, ?)",
            (f"e{score}", score, int(score)),
        )
    document = queries.task(db, "task")
    (checkpoint,) = document["checkpoints"]
    assert checkpoint["checkpoint_data"] == {"score": 6.5}
    assert checkpoint["resolved_at"] == "1970-01-01T00:00:02.000Z"
    assert [each["feedback"] for each in checkpoint["corrections"]] == ["do better"]
    assert document["subtasks"][0]["evaluation"]["overall_score"] == 8.5


def test_pages_of_tasks_are_newest_first_and_complete(drive: Driver) -> None:
    db = drive.machine.connection
    for number in range(7):
        drive.submit(subtask(f"s{number}"), task_id=f"t{number}")
    drive.machine.connection.execute("UPDATE tasks SET created_at = 5")  # ties must not lose any
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = queries.tasks(db, limit=3, cursor=cursor)
        assert len(page["tasks"]) <= 3
        seen += [each["task_id"] for each in page["tasks"]]
        cursor = page["next_cursor"]
    assert seen == [f"t{number}" for number in reversed(range(7))]


def test_tasks_are_found_by_status_type_and_words(drive: Driver) -> None:
    db = drive.machine.connection
    for task_id, words in (("one", "100 % done"), ("two", "1000 done"), ("three", "under_score")):
        drive(SubmitTask(TaskSpec(task_id, words, "bug_fix", (subtask(f"{task_id}-s"),)), ""))
    drive(CancelTask("two"))

    def found(**how: str) -> list[str]:
        return [each["task_id"] for each in queries.tasks(db, **how)["tasks"]]  # type: ignore[arg-type]

    assert found(status="cancelled") == ["two"]
    assert found(type="bug_fix") == ["three", "two", "one"]
    assert found(type="plan") == []
    assert found(search="0 %") == ["one"]
    assert found(search="R_S") == ["three"]
    assert found(search="DONE", status="in_progress") == ["one"]
    with pytest.raises(InputError):
        queries.tasks(db, status="asleep")
    with pytest.raises(InputError):
        queries.tasks(db, cursor="nonsense")


def test_counts_name_every_status(drive: Driver) -> None:
    drive.submit(subtask("a"))
    counts = queries.task_counts(drive.machine.connection)
    assert counts["in_progress"] == 1
    assert sum(counts.values()) == 1
    assert len(counts) == 7


def test_an_id_may_be_given_by_its_beginning(drive: Driver) -> None:
    db = drive.machine.connection
    for task_id in ("abc", "abcd", "abx"):
        drive.submit(subtask(f"{task_id}-s"), task_id=task_id)
    assert queries.resolve_task_id(db, "abc") == "abc"
    assert queries.resolve_task_id(db, "abx") == "abx"
    assert queries.resolve_task_id(db, "abcd") == "abcd"
    with pytest.raises(InputError, match="did you mean abc, abcd, abx"):
        queries.resolve_task_id(db, "ab")
    with pytest.raises(NotFound):
        queries.resolve_task_id(db, "b")
    with pytest.raises(InputError):
        queries.resolve_task_id(db, "")


def test_a_subtask_may_be_named(drive: Driver) -> None:
    db = drive.machine.connection
    drive.submit(subtask("build"), subtask("built"))
    assert queries.resolve_subtask_id(db, "task", "build") == "build"
    with pytest.raises(InputError):
        queries.resolve_subtask_id(db, "task", "bui")
    with pytest.raises(NotFound):
        queries.resolve_subtask_id(db, "task", "")


def test_workers_tell_what_they_have_in_their_hands(drive: Driver) -> None:
    drive.register("n1", "n2")
    drive.submit(subtask("a"))
    ref = drive.allocate("a", node_id="n2")
    drive(SetWorkerStatus("n1", "draining", "an update"))
    first, second = queries.workers(drive.machine.connection)
    assert (first["status"], first["draining"], first["reason"]) == ("draining", True, "an update")
    assert first["running"] == []
    assert second["running"] == [
        {
            "task_id": "task",
            "subtask_id": "a",
            "attempt": 1,
            "token": ref.token,
            "tool": "command",
            "status": "allocated",
        }
    ]
    assert second["tools"][0]["name"] == "command"


def test_activity_comes_in_order_and_in_parts(drive: Driver) -> None:
    db = drive.machine.connection
    drive.submit(subtask("a"))
    drive.submit(subtask("b"), task_id="other")
    drive(CancelTask("task"))
    everything = queries.activity(db)
    assert [each["log_id"] for each in everything] == list(range(1, len(everything) + 1))
    assert everything[0]["details"] == {"type": "plan", "subtasks": 1, "submitted_by": "ann"}
    assert everything[0]["timestamp"] == iso(START_MS + 1)
    mine = [each for each in everything if each["task_id"] == "task"]
    got, after = [], 0
    while part := queries.activity(db, after=after, task_id="task", limit=2):
        got += part
        after = part[-1]["log_id"]
    assert got == mine
    assert queries.activity(db, after=after + 100) == []


# --- work -----------------------------------------------------------------------------------------


def ready(drive: Driver, now_ms: int = FAR, limit: int = 100) -> list[str]:
    found = queries.ready_subtasks(drive.machine.connection, now_ms, limit)
    return [each.subtask_id for each in found]


def test_ready_is_pending_with_nothing_unmet_in_a_task_that_goes_on(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"), subtask("b", "a"), subtask("c"))
    drive.submit(subtask("z"), task_id="over")
    drive(CancelTask("over"))
    assert ready(drive) == ["a", "c"]
    drive.run("a")
    assert ready(drive) == ["b", "c"]
    drive.allocate("c")
    assert ready(drive) == ["b"]


def test_the_most_urgent_come_first(drive: Driver) -> None:
    for task_id, priority in (("low", 10), ("high", 90)):
        subtasks = (subtask(f"{task_id}-1", priority=10), subtask(f"{task_id}-2", priority=20))
        drive(SubmitTask(TaskSpec(task_id, "", "plan", subtasks, priority=priority), ""))
    assert ready(drive) == ["high-2", "high-1", "low-2", "low-1"]
    assert ready(drive, limit=1) == ["high-2"]


def test_a_retry_waits_for_its_time(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a", priority=99), subtask("b", "a"), subtask("c"))
    drive.run("a", FAILED)
    now_ms = drive.machine.now_ms
    due = queries.next_ready_ms(drive.machine.connection, now_ms)
    assert due is not None
    assert ready(drive, due - 1) == ["c"]
    assert ready(drive, due) == ["a", "c"]
    assert queries.next_ready_ms(drive.machine.connection, due) is None


def test_a_ready_subtask_comes_with_what_the_planner_needs(drive: Driver) -> None:
    drive.register("n1", "n2")
    spec = TaskSpec(
        "task",
        "words",
        "plan",
        (subtask("a", privacy=Privacy.SENSITIVE), subtask("b")),
        repository=REPOSITORY,
        tool_preferences=("ollama",),
        priority=70,
    )
    drive(SubmitTask(spec, ""))
    drive.run("a", Outcome(ResultStatus.QUOTA, "limit", retryable_after_ms=60_000))
    lost = drive.allocate("a", node_id="n2", attempt=2)
    drive(LoseAttempts((lost,), "no heartbeat"))
    first, second = queries.ready_subtasks(drive.machine.connection, FAR)
    assert first.spec == spec.subtasks[0]
    assert (first.privacy, second.privacy) == (Privacy.SENSITIVE, Privacy.NORMAL)
    assert (first.task_priority, first.tool_preferences) == (70, ("ollama",))
    assert (first.attempts, first.next_attempt, first.failures) == (2, 3, 0)
    assert first.failed_nodes == {"n1", "n2"}
    quota, gone = first.tried
    assert (quota.result_status, quota.retryable_after_ms) == (ResultStatus.QUOTA, 60_000)
    assert (gone.status, gone.result_status) == (AttemptStatus.LOST, None)
    assert first.repository == REPOSITORY
    assert second.tried == ()


def test_active_attempts_are_those_in_somebodys_hands(drive: Driver) -> None:
    drive.register("n1", "n2")
    drive.submit(subtask("a", timeout_s=5.0), subtask("b"))
    first, second = drive.allocate("a"), drive.allocate("b", node_id="n2")
    drive.start(first)
    drive(CancelTask("task"))
    both = queries.active_attempts(drive.machine.connection)
    assert [each.ref for each in both] == [first, second]
    assert [each.status for each in both] == ["running", "allocated"]
    assert all(each.cancel_requested for each in both)
    assert both[0].spec.timeout_s == 5.0
    assert both[0].started_at_ms == START_MS + 6
    (mine,) = queries.attempts_of_node(drive.machine.connection, "n2")
    assert mine == both[1]
    drive.finish(first)
    assert queries.active_attempts(drive.machine.connection) == [mine]


def test_inputs_are_the_direct_dependencies_outputs_byte_for_byte(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"), subtask("b", "a"), subtask("c", "b"))
    raw = Output(bytes(range(256)))
    drive.run("a", FAILED)
    drive.run("a", Outcome(ResultStatus.OK, output=raw), attempt=2)
    db = drive.machine.connection
    assert queries.inputs_of(db, "b") == {"a": raw}
    assert queries.inputs_of(db, "a") == {}
    assert queries.inputs_of(db, "c") == {}


def test_specs_come_back_as_they_were_submitted(drive: Driver) -> None:
    spec = TaskSpec(
        "task",
        "words",
        "plan",
        (subtask("a", labels={"gpu": "yes"}, settings={"model": "x"}), subtask("b", "a")),
        repository=REPOSITORY,
        privacy=Privacy.SENSITIVE,
        tool_preferences=("ollama", "command"),
        metadata={"origin": "page"},
    )
    drive(SubmitTask(spec, ""))
    db = drive.machine.connection
    assert queries.task_spec(db, "task", subtasks=True) == spec
    assert queries.task_spec(db, "task").subtasks == ()
    assert queries.subtask_spec(db, "b") == spec.subtasks[1]
    for missing in (queries.subtask_spec, queries.task_spec):
        with pytest.raises(NotFound):
            missing(db, "nothing")


def test_another_connection_reads_what_is_committed(drive: Driver, tmp_path: Path) -> None:
    reader = open_reader(tmp_path / "state.db")
    drive.submit(subtask("a"))
    assert queries.task(reader, "task") == queries.task(drive.machine.connection, "task")
    reader.close()


def steps_of(drive: Driver, *asks: Callable[[sqlite3.Connection], object]) -> list[str]:
    """Answer how SQLite goes about what is asked."""
    db = drive.machine.connection
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    for ask in asks:
        ask(db)
    db.set_trace_callback(None)
    assert len(asked) >= len(asks)
    return [step for sql in asked for *_, step in db.execute(f"EXPLAIN QUERY PLAN {sql}")]


def test_what_runs_is_named_for_people(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"), subtask("b", "a"))
    assert queries.running(drive.machine.connection) == []
    drive.allocate("a")
    (found,) = queries.running(drive.machine.connection)
    assert (found["name"], found["node_id"], found["status"]) == ("a", "n1", "allocated")
    assert found["task_id"] == "task"
    assert found["allocated_at"].endswith("Z")


def test_tasks_by_their_ids(drive: Driver) -> None:
    drive.submit(subtask("a"))
    assert [
        each["task_id"] for each in queries.tasks(drive.machine.connection, ids=["task"])["tasks"]
    ] == ["task"]
    assert queries.tasks(drive.machine.connection, ids=["other", "' OR 1 --"])["tasks"] == []


def test_the_newest_activity_and_whose_it_is(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"))
    drive.allocate("a")
    every = queries.activity(drive.machine.connection)
    after = queries.newest_activity(drive.machine.connection, 2)
    assert queries.activity(drive.machine.connection, after=after) == every[-2:]
    assert queries.newest_activity(drive.machine.connection, 1000) == 0
    of_task = queries.newest_activity(drive.machine.connection, 1, task_id="task")
    assert len(queries.activity(drive.machine.connection, after=of_task, task_id="task")) == 1
    assert every[-1]["name"] == "a"
    assert every[0]["name"] == ""


def test_what_is_asked_all_the_time_never_reads_a_whole_table(drive: Driver) -> None:
    drive.submit(subtask("a"))
    steps = steps_of(
        drive,
        lambda db: queries.ready_subtasks(db, FAR),
        lambda db: queries.next_ready_ms(db, 0),
        queries.active_attempts,
        lambda db: queries.attempts_of_node(db, "n1"),
        lambda db: queries.inputs_of(db, "a"),
        lambda db: queries.subtask_spec(db, "a"),
        lambda db: queries.activity(db, after=5, task_id="task"),
        lambda db: queries.newest_activity(db, 200),
        lambda db: queries.newest_activity(db, 200, task_id="task"),
        queries.running,
        lambda db: queries.tasks(db, ids=["task", "other"]),
        lambda db: queries.tasks(db, status="in_progress"),
        queries.tasks,
        lambda db: queries.task(db, "task"),
    )
    # These read an index from its beginning and stop at the limit, or hold only what is active.
    bounded = ("attempts_active", "tasks_by_age")
    for step in steps:
        assert not step.startswith("SCAN") or any(index in step for index in bounded), step


def test_pages_and_urgency_come_out_of_an_index_in_order(drive: Driver) -> None:
    steps = steps_of(
        drive,
        lambda db: queries.ready_subtasks(db, FAR),
        lambda db: queries.activity(db, after=5, task_id="task"),
        lambda db: queries.tasks(db, status="in_progress"),
        queries.tasks,
    )
    assert not [step for step in steps if "TEMP B-TREE" in step]


def test_tasks_since_a_moment(drive: Driver) -> None:
    drive.submit(subtask("a"), task_id="old")
    moment_ms = drive.log.now_ms + 1
    drive.submit(subtask("b"), task_id="new")
    found = queries.tasks(drive.machine.connection, since_ms=moment_ms)
    assert [each["task_id"] for each in found["tasks"]] == ["new"]
