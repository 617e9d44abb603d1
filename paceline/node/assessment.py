"""The worker's judgement of what an attempt changed, before its outcome is told.

What is judged is what counts: a fresh checkout of the commit that was taken out of the work tree,
in which nobody has been. The repository's configuration is that of the commit where the work began,
so that no change decides how it is judged. Nothing of the repository is run, unless the plan names
commands (whoever writes a plan may run commands anyway) or this node's owner allows it.

That a change cannot be judged is no pass: it is a doubt, and a person is asked.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paceline.errors import PacelineError, StorageFull
from paceline.evaluators import aggregate, engine
from paceline.evaluators.aggregate import Judged
from paceline.evaluators.config import Config, parse
from paceline.evaluators.context import Context
from paceline.evaluators.gather import Gathered, gather
from paceline.evaluators.measure.commands import commands_for
from paceline.evaluators.measure.running import Runner, behind_walls, measure
from paceline.node.assessing import Assessing
from paceline.node.briefed import diff
from paceline.node.desk import Desk, Work
from paceline.node.git import object_format
from paceline.node.harvest import Start
from paceline.node.logs import LogWriter
from paceline.node.walls import borrowed, walls
from paceline.node.workspace import check_out, open_workspace
from paceline.tasks.draft import REVIEW
from paceline.tasks.gates import GATES
from paceline.tasks.model import Evaluation, Finding, RepositoryChange
from paceline.tools.contract import BaseTool

FINDINGS_LIMIT = 50
MESSAGE_LENGTH = 300
DIFF_LIMIT_BYTES = 12 * 1024
DOUBTS_LIMIT = 10
TIME_LIMIT_S = 3600.0
"""For everything together; each evaluator and each command has its own, shorter one."""

COMMANDS_LIMIT = 10
EVALUATE = "evaluate"
"""In a subtask's settings: false = its changes are not judged, true = whatever made them."""


def is_judged(work: Work, tool: BaseTool, assessing: Assessing) -> bool:
    """Answer whether the attempt's changes are judged: an agent's are, a person's own are not."""
    wanted = work.spec.settings.get(EVALUATE)
    if wanted is False or not assessing.enabled:
        return False
    settings = work.spec.settings
    return tool.agent or wanted is True or GATES in settings or bool(settings.get(REVIEW))


async def assess(
    change: RepositoryChange, start: Start, work: Work, desk: Desk, log: LogWriter
) -> Evaluation:
    """Answer what the evaluators say of a change. Raise StorageFull; all else is a doubt."""
    judged = desk.place_of(work) / "judged"
    base = (work.briefing.start if work.briefing.change else "") or start.commit
    try:
        async with asyncio.timeout(TIME_LIMIT_S):
            await desk.repositories.bring(start.cache, change)
            await asyncio.to_thread(judged.mkdir, 0o700)
            await open_workspace(start.cache, judged, object_format(change.commit))
            await check_out(judged, change.commit, branch="paceline/judged")
            found = await _evaluate(judged, base, work, desk, log)
            shown = await diff(judged, base, change.commit, DIFF_LIMIT_BYTES)
    except StorageFull:
        raise
    except (PacelineError, TimeoutError, OSError) as error:
        words = str(error) or "it took too long"
        log.write("node", f"the change could not be judged: {words}")
        return Evaluation(None, doubts=(f"the change could not be judged: {words}"[:1000],))
    return _told(found, desk, shown)


@dataclass(frozen=True, slots=True)
class _Found:
    """What came of it, and the repository's own thresholds."""

    evaluation: aggregate.Evaluation
    thresholds: aggregate.Thresholds
    files: int


