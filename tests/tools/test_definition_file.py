"""Definitions of agents: those that come with Paceline, and what is refused in an owner's."""

from pathlib import Path

import pytest

from paceline.errors import InvalidSettings, ToolError
from paceline.tasks.model import PermissionLevel, ResultStatus
from paceline.tools.definition_file import owned, parse, shipped, shipped_names
from paceline.tools.hygiene import is_agent_file
from paceline.tools.program import Program
from paceline.tools.registry import Registry
from tests.tools.children import run

ALL = ("aider", "claude_code", "codex", "copilot", "gemini_cli", "opencode", "qwen")

GOOD = """\
title = "Mine"
binary = "mine"
argv = ["--json"]

[key]
required = false

[permissions]
read = { argv = ["--read-only"] }
edit = {}
run = { argv = ["--yes"] }

[[events]]
when = { type = "end", "detail.ok" = true }
final = true
answer = "text"

[[statuses]]
match = "no such model"
status = "error"
"""


def test_all_that_come_with_paceline() -> None:
    assert shipped_names() == ALL
    for name in ALL:
        definition = shipped(name)
        assert definition.name == name
        assert definition.install
        assert definition.key is not None
        assert definition.key.base_url.startswith("https://"), "always told, never left open"
        assert set(definition.permissions) == set(PermissionLevel)


@pytest.mark.parametrize("name", ALL)
def test_no_key_is_in_an_argument(name: str) -> None:
    """Arguments can be read by everybody on the machine."""
    definition = shipped(name)
    layers = [definition.base, *definition.permissions.values(), *definition.options.values()]
    layers += [access.layer for access in (definition.key, definition.login) if access]
    arguments = [part for layer in layers for part in (*layer.argv, *definition.tail)]
    assert not any("{api_key}" in part for part in arguments)
    assert any("{api_key}" in value for layer in layers for value in layer.environment.values())


@pytest.mark.parametrize("name", ALL)
def test_what_steers_each_agent_is_stripped(name: str) -> None:
    for pattern in shipped(name).agent_files:
        assert is_agent_file(pattern.replace("*", "x"))


def test_an_owners_definition(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD)
    [definition] = owned(tmp_path).values()
    assert not isinstance(definition, InvalidSettings)
    assert definition.name == "mine"
    assert definition.events[0].when == {"type": "end", "detail.ok": True}
    assert definition.statuses[0].status is ResultStatus.ERROR
    assert definition.permissions[PermissionLevel.READ].argv == ("--read-only",)


def test_dotted_keys_without_quotes_mean_the_same() -> None:
    text = GOOD.replace('"detail.ok" = true', "detail.ok = true")
    definition = parse(text, name="mine", source="mine.toml")
    assert definition.events[0].when == {"type": "end", "detail.ok": True}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('binary = "mine"', "binary = 3", "mine.toml, line 2: binary: write text"),
        ('binary = "mine"\n', "", "mine.toml: `binary` is missing"),
        ('argv = ["--json"]', 'argv = "--json"', "line 3: argv: write a list of arguments"),
        ('argv = ["--json"]', 'agv = ["--json"]', "line 3: agv: no such key; there are"),
        ('["--json"]', '["--m", "{modle}"]', r"line 3: argv: nothing fills \{modle\}"),
        ('["--json"]', '["--m", "{model}"]', r"argv: \{model\} may be missing: use it in \[opt"),
        ("required = false", 'required = "no"', "line 6: key.required: write true or false"),
        ("required = false", 'variable = "a b"', "key.variable: write the name of a variable"),
        ("edit = {}\n", "", "permissions: write all of read, edit and run"),
        ("edit = {}", "edit = []", r"line 10: permissions.edit: write a table"),
        ("edit = {}", "edti = {}", "line 10: permissions.edti: no such key; there are read"),
        ("edit = {}", 'edit = { home_files = { "../x" = "" } }', "must be a path below the home"),
        ("edit = {}", 'edit = { home_files = { "/x" = "" } }', "must be a path below the home"),
        ("edit = {}", 'edit = { environment = { "A B" = "" } }', "write variables with"),
        ("final = true\n", "", "one of the events must have `final = true`"),
        ('answer = "text"', 'answer = "a..b"', "line 16: events.0.answer: write a dotted path"),
        ('type = "end"', "type = 1.5", "line 14: events.0.when: values to compare with"),
        ('match = "no such model"', 'match = "("', "line 19: statuses.0.match: this is no regular"),
        ('status = "error"', 'status = "bad"', "line 20: statuses.0.status: write one of ok,"),
        ('status = "error"\n', "", r"line 18: statuses.0: `status` is missing"),
        ("[key]\nrequired = false\n", "", r"write \[key\]"),
        ('title = "Mine"', 'title = "Mine', "line 1: "),
        ('argv = ["--json"]', 'prompt = "argv"', r"line 3: prompt: write \{prompt\} where"),
        ('argv = ["--json"]', 'http_words = "status"', "each pattern needs one"),
    ],
)
def test_what_is_refused_and_where(old: str, new: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(InvalidSettings, match=words):
        parse(GOOD.replace(old, new, 1), name="mine", source="mine.toml")


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD + "#" * 300_000)
    [refused] = owned(tmp_path).values()
    assert isinstance(refused, InvalidSettings)
    assert "larger than" in str(refused)


def test_a_name_that_no_tool_can_have(tmp_path: Path) -> None:
    (tmp_path / "My Tool.toml").write_text(GOOD)
    [refused] = owned(tmp_path).values()
    assert "small letters, digits and _" in str(refused)


def test_there_may_be_no_directory(tmp_path: Path) -> None:
    assert owned(tmp_path / "tools.d") == {}


def test_owners_tools_in_the_registry(tmp_path: Path) -> None:
    """One that is refused is reported; the others work."""
    (tmp_path / "mine.toml").write_text(GOOD)
    (tmp_path / "broken.toml").write_text("title = 1")
    tools = Registry({"mine": {"nice": 3}}, definitions=tmp_path, path=[])
    assert tools.names == ("broken", "mine")
    mine = tools.tool("mine")
    assert isinstance(mine, Program)
    assert (mine.name, mine.config) == ("mine", {"nice": 3})
    states = {state.name: state for state in run(tools.detect_all())}
    assert "Mine is not installed: no mine on the PATH" in states["mine"].reason
    assert "broken.toml, line 1: title: write text" in states["broken"].reason
    with pytest.raises(ToolError, match=r"broken\.toml, line 1"):
        tools.tool("broken")


def test_an_owners_definition_replaces_ours(tmp_path: Path) -> None:
    """A new version of an agent may need other flags before Paceline knows them."""
    (tmp_path / "codex.toml").write_text(GOOD)
    tool = Registry({}, definitions=tmp_path).tool("codex")
    assert isinstance(tool, Program)
    assert tool.definition.title == "Mine"


def test_one_that_is_switched_off(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD)
    assert Registry({"mine": {"enabled": False}}, definitions=tmp_path, path=[]).names == ()
