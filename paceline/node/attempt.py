"""One attempt, from an empty directory to an outcome.

    attempts/SUBTASK_ID/ATTEMPT-TOKEN/     or with-TOOL/, see `resuming`
        inputs/     one file per dependency, byte for byte
        workspace/  the repository's commit, or empty
        home/ tmp/  the HOME and TMPDIR of what runs
        output      what dependents get, written by the tool
        run.mark    the mark of its processes, while there are any
        kept/ index what was taken out of the work tree, and git's index of it as it was

Whatever happens is an `Outcome`, unless the task that runs this is cancelled; either way no process
of the attempt is left. The directory stays: how long it is kept is for the caller to say.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import structlog

from paceline.errors import InputError, PacelineError, TimedOut, ToolError
from paceline.node.assessment import assess, is_judged
from paceline.node.briefed import as_review
from paceline.node.change_merge import MergeConflict
from paceline.node.collection import collect
from paceline.node.conclusion import conclude
from paceline.node.desk import Desk, Work
from paceline.node.disk import out_of_space
from paceline.node.harvest import Unfit, harvest
from paceline.node.logs import LogWriter
from paceline.node.preparation import Prepared, prepare
from paceline.node.resuming import conclude_session, owns, remember
from paceline.node.transcript import Transcript, shorten
from paceline.node.workspace import remove_directory
from paceline.tasks.model import Outcome, RepositoryChange, ResultStatus
from paceline.tools.contract import BaseTool, Job
from paceline.tools.events import SessionStarted
from paceline.tools.marks import sweep

T = TypeVar("T")

logger = structlog.get_logger(__name__)

PREPARE_TIMEOUT_S = 1800.0
"""For inputs and repository to come here over the network."""

OVERTIME_S = 30.0
"""A tool ends itself when its time is up; one that does not is ended after so much more."""


async def run_attempt(work: Work, desk: Desk, stop: asyncio.Event) -> Outcome:
    """Do the work and answer what it came to; `cancelled` once `stop` is set.

    Failures of every kind are outcomes. Cancelling the caller ends the work, then passes on.
    """
    started_ms = desk.clock.monotonic_ms()
    log = desk.logs.open(work.key)
    try:
        outcome = await _until(stop, _guarded(work, desk, log))
        if outcome is None:
            outcome = Outcome(ResultStatus.CANCELLED, "cancelled")
        if outcome.status is not ResultStatus.OK:
            log.write("node", f"{outcome.status}: {outcome.text.partition(chr(10))[0]}")
        return replace(
            outcome,
            text=shorten(desk.redactor.text(outcome.text)),
            duration_ms=desk.clock.monotonic_ms() - started_ms,
            log_tail=log.tail(),
        )
    finally:
        log.close()


async def remove_attempt(work: Work, desk: Desk) -> None:
    """Delete an attempt's directory, but for a session to go on with; its log has its own life."""
    place = desk.place_of(work)
    if not await asyncio.to_thread(owns, place, work):
        return
    if work.resumes and desk.sessions is not None:
        await desk.sessions.keep(work.spec.subtask_id, place)
    await remove_directory(place)


async def sweep_attempts(directory: Path) -> int:
    """Kill what attempts of a former process of this node left running; answer how many marks.

    Asked at the start, before anything runs.
    """
    marks = await asyncio.to_thread(lambda: list(directory.glob("*/*/run.mark")))
    return await sweep(marks)


async def clear_attempts(directory: Path) -> None:
    """Delete what attempts of a former process left behind; after `sweep_attempts`."""
    for place in await asyncio.to_thread(lambda: list(directory.iterdir())):
        await remove_directory(place)


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Answer what the work answers, or None if it was stopped before it did."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        stopped = group.create_task(stop.wait())
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        stopped.cancel()
    return None if task.cancelled() else task.result()


async def _guarded(work: Work, desk: Desk, log: LogWriter) -> Outcome:
    try:
        with out_of_space():
            return await _attempt(work, desk, log)
    except (PacelineError, OSError) as error:
        return Outcome(ResultStatus.ERROR, str(error))
    except Exception as error:  # one attempt's trouble must not end the node's other work
        logger.exception("an attempt failed in an unforeseen way")
        return Outcome(ResultStatus.ERROR, f"internal error: {type(error).__name__}: {error}")


