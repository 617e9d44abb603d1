"""What the planner proposes, and in which order work goes."""

from typing import Any

import pytest

from paceline.tasks.commands import (
    Allocate,
    AttemptRef,
    Command,
    LoseAttempts,
    Placement,
    RecallAttempts,
    SetWorkerStatus,
)
from paceline.tasks.model import Running, ToolState, WorkerStatus
from paceline.tasks.phases import WORKER
from paceline.tasks.schedule import (
    DRAINED,
    ActiveAttempt,
    PlanningSettings,
    PlanningView,
    ReadySubtask,
    WorkerView,
    next_wakeup_ms,
    plan,
)
from paceline.tasks.throttles import Throttle
from tests.tasks.planning import NOW_MS, active, ready, view, worker

MINUTE_MS = 60_000
SICK = (ToolState("ollama", healthy=False, reason="gone"),)


def placed(picture: PlanningView) -> list[Placement]:
    """Answer the placements of the one Allocate, if there is one."""
    allocations = [command for command in plan(picture) if isinstance(command, Allocate)]
    assert len(allocations) <= 1
    return [placement for command in allocations for placement in command.placements]


def order(*things: WorkerView | ReadySubtask | ActiveAttempt, **more: Any) -> str:
    """Answer in which order subtasks go, given one worker with as many slots as needed."""
    roomy = worker("n", slots=100)
    return " ".join(each.subtask_id for each in placed(view(roomy, *things, **more)))


def commands(kind: type[Command], picture: PlanningView) -> list[Command]:
    return [command for command in plan(picture) if isinstance(command, kind)]


# --- placing --------------------------------------------------------------------------------------


def test_nothing_to_do_is_nothing_to_propose() -> None:
    assert plan(view()) == []
    assert plan(view(worker("a"))) == []
    assert plan(view(ready("s"))) == []


def test_all_that_is_ready_goes_into_one_command() -> None:
    picture = view(
        worker("a", tools="command"),
        worker("b", tools="ollama"),
        ready("s", attempt=3),
        ready("t", tools="codex ollama"),
    )
    assert plan(picture) == [
        Allocate((Placement("s", 3, "a", "command", 10.0), Placement("t", 1, "b", "ollama", 7.5)))
    ]


def test_slots_are_counted_while_placing() -> None:
    picture = view(
        worker("a", slots=2),
        worker("b", slots=3),
        active("x", "a"),
        *(ready(f"s{number}") for number in range(9)),
    )
    nodes = [placement.node_id for placement in placed(picture)]
    assert (nodes.count("a"), nodes.count("b"), len(nodes)) == (1, 3, 4)


def test_the_slots_of_a_tool_are_counted_while_placing() -> None:
    tools = (ToolState("claude_code", slots=2), ToolState("ollama"))
    picture = view(
        worker("a", tools=tools, slots=5),
        active("x", "a", tool="claude_code"),
        *(ready(f"s{number}", tools="claude_code ollama") for number in range(3)),
        *(ready(f"t{number}", tools="claude_code") for number in range(3)),
    )
    assert [(each.subtask_id, each.tool) for each in placed(picture)] == [
        ("s0", "claude_code"),
        ("s1", "ollama"),
        ("s2", "ollama"),
    ]


def test_equal_machines_share_the_work() -> None:
    workers = [worker(name, slots=4) for name in "abcd"]
    nodes = [each.node_id for each in placed(view(*workers, *(ready(str(n)) for n in range(8))))]
    assert sorted(nodes) == sorted("abcd" * 2)
    assert nodes[:4] == list("abcd")


def test_what_nobody_can_take_holds_up_nobody() -> None:
    blocked = [ready(f"b{number}", tools="codex", task_priority=100) for number in range(5)]
    assert order(*blocked, ready("s")) == "s"


def test_one_plan_is_bounded() -> None:
    subtasks = [ready(f"s{number:03}") for number in range(50)]
    settings = PlanningSettings(batch_limit=20)
    assert len(placed(view(worker("a", slots=100), *subtasks, settings=settings))) == 20


def test_a_retry_waits_for_its_back_off() -> None:
    assert order(ready("s", not_before_ms=NOW_MS + 1), ready("t", not_before_ms=NOW_MS)) == "t"


def test_what_is_held_or_named_twice_is_placed_once() -> None:
    assert order(ready("s"), ready("s"), ready("t"), active("t", "n")) == "s"


def test_only_workers_that_the_state_has_as_fit_are_given_work() -> None:
    # The machine would refuse the placement: first the worker's return has to be committed.
    picture = view(worker("a", status=WorkerStatus.OFFLINE), ready("s"))
    assert plan(picture) == [SetWorkerStatus("a", "online")]


# --- the order of work ----------------------------------------------------------------------------


def test_the_priority_of_the_task_goes_before_that_of_the_subtask() -> None:
    low = ready("low", task="A", task_priority=10, priority=100)
    high = ready("high", task="B", task_priority=90, priority=0)
    assert order(low, high) == "high low"


