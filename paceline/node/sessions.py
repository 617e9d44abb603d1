"""Homes of agents whose work may go on: a correction, or another attempt after one was cut off.

    sessions/SUBTASK_ID/TOOL/home           the private home, as the last attempt left it
    sessions/SUBTASK_ID/TOOL/session.json   the session in it, and what it had used

While an attempt runs, both lie in the attempt's own directory: the home as its HOME, and beside it
`session.json`, written as soon as the agent says what its session is called; so a node that crashed
finds it again. A home is kept for as long as its subtask is open, and no more than so many of them;
whoever takes it has it alone. All this is this node's own: another node begins afresh.
"""

import asyncio
import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import structlog

from paceline.node.workspace import remove_directory

log = structlog.get_logger(__name__)

HOMES_LIMIT: Final = 32
"""So many homes are kept; the oldest go first."""

FILE: Final = "session.json"
HOME: Final = "home"


@dataclass(frozen=True, slots=True)
class Session:
    """A session of an agent. `usage` is what it has used in all, where that was said."""

    session: str
    tool: str
    usage: Mapping[str, int] = field(default_factory=dict)
    workspace: str = ""
    """Where its last attempt worked."""


class Sessions:
    """All homes that this node keeps."""

    def __init__(self, directory: Path, *, limit: int = HOMES_LIMIT) -> None:
        self._directory = directory
        self._limit = limit

    async def keep(self, subtask_id: str, attempt: Path) -> bool:
        """Take the home of an ended attempt, if it has a session. Answer whether it was taken."""
        session = await asyncio.to_thread(read, attempt)
        home = attempt / HOME
        if session is None or home.is_symlink() or not home.is_dir():
            return False
        place = self._place(subtask_id, session.tool)
        await remove_directory(place)
        await asyncio.to_thread(_move, attempt, place)
        await self._make_room()
        return True

    async def find(self, subtask_id: str, tool: str) -> Session | None:
        """Answer the session that is kept of a subtask and tool."""
        return await asyncio.to_thread(read, self._place(subtask_id, tool))

    async def take(self, subtask_id: str, tool: str, home: Path) -> None:
        """Make the kept home the home of an attempt; it is not kept any more.

        `home` must be an empty directory.
        """
        place = self._place(subtask_id, tool)
        await asyncio.to_thread(_give, place, home)
        await remove_directory(place)

    async def drop(self, subtask_id: str, tool: str) -> None:
        """Forget what is kept."""
        await remove_directory(self._place(subtask_id, tool))

    async def collect(self, is_open: Collection[str]) -> int:
        """Delete the homes of all subtasks but these; answer how many."""
        kept = await asyncio.to_thread(lambda: list(self._directory.glob("*/*")))
        ended = [place for place in kept if place.parent.name not in is_open]
        for place in ended:
            await remove_directory(place)
        await asyncio.to_thread(_remove_empty, self._directory)
        return len(ended)

    async def subtasks(self) -> set[str]:
        """Answer of which subtasks something is kept."""
        found = await asyncio.to_thread(lambda: list(self._directory.glob("*/*")))
        return {place.parent.name for place in found}

    async def salvage(self, attempts: Path) -> int:
        """Take the homes of attempts that a crash of this node cut off; answer how many."""
        places = await asyncio.to_thread(lambda: sorted(attempts.glob(f"*/*/{FILE}")))
        taken = 0
        for file in places:
            taken += await self.keep(file.parent.parent.name, file.parent)
        return taken

    def _place(self, subtask_id: str, tool: str) -> Path:
        return self._directory / _safe(subtask_id) / _safe(tool)

    async def _make_room(self) -> None:
        places = await asyncio.to_thread(_by_age, self._directory)
        for place in places[: max(0, len(places) - self._limit)]:
            log.info("a session is not kept any longer: there are too many", place=str(place))
            await remove_directory(place)


def note(attempt: Path, session: Session) -> None:
    """Write down, in an attempt's directory, which session its home has. Blocks."""
    file = attempt / FILE
    file.with_suffix(".new").write_text(json.dumps(asdict(session)), encoding="utf-8")
    file.with_suffix(".new").replace(file)


def read(place: Path) -> Session | None:
    """Answer the session of a directory; None if it has none that can be read. Blocks."""
    try:
        known = json.loads((place / FILE).read_text(encoding="utf-8"))
        usage = {str(kind): int(count) for kind, count in known["usage"].items()}
        return Session(
            str(known["session"]), str(known["tool"]), usage, str(known.get("workspace", ""))
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _move(attempt: Path, place: Path) -> None:
    _cut_links(attempt / HOME)
    place.mkdir(mode=0o700, parents=True)
    os.replace(attempt / HOME, place / HOME)
    os.replace(attempt / FILE, place / FILE)


def _cut_links(home: Path) -> None:
    """Take all links out.

    Files are written into this home later, and an agent may have made links that lead anywhere. A
    lent login is linked again.
    """
    for name, directories, files in os.walk(home):
        for each in (Path(name) / entry for entry in (*directories, *files)):
            if each.is_symlink():
                each.unlink()


def _give(place: Path, home: Path) -> None:
    home.rmdir()
    os.replace(place / HOME, home)


def _by_age(directory: Path) -> list[Path]:
    files = ((file.stat().st_mtime_ns, file.parent) for file in directory.glob(f"*/*/{FILE}"))
    return [place for _, place in sorted(files)]


def _remove_empty(directory: Path) -> None:
    for place in directory.glob("*"):
        if place.is_dir() and not any(place.iterdir()):
            shutil.rmtree(place, ignore_errors=True)


def _safe(name: str) -> str:
    """Answer a name that is one part of a path, whatever it was."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name).lstrip(".") or "_"
