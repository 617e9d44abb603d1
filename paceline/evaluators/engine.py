"""All evaluators on one change: each within its limits, none able to spoil it for the others.

    evaluation = await evaluate(change, context, config=config)

Evaluators that are installed run in a process of their own each, `WIDTH` at once. One that crashes,
hangs, grows or answers nonsense is a part with a `failure`; it counts for nothing and is reported.
Those in `extra` are made by the caller and run here, bounded in time: a judge, which asks an agent.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paceline
from paceline.errors import PacelineError, ProtocolError
from paceline.evaluators import documents
from paceline.evaluators.aggregate import Evaluation, Judged, aggregate
from paceline.evaluators.change import Change
from paceline.evaluators.config import Choice, Config, Limits
from paceline.evaluators.context import Context
from paceline.evaluators.contract import BaseEvaluator, EvaluationResult
from paceline.evaluators.reading import read_bytes
from paceline.evaluators.registry import Registry
from paceline.tools.environment import build_environment
from paceline.tools.process import Ending, ProcessSpec, child_process

WIDTH = 2
"""So many evaluators run at once: the machine has agents to run as well."""

ANSWER_LIMIT_BYTES = 8 * 1024 * 1024
OPTIONAL = frozenset({"judge"})
"""May be configured where they do not run."""

REQUIRED = frozenset({"security", "completeness", "code_quality", "tests"})
"""Whose failure opens a checkpoint, unless the configuration says otherwise."""

EXTRA_TIME_S = 1800.0
"""For one that runs here; an agent takes its time."""

GRACE_S = 1.0
STDERR_CHARACTERS = 300

_BOOT = (
    "import sys; root, *arguments = sys.argv[1:]; sys.path.insert(0, root);"
    " from paceline.evaluators.child import main; main(*arguments)"
)


@dataclass(frozen=True, slots=True)
class Work:
    """What one evaluator is given."""

    name: str
    choice: Choice
    change: Change
    context: Context
    limits: Limits


Answer = tuple[float, EvaluationResult]
"""The evaluator's own weight, and what it says."""

Run = Callable[[Work], Awaitable[Answer]]
"""Runs one evaluator. Raises anything when that fails."""


async def evaluate(
    change: Change,
    context: Context,
    *,
    config: Config | None = None,
    registry: Registry | None = None,
    extra: Sequence[BaseEvaluator] = (),
    run: Run | None = None,
    notes: Sequence[str] = (),
) -> Evaluation:
    """Answer what all evaluators that are installed and switched on say of the change, together.

    One that the configuration names but that is not installed here is a part with a failure.
    """
    config = config or Config()
    registry = registry or Registry()
    own = run or in_processes(registry)
    turn = asyncio.Semaphore(WIDTH)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_judged(_work(name, change, context, config), own, turn))
            for name in registry.names
            if config.choice(name).enabled
        ]
        tasks += [
            group.create_task(_judged(_work(one.name, change, context, config), _here(one), turn))
            for one in extra
            if config.choice(one.name).enabled
        ]
    parts = [task.result() for task in tasks] + _absent(config, registry, extra)
    return aggregate(parts, config.thresholds, (*change.notes, *notes))


def in_processes(registry: Registry, path: Sequence[str] | None = None) -> Run:
    """Answer how to run an evaluator of the registry in a process of its own, within its limits.

    `path` is where its process looks for distributions (default: `sys.path`).
    """
    searched = [part for part in (sys.path if path is None else path) if part]

    async def run(work: Work) -> Answer:
        return await _in_process(work, searched)

    return run


def in_this_process(registry: Registry) -> Run:
    """Answer how to run an evaluator here, without limits: for tests and calibration."""

    async def run(work: Work) -> Answer:
        evaluator = registry.make(work.name, work.choice.options)
        result = await evaluator.evaluate(work.change, work.context)
        return evaluator.weight, result.bounded()

    return run


def _here(evaluator: BaseEvaluator) -> Run:
    async def run(work: Work) -> Answer:
        async with asyncio.timeout(EXTRA_TIME_S):
            result = await evaluator.evaluate(work.change, work.context)
        return evaluator.weight, result.bounded()

    return run


def _work(name: str, change: Change, context: Context, config: Config) -> Work:
    return Work(name, config.choice(name), change, context, config.limits)