def test_within_a_task_priority_decides_then_position() -> None:
    subtasks = [
        ready("c", priority=50, position=2),
        ready("b", priority=50, position=1),
        ready("a", priority=60, position=3),
    ]
    assert order(*subtasks) == "a b c"


def test_without_positions_the_views_order_stands() -> None:
    assert order(ready("z"), ready("y"), ready("x")) == "z y x"


def test_tasks_of_one_priority_take_turns() -> None:
    first = [ready(f"a{number}", task="A") for number in range(3)]
    second = [ready(f"b{number}", task="B") for number in range(2)]
    assert order(*first, *second) == "a0 b0 a1 b1 a2"


def test_who_has_fewer_running_goes_first() -> None:
    first = [ready(f"a{number}", task="A") for number in range(3)]
    second = [ready(f"b{number}", task="B") for number in range(3)]
    running = [active("x", "other", task="A"), active("y", "other", task="A")]
    assert order(*first, *second, *running) == "b0 b1 a0 b2 a1 a2"


def test_with_one_slot_the_task_that_was_served_longest_ago_goes_first() -> None:
    tasks = [ready("a", task="A"), ready("b", task="B"), ready("c", task="C")]
    assert order(*tasks) == "a b c"
    assert order(*tasks, served={"A": 30, "B": 10}) == "c b a"


def waited(subtask_id: str, minutes: float, priority: int) -> ReadySubtask:
    since_ms = NOW_MS - int(minutes * MINUTE_MS)
    return ready(subtask_id, task=subtask_id, task_priority=priority, waiting_since_ms=since_ms)


def test_waiting_lifts_a_task_to_the_level_of_the_urgent() -> None:
    # 40 points at half a minute each; the urgent one has a subtask running already.
    urgent, running = waited("urgent", 0, 90), active("x", "other", task="urgent")
    assert order(waited("old", 19.9, 50), urgent, running) == "urgent old"
    assert order(waited("old", 20, 50), urgent, running) == "old urgent"


def test_waiting_lifts_nobody_above_the_urgent() -> None:
    urgent = [ready(f"u{number}", task="U", task_priority=90) for number in range(2)]
    older = [
        ready(f"o{number}", task="O", task_priority=50, waiting_since_ms=NOW_MS - 60 * MINUTE_MS)
        for number in range(2)
    ]
    assert order(*urgent, *older) == "u0 o0 u1 o1"


def test_age_decides_nothing_between_tasks_of_one_priority() -> None:
    old = [ready(f"o{number}", task="O", waiting_since_ms=0) for number in range(3)]
    assert order(*old, ready("new", task="N")) == "o0 new o1 o2"


def test_what_has_no_known_age_does_not_age() -> None:
    unknown = ready("s", task="A", task_priority=1, waiting_since_ms=None)
    assert order(unknown, waited("t", 0, 2)) == "t s"


def test_nobody_starves() -> None:
    """A slot frees every second, and somebody urgent always waits for it."""
    start_ms, settings = NOW_MS, PlanningSettings(ageing_ms=1_000)
    old = ready("old", task="old", task_priority=0, waiting_since_ms=start_ms)
    for second in range(200):
        now_ms = start_ms + second * 1_000
        urgent = ready(f"u{second}", task="urgent", task_priority=100, waiting_since_ms=now_ms)
        picture = PlanningView(
            now_ms,
            (worker("n", slots=1),),
            (urgent, old),
            applied_index=1,
            settings=settings,
            served={"urgent": second},
        )
        if placed(picture)[0].subtask_id == "old":
            assert second == 100
            return
    pytest.fail("it has waited for 200 seconds")


# --- losses ---------------------------------------------------------------------------------------


def test_losses_go_first_in_one_command_per_reason() -> None:
    picture = view(
        worker("dead", dead=True),
        worker("gone", silent_ms=12_000),
        worker("n", slots=9, running=()),
        active("a", "dead"),
        active("b", "gone", token=9, attempt=2),
        active("c", "dead"),
        ready("s"),
    )
    assert plan(picture) == [
        LoseAttempts(
            (AttemptRef("a", 1, 7), AttemptRef("c", 1, 7)), "its worker's process has ended"
        ),
        LoseAttempts((AttemptRef("b", 2, 9),), "its worker's lease has ended: silent for 12.0 s"),
        SetWorkerStatus("dead", "offline", "its process has ended"),
        SetWorkerStatus("gone", "offline", "no heartbeat comes from it"),
        Allocate((Placement("s", 1, "n", "command", 10.0),)),
    ]


def test_many_losses_are_split() -> None:
    held = [active(f"s{number}", "nobody") for number in range(25)]
    settings = PlanningSettings(batch_limit=10)
    lost = commands(LoseAttempts, view(*held, settings=settings))
    assert [len(each.attempts) for each in lost if isinstance(each, LoseAttempts)] == [10, 10, 5]


# --- statuses of workers --------------------------------------------------------------------------

