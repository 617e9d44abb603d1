"""Every way in which a plan file is refused: on which line, in which words."""

import json
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import InvalidPlan
from paceline.tasks import plan_source
from paceline.tasks.plan import parse
from paceline.tasks.plan_source import TEXT_LIMIT_BYTES

GOOD = "subtasks: [{name: a, tool: ollama}]\n"

YAML = [
    # --- nothing there
    ("", 1, "the plan is empty"),
    ("  \n\n", 1, "the plan is empty"),
    ("# only a comment\n", 1, "the plan is empty"),
    ("{}", 1, "the plan is empty"),
    ("description: x", 1, "the plan is empty: it needs subtasks, or the type of a template"),
    ("description: x\nsubtasks: []", 2, "the plan is empty: it has no subtasks"),
    ("subtasks:", 1, "the plan is empty"),
    ("- name: a", 1, "a plan must be a map of fields, not a list"),
    ("just words", 1, "a plan must be a map of fields, not text"),
    # --- the graph
    (
        "subtasks:\n- {name: a, tool: ollama, needs: [b]}\n- {name: b, tool: ollama, needs: [a]}",
        2,
        'a cycle: "a" needs "b" needs "a"',
    ),
    (
        "subtasks:\n- {name: lint, tool: ollama}\n- name: b\n  tool: ollama\n  needs:\n"
        "  - lint\n  - lnit",
        7,
        '"b" needs "lnit", but no subtask has that name; did you mean "lint"?',
    ),
    ("subtasks:\n- {name: a, tool: ollama, needs: a}", 2, '"a" needs itself'),
    ("subtasks:\n- {name: a, tool: ollama}\n- {name: a, tool: ollama}", 3, 'are named "a"'),
    # --- fields
    ("descripton: x\n" + GOOD, 1, 'a plan has no field "descripton"; did you mean "description"?'),
    ("zzz: x\n" + GOOD, 1, 'a plan has no field "zzz"; there are description, type,'),
    (
        "subtasks:\n- name: a\n  tool: ollama\n  timeout: 5",
        4,
        'a subtask has no field "timeout"; did you mean "timeout_s"?',
    ),
    ("repository: {url: x}\n" + GOOD, 1, 'repository: a repository has no field "url"'),
    ("a: 1\na: 2", 2, '"a" stands twice (first on line 1)'),
    ("subtasks:\n- name: a\n  tool: x\n  name: b", 4, '"name" stands twice (first on line 2)'),
    ("subtasks:\n- tool: ollama", 2, "a subtask needs a name"),
    ("subtasks:\n- name:\n  tool: ollama", 2, "a subtask needs a name"),
    # --- types
    ("description: [x]\n" + GOOD, 1, "description: must be text, not a list"),
    ("description: {x: y}\n" + GOOD, 1, "description: must be text, not a map"),
    ("description: ''\n" + GOOD, 1, "description: is empty"),
    ("subtasks: 5", 1, "subtasks: must be a list, not a number"),
    ("subtasks: {name: a}", 1, "subtasks: must be a list, not a map"),
    ("subtasks:\n- a\n", 2, "a subtask must be a map of fields, not text"),
    ("priority: high\n" + GOOD, 1, "priority: must be a whole number, not text"),
    ("priority: true\n" + GOOD, 1, "priority: must be a whole number, not true or false"),
    ("priority: 5.5\n" + GOOD, 1, "priority: must be a whole number, not a number"),
    ("metadata: [1]\n" + GOOD, 1, "metadata: must be a map, not a list"),
    ("metadata:\n  a: 1e999\n" + GOOD, 2, "metadata: must be a finite number"),
    ("subtasks:\n- {name: a, tool: ollama, review: 1}", 2, "review: must be true or false"),
    ("subtasks:\n- {name: a, tool: ollama, labels: gpu}", 2, "labels: must be a map, not text"),
    ("subtasks:\n- {name: a, tool: ollama, labels: {gpu: []}}", 2, "labels: must be text, not"),
    ("subtasks:\n- {name: a, tool: ollama, needs: {b: c}}", 2, "needs: must be text, not a map"),
    ("subtasks:\n- {name: a, tool: ollama, timeout_s: soon}", 2, "timeout_s: must be a number"),
    ("repository: {ref: HEAD}\n" + GOOD, 1, "repository: a repository needs a path (or URL)"),
    ("repository: --upload-pack=x\n" + GOOD, 1, 'repository: "--upload-pack=x" cannot be used'),
    ("repository: {path: ., ref: --all}\n" + GOOD, 1, '"--all" cannot be used'),
    ('repository: "a\\nb"\n' + GOOD, 1, 'repository: "a\\nb" cannot be used'),
    # --- ranges
    ("priority: 101\n" + GOOD, 1, "priority: must be from 0 to 100, not 101"),
    ("priority: -1\n" + GOOD, 1, "priority: must be from 0 to 100, not -1"),
    ("subtasks:\n- {name: a, tool: ollama, complexity: 6}", 2, "complexity: must be from 1 to 5"),
    ("subtasks:\n- {name: a, tool: ollama, timeout_s: 0}", 2, "timeout_s: must be from 0.1 to"),
    ("subtasks:\n- {name: a, tool: ollama, timeout_s: 1e9}", 2, "to 604800, not 1000000000.0"),
    ("subtasks:\n- {name: a, tool: ollama, max_attempts: 0}", 2, "max_attempts: must be from 1"),
    ("privacy: secret\n" + GOOD, 1, 'privacy: must be normal or sensitive, not "secret"'),
    ("checkpoint_frequency: hihg\n" + GOOD, 1, 'not "hihg"; did you mean "high"?'),
    ("metadata: {n: 99999999999999999999}\n" + GOOD + "x: 1", 3, 'no field "x"'),
    (f"description: {'x' * 65537}\n{GOOD}", 1, "description: has 65537 characters, over the limit"),
    # --- tools
    ("subtasks:\n- {name: a, tool: olama}", 2, 'tool: no tool is named "olama"; did you mean'),
    (
        "subtasks:\n- name: a\n  tool:\n  - ollama\n  - vim",
        5,
        'tool: no tool is named "vim"; there',
    ),
    ("subtasks:\n- {name: a, tool: [ollama, ollama]}", 2, 'tool: "ollama" stands twice'),
    ("subtasks:\n- {name: a, tool: []}", 2, "tool: the list is empty"),
    ("subtasks:\n- {name: a}", 2, '"a" names no tool, nor has the plan tool_preferences'),
    ("subtasks:\n- {name: a, run: x}", 2, "a shell line is run by `tool: command`"),
    ("tool_preferences: [emacs]\n" + GOOD, 1, 'tool_preferences: no tool is named "emacs"'),
    ("subtasks:\n- name: a\n  tool: command", 2, "has the tool command, which needs a shell line"),
    (
        "subtasks:\n- name: a\n  tool: ollama\n  run: make",
        4,
        'run: only the tool command takes a shell line, and "a" has ollama',
    ),
    # --- types of task
    ("type: bugfix\ndescription: x", 1, 'type: no task type is named "bugfix"; did you mean'),
    ("type: bug_fix", 1, 'a task of type "bug_fix" needs a description'),
    ("type: bug_fix\ndescription: x\n" + GOOD, 3, "either a type or subtasks, not both"),
    ("type: [bug_fix]\ndescription: x", 1, "type: must be text, not a list"),
    (
        "type: bug_fix\ndescription: x\ntool_preferences: command",
        3,
        "command runs a shell line, and a template has none",
    ),
    # --- privacy
    (
        "privacy: sensitive\nsubtasks:\n- name: a\n  tool: ollama\n  privacy: normal",
        5,
        'privacy: "a" cannot be normal in a sensitive task',
    ),
    # --- YAML itself
    ("subtasks:\n\t- name: a", 2, "a tab cannot indent in YAML; use spaces"),
    ("subtasks:\n- name: a\n  \ttool: ollama", 3, "a tab cannot indent in YAML; use spaces"),
    ("subtasks: [", 1, "this is not YAML"),
    ("a: b: c", 1, "this is not YAML"),
    ("a: 'x\n", 1, "this is not YAML"),
    (GOOD + "---\n" + GOOD, 2, "a plan file holds one document only"),
    ("a: &x 1\nb: *x", 1, "anchors and aliases (& and *) are not allowed; write it out"),
    ("a: 1\nb: *x", 2, "anchors and aliases (& and *) are not allowed; write it out"),
    ("a: 1\n<<: *x", 2, "anchors and aliases (& and *) are not allowed; write it out"),
    ("a: 1\n? &k b\n: 1", 2, "anchors and aliases"),
    ("a: !!python/object:os.system x", 1, "the tag"),
    ("a: 1\nb: !include x", 2, 'the tag "!include" is not allowed'),
    ("? [a]\n: 1", 1, "the key of a map must be text"),
    ("a: \x07", 1, "a control character that YAML does not allow"),
    ("a: 1\nb: c\x01d", 2, "a control character that YAML does not allow"),
    ('a: 1\nb: "x\\0y"', 2, "text with a NUL"),
    ("a: 1\nb: " + "[" * 17, 2, "nested more than 16 deep"),
    ("[" * 500_000, 1, "nested more than 16 deep"),
    ("- \n" * 100_000, 100_000, "more than 100000 values in one plan"),
]

