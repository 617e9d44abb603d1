"""Which worker is refused, in which words, and how the others are scored."""

import pytest

from paceline.tasks.allocate import resource_score, tool_score, total_score
from paceline.tasks.commands import Allocate, Placement
from paceline.tasks.model import Privacy, Resources, ToolState, WorkerStatus
from paceline.tasks.schedule import Verdict, plan, why
from paceline.tasks.throttles import Throttle
from paceline.tasks.view import ActiveAttempt, PlanningSettings, ReadySubtask, WorkerView
from tests.tasks.planning import NOW_MS, active, ready, view, worker

SENSITIVE = Privacy.SENSITIVE
SICK = (ToolState("ollama", healthy=False, reason="connection refused"),)
LIMITED = (ToolState("claude_code", slots=1),)


def judge(candidate: WorkerView, wanted: ReadySubtask, *held: ActiveAttempt) -> Verdict:
    (verdict,) = why(view(candidate, wanted, *held), wanted)
    return verdict


REFUSED = [
    (worker("n", dead=True), ready("s"), "offline: its process has ended"),
    (worker("n", heard=False), ready("s"), "offline: not heard of since this leader took over"),
    (worker("n", silent_ms=2_001), ready("s"), "offline: silent for 2.0 s"),
    (worker("n", status=WorkerStatus.DRAINING), ready("s"), "draining: it takes no new work"),
    (worker("n", status=WorkerStatus.OFFLINE), ready("s"), "recorded as offline"),
    (worker("n", status=WorkerStatus.ERROR), ready("s"), "recorded as error"),
    (
        worker("n", tools="command ollama"),
        ready("s", tools="claude_code codex"),
        "has none of the tools claude_code, codex",
    ),
    (worker("n", tools=SICK), ready("s", tools="ollama"), "ollama: connection refused"),
    (
        worker("n", tools="codex", throttled={"codex": Throttle("n", "codex", NOW_MS + 1)}),
        ready("s", tools="codex"),
        "codex: throttled until 1970-01-01T00:16:40.001Z: its provider's limit was reached",
    ),
    (
        worker("n", tools="codex command", money="its budget for today is spent"),
        ready("s", tools="codex"),
        "codex: its budget for today is spent",
    ),
    (
        worker("n", tools="codex ollama"),
        ready("s", tools="ollama", privacy=SENSITIVE),
        "not trusted with sensitive work",
    ),
    (
        worker("n", tools="codex openai", trusted=True),
        ready("s", tools="openai codex", privacy=SENSITIVE),
        "sensitive work may not leave the machine, as it would with openai, codex",
    ),
    (
        worker("n", labels={"os": "linux"}),
        ready("s", labels={"os": "macos"}),
        "label os must be macos, and here is linux",
    ),
    (
        worker("n", labels={"os": "linux"}),
        ready("s", labels={"os": "linux", "gpu": "yes"}),
        "label gpu must be yes, and here is not set",
    ),
    (
        worker("n", resources=Resources(cpu_percent=95.6)),
        ready("s"),
        "CPU is 96 % used, over the limit of 95 %",
    ),
    (
        worker("n", resources=Resources(memory_percent=98)),
        ready("s"),
        "memory is 98 % used, over the limit of 95 %",
    ),
    (
        worker("n", resources=Resources(disk_percent=98)),
        ready("s"),
        "disk is 98 % used, over the limit of 97 %",
    ),
]


@pytest.mark.parametrize(("candidate", "wanted", "reason"), REFUSED)
def test_a_refusal_says_why(candidate: WorkerView, wanted: ReadySubtask, reason: str) -> None:
    verdict = judge(candidate, wanted)
    assert verdict.reason == reason
    assert not verdict.eligible
    assert not verdict.passing
    assert verdict.name == "N"
    assert verdict.score == 0


def test_a_full_worker_is_refused_for_now() -> None:
    held = [active("x", "n"), active("y", "n")]
    verdict = judge(worker("n", slots=2), ready("s"), *held)
    assert (verdict.reason, verdict.passing) == ("all 2 slots are taken", True)
    verdict = judge(worker("n", slots=1), ready("s"), *held)
    assert (verdict.reason, verdict.free_slots) == ("its only slot is taken", 0)