ONLINE, BUSY, OFFLINE = WorkerStatus.ONLINE, WorkerStatus.BUSY, WorkerStatus.OFFLINE
ERROR, DRAINING = WorkerStatus.ERROR, WorkerStatus.DRAINING
FULL = (active("x", "n"), active("y", "n"))
JUST_FULL = (active("x", "n"), active("y", "n", allocated_at_ms=NOW_MS - 1_999))
LONG_FULL = (active("x", "n"), active("y", "n", allocated_at_ms=NOW_MS - 2_000))

STATUSES = [
    (ONLINE, {"dead": True}, (), "offline"),
    (ONLINE, {"silent_ms": 2_001}, (), "offline"),
    (BUSY, {"dead": True}, (), "offline"),
    (ERROR, {"silent_ms": 2_001}, (), "offline"),
    (DRAINING, {"dead": True}, (), "offline"),
    (OFFLINE, {"dead": True}, (), None),
    (OFFLINE, {}, (), "online"),
    (ONLINE, {"silent_ms": 2_000}, (), None),
    (ONLINE, {"heard": False}, (), None),
    (OFFLINE, {"heard": False}, (), None),
    (ONLINE, {"heard": False, "silent_ms": 2_001}, (), "offline"),
    (DRAINING, {}, (), None),
    (DRAINING, {}, FULL, None),
    (ONLINE, {}, FULL, "busy"),
    (BUSY, {}, FULL, None),
    (BUSY, {}, FULL[:1], "online"),
    (BUSY, {}, JUST_FULL, None),
    (ONLINE, {}, JUST_FULL, None),
    (ONLINE, {}, LONG_FULL, "busy"),
    (OFFLINE, {}, FULL, "online"),
    (ERROR, {}, (), "online"),
    (ONLINE, {"tools": SICK}, (), "error"),
    (BUSY, {"tools": SICK}, FULL, "error"),
    (ERROR, {"tools": SICK}, (), None),
    (ONLINE, {"tools": (*SICK, ToolState("command"))}, (), None),
    (ONLINE, {"tools": ""}, (), None),
    (ONLINE, {"slots": 0}, (), None),
]


@pytest.mark.parametrize(("status", "facts", "held", "wanted"), STATUSES)
def test_statuses(
    status: WorkerStatus,
    facts: dict[str, Any],
    held: tuple[ActiveAttempt, ...],
    wanted: str | None,
) -> None:
    proposed = commands(SetWorkerStatus, view(worker("n", status=status, **facts), *held))
    found = [each.status for each in proposed if isinstance(each, SetWorkerStatus)]
    assert found == ([wanted] if wanted else [])


def test_a_status_that_follows_is_a_legal_change() -> None:
    for status, _, _, wanted in STATUSES:
        assert wanted is None or wanted in WORKER[status]


# --- the next look --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("things", "in_ms"),
    [
        ((), None),
        ((worker("n", silent_ms=500),), 1_501),
        ((worker("n", silent_ms=2_001),), None),
        ((worker("n", silent_ms=2_001), active("s", "n")), 9_999),
        ((worker("n", silent_ms=2_001), active("s", "m")), None),
        ((worker("n", silent_ms=12_000), active("s", "n")), None),
        ((worker("n", dead=True), active("s", "n")), None),
        ((worker("n", status=OFFLINE, silent_ms=500), active("s", "n")), 11_500),
        ((ready("s", not_before_ms=NOW_MS + 70), worker("n")), 70),
        ((ready("s", not_before_ms=NOW_MS),), None),
        ((worker("n", silent_ms=2_001, throttled={"a": Throttle("n", "a", NOW_MS + 9)}),), 9),
    ],
)
def test_time_calls_for_a_plan_when_something_ends(
    things: tuple[WorkerView | ActiveAttempt | ReadySubtask, ...], in_ms: int | None
) -> None:
    moment = next_wakeup_ms(view(*things))
    assert moment == (None if in_ms is None else NOW_MS + in_ms)


def test_what_the_next_look_waits_for_is_due_then() -> None:
    def silent(for_ms: int) -> PlanningView:
        holder = worker("n", silent_ms=for_ms, status=OFFLINE, running=(Running("s", 1, 7),))
        return view(holder, active("s", "n"))

    moment = next_wakeup_ms(silent(2_001))
    assert moment is not None
    left_ms = moment - NOW_MS
    assert plan(silent(2_001 + left_ms - 1)) == []
    assert [type(each) for each in plan(silent(2_001 + left_ms))] == [LoseAttempts]


def test_what_outlives_a_drain_is_recalled_once() -> None:
    draining = worker("n", status=WorkerStatus.DRAINING, drain_until_ms=NOW_MS)
    seen = view(draining, active("a", "n"), active("b", "n", recalled=True), active("c", "o"))
    recalled = [each for each in plan(seen) if isinstance(each, RecallAttempts)]
    assert recalled == [RecallAttempts((AttemptRef("a", 1, 7),), DRAINED)]
    later = worker("n", status=WorkerStatus.DRAINING, drain_until_ms=NOW_MS + 5)
    seen = view(later, active("a", "n"))
    assert not [each for each in plan(seen) if isinstance(each, RecallAttempts)]
    assert next_wakeup_ms(seen) == NOW_MS + 5
