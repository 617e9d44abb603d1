"""Who is confined on a node: what its owner wishes, what the machine can do, what is seen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from paceline.errors import ToolError
from paceline.node.desk import Desk
from paceline.node.walls import judged, kind_for, memory_limit_bytes, walls
from paceline.tasks.model import ToolState
from paceline.tools.command import Command
from paceline.tools.contract import BaseTool
from paceline.tools.isolation import Isolation, Kind
from tests.node.desks import Played, attempt, make_desk, make_work
from tests.tools.children import run

SANDBOX = Isolation(Kind.BUBBLEWRAP, "/usr/bin/bwrap")
NONE = Isolation(Kind.MARKS, "", "bwrap is not installed")


def agent(**config: Any) -> BaseTool:
    def never(job: Any) -> Any:
        raise AssertionError("it must not run")

    return Played(never, config)


def desk(directory: Path, isolation: Isolation = SANDBOX, sandbox: str = "auto") -> Desk:
    return replace(make_desk(directory, agent=agent()), isolation=isolation, sandbox=sandbox)


@pytest.mark.parametrize(
    ("tool", "isolation", "sandbox", "kind"),
    [
        (agent(), SANDBOX, "auto", Kind.BUBBLEWRAP),
        (agent(), NONE, "auto", Kind.MARKS),
        (agent(), SANDBOX, "off", Kind.MARKS),
        (agent(sandbox="require"), SANDBOX, "off", Kind.BUBBLEWRAP),
        (agent(sandbox="off"), SANDBOX, "require", Kind.MARKS),
        (Command({}), SANDBOX, "require", Kind.MARKS),
        (Command({"sandbox": "auto"}), SANDBOX, "auto", Kind.BUBBLEWRAP),
    ],
)
def test_agents_are_confined_and_a_persons_line_if_that_is_said(
    tool: BaseTool, isolation: Isolation, sandbox: str, kind: Kind
) -> None:
    assert kind_for(tool, isolation, sandbox) is kind


def test_what_requires_a_sandbox_does_not_run_without(tmp_path: Path) -> None:
    bare = desk(tmp_path, NONE, "require")
    with pytest.raises(ToolError, match="a sandbox is required, and none works here"):
        walls(agent(), bare, tmp_path)
    state = judged(ToolState("agent"), agent(), NONE, "require")
    assert not state.healthy
    assert "install bubblewrap" in state.reason
    assert judged(ToolState("command"), Command({}), NONE, "require").healthy


def test_the_attempt_of_an_agent_that_must_not_run_is_an_error(tmp_path: Path) -> None:
    outcome = run(attempt(make_work(tool="agent"), desk(tmp_path, NONE, "require")))
    assert (outcome.status, "a sandbox is required" in outcome.text) == ("error", True)


def test_what_is_seen_is_the_programs_the_borrowed_objects_and_what_the_owner_names(
    tmp_path: Path,
) -> None:
    place, cache, older = tmp_path / "place", tmp_path / "cache", tmp_path / "older"
    for directory, borrowed in ((place / "workspace" / ".git" / "objects", cache), (cache, older)):
        (directory / "info").mkdir(parents=True)
        (directory / "info" / "alternates").write_text(f"{borrowed}\n")
    tool = agent(readable=["/data"], writable=["~/models"])
    found = walls(tool, desk(tmp_path), place)
    assert found is not None
    assert {cache, older, Path("/data")} <= set(found.readable)
    assert found.writable == (Path.home() / "models",)
    assert Path.home() in found.hidden


def test_agents_have_most_of_the_memory_unless_the_owner_says_otherwise() -> None:
    assert memory_limit_bytes(agent()) == int(psutil.virtual_memory().total * 0.75)
    assert memory_limit_bytes(agent(memory_limit_mib=512)) == 512 * 1024**2
    assert memory_limit_bytes(agent(memory_limit_mib=0)) == memory_limit_bytes(Command({})) == 0