TOML = [
    ("", 1, "the plan is empty"),
    ("description = 'x'", None, "the plan is empty: it needs subtasks"),
    ("subtasks = []", 1, "the plan is empty: it has no subtasks"),
    ("descripton = 'x'\nsubtasks = []", 1, 'did you mean "description"?'),
    ("a = 1\na = 2", 2, "this is not TOML: Cannot overwrite a value"),
    ("a = ", 1, "this is not TOML: Invalid value"),
    ("a = 'x\n", 1, "this is not TOML"),
    ("[[subtasks]]\nname = 'a'\ntool = 'ollama'\npriority = 500", 4, "priority: must be from 0"),
    (
        "[[subtasks]]\nname = 'a'\ntool = 'ollama'\n\n[[subtasks]]\nname = 'b'\ntool = 'olama'",
        7,
        'did you mean "ollama"?',
    ),
    (
        "[[subtasks]]\nname = 'a'\ntool = 'ollama'\n[subtasks.labels]\ngpu = 1",
        5,
        "labels: must be text, not a number",
    ),
    ("[[subtasks]]\nname = 'a'\n[[subtasks]]\ntool = 'ollama'", 1, '"a" names no tool'),
    (
        "[[subtasks]]\nname = 'x'\n[[subtasks]]\ntool = 'ollama'",
        1,
        "line 3: a subtask needs a name",
    ),
    (
        "[[subtasks]]\nname = 'a'\ntool = 'command'\nrun = '''\n[[subtasks]]\npriority = 5\n'''\n"
        'instructions = """one line"""\npriority = 500',
        9,
        "priority: must be from 0",
    ),
    ("description = 2024-01-01", 1, "must be text, not a date or time (put it in quotes)"),
    ("[metadata]\nwhen = 10:00:00\n[[subtasks]]", 2, "metadata: must be text, a number, true"),
    ("[metadata]\nn = nan", 2, "metadata: must be a finite number"),
    ("[metadata]\nn = 99999999999999999999", 2, "metadata: a number of more than 64 bits"),
    (f"a = {'9' * 5000}", None, "a number with too many digits"),
    ("metadata = " + "[" * 20 + "]" * 20, 1, "nested more than 16 deep"),
    ("a = " + "[" * 100_000, None, "nested more than 16 deep"),
    (".".join("a" * 40) + " = 1", 1, "a key of more than 32 parts"),
    ('a = "x\\u0000"', 1, "text with a NUL"),
    ("a = [" + "0," * 100_001 + "]", 1, "more than 100000 values in one plan"),
]


