"""What holds of every plan, and a plain planner that must come to the same."""

import random
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.tasks.commands import (
    Allocate,
    Command,
    LoseAttempts,
    Placement,
    SetWorkerStatus,
)
from paceline.tasks.model import AttemptStatus, Privacy, Resources, ToolState, WorkerStatus
from paceline.tasks.schedule import Verdict, plan, why
from paceline.tasks.throttles import Throttle
from paceline.tasks.view import (
    ActiveAttempt,
    PlanningSettings,
    PlanningView,
    ReadySubtask,
)
from tests.tasks.planning import NOW_MS, worker

NODES = ("a", "b", "c", "d")
TOOLS = ("command", "ollama", "codex")
LABELS = st.sampled_from([{}, {}, {}, {"os": "x"}, {"os": "y"}])
PERCENT = st.sampled_from([0.0, 0.0, 0.0, 20.0, 47.0, 96.0])

tool_states = st.builds(
    ToolState,
    name=st.sampled_from(TOOLS),
    healthy=st.sampled_from([True] * 7 + [False]),
    slots=st.integers(0, 2),
)
workers = st.builds(
    worker,
    st.sampled_from(NODES),
    tools=st.lists(tool_states, min_size=1, max_size=3, unique_by=lambda tool: tool.name).map(
        tuple
    ),
    slots=st.sampled_from([0, 1, 2, 2, 4]),
    heard=st.sampled_from([True] * 7 + [False]),
    resources=st.builds(Resources, PERCENT, PERCENT, PERCENT),
    caches=st.lists(st.sampled_from(["c1", "c2"]), max_size=2, unique=True).map(tuple),
    status=st.sampled_from([WorkerStatus.ONLINE] * 9 + [*WorkerStatus]),
    trusted=st.booleans(),
    silent_ms=st.sampled_from([0, 0, 0, 0, 100, 2_000, 2_001, 12_000]),
    dead=st.sampled_from([False] * 7 + [True]),
    labels=LABELS,
    throttled=st.dictionaries(
        st.sampled_from(TOOLS),
        st.just(Throttle("", "", NOW_MS + 1)),
        max_size=1,
    ),
    money=st.sampled_from([""] * 7 + ["spent"]),
)
subtasks = st.builds(
    ReadySubtask,
    subtask_id=st.integers(0, 20).map(lambda number: f"s{number}"),
    task_id=st.sampled_from(["A", "B", "C"]),
    name=st.just("name"),
    tools=st.lists(st.sampled_from(TOOLS), min_size=1, max_size=3, unique=True).map(tuple),
    attempt=st.integers(1, 3),
    priority=st.integers(0, 3),
    task_priority=st.integers(0, 2),
    privacy=st.sampled_from([Privacy.NORMAL] * 3 + [*Privacy]),
    labels=LABELS,
    failed_nodes=st.sets(st.sampled_from(NODES), max_size=1).map(frozenset),
    session_on=st.sampled_from(["", *NODES]),
    held=st.sampled_from([""] * 7 + ["no money"]),
    waiting_since_ms=st.sampled_from([None, NOW_MS, NOW_MS - 50_000]),
    not_before_ms=st.sampled_from([0, 0, 0, NOW_MS + 1]),
    commit=st.sampled_from(["", "c1", "c2", "c3"]),
)
attempts = st.builds(
    ActiveAttempt,
    subtask_id=st.integers(15, 30).map(lambda number: f"s{number}"),
    task_id=st.sampled_from(["A", "B", "C"]),
    attempt=st.just(1),
    token=st.integers(1, 200),
    node_id=st.sampled_from(NODES),
    tool=st.sampled_from(TOOLS),
    status=st.sampled_from([AttemptStatus.ALLOCATED, AttemptStatus.RUNNING]),
    allocated_at_ms=st.sampled_from([0, NOW_MS]),
)
views = st.builds(
    PlanningView,
    now_ms=st.just(NOW_MS),
    workers=st.lists(workers, max_size=4, unique_by=lambda each: each.node_id).map(tuple),
    ready=st.lists(subtasks, max_size=16, unique_by=lambda each: each.subtask_id).map(tuple),
    active=st.lists(attempts, max_size=6, unique_by=lambda each: each.subtask_id).map(tuple),
    applied_index=st.just(100),
    settings=st.sampled_from([PlanningSettings(), PlanningSettings(batch_limit=3)]),
    served=st.dictionaries(st.sampled_from(["A", "B", "C"]), st.integers(0, 3)),
)


def placements(view: PlanningView) -> tuple[Placement, ...]:
    found = [command for command in plan(view) if isinstance(command, Allocate)]
    return found[0].placements if found else ()


def with_placed(view: PlanningView, made: tuple[Placement, ...]) -> PlanningView:
    """Answer the view after these have been applied."""
    task_of = {subtask.subtask_id: subtask.task_id for subtask in view.ready}
    held = tuple(
        ActiveAttempt(
            p.subtask_id,
            task_of[p.subtask_id],
            p.attempt,
            101,
            p.node_id,
            p.tool,
            allocated_at_ms=view.now_ms,
        )
        for p in made
    )
    return replace(view, active=view.active + held)


def no_slot_is_filled_twice(view: PlanningView) -> None:
    made = placements(view)
    after = with_placed(view, made)
    taken = Counter(attempt.node_id for attempt in after.active)
    by_tool = Counter((attempt.node_id, attempt.tool) for attempt in after.active)
    given_work = {placement.node_id for placement in made}
    given_tool = {(placement.node_id, placement.tool) for placement in made}
    for each in view.workers:
        if each.node_id in given_work:
            assert taken[each.node_id] <= each.slots_now
        for tool in each.tools_now:
            if tool.slots and (each.node_id, tool.name) in given_tool:
                assert by_tool[each.node_id, tool.name] <= tool.slots


