import pytest

from paceline.errors import InputError, InvalidPlan
from paceline.tasks import templates
from paceline.tasks.draft import CHECKPOINT, MUST_CHANGE, REVIEW, SHIPPED_TOOLS
from paceline.tasks.graph import Vertex, check, layers

# The seed's: layers of (name, complexity, priority).
SEED = {
    "develop_feature": (
        (("Code Generation", 3, 100),),
        (("Code Review", 2, 80), ("Test Generation", 2, 70)),
        (("Documentation", 1, 50),),
    ),
    "bug_fix": (
        (("Bug Analysis", 2, 100),),
        (("Fix Implementation", 3, 90),),
        (("Regression Testing", 2, 80),),
    ),
    "refactor": (
        (("Code Analysis", 2, 100),),
        (("Refactoring", 4, 90),),
        (("Test Verification", 2, 80),),
    ),
    "code_review": (
        (("Static Analysis", 1, 100), ("Security Review", 2, 90)),
        (("Review Report", 1, 80),),
    ),
    "documentation": (
        (("API Documentation", 2, 100), ("User Guide", 2, 90)),
        (("README Update", 1, 80),),
    ),
    "testing": (
        (("Test Planning", 2, 100),),
        (("Unit Tests", 2, 90), ("Integration Tests", 3, 80)),
        (("Test Execution Report", 1, 70),),
    ),
}


def test_there_are_the_seeds_six() -> None:
    assert set(templates.names()) == set(SEED)
    assert sum(len(templates.load(name).subtasks) for name in templates.names()) == 20


@pytest.mark.parametrize("name", SEED)
def test_names_numbers_and_order_are_the_seeds(name: str) -> None:
    subtasks = {subtask.name: subtask for subtask in templates.load(name).subtasks}
    waves = layers({subtask.name: subtask.needs for subtask in subtasks.values()})
    assert SEED[name] == tuple(
        tuple((each, subtasks[each].complexity, subtasks[each].priority) for each in wave)
        for wave in waves
    )


@pytest.mark.parametrize("name", SEED)
def test_every_layer_needs_the_whole_layer_before_it(name: str) -> None:
    waves = [[each[0] for each in wave] for wave in SEED[name]]
    needs = {subtask.name: set(subtask.needs) for subtask in templates.load(name).subtasks}
    for before, wave in zip([[], *waves], waves, strict=False):
        assert all(needs[each] == set(before) for each in wave)


@pytest.mark.parametrize("name", SEED)
def test_a_template_is_a_valid_plan_of_known_tools(name: str) -> None:
    subtasks = templates.load(name).subtasks
    check([Vertex(subtask.name, subtask.needs) for subtask in subtasks])
    for subtask in subtasks:
        assert subtask.tools[0] == "claude_code"
        assert set(subtask.tools) == set(SHIPPED_TOOLS) - {"command", "acp"}
        assert len(set(subtask.tools)) == len(subtask.tools)


@pytest.mark.parametrize("name", SEED)
def test_instructions_carry_the_persons_words_and_say_where_inputs_lie(name: str) -> None:
    words = "Export {rows} as CSV, not {description}"
    for raw, subtask in zip(
        templates.load(name).subtasks, templates.expand(name, words), strict=True
    ):
        assert raw.instructions.count(templates.PLACEHOLDER) == 1
        assert words in subtask.instructions
        assert ("PACELINE_INPUTS" in subtask.instructions) == bool(subtask.needs)
        assert all(f'"{need}"' in subtask.instructions for need in subtask.needs)


def test_marks_say_what_is_reviewed_and_where_people_are_asked() -> None:
    marks = {
        subtask.name: set(subtask.settings) - {"permission"}
        for name in templates.names()
        for subtask in templates.load(name).subtasks
    }
    assert marks["Code Generation"] == {REVIEW, CHECKPOINT, MUST_CHANGE}
    assert marks["Fix Implementation"] == {REVIEW, CHECKPOINT, MUST_CHANGE}
    assert marks["Code Review"] == set()
    for name in templates.names():
        assert any(CHECKPOINT in subtask.settings for subtask in templates.load(name).subtasks)


def test_preferences_take_the_place_of_the_list() -> None:
    subtasks = templates.expand("bug_fix", "It crashes", tool_preferences=["ollama", "codex"])
    assert {subtask.tools for subtask in subtasks} == {("ollama", "codex")}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bugfix", 'no task type is named "bugfix"; did you mean "bug_fix"?'),
        ("dance", 'no task type is named "dance"; there are bug_fix, code_review'),
        ("../../secret", "no task type is named"),
    ],
)
def test_an_unknown_type_is_refused(name: str, words: str) -> None:
    with pytest.raises(InvalidPlan) as refusal:
        templates.expand(name, "x")
    assert words in str(refusal.value)
    assert isinstance(refusal.value, InputError)