def _absent(config: Config, registry: Registry, extra: Sequence[BaseEvaluator]) -> list[Judged]:
    """Answer a part for each evaluator that is configured but not there: a typing error, mostly."""
    known = {*registry.names, *(one.name for one in extra)}
    there = ", ".join(sorted(known | OPTIONAL))
    return [
        Judged(name, 0.0, failure=f"there is no evaluator {name} here; there are {there}")
        for name, choice in sorted(config.evaluators.items())
        if name not in known | OPTIONAL and choice.enabled
    ]


async def _judged(work: Work, run: Run, turn: asyncio.Semaphore) -> Judged:
    """Answer the part of one evaluator, its failure included: whatever it raised."""
    weight, required = work.choice.weight, work.choice.required
    result, failure = None, ""
    async with turn:
        start = time.monotonic()
        try:
            own, result = await run(work)
            weight = own if weight is None else weight
        except TimeoutError:
            failure = "it did not answer in time"
        except Exception as error:  # an evaluator may fail in any way; that is never fatal
            failure = _words(error)
        duration_s = round(time.monotonic() - start, 3)
    return Judged(
        name=work.name,
        weight=0.0 if weight is None else weight,
        result=result,
        failure=failure,
        minimum=work.choice.minimum,
        required=work.name in REQUIRED if required is None else required,
        duration_s=duration_s,
    )


def _words(error: Exception) -> str:
    text = str(error) if isinstance(error, PacelineError) else f"{type(error).__name__}: {error}"
    return text[: documents.FAILURE_CHARACTERS]


# --- a process of its own -------------------------------------------------------------------------


async def _in_process(work: Work, path: Sequence[str]) -> Answer:
    with tempfile.TemporaryDirectory(prefix="paceline-evaluator-") as name:
        directory = Path(name)
        request = await asyncio.to_thread(_request, work, path)
        await asyncio.to_thread((directory / "request").write_bytes, request)
        said = await _run(work, directory)
        data = await asyncio.to_thread(read_bytes, directory, "answer", ANSWER_LIMIT_BYTES)
    if data is None:
        raise EvaluatorFailed(f"it ended without an answer{said}")
    return _read_answer(data)


class EvaluatorFailed(PacelineError):
    """An evaluator's process did not answer."""


def _request(work: Work, path: Sequence[str]) -> bytes:
    document = {
        "name": work.name,
        "options": documents.plain(work.choice.options),
        "path": list(path),
        "memory_bytes": work.limits.memory_mib * 1024 * 1024,
        "change": documents.change_document(work.change),
        "context": documents.context_document(work.context),
    }
    return json.dumps(document).encode("ascii")


async def _run(work: Work, directory: Path) -> str:
    """Run the process to its end. Answer what to say if it gave no answer."""
    home = directory / "home"
    home.mkdir()
    root = str(Path(paceline.__file__).parent.parent)
    places = (str(directory / "request"), str(directory / "answer"))
    spec = ProcessSpec(
        argv=(sys.executable, "-I", "-c", _BOOT, root, *places),
        directory=home,
        environment=build_environment(os.environ, home=home, temporary=home),
        mark_file=directory / "mark",
        timeout_s=work.limits.time_s,
        grace_s=GRACE_S,
        output_limit_bytes=64 * 1024,
    )
    last = ""
    async with child_process(spec) as child:
        async for line in child:
            last = line.text.strip() or last
    if child.ending is not Ending.EXITED:
        raise EvaluatorFailed(f"it took longer than {work.limits.time_s:g} s and was stopped")
    return _end(child.exit_code, last)


def _end(status: int | None, last: str) -> str:
    if status is not None and status < 0:
        return f" (ended by {signal.Signals(-status).name})"
    return f" (status {status}: {last[:STDERR_CHARACTERS]})" if last else f" (status {status})"


def _read_answer(data: bytes) -> Answer:
    try:
        answer: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"its answer is no JSON: {error}") from None
    if not isinstance(answer, Mapping):
        raise ProtocolError("its answer is no document")
    if failure := answer.get("failure"):
        raise EvaluatorFailed(str(failure))
    weight = answer.get("weight")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < 1e6:
        raise ProtocolError("its weight is no number that can be used")
    return float(weight), documents.read_result(answer.get("result")).bounded()
