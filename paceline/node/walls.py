"""The walls around what an attempt starts: what the owner wishes, and what this machine can do.

Agents are confined unless the owner says otherwise; a shell line, which a person wrote, only where
the owner says so (`[command] sandbox = "auto"` in `tools.toml`). A tool's own `sandbox` goes before
the node's `--sandbox`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

import psutil

from paceline.errors import ToolError
from paceline.node.desk import Desk
from paceline.tasks.model import ToolState
from paceline.tools.contract import BaseTool
from paceline.tools.isolation import Confinement, Isolation, Kind, path_directories

MIB: Final = 1024 * 1024
AGENTS_SHARE: Final = 0.75
"""Of the machine's memory, what one agent with all that it starts may have."""

ALTERNATES_LIMIT: Final = 16

ISOLATION_KEY: Final = "isolation"
"""In what a worker says of itself: how agents are kept apart there; `isolation.TOOL` = of one."""


def wish(tool: BaseTool, node_wish: str) -> str:
    """Answer `auto`, `require` or `off`, as it holds for that tool."""
    return str(tool.config.get("sandbox") or (node_wish if tool.agent else "off"))


def kind_for(tool: BaseTool, isolation: Isolation, node_wish: str) -> Kind:
    """Answer how what the tool starts is kept apart here."""
    return Kind.MARKS if wish(tool, node_wish) == "off" else isolation.kind


def refusal(tool: BaseTool, isolation: Isolation, node_wish: str) -> str:
    """Answer why the tool must not run here, or nothing if it may."""
    if wish(tool, node_wish) != "require" or isolation.is_sandbox:
        return ""
    return (
        f"a sandbox is required, and none works here ({isolation.reason}): install bubblewrap, or "
        f'set sandbox = "auto"'
    )


def judged(state: ToolState, tool: BaseTool, isolation: Isolation, node_wish: str) -> ToolState:
    """Answer the tool's state, unhealthy where a sandbox is required and there is none."""
    why = refusal(tool, isolation, node_wish)
    return replace(state, healthy=False, reason=why) if why and state.healthy else state


def walls(tool: BaseTool, desk: Desk, place: Path) -> Confinement | None:
    """Answer the walls for one attempt; None = none. Blocks. Raise ToolError where it must not run.

    `place` is the attempt's directory, with its work tree checked out.
    """
    if why := refusal(tool, desk.isolation, desk.sandbox):
        raise ToolError(why)
    if kind_for(tool, desk.isolation, desk.sandbox) is Kind.MARKS:
        return None
    hidden = (Path.home(), *desk.hidden)
    programs = path_directories(desk.environment.get("PATH", ""), hidden=hidden)
    return Confinement(
        isolation=desk.isolation,
        place=place,
        readable=(*programs, *borrowed(place / "workspace"), *_paths(tool, "readable")),
        writable=_paths(tool, "writable"),
        hidden=hidden,
    )


def memory_limit_bytes(tool: BaseTool) -> int:
    """Answer how much memory all processes of one attempt may have; 0 = no limit."""
    limit = tool.config.get("memory_limit_mib")
    if isinstance(limit, int):
        return limit * MIB
    return int(psutil.virtual_memory().total * AGENTS_SHARE) if tool.agent else 0


def _paths(tool: BaseTool, name: str) -> tuple[Path, ...]:
    return tuple(Path(path).expanduser() for path in tool.config.get(name, ()))


def borrowed(workspace: Path) -> tuple[Path, ...]:
    """Answer the directories that the work tree borrows its objects from, and those from others."""
    found: list[Path] = []
    waiting = [workspace / ".git" / "objects"]
    while waiting and len(found) < ALTERNATES_LIMIT:
        file = waiting.pop() / "info" / "alternates"
        if not file.is_file():
            continue
        lines = file.read_text(errors="replace").splitlines()
        more = [Path(line) for line in lines if line.startswith("/")]
        found += more
        waiting += more
    return tuple(found)