def every_placement_was_right_when_it_was_made(view: PlanningView) -> None:
    wanted = {subtask.subtask_id: subtask for subtask in view.ready}
    here = {each.node_id: each for each in view.workers}
    made = placements(view)
    for number, placement in enumerate(made):
        subtask, node = wanted[placement.subtask_id], here[placement.node_id]
        assert placement.attempt == subtask.attempt
        assert placement.tool in subtask.tools
        assert node.status in (WorkerStatus.ONLINE, WorkerStatus.BUSY)
        assert node.labels.items() >= subtask.labels.items()
        assert subtask.not_before_ms <= view.now_ms
        assert not subtask.held
        assert placement.tool not in node.throttled
        assert not node.money or placement.tool in view.settings.local_tools
        if subtask.privacy is Privacy.SENSITIVE:
            assert node.trusted
            assert placement.tool in view.settings.local_tools
        verdict = verdict_of(with_placed(view, made[:number]), subtask, placement.node_id)
        assert (verdict.eligible, verdict.tool) == (True, placement.tool)
        assert verdict.score == placement.score


def verdict_of(view: PlanningView, subtask: ReadySubtask, node_id: str) -> Verdict:
    return next(verdict for verdict in why(view, subtask) if verdict.node_id == node_id)


def nothing_is_placed_twice(view: PlanningView) -> None:
    named = Counter(placement.subtask_id for placement in placements(view))
    named.update({attempt.subtask_id for attempt in view.active} & set(named))
    assert all(count == 1 for count in named.values())


def all_that_can_be_placed_is_placed(view: PlanningView) -> None:
    made = placements(view)
    if len(made) == view.settings.batch_limit:
        return
    after = with_placed(view, made)
    held = {attempt.subtask_id for attempt in after.active}
    for subtask in view.ready:
        due = subtask.not_before_ms <= view.now_ms and not subtask.held
        if subtask.subtask_id not in held and due:
            assert not any(verdict.eligible for verdict in why(after, subtask))


def once_applied_there_is_nothing_left_to_place(view: PlanningView) -> None:
    view = replace(view, settings=PlanningSettings())
    assert placements(with_placed(view, placements(view))) == ()


def the_same_view_gives_the_same_plan(view: PlanningView) -> None:
    assert plan(view) == plan(view)
    assert placements(replace(view, workers=view.workers[::-1])) == placements(view)


def the_lazy_heaps_choose_as_a_plain_search_does(view: PlanningView) -> None:
    made = placements(view)
    wanted = {subtask.subtask_id: subtask for subtask in view.ready}
    for number, placement in enumerate(made):
        best = why(with_placed(view, made[:number]), wanted[placement.subtask_id])[0]
        assert (placement.node_id, placement.tool) == (best.node_id, best.tool)


def a_few_rounds_come_to_rest(view: PlanningView) -> None:
    """A leader goes round until the planner is content: it must not go round for ever."""
    for _ in range(5):
        commands = plan(view)
        if not commands:
            return
        view = applied(view, commands)
    raise AssertionError(f"still not content: {commands}")


def applied(view: PlanningView, commands: list[Command]) -> PlanningView:
    """Answer what the machine would make of it; what is lost is not ready again at once."""
    for command in commands:
        match command:
            case LoseAttempts(refs):
                lost = {(ref.subtask_id, ref.token) for ref in refs}
                kept = (a for a in view.active if (a.subtask_id, a.token) not in lost)
                view = replace(view, active=tuple(kept))
            case SetWorkerStatus(node_id, status):
                changed = (
                    replace(each, status=WorkerStatus(status)) if each.node_id == node_id else each
                    for each in view.workers
                )
                view = replace(view, workers=tuple(changed))
            case Allocate(made):
                view = with_placed(view, made)
    return view


PROPERTIES = (
    no_slot_is_filled_twice,
    every_placement_was_right_when_it_was_made,
    nothing_is_placed_twice,
    all_that_can_be_placed_is_placed,
    once_applied_there_is_nothing_left_to_place,
    the_same_view_gives_the_same_plan,
    the_lazy_heaps_choose_as_a_plain_search_does,
    a_few_rounds_come_to_rest,
)


@settings(deadline=None, max_examples=300)
@given(views)
def test_what_holds_of_every_plan(view: PlanningView) -> None:
    # In one test, because making a view costs more than checking all of these.
    for holds in PROPERTIES:
        holds(view)


def test_a_thousand_subtasks_are_planned_as_a_plain_search_does() -> None:
    chance = random.Random(7)
    cluster = tuple(
        worker(f"n{number}", slots=30, resources=Resources(cpu_percent=chance.random() * 90))
        for number in range(10)
    )
    ready = tuple(
        ReadySubtask(f"s{number}", f"t{number % 7}", "name", ("command",), priority=number % 5)
        for number in range(1_000)
    )
    view = PlanningView(NOW_MS, cluster, ready, applied_index=100)
    made = placements(view)
    assert len(made) == 300
    assert Counter(placement.node_id for placement in made) == {f"n{n}": 30 for n in range(10)}
    for number in range(0, 300, 29):
        subtask = next(s for s in ready if s.subtask_id == made[number].subtask_id)
        assert why(with_placed(view, made[:number]), subtask)[0].node_id == made[number].node_id