async def _attempt(work: Work, desk: Desk, log: LogWriter) -> Outcome:
    tool = desk.tools.tool(work.tool)
    desk.redactor.register(*tool.secrets)
    if work.sensitive and not tool.local:
        return Outcome(ResultStatus.DENIED, f"sensitive work must not reach the tool {work.tool}")
    try:
        async with asyncio.timeout(PREPARE_TIMEOUT_S):
            prepared = await prepare(work, desk, tool, log)
    except TimeoutError:
        raise TimedOut("inputs and repository did not come here in time") from None
    except MergeConflict as conflict:
        return unresolved(conflict)
    except Unfit as unfit:
        return Outcome(unfit.status, str(unfit))
    outcome = await _run(tool, prepared.job, Transcript(log, desk.redactor), work, desk)
    await conclude_session(prepared.job, work, desk, outcome)
    if outcome.status is not ResultStatus.OK:
        return outcome
    try:
        output = await collect(prepared.job.output, desk.blobs, desk.output_limit_bytes)
        change = await _take_change(prepared, work, desk, tool, log)
    except InputError as error:
        return replace(outcome, status=ResultStatus.FAILED, text=str(error))
    except Unfit as unfit:
        return replace(outcome, status=unfit.status, text=str(unfit))
    outcome = replace(outcome, output=output, change=change)
    if work.briefing.review:
        return as_review(outcome)
    if change is None or prepared.start is None or not is_judged(work, tool, desk.assessing):
        return outcome
    evaluation = await assess(change, prepared.start, work, desk, log)
    return replace(outcome, evaluation=evaluation)


def unresolved(conflict: MergeConflict) -> Outcome:
    """Answer what a conflict comes to that no agent of the subtask can resolve.

    This is where a person comes in: `details` has what a checkpoint of the type `conflict` shows.
    """
    details = {"conflict": {"files": list(conflict.files), "subtasks": list(conflict.names)}}
    advice = "let one of them depend on the other, or have an agent do what depends on both"
    return Outcome(ResultStatus.CONFLICT, f"{conflict}; {advice}", details=details)


async def _take_change(
    prepared: Prepared, work: Work, desk: Desk, tool: BaseTool, log: LogWriter
) -> RepositoryChange | None:
    """Answer what was changed, where that is wanted. Raise Unfit.

    One that went on from earlier work and added nothing stands by that work.
    """
    start = prepared.start
    if start is None or not work.keeps_changes:
        return None
    if not desk.carries_changes():
        log.write("node", "changes stay behind until all machines of the cluster are updated")
        return None
    change = await harvest(start, work, desk, tool, log) or work.briefing.change
    if change is None and work.must_change:
        raise Unfit(ResultStatus.FAILED, "the work was to change files, and none was changed")
    return change


async def _run(tool: BaseTool, job: Job, transcript: Transcript, work: Work, desk: Desk) -> Outcome:
    """Run the tool to its end, within its time and some more."""
    limit_s = job.timeout_s + OVERTIME_S if job.timeout_s else None
    try:
        async with asyncio.timeout(limit_s) as overtime, aclosing(tool.run(job)) as events:
            async for event in events:
                transcript.take(event)
                if isinstance(event, SessionStarted):
                    await remember(job, work, desk, event.session)
    except TimeoutError:
        if not overtime.expired():
            raise
        reason = f"the tool {tool.name} did not end when its {job.timeout_s:g} s were over"
        return Outcome(ResultStatus.TIMEOUT, reason, usage=transcript.usage)
    except (PacelineError, OSError):
        raise
    except Exception as error:  # a plugin may fail in any way
        logger.exception("a tool failed in an unforeseen way")
        raise ToolError(f"the tool {tool.name} broke: {type(error).__name__}: {error}") from error
    finally:
        transcript.end()
    return conclude(transcript, tool)