def short(value: object) -> str | None:
    return value[:60] if isinstance(value, str) else None


@pytest.mark.parametrize(("text", "line", "words"), YAML, ids=short)
def test_yaml(text: str, line: int | None, words: str) -> None:
    refused(text, "yaml", line, words)


@pytest.mark.parametrize(("text", "line", "words"), YAML, ids=short)
def test_yaml_where_pyyaml_was_built_without_its_parser_in_c(
    text: str, line: int | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_source, "_Loader", yaml.SafeLoader)
    refused(text, "yaml", line, words)


@pytest.mark.parametrize(("text", "line", "words"), TOML, ids=short)
def test_toml(text: str, line: int | None, words: str) -> None:
    refused(text, "toml", line, words)


def refused(text: str | bytes, format_: str, line: int | None, words: str) -> None:
    with pytest.raises(InvalidPlan) as refusal:
        parse(text, format_)
    assert words in str(refusal.value)
    assert refusal.value.line == line


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", ".hidden", "-rf", " a", "a ", "a\\b", "a:b", "ä", "a\tb", "a\nb", "..", "*"],
)
def test_names_that_are_not_safe_as_file_names(name: str) -> None:
    quoted = '"' + name.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n") + '"'
    text = f"subtasks:\n- tool: ollama\n  name: {quoted}"
    refused(text, "yaml", 3, "is not safe as a file name: use letters, digits, space, dot")


