"""Plugins as they are installed: distributions in a directory, with real entry points."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from paceline.errors import NotFound, ToolError
from paceline.tasks.model import ToolState
from paceline.tools.command import Command
from paceline.tools.ollama import Ollama
from paceline.tools.registry import Registry
from tests.tools.children import run

GOOD = """
    from paceline.tasks.model import ToolState
    from paceline.tools.contract import BaseTool

    class Tool(BaseTool):
        async def run(self, job):
            yield

        async def validate_config(self):
            return self.config.get("valid", True)

        async def detect(self):
            return ToolState(self.name, version="1.2")
"""


@pytest.fixture(autouse=True)
def _forget_modules() -> Iterator[None]:
    before = set(sys.modules)
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.startswith("plugin_"):
            del sys.modules[name]


def install(site: Path, name: str, source: str, entry_point: str = "") -> None:
    """Install a distribution `name` with one module and one entry point in a directory."""
    site.mkdir(exist_ok=True)
    (site / f"plugin_{name}.py").write_text(dedent(source))
    information = site / f"plugin_{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plugin-{name}\n")
    value = entry_point or f"plugin_{name}:Tool"
    (information / "entry_points.txt").write_text(f"[paceline.tools]\n{name} = {value}\n")


def registry(site: Path, config: Mapping[str, Mapping[str, object]] | None = None) -> Registry:
    sys.path.insert(0, str(site))
    return Registry(config or {}, path=[str(site)])


def test_ours_come_by_the_same_door() -> None:
    tools = Registry({})
    assert {"command", "ollama"} <= set(tools.names)
    assert type(tools.tool("command")) is Command
    assert type(tools.tool("ollama")) is Ollama
    assert tools.tool("command") is tools.tool("command")
    assert tools.tool("command").name == "command"


def test_one_that_is_switched_off_is_not_there() -> None:
    tools = Registry({"ollama": {"enabled": False}})
    assert "ollama" not in tools.names
    with pytest.raises(NotFound, match=r"no tool ollama; it has .*command"):
        tools.tool("ollama")


def test_an_installed_plugin(tmp_path: Path) -> None:
    install(tmp_path, "good", GOOD)
    tools = registry(tmp_path, {"good": {"colour": "blue"}})
    assert "plugin_good" not in sys.modules, "nothing is loaded before it is asked for"
    assert tools.tool("good").config == {"colour": "blue"}
    assert run(tools.detect_all()) == (ToolState("good", version="1.2"),)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module", "no_such_module"),
        ("raise SystemError('boom')", "SystemError: boom"),
        ("syntax error", "SyntaxError"),
        ("Other = 1", "Tool"),
        ("class Tool: pass", "is not a tool"),
        (GOOD + "        api_version = 99\n", "version 99 of the contract"),
        (GOOD + "        def __init__(self, config): raise OSError('no')\n", "OSError: no"),
        (GOOD + "        async def detect(self): raise ValueError('odd')\n", "ValueError: odd"),
        (GOOD + "        async def validate_config(self): return False\n", "is refused"),
    ],
)
def test_a_broken_plugin_is_reported_and_the_others_work(
    tmp_path: Path, source: str, reason: str
) -> None:
    install(tmp_path, "broken", source)
    install(tmp_path, "good", GOOD)
    broken, good = run(registry(tmp_path).detect_all())
    assert (broken.name, broken.healthy) == ("broken", False)
    assert reason in broken.reason
    assert good.healthy


def test_a_broken_plugin_is_tried_once(tmp_path: Path) -> None:
    """Detection asks again and again; its import is not to be repeated each time."""
    install(
        tmp_path, "broken", f"with open({str(tmp_path / 'runs')!r}, 'a') as f: f.write('x')\n1 / 0"
    )
    tools = registry(tmp_path)
    first = run(tools.detect_all())
    assert run(tools.detect_all()) == first
    assert (tmp_path / "runs").read_text() == "x"


def test_of_one_name_ours_wins(tmp_path: Path) -> None:
    install(tmp_path, "command", GOOD)
    sys.path.insert(0, str(tmp_path))
    assert type(Registry({}).tool("command")) is Command


# --- never from the work tree ---


def test_a_distribution_in_the_current_directory_is_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "planted", GOOD)
    monkeypatch.chdir(tmp_path)
    for entry in ("", ".", str(tmp_path)):
        assert Registry({}, path=[entry]).names == ()


def test_a_module_in_the_current_directory_does_not_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The distribution is installed, but the work tree has a module of its module's name."""
    site, tree = tmp_path / "site", tmp_path / "tree"
    install(site, "shadowed", GOOD)
    tree.mkdir()
    (tree / "plugin_shadowed.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tree)
    tools = registry(site)
    sys.path.insert(0, "")
    with pytest.raises(ToolError, match="current directory"):
        tools.tool("shadowed")
    assert not (tree / "ran").exists()


def test_a_package_in_the_current_directory_does_not_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, tree = tmp_path / "site", tmp_path / "tree"
    install(site, "packed", GOOD, "plugin_packed.inner:Tool")
    (tree / "plugin_packed").mkdir(parents=True)
    (tree / "plugin_packed" / "__init__.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tree)
    tools = registry(site)
    sys.path.insert(0, "")
    with pytest.raises(ToolError, match="current directory"):
        tools.tool("packed")
    assert not (tree / "ran").exists()
