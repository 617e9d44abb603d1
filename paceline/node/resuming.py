"""Going on with an agent's session: which one, from where, and keeping it for the next attempt.

A correction goes on with the author's session; so does an attempt after one that was cut off (its
time or turns were over, a limit was reached, its node stopped), where the tool can and the home is
still on this node. Programs find their sessions by paths, so all attempts of such a tool at one
subtask work at the same place. A review never sees the author's session, and what a person rejected
begins afresh. One that failed in a session it went on with does not get that session again.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from paceline.errors import Conflict
from paceline.node.desk import Desk, Work
from paceline.node.disk import out_of_space
from paceline.node.logs import LogWriter
from paceline.node.sessions import FILE, HOME, Session, note
from paceline.tasks.model import Outcome, ResultStatus
from paceline.tools.contract import BaseTool, Job

WAIT_S: Final = 30.0
WAIT_PAUSE_S: Final = 0.1
OWNER: Final = "attempt"

AGAIN: Final = (
    "You have worked on this before, in this session, and were cut off. The files are as they were "
    "at the beginning: of what you changed, nothing is there. Do the work now, from what you know."
)


async def wait_for_place(place: Path) -> None:
    """Wait until an earlier attempt has left the place that it shares. Raise Conflict."""
    for _ in range(int(WAIT_S / WAIT_PAUSE_S)):
        if not await asyncio.to_thread(place.exists):
            return
        await asyncio.sleep(WAIT_PAUSE_S)
    raise Conflict("an earlier attempt is still being ended on this node")


def claim(place: Path, work: Work) -> None:
    """Write down whose place it is, for the time that it is shared. Blocks."""
    if work.resumes:
        (place / OWNER).write_text(_owner(work), encoding="ascii")


def owns(place: Path, work: Work) -> bool:
    """Answer whether the place is this attempt's: what another works in is not to be taken away."""
    if not work.resumes:
        return True
    try:
        return (place / OWNER).read_text(encoding="ascii", errors="replace") == _owner(work)
    except OSError:
        return False


def _owner(work: Work) -> str:
    return f"{work.attempt}-{work.token}"


async def resumed(job: Job, work: Work, desk: Desk, tool: BaseTool, log: LogWriter) -> Job:
    """Answer the job, going on with the session that fits it, if there is one here."""
    if desk.sessions is None or not work.resumes:
        return job
    subtask_id = work.spec.subtask_id
    kept = await desk.sessions.find(subtask_id, tool.name)
    if kept is None:
        return job
    if not _fits(kept, work):
        await desk.sessions.drop(subtask_id, tool.name)
        return job
    await desk.sessions.take(subtask_id, tool.name, desk.place_of(work) / HOME)
    log.write("node", f"goes on with the session {kept.session}")
    words = job.instructions
    if work.briefing.change is None:
        words = f"{AGAIN}\n\n{words}"
    return replace(job, instructions=words, session=kept.session, session_usage=kept.usage)


def _fits(kept: Session, work: Work) -> bool:
    if work.briefing.session:
        return kept.session == work.briefing.session
    return not work.briefing.feedback


async def remember(
    job: Job, work: Work, desk: Desk, session: str, used: Mapping[str, int] | None = None
) -> None:
    """Write down beside the home which session it has, and what that has used in all."""
    if desk.sessions is None or not work.resumes or not session:
        return
    total = dict(job.session_usage) if session == job.session else {}
    for kind, count in (used or {}).items():
        total[kind] = total.get(kind, 0) + count
    with out_of_space():
        await asyncio.to_thread(note, desk.place_of(work), Session(session, work.tool, total))


async def conclude_session(job: Job, work: Work, desk: Desk, outcome: Outcome) -> None:
    """Note the session of an ended run; forget it where going on with it has just failed."""
    if job.session and outcome.status is ResultStatus.FAILED:
        file = desk.place_of(work) / FILE
        await asyncio.to_thread(file.unlink, missing_ok=True)
    else:
        await remember(job, work, desk, outcome.session, outcome.usage)