def test_a_name_of_more_than_100_characters() -> None:
    text = f"subtasks:\n- tool: ollama\n  name: {'x' * 101}"
    refused(text, "yaml", 3, "name: has 101 characters, over the limit of 100")


@pytest.mark.parametrize("format_", ["yaml", "toml"])
def test_bytes_that_are_not_utf_8(format_: str) -> None:
    refused("ok: 1\nä: 2\n".encode("latin-1"), format_, 2, "this is not UTF-8")
    refused("ok: 1".encode("utf-16"), format_, 1, "this is not UTF-8")
    refused("a: 1\nb: \ud800", format_, 2, "a character that UTF-8 does not have")


@pytest.mark.parametrize("format_", ["yaml", "toml"])
@pytest.mark.parametrize("as_bytes", [True, False])
def test_more_than_a_mebibyte(format_: str, as_bytes: bool) -> None:
    # Two bytes each, so that the number of characters alone would pass.
    text = "#" + "é" * (TEXT_LIMIT_BYTES // 2)
    refused(text.encode() if as_bytes else text, format_, None, "larger than 1048576 bytes")


def test_the_words_of_a_task_are_bounded_after_defaults_are_filled_in() -> None:
    subtasks = "".join(f"- {{name: s{n}, tool: ollama}}\n" for n in range(2000))
    refused(f"description: {'x' * 60_000}\nsubtasks:\n{subtasks}", "yaml", None, "words come to")
    assert len(parse(f"description: short\nsubtasks:\n{subtasks}").subtasks) == 2000


def test_more_than_2000_subtasks() -> None:
    subtasks = "".join(f"- {{name: s{n}, tool: ollama}}\n" for n in range(2001))
    refused("subtasks:\n" + subtasks, "yaml", 2002, "2001 subtasks are over the limit of 2000")


def test_more_than_10000_dependencies() -> None:
    first = "".join(f"- {{name: a{n}, tool: ollama}}\n" for n in range(101))
    needs = ", ".join(f"a{n}" for n in range(101))
    second = "".join(f"- {{name: b{n}, tool: ollama, needs: [{needs}]}}\n" for n in range(100))
    refused("subtasks:\n" + first + second, "yaml", 202, "more than 10000 dependencies")


def test_billion_laughs() -> None:
    lines = ["a0: &a0 ha"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    refused("\n".join(lines), "yaml", 1, "anchors and aliases")


def test_another_format() -> None:
    refused("{}", "json", None, "a plan is in one of the formats yaml, toml")


def test_ten_problems_are_told_at_once_in_the_order_of_their_lines() -> None:
    text = "subtasks:\n" + "".join(f"- {{name: s{n}, tool: nix}}\n" for n in range(13))
    with pytest.raises(InvalidPlan) as refusal:
        parse(text)
    told = str(refusal.value).split("\n")
    assert [line.partition(":")[0] for line in told[:10]] == [f"line {n}" for n in range(2, 12)]
    assert told[10:] == ["and 3 more"]


def test_hostile_texts_with_many_problems_are_given_up_early() -> None:
    text = "".join(f"zzz{n}: 1\n" for n in range(50_000))
    with pytest.raises(InvalidPlan, match="and 90 more"):
        parse(text)


def test_control_characters_never_reach_the_message() -> None:
    with pytest.raises(InvalidPlan) as refusal:
        parse('"\\e[31m": 1')
    assert "\x1b" not in str(refusal.value)


# --- anything at all ------------------------------------------------------------------------------

LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What YAML 1.1 counts as one."""

WORDS = st.sampled_from(
    [
        *("description", "subtasks", "name", "tool", "needs", "run", "type", "labels", "metadata"),
        *("ollama", "command", "bug_fix", "plan", "a", "b", "x y", "1", "-5", "1e400", "0x", "~"),
        *(":", ": ", "-", "- ", "?", "[", "]", "{", "}", ",", "&a", "*a", "!t", "!!int", "|", ">"),
        *(
            "\n",
            "\n  ",
            "\n    ",
            "\t",
            " ",
            "'",
            '"',
            '"""',
            "'''",
            "=",
            "#",
            "---",
            "...",
            "%",
            ".",
        ),
        *("[[subtasks]]\n", "[metadata]\n", "\ufeff", "\x00", "\x85", "\u2028", "\ud800", "é"),
    ]
)
TEXTS = st.lists(WORDS, max_size=40).map("".join) | st.text(max_size=200)