async def _evaluate(judged: Path, base: str, work: Work, desk: Desk, log: LogWriter) -> _Found:
    gathered = await gather(judged, base)
    config = parse(gathered.config) if gathered.config else Config()
    context = Context(requirements=_requirements(work), repository=gathered.repository)
    context = await _measured(context, gathered, config, work, desk)
    evaluation = await engine.evaluate(gathered.change, context, config=config)
    scores = ", ".join(f"{p.name} {p.score:g}" for p in evaluation.parts if p.score is not None)
    score = "-" if evaluation.score is None else f"{evaluation.score:g}"
    log.write("node", f"evaluated: score {score} of 10 ({scores or 'nobody could judge'})")
    for name, issue in evaluation.issues[:FINDINGS_LIMIT]:
        where = f"{issue.file}:{issue.line}" if issue.line else issue.file
        log.write("node", f"{name}: {issue.severity} {where} {issue.message}"[:MESSAGE_LENGTH])
    return _Found(evaluation, config.thresholds, len(gathered.change.files))


async def _measured(
    context: Context, gathered: Gathered, config: Config, work: Work, desk: Desk
) -> Context:
    """Run the repository's tests where that is permitted."""
    given = _given_tests(work.spec.settings)
    if not given and not desk.assessing.run_tests:
        return context
    top = gathered.repository
    commands = commands_for(
        config.commands, gathered.manifests, has=lambda path: (top / path).exists(), given=given
    )
    return await measure(
        context,
        gathered.change,
        commands if desk.assessing.run_tests else [c for c in commands if c.line in given],
        gathered.manifests,
        time_s=config.commands.time_s,
        memory_mib=config.commands.memory_mib,
        runner=await _runner(work, desk, top),
    )


async def _runner(work: Work, desk: Desk, judged: Path) -> Runner | None:
    """Answer how commands are run: behind the walls of whoever made the change, if it had any."""
    tool = desk.tools.tool(work.tool)
    kept = await asyncio.to_thread(walls, tool, desk, desk.place_of(work))
    if kept is None:
        return None
    objects = await asyncio.to_thread(borrowed, judged)
    return behind_walls(kept.seeing((*objects, Path.home() / "go" / "pkg" / "mod")))


def _given_tests(settings: Any) -> tuple[str, ...]:
    """Answer the test commands that the plan names."""
    gates = settings.get(GATES)
    tests = gates.get("tests") if isinstance(gates, dict) else None
    if not isinstance(tests, list | tuple):
        return ()
    return tuple(line for line in tests[:COMMANDS_LIMIT] if isinstance(line, str) and line.strip())


def _requirements(work: Work) -> str:
    """Answer what the change was to do. A template's instructions are mostly about how to work."""
    if work.task.type == "plan":
        return work.asked.instructions or work.asked.description
    return work.task.description if work.spec.settings.get(REVIEW) else ""


def _told(found: _Found, desk: Desk, shown: str) -> Evaluation:
    """Answer it as the log carries it: bounded, and without secrets."""
    evaluation = found.evaluation
    clean = desk.redactor.text
    findings = tuple(
        Finding(
            file=issue.file[:500],
            line=issue.line,
            severity=issue.severity.value,
            message=clean(issue.message)[:MESSAGE_LENGTH],
            rule=issue.rule[:100],
            source=name[:100],
        )
        for name, issue in evaluation.issues[:FINDINGS_LIMIT]
    )
    return Evaluation(
        score=evaluation.score,
        scores={part.name: part.score for part in evaluation.parts if part.score is not None},
        findings=findings,
        doubts=tuple(clean(each)[:MESSAGE_LENGTH] for each in _doubts(evaluation.parts)),
        tests_failed=any(issue.rule == "tests-failed" for _, issue in evaluation.issues),
        checkpoint_below=found.thresholds.checkpoint,
        retry_below=found.thresholds.retry,
        files=found.files,
        diff=clean(shown),
    )


def _doubts(parts: tuple[Judged, ...]) -> list[str]:
    """Answer what asks for a person whatever the score: see `aggregate`."""
    low = [
        f"{part.name} is {part.score:g}, below its minimum {part.minimum:g}"
        for part in parts
        if part.score is not None and part.score < part.minimum
    ]
    failed = [
        f"{part.name} failed: {part.failure}" for part in parts if part.failure and part.required
    ]
    return [*low, *failed][:DOUBTS_LIMIT]