def test_a_tool_has_a_limit_of_its_own() -> None:
    held = active("x", "n", tool="claude_code")
    verdict = judge(worker("n", tools=LIMITED), ready("s", tools="claude_code"), held)
    assert verdict.reason == "all 1 slots of claude_code are taken"
    assert verdict.passing
    assert verdict.free_slots == 1


def test_limits_are_not_yet_passed_where_they_are_met() -> None:
    full = Resources(cpu_percent=95, memory_percent=95, disk_percent=97)
    assert judge(worker("n", resources=full, silent_ms=2_000), ready("s")).eligible


def test_one_throttled_tool_leaves_the_others() -> None:
    throttled = {"codex": Throttle("n", "codex", NOW_MS + 1)}
    here = worker("n", tools="codex qwen", throttled=throttled)
    assert judge(here, ready("s", tools="codex qwen")).tool == "qwen"


def test_where_money_is_spent_what_costs_nothing_goes_on() -> None:
    here = worker("n", tools="codex ollama", money="spent")
    assert judge(here, ready("s", tools="codex ollama")).tool == "ollama"


def test_a_session_decides_between_equals() -> None:
    at_b = ready("s", session_on="b")
    found = plan(view(worker("a", caches=("c",)), worker("b"), at_b))
    assert found == [Allocate((Placement("s", 1, "b", "command", 10.0),))]
    assert why(view(worker("a"), worker("b"), at_b), at_b)[0].resumes


def test_a_busy_worker_may_have_slots_again() -> None:
    assert judge(worker("n", status=WorkerStatus.BUSY), ready("s")).eligible


def test_a_trusted_worker_does_sensitive_work_with_a_local_tool() -> None:
    wanted = ready("s", tools="codex ollama", privacy=SENSITIVE)
    assert judge(worker("n", tools="codex ollama", trusted=True), wanted).tool == "ollama"


def test_which_tools_are_local_is_a_setting() -> None:
    wanted = ready("s", tools="openai", privacy=SENSITIVE)
    settings = PlanningSettings(local_tools=frozenset({"openai"}))
    picture = view(worker("n", tools="openai", trusted=True), wanted, settings=settings)
    assert why(picture, wanted)[0].eligible


def test_the_latest_word_of_a_worker_counts_before_its_registration() -> None:
    grown = worker("n", tools="command ollama", slots=8)
    registered = WorkerView("n", slots=1, tools=(ToolState("command"),), vitals=grown.vitals)
    verdict = judge(registered, ready("s", tools="ollama"))
    assert (verdict.tool, verdict.free_slots) == ("ollama", 8)


# --- a node where it failed before ----------------------------------------------------------------

FAILED_ON_A = ready("s", failed_nodes=frozenset({"a"}))
FAILED_HERE = "an earlier attempt failed here for the node's own sake"


def reasons(*things: WorkerView | ActiveAttempt) -> dict[str, str]:
    verdicts = why(view(*things, FAILED_ON_A), FAILED_ON_A)
    return {verdict.node_id: verdict.reason for verdict in verdicts}


def test_another_node_is_tried_when_one_failed() -> None:
    assert reasons(worker("a"), worker("b")) == {"b": "", "a": FAILED_HERE}


def test_waiting_for_a_slot_elsewhere_is_better_than_the_same_again() -> None:
    full = worker("b", slots=1), active("x", "b")
    assert reasons(worker("a"), *full) == {"a": FAILED_HERE, "b": "its only slot is taken"}


@pytest.mark.parametrize(
    "other",
    [
        worker("b", dead=True),
        worker("b", tools="ollama"),
        worker("b", resources=Resources(disk_percent=99)),
        worker("b", status=WorkerStatus.DRAINING),
    ],
)
def test_it_gets_another_chance_where_no_other_can_do_it(other: WorkerView) -> None:
    assert reasons(worker("a"), other)["a"] == ""


def test_a_cluster_of_one_finishes_what_its_restart_interrupted() -> None:
    assert reasons(worker("a")) == {"a": ""}


# --- scores ---------------------------------------------------------------------------------------