@settings(deadline=None)
@given(TEXTS, st.sampled_from(["yaml", "toml"]))
def test_any_text_is_a_plan_or_an_invalid_plan(text: str, format_: str) -> None:
    line = line_of_refusal(text, format_)
    lines = len(LINE_BREAK.split(text)) if format_ == "yaml" else text.count("\n") + 1
    assert line is None or 1 <= line <= lines


def line_of_refusal(text: str | bytes, format_: str) -> int | None:
    """Parse; anything but InvalidPlan is a failure."""
    try:
        parse(text, format_)
    except InvalidPlan as refusal:
        return refusal.line
    return None


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["yaml", "toml"]))
def test_any_bytes_are_a_plan_or_an_invalid_plan(data: bytes, format_: str) -> None:
    line_of_refusal(data, format_)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 999) | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)
SHAPED = st.fixed_dictionaries(
    {},
    optional={
        "description": VALUES,
        "type": VALUES,
        "tool_preferences": VALUES,
        "repository": VALUES,
        "metadata": VALUES,
        "subtasks": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "name": st.sampled_from(["a", "b", "c"]) | VALUES,
                    "tool": st.sampled_from(["ollama", "command"]) | VALUES,
                    "needs": st.lists(st.sampled_from(["a", "b"]), max_size=2) | VALUES,
                    "run": VALUES,
                    "labels": VALUES,
                    "settings": VALUES,
                    "priority": VALUES,
                },
            ),
            max_size=4,
        )
        | VALUES,
    },
)


@settings(deadline=None)
@given(SHAPED)
def test_anything_in_the_shape_of_a_plan_is_one_or_an_invalid_plan(value: object) -> None:
    line_of_refusal(json.dumps(value), "yaml")  # JSON is YAML
