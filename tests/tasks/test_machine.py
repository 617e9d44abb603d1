"""The machine, command by command: what each does, refuses and leaves alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.codec import pack
from paceline.errors import Conflict, InputError, NotFound, ProtocolError, StorageError
from paceline.tasks import retry
from paceline.tasks.batch import COMMAND_KIND, HANDLERS
from paceline.tasks.commands import (
    COMMANDS,
    Allocate,
    AttemptRef,
    CancelTask,
    Envelope,
    FinishAttempt,
    ForgetWorker,
    LoseAttempts,
    Placement,
    RetryTask,
    SetWorkerStatus,
    StartAttempts,
    SubmitTask,
    encode_envelope,
)
from paceline.tasks.effects import MAX_TIME_MS, Change
from paceline.tasks.machine import TaskMachine
from paceline.tasks.model import Outcome, Output, ResultStatus, TaskSpec
from tests.tasks.entries import FAILED, OK, START_MS, Driver, Log, subtask, worker


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Driver]:
    machine = TaskMachine(tmp_path / "state.db")
    yield Driver(machine)
    machine.close()


def actions(drive: Driver) -> list[str]:
    sql = "SELECT action FROM activity_logs ORDER BY log_id"
    return [row[0] for row in drive.machine.connection.execute(sql)]


# --- submitting -----------------------------------------------------------------------------------


def test_a_submitted_task_goes_to_in_progress_and_its_subtasks_wait(drive: Driver) -> None:
    assert drive.submit(subtask("a"), subtask("b", "a")) == "task"
    assert drive.task_status() == "in_progress"
    assert [drive.status(each) for each in "ab"] == ["pending", "pending"]
    assert actions(drive) == ["task_pending", "task_initializing", "task_in_progress"]
    unmet = drive.machine.connection.execute("SELECT subtask_id, unmet FROM subtasks").fetchall()
    assert unmet == [("a", 0), ("b", 1)]


def test_the_same_idempotency_key_answers_the_first_task(drive: Driver) -> None:
    assert drive.submit(subtask("a"), key="k") == "task"
    assert drive.submit(subtask("z"), task_id="other", key="k") == "task"
    assert drive.column("SELECT count(*) FROM tasks") == 1


def test_without_a_key_nothing_is_deduplicated(drive: Driver) -> None:
    assert drive.submit(subtask("a")) == "task"
    assert drive.submit(subtask("b"), task_id="other") == "other"


@pytest.mark.parametrize(
    ("subtasks", "words"),
    [
        ((), "1 to"),
        ((subtask("a"), subtask("a")), "same name"),
        ((subtask("a", "b"),), "no subtask has that name"),
        ((subtask("a", "a"),), "depends on itself"),
        ((subtask("a", "c"), subtask("b", "a"), subtask("c", "b")), "depends on itself"),
        ((subtask(""),), "needs an id"),
        ((subtask("a", max_attempts=0),), "max_attempts"),
        ((subtask("a", timeout_s=float("nan")),), "timeout_s"),
        ((subtask("x" * 256),), "255"),
    ],
)
def test_what_cannot_be_worked_off_is_refused_and_leaves_no_trace(
    drive: Driver, subtasks: tuple[object, ...], words: str
) -> None:
    refusal = drive.submit(*subtasks)  # type: ignore[arg-type]
    assert isinstance(refusal, InputError)
    assert words in str(refusal)
    for table in ("tasks", "subtasks", "subtask_specs", "dependencies", "users", "activity_logs"):
        assert drive.column(f"SELECT count(*) FROM {table}") == 0
    assert drive.column("SELECT count(*) FROM requests") == 1


def test_ids_that_are_taken_are_refused(drive: Driver) -> None:
    drive.submit(subtask("a"))
    assert isinstance(drive.submit(subtask("b")), Conflict)
    assert isinstance(drive.submit(subtask("a"), task_id="other"), Conflict)


def test_what_others_put_into_metadata_never_stops_the_machine(drive: Driver) -> None:
    deep: list[object] = []
    for _ in range(400):
        deep = [deep]
    metadata = {"deep": deep, "bytes": b"\xff", "nan": float("nan"), "words": "ümlaut \x00"}
    spec = TaskSpec("task", "words", "plan", (subtask("a"),), metadata=metadata)
    assert drive(SubmitTask(spec, "")) == "task"
    kept = drive.column("SELECT task_metadata FROM tasks")
    assert '"bytes":"ff"' in kept
    assert '"nan":null' in kept


# --- allocating -----------------------------------------------------------------------------------


def test_the_entrys_index_is_the_token_of_all_its_placements(drive: Driver) -> None:
    drive.register("n1", "n2")
    drive.submit(subtask("a"), subtask("b"))
    placements = (Placement("a", 1, "n1", "command"), Placement("b", 1, "n2", "command"))
    assert drive(Allocate(placements)) == {"allocated": 2, "void": []}
    tokens = drive.machine.connection.execute("SELECT token FROM attempts").fetchall()
    assert tokens == [(drive.log.index,)] * 2
    assert drive.status("a") == drive.status("b") == "allocated"


@pytest.mark.parametrize(
    ("placement", "why"),
    [
        (Placement("zz", 1, "n1", "command"), "no such subtask"),
        (Placement("b", 1, "n1", "command"), "1 of its dependencies"),
        (Placement("a", 2, "n1", "command"), "its next attempt is 1"),
        (Placement("a", 1, "nobody", "command"), "not known"),
        (Placement("a", 1, "gone", "command"), "offline"),
        (Placement("a", 1, "drains", "command"), "draining"),
        (Placement("a", 1, "broken", "command"), "error"),
        (Placement("held", 2, "n1", "command"), "it is allocated"),
        (Placement("over", 1, "n1", "command"), "it is cancelled"),
    ],
)
def test_a_placement_that_does_not_fit_the_state_is_void(
    drive: Driver, placement: Placement, why: str
) -> None:
    drive.register("n1", "gone", "drains", "broken")
    for node_id, status in (("gone", "offline"), ("drains", "draining"), ("broken", "error")):
        drive(SetWorkerStatus(node_id, status))
    drive.submit(subtask("a"), subtask("b", "a"), subtask("held"))
    drive.submit(subtask("over"), task_id="other")
    drive(CancelTask("other"))
    drive.allocate("held")
    before = drive.column("SELECT count(*) FROM activity_logs")
    result = drive(Allocate((placement,)))
    assert result["allocated"] == 0
    assert why in result["void"][0][1]
    assert drive.column("SELECT count(*) FROM attempts") == 1
    assert drive.column("SELECT count(*) FROM activity_logs") == before


def test_a_void_placement_does_not_stop_the_others(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"))
    twice = (Placement("a", 1, "n1", "command"), Placement("a", 1, "n1", "command"))
    assert drive(Allocate(twice)) == {"allocated": 1, "void": [["a", "it is allocated"]]}


# --- an attempt's life ----------------------------------------------------------------------------


def test_a_chain_is_worked_off_and_progress_is_counted(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"), subtask("b", "a"), subtask("c", "a", "b"))
    for done, each in enumerate("abc"):
        assert drive.column("SELECT progress FROM tasks") == 100 * done // 3
        assert drive.run(each) is True
        assert drive.status(each) == "completed"
    assert drive.task_status() == "completed"
    assert drive.column("SELECT progress FROM tasks") == 100
    assert drive.column("SELECT max(unmet) FROM subtasks") == 0
    assert actions(drive)[-4:] == [
        "subtask_allocated",
        "subtask_in_progress",
        "subtask_completed",
        "task_completed",
    ]


def test_an_outcome_right_from_allocated_counts(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"))
    assert drive.finish(drive.allocate("a")) is True
    assert drive.task_status() == "completed"


def test_starting_answers_how_many_are_still_the_workers(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"))
    ref = drive.allocate("a")
    assert drive.start(AttemptRef("a", 1, ref.token + 1)) == 0
    assert drive.start(ref, node_id="n2") == 0
    assert drive.status("a") == "allocated"
    assert drive.start(ref) == 1
    assert drive.start(ref) == 1
    assert actions(drive).count("subtask_in_progress") == 1


@pytest.mark.parametrize(
    ("token_offset", "node_id"), [(1, "n1"), (-1, "n1"), (0, "n2")], ids=["new", "old", "node"]
)
def test_a_stale_outcome_changes_nothing_and_is_noted(
    drive: Driver, token_offset: int, node_id: str
) -> None:
    drive.register("n1")
    drive.submit(subtask("a"))
    ref = drive.allocate("a")
    stale = AttemptRef("a", 1, ref.token + token_offset)
    assert drive.finish(stale, node_id=node_id) is False
    assert drive.status("a") == "allocated"
    assert actions(drive)[-1] == "attempt_stale"


def test_an_outcome_for_what_is_not_known_is_stale(drive: Driver) -> None:
    assert drive.finish(AttemptRef("a", 1, 1)) is False


def test_an_outcome_repeated_under_a_new_request_still_counted(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"))
    ref = drive.allocate("a")
    assert drive.finish(ref) is True
    before = drive.column("SELECT max(log_id) FROM activity_logs")
    assert drive.finish(ref) is True
    assert drive.column("SELECT max(log_id) FROM activity_logs") == before


def test_another_outcome_after_the_first_is_stale(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"))
    ref = drive.allocate("a")
    drive.finish(ref)
    assert drive.finish(ref, FAILED) is False
    assert drive.status("a") == "completed"


def test_the_outcome_of_a_lost_attempt_is_never_accepted(drive: Driver) -> None:
    drive.register("n1", "n2")
    drive.submit(subtask("a"))
    lost = drive.allocate("a")
    drive.start(lost)
    assert drive(LoseAttempts((lost,), "no heartbeat")) == 1
    second = drive.allocate("a", node_id="n2", attempt=2)
    assert drive.finish(lost) is False
    assert drive.status("a") == "allocated"
    assert drive.finish(second, node_id="n2") is True
    assert drive.column("SELECT count(*) FROM attempts WHERE status = 'succeeded'") == 1


# --- failing --------------------------------------------------------------------------------------


def test_a_failure_waits_for_its_back_off_and_is_tried_again(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"))
    drive.run("a", FAILED)
    assert drive.status("a") == "pending"
    wait = drive.column("SELECT not_before FROM subtasks") - drive.machine.now_ms
    assert wait == retry.backoff_ms(1, "a", 1)
    assert drive.run("a", attempt=2) is True
    assert drive.task_status() == "completed"


def test_the_last_failure_fails_the_task_and_cancels_what_hangs_on_it(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(
        subtask("a", max_attempts=2),
        subtask("b", "a"),
        subtask("c", "b", "other"),
        subtask("other"),
        subtask("after", "other"),
    )
    drive.run("a", FAILED)
    running = drive.allocate("other")
    drive.run("a", FAILED, attempt=2)
    assert drive.status("a") == "failed"
    assert [drive.status(each) for each in "bc"] == ["cancelled", "cancelled"]
    reasons = drive.machine.connection.execute(
        "SELECT reason FROM subtasks WHERE status = 'cancelled'"
    ).fetchall()
    assert reasons == [("a dependency failed",)] * 2
    assert drive.task_status() == "failed"
    # The branch that does not hang on it goes on, and what it makes ready may still be placed.
    assert drive.finish(running) is True
    assert drive.run("after") is True
    assert drive.task_status() == "failed"
    assert drive.column("SELECT progress FROM tasks") == 40


@pytest.mark.parametrize("status", [ResultStatus.AUTH, ResultStatus.DENIED, ResultStatus.CANCELLED])
def test_what_cannot_be_helped_is_not_tried_again(drive: Driver, status: ResultStatus) -> None:
    drive.register("n1")
    drive.submit(subtask("a"))
    drive.run("a", Outcome(status, "no"))
    assert drive.status("a") == "failed"
    assert drive.task_status() == "failed"


def test_a_usage_limit_that_ends_does_not_count_as_a_failure(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a", max_attempts=1))
    quota = Outcome(ResultStatus.QUOTA, "limit", retryable_after_ms=60_000)
    drive.run("a", quota)
    assert drive.status("a") == "pending"
    assert drive.column("SELECT not_before FROM subtasks") == 0
    drive.run("a", quota, attempt=2)
    wait = drive.column("SELECT not_before FROM subtasks") - drive.machine.now_ms
    assert 0 < wait <= 60_000
    assert drive.run("a", attempt=3) is True


def test_a_usage_limit_without_an_end_is_a_failure(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a", max_attempts=1))
    drive.run("a", Outcome(ResultStatus.QUOTA, "limit"))
    assert drive.status("a") == "failed"


def test_lost_attempts_do_not_count_but_have_their_own_bound(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a", max_attempts=1), subtask("b", "a"))
    for attempt in range(1, retry.LOSS_LIMIT):
        ref = drive.allocate("a", attempt=attempt)
        assert drive(LoseAttempts((ref,), "no heartbeat")) == 1
        assert drive.status("a") == "pending"
        assert drive.column("SELECT not_before FROM subtasks") == 0
    ref = drive.allocate("a", attempt=retry.LOSS_LIMIT)
    drive(LoseAttempts((ref,), "no heartbeat"))
    assert drive.status("a") == "failed"
    assert drive.status("b") == "cancelled"
    assert drive(LoseAttempts((ref,), "again")) == 0


def test_back_off_doubles_within_a_quarter_and_has_a_limit() -> None:
    for failures in range(1, 40):
        base = min(1_000 * 2 ** (failures - 1), retry.BACKOFF_LIMIT_MS)
        assert base * 3 // 4 <= retry.backoff_ms(failures, "a", failures) <= base * 5 // 4
    spread = {retry.backoff_ms(1, f"subtask {number}", 1) for number in range(100)}
    assert len(spread) > 50


# --- cancelling and retrying ----------------------------------------------------------------------


def test_a_task_that_nobody_works_on_is_cancelled_at_once(drive: Driver) -> None:
    drive.submit(subtask("a"), subtask("b", "a"))
    assert drive(CancelTask("task", "changed my mind")) == "cancelled"
    assert drive.task_status() == "cancelled"
    assert [drive.status(each) for each in "ab"] == ["cancelled", "cancelled"]
    assert drive(CancelTask("task")) == "cancelled"


def test_running_subtasks_are_marked_and_the_last_one_ends_the_task(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"), subtask("b"), subtask("c"))
    first, second = drive.allocate("a"), drive.allocate("b")
    drive.start(first)
    assert drive(CancelTask("task")) == "cancelling"
    assert drive(CancelTask("task")) == "cancelling"
    assert drive.status("c") == "cancelled"
    marks = "SELECT sum(cancel_requested) FROM subtasks"
    assert drive.column(marks) == 2
    assert drive.task_status() == "in_progress"
    drive.finish(first, Outcome(ResultStatus.CANCELLED))
    assert drive.status("a") == "cancelled"
    assert isinstance(drive(RetryTask("task")), Conflict)
    drive(LoseAttempts((second,), "no heartbeat"))
    assert drive.status("b") == "cancelled"
    assert drive.task_status() == "cancelled"
    assert drive.column(marks) == 0


def test_work_that_was_done_before_the_cancel_arrived_is_kept(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"), subtask("b", "a"))
    ref = drive.allocate("a")
    drive(CancelTask("task"))
    assert drive.finish(ref) is True
    assert drive.status("a") == "completed"
    assert drive.task_status() == "cancelled"
    assert drive.column("SELECT unmet FROM subtasks WHERE subtask_id = 'b'") == 0


def test_a_failed_task_whose_branches_go_on_can_be_cancelled(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a", max_attempts=1), subtask("b"))
    drive.run("a", FAILED)
    assert drive(CancelTask("task")) == "cancelled"
    assert drive.task_status() == "cancelled"


def test_what_has_ended_cannot_be_cancelled(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"))
    drive.run("a")
    assert isinstance(drive(CancelTask("task")), Conflict)
    assert isinstance(drive(CancelTask("nothing")), NotFound)


def test_a_retried_task_runs_to_its_end(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a", max_attempts=1), subtask("b", "a"))
    drive.run("a", FAILED)
    assert drive(RetryTask("task")) == "in_progress"
    assert [drive.status(each) for each in "ab"] == ["pending", "pending"]
    assert drive.run("a", attempt=2) is True
    assert drive.run("b") is True
    assert drive.task_status() == "completed"


def test_attempts_count_from_the_retry_on(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a", max_attempts=2))
    for attempt in (1, 2):
        drive.run("a", FAILED, attempt=attempt)
    drive(RetryTask("task"))
    drive.run("a", FAILED, attempt=3)
    assert drive.status("a") == "pending"
    drive.run("a", FAILED, attempt=4)
    assert drive.status("a") == "failed"


def test_one_subtask_is_retried_with_what_it_needs_and_what_hangs_on_it(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(
        subtask("a", max_attempts=1),
        subtask("b", "a"),
        subtask("x", max_attempts=1),
        subtask("both", "a", "x"),
    )
    drive.run("a", FAILED)
    drive.run("x", FAILED)
    assert drive(RetryTask("task", "b")) == "in_progress"
    assert drive.status("a") == "pending"
    assert drive.status("b") == "pending"
    assert drive.status("x") == "failed"
    assert drive.status("both") == "cancelled"
    drive.run("a", attempt=2)
    drive.run("b")
    assert drive.task_status() == "failed"


def test_there_must_be_something_to_retry(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"))
    assert isinstance(drive(RetryTask("task")), Conflict)
    assert isinstance(drive(RetryTask("task", "a")), Conflict)
    assert isinstance(drive(RetryTask("task", "z")), NotFound)
    assert isinstance(drive(RetryTask("nothing")), NotFound)


# --- workers --------------------------------------------------------------------------------------


def test_registering_again_without_change_is_nothing(drive: Driver) -> None:
    assert drive(worker("n1")) is True
    assert drive(worker("n1")) is False
    assert drive(worker("n1", version="2")) is True
    assert actions(drive) == ["worker_registered", "worker_changed"]


def test_a_worker_is_judged(drive: Driver) -> None:
    drive.register("n1")
    assert drive(SetWorkerStatus("n1", "offline", "no heartbeat")) == "offline"
    assert drive(SetWorkerStatus("n1", "offline")) == "offline"
    assert isinstance(drive(SetWorkerStatus("n1", "busy")), Conflict)
    assert isinstance(drive(SetWorkerStatus("n1", "asleep")), InputError)
    assert isinstance(drive(SetWorkerStatus("n2", "online")), NotFound)


def test_a_worker_that_drains_drains_on_when_it_is_back(drive: Driver) -> None:
    drive.register("n1")
    for wanted, becomes in (
        ("draining", "draining"),
        ("offline", "offline"),
        ("online", "draining"),
        ("online", "online"),
        ("offline", "offline"),
        ("online", "online"),
    ):
        assert drive(SetWorkerStatus("n1", wanted)) == becomes


def test_forgetting_a_worker_loses_what_it_held(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"))
    drive.allocate("a")
    assert drive(ForgetWorker("n1")) is True
    assert drive.status("a") == "pending"
    assert drive.column("SELECT count(*) FROM workers") == 0
    assert drive(ForgetWorker("n1")) is False


# --- entries --------------------------------------------------------------------------------------


def test_every_command_has_its_function() -> None:
    assert set(HANDLERS) == set(COMMANDS._class_of.values())


def test_entries_at_or_below_the_applied_index_change_nothing(drive: Driver) -> None:
    drive.submit(subtask("a"))
    digest = drive.machine.digest()
    assert drive.machine.apply(drive.log.entries) == [None]
    again = drive.log.command(SubmitTask(TaskSpec("t2", "", "plan", (subtask("b"),)), ""))
    assert drive.machine.apply([*drive.log.entries[:1], again]) == [None, "t2"]
    assert drive.machine.digest() != digest


def test_a_gap_is_refused(drive: Driver) -> None:
    drive.log.raw(0)
    with pytest.raises(StorageError, match="comes next"):
        drive.machine.apply([drive.log.raw(0)])
    assert drive.machine.applied_index == 0


def test_entries_that_are_no_commands_move_the_index_on(drive: Driver) -> None:
    assert drive.machine.apply([drive.log.raw(0), drive.log.raw(2, b"members")]) == [None, None]
    assert (drive.machine.applied_index, drive.machine.applied_term) == (2, 1)


def test_the_same_request_answers_what_the_first_did(drive: Driver) -> None:
    drive.register("n1")
    first = drive(SetWorkerStatus("n1", "offline"), request_id=b"once")
    drive(SetWorkerStatus("n1", "online"))
    assert drive(SetWorkerStatus("n1", "offline"), request_id=b"once") == first
    assert drive.column("SELECT status FROM workers") == "online"


def test_a_repeated_refusal_is_the_same_refusal(drive: Driver) -> None:
    first = drive(CancelTask("nothing"), request_id=b"once")
    drive.submit(subtask("a"), task_id="nothing")
    again = drive(CancelTask("nothing"), request_id=b"once")
    assert type(again) is type(first) is NotFound
    assert str(again) == str(first)


def test_a_request_is_repeated_within_one_batch(drive: Driver) -> None:
    entries = [drive.log.command(worker("n1"), request_id=b"once") for _ in range(2)]
    assert drive.machine.apply(entries) == [True, True]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x90",
        pack([1, b"id", 0, START_MS, "origin", [1, "not a spec"]]),
        pack([1, b"id", 0, START_MS, "origin", [10, "n1"], "no level"]),
        pack({"a": 1}),
    ],
)
def test_what_cannot_be_read_is_refused_and_the_log_goes_on(drive: Driver, data: bytes) -> None:
    result = drive.machine.apply([drive.log.raw(COMMAND_KIND, data)])[0]
    assert isinstance(result, ProtocolError)
    assert drive.submit(subtask("a")) == "task"


@pytest.mark.parametrize("now_ms", [-1, MAX_TIME_MS + 1])
def test_a_time_without_a_date_is_refused(drive: Driver, now_ms: int) -> None:
    data = encode_envelope(Envelope(b"id", 0, now_ms, "origin", worker("n1")))
    assert isinstance(drive.machine.apply([drive.log.raw(1, data)])[0], InputError)


def test_time_never_runs_backwards(drive: Driver) -> None:
    drive.register("n1")
    seen = drive.machine.now_ms
    drive.log.now_ms -= 10_000
    drive.register("n2")
    assert drive.machine.now_ms == seen
    times = drive.machine.connection.execute("SELECT DISTINCT timestamp FROM activity_logs")
    assert times.fetchall() == [(seen,)]


def test_a_number_too_large_for_a_column_refuses_that_entry_only(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"), subtask("b"))
    refs = drive.allocate("a"), drive.allocate("b")
    huge = Outcome(ResultStatus.OK, duration_ms=2**63)
    entries = [
        drive.log.command(StartAttempts((refs[0],), "n1")),
        drive.log.command(FinishAttempt(refs[0], "n1", huge)),
        drive.log.command(FinishAttempt(refs[1], "n1", OK)),
    ]
    started, refused, finished = drive.machine.apply(entries)
    assert started == 1
    assert isinstance(refused, InputError)
    assert finished is True
    assert drive.status("a") == "in_progress"
    assert drive.status("b") == "completed"


def test_the_activity_log_is_gapless(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a", max_attempts=1), subtask("b", "a"))
    drive.submit(subtask(""), task_id="refused")
    drive.run("a", FAILED)
    ids = [row[0] for row in drive.machine.connection.execute("SELECT log_id FROM activity_logs")]
    assert ids == list(range(1, len(ids) + 1))


def test_listeners_hear_what_changed_until_they_go(drive: Driver) -> None:
    heard: list[Change] = []
    stop = drive.machine.on_applied(heard.extend)
    drive.register("n1")
    drive.submit(subtask("a"))
    heard.clear()
    ref = drive.allocate("a")
    assert heard == [
        Change("attempt", "allocated", "task", "a", "n1", 1, ref.token),
        Change("subtask", "allocated", "task", "a", "n1", 1, ref.token),
    ]
    heard.clear()
    drive(CancelTask("task"))
    assert heard[0] == Change("attempt", "allocated", "task", "a", "n1", 1, ref.token)
    heard.clear()
    stop()
    drive.finish(ref)
    assert heard == []


def test_a_batch_is_cut_anywhere_with_the_same_end(tmp_path: Path) -> None:
    log = Log()
    log.command(worker("n1"))
    log.command(SubmitTask(TaskSpec("task", "", "plan", (subtask("a"), subtask("b"))), "k"))
    log.command(Allocate((Placement("a", 1, "n1", "command"),)))
    log.raw(0)
    log.raw(1, b"\xc1")
    log.command(
        FinishAttempt(AttemptRef("a", 1, 3), "n1", Outcome(ResultStatus.OK, cost_usd=1e400))
    )
    log.command(
        FinishAttempt(AttemptRef("a", 1, 3), "n1", Outcome(ResultStatus.OK, exit_code=2**63))
    )
    log.command(CancelTask("task"))
    digests = set()
    for size in range(1, len(log.entries) + 1):
        machine = TaskMachine(tmp_path / f"{size}.db")
        for start in range(0, len(log.entries), size):
            machine.apply(log.entries[start : start + size])
        digests.add(machine.digest())
        machine.close()
    assert len(digests) == 1


def test_outputs_of_any_bytes_are_kept(drive: Driver) -> None:
    drive.register("n1")
    drive.submit(subtask("a"))
    drive.run("a", Outcome(ResultStatus.OK, output=Output(bytes(range(256)))))
    assert drive.task_status() == "completed"
