import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import InvalidPlan
from paceline.tasks.graph import EDGE_LIMIT, SUBTASK_LIMIT, Vertex, check, layers, problems


def graph(**needs: str) -> list[Vertex]:
    """Each keyword is a subtask on a line of its own, its value what it needs."""
    return [
        Vertex(name, tuple(wanted.split()), line)
        for line, (name, wanted) in enumerate(needs.items(), start=1)
    ]


REFUSED = [
    (graph(a="", b="c"), 2, '"b" needs "c", but no subtask has that name'),
    (graph(build="", test="biuld"), 2, 'did you mean "build"?'),
    (graph(a="a"), 1, '"a" needs itself'),
    (graph(a="", b="a a"), 2, '"b" needs "a" twice'),
    (graph(a="b", b="a"), 1, 'a cycle: "a" needs "b" needs "a"'),
    (graph(x="", b="x d", c="b", d="c"), 2, 'a cycle: "b" needs "d" needs "c" needs "b"'),
    (graph(waits="a", a="b", b="a"), 2, 'a cycle: "a" needs "b" needs "a"'),
    (graph(waits="b", a="b", b="a"), 2, 'a cycle: "a" needs "b" needs "a"'),
    ([Vertex("a", (), 1), Vertex("a", (), 7)], 7, 'two subtasks are named "a" (the first is on'),
    ([Vertex("lint"), Vertex("Lint")], None, 'the names "lint" and "Lint" differ only by case'),
    ([Vertex("a", ("b",), 1, (5,))], 5, '"a" needs "b"'),
]


@pytest.mark.parametrize(("vertices", "line", "words"), REFUSED)
def test_what_is_refused_is_told_with_its_line(
    vertices: list[Vertex], line: int | None, words: str
) -> None:
    with pytest.raises(InvalidPlan) as refusal:
        check(vertices)
    assert refusal.value.line == line
    assert words in refusal.value.reason


def test_all_wrong_needs_are_told_at_once() -> None:
    found = problems(graph(a="a", b="nothing", c="a a"))
    assert [problem.line for problem in found] == [1, 2, 3]


def test_a_long_cycle_is_told_in_short() -> None:
    names = [f"s{number}" for number in range(500)]
    ring = [Vertex(name, (names[place - 1],)) for place, name in enumerate(names)]
    (problem,) = problems(ring)
    assert problem.reason.startswith('a cycle: "s0" needs "s499" needs')
    assert problem.reason.endswith('needs ... needs "s0"')
    assert len(problem.reason) < 200


def test_the_number_of_subtasks_is_bounded() -> None:
    full = [Vertex(str(number), (), number) for number in range(SUBTASK_LIMIT)]
    check(full)
    with pytest.raises(InvalidPlan, match="2001 subtasks are over the limit of 2000"):
        check([*full, Vertex("one more")])


def test_the_number_of_dependencies_is_bounded() -> None:
    first = [Vertex(f"a{number}") for number in range(100)]
    names = tuple(vertex.name for vertex in first)
    second = [Vertex(f"b{number}", names, number) for number in range(EDGE_LIMIT // 100)]
    check([*first, *second])
    with pytest.raises(InvalidPlan, match="more than 10000 dependencies"):
        check([*first, *second, Vertex("c", ("a0",))])


def test_layers_are_the_waves_in_the_order_of_the_plan() -> None:
    needs = {"docs": ("review", "test"), "test": ("code",), "review": ("code",), "code": ()}
    assert layers(needs) == (("code",), ("test", "review"), ("docs",))


def test_within_a_layer_the_order_is_the_plans_whatever_came_free_first() -> None:
    needs = {"y": ("b",), "x": ("a",), "a": (), "b": ()}
    assert layers(needs) == (("a", "b"), ("y", "x"))


def test_layers_refuse_a_cycle() -> None:
    with pytest.raises(InvalidPlan, match='"a" needs "b" needs "a"'):
        layers({"a": ("b",), "b": ("a",)})


def test_depth_costs_no_recursion() -> None:
    chain = {"0": ()} | {str(number): (str(number - 1),) for number in range(1, SUBTASK_LIMIT)}
    assert len(layers(chain)) == SUBTASK_LIMIT


edges = st.dictionaries(
    st.integers(0, 7).map(str), st.sets(st.integers(0, 7).map(str), max_size=4), max_size=8
)


@settings(deadline=None)
@given(edges)
def test_a_graph_is_refused_if_and_only_if_it_cannot_be_worked_off(
    wanted: dict[str, set[str]],
) -> None:
    vertices = [Vertex(name, tuple(sorted(needs))) for name, needs in wanted.items()]
    assert bool(problems(vertices)) != _can_be_worked_off(wanted)


@settings(deadline=None)
@given(edges)
def test_whatever_has_no_problem_has_layers_that_keep_the_order(
    wanted: dict[str, set[str]],
) -> None:
    needs = {name: tuple(sorted(names)) for name, names in wanted.items()}
    if problems([Vertex(name, names) for name, names in needs.items()]):
        return
    layer_of = {name: depth for depth, layer in enumerate(layers(needs)) for name in layer}
    assert set(layer_of) == set(needs)
    for name, names in needs.items():
        assert layer_of[name] == max((layer_of[need] + 1 for need in names), default=0)


def _can_be_worked_off(wanted: dict[str, set[str]]) -> bool:
    """The plain way: do whatever can be done until nothing can."""
    done: set[str] = set()
    while ready := [name for name, needs in wanted.items() if name not in done and needs <= done]:
        done.update(ready)
    return done == set(wanted)