def test_the_score_is_the_seeds() -> None:
    assert total_score(10, 10, 10) == 10
    assert total_score(10, 0, 0) == 5
    assert total_score(0, 10, 0) == 3
    assert total_score(0, 0, 10) == 2


def test_each_preference_further_down_is_worth_half() -> None:
    wished = ("a", "b", "c")
    assert [tool_score(tool, wished) for tool in wished] == [10, 5, 2.5]
    assert tool_score("b", ("a", "b", "c", "d", "e")) == 5


@pytest.mark.parametrize(
    ("resources", "free", "score"),
    [
        (Resources(), 4, 10),
        (Resources(cpu_percent=50), 4, 8),
        (Resources(memory_percent=50), 4, 8),
        (Resources(disk_percent=50), 4, 9),
        (Resources(cpu_percent=100, memory_percent=100, disk_percent=100), 4, 0),
        (Resources(cpu_percent=1, memory_percent=2, disk_percent=3), 4, 10),
        (Resources(cpu_percent=110), 4, 6),
        # What was placed a moment ago does not show in the CPU yet.
        (Resources(), 3, 9),
        (Resources(), 1, 7),
        (Resources(cpu_percent=75), 3, 7),
    ],
)
def test_the_score_of_resources(resources: Resources, free: int, score: float) -> None:
    assert resource_score(worker("n", slots=4, resources=resources), free) == score


def test_a_verdict_shows_the_parts_of_its_score() -> None:
    candidate = worker("n", tools="ollama", resources=Resources(cpu_percent=50), caches=("c0ffee",))
    verdict = judge(candidate, ready("s", tools="codex ollama", commit="c0ffee"))
    assert verdict == Verdict(
        node_id="n",
        name="N",
        tool="ollama",
        tool_score=5,
        resource_score=8,
        privacy_score=10,
        score=6.9,
        cached=True,
        free_slots=2,
    )


def test_the_first_preference_that_can_be_used_now_is_taken() -> None:
    tools = (ToolState("claude_code", slots=1), ToolState("codex"), *SICK)
    wanted = ready("s", tools="ollama claude_code codex")
    assert judge(worker("n", tools=tools), wanted).tool == "claude_code"
    held = active("x", "n", tool="claude_code")
    assert judge(worker("n", tools=tools), wanted, held).tool == "codex"


ORDER = [
    ("the preferred tool", worker("b", tools="codex"), worker("a", tools="ollama"), ()),
    (
        "a lesser tool on an idle machine is not enough",
        worker("b", tools="codex", resources=Resources(cpu_percent=60, memory_percent=50)),
        worker("a", tools="ollama"),
        (),
    ),
    (
        "resources",
        worker("b", tools="codex"),
        worker("a", tools="codex", resources=Resources(cpu_percent=40)),
        (),
    ),
    (
        "data that is there already",
        worker("b", tools="codex", caches=("c0ffee",), slots=1),
        worker("a", tools="codex", slots=4),
        (),
    ),
    ("free slots", worker("b", tools="codex", slots=3), worker("a", tools="codex", slots=2), ()),
    ("the node id", worker("a", tools="codex"), worker("b", tools="codex"), ()),
    (
        "load",
        worker("b", tools="codex", slots=4),
        worker("a", tools="codex", slots=4),
        (active("x", "a", allocated_at_ms=NOW_MS, started_at_ms=None),),
    ),
]


@pytest.mark.parametrize(("_", "better", "worse", "held"), ORDER)
def test_what_decides_between_workers(
    _: str, better: WorkerView, worse: WorkerView, held: tuple[ActiveAttempt, ...]
) -> None:
    wanted = ready("s", tools="codex ollama", commit="c0ffee")
    for workers in ((better, worse), (worse, better)):
        verdicts = why(view(*workers, *held, wanted), wanted)
        assert [verdict.node_id for verdict in verdicts] == [better.node_id, worse.node_id]
        assert all(verdict.eligible for verdict in verdicts)
        best = verdicts[0]
        placement = Placement("s", 1, best.node_id, best.tool, best.score)
        assert plan(view(*workers, *held, wanted)) == [Allocate((placement,))]
