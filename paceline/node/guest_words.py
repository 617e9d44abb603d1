"""The seed's words for work and its results, and ours."""

import json
from collections.abc import Mapping
from typing import Any

from paceline.node.desk import Work
from paceline.node.transcript import shorten
from paceline.node.web.ports import Document, ExternalResult
from paceline.tasks.model import Outcome, Output, ResultStatus

FAILURES = frozenset({"failed", "failure", "error"})
CANCELLATIONS = frozenset({"cancelled", "canceled"})
ERROR_LEVELS = frozenset({"warning", "error", "critical", "fatal"})


def assignment(work: Work, inputs: Mapping[str, str]) -> Document:
    """Answer the `data` of a `task_assignment`; the seed leaves `context` open."""
    spec = work.spec
    return {
        "subtask_id": spec.subtask_id,
        "description": spec.instructions or spec.description or work.task.description,
        "assigned_tool": work.tool,
        "context": {
            "task_id": work.task.task_id,
            "task": work.task.description,
            "name": spec.name,
            "attempt": work.attempt,
            "run": spec.run,
            "inputs": dict(inputs),
            "timeout_s": spec.timeout_s,
            "settings": dict(spec.settings),
        },
    }


def stream_of(level: str) -> str:
    """Answer in which stream of a log a line of that level belongs."""
    return "stderr" if level.lower() in ERROR_LEVELS else "stdout"


def output_bytes(result: ExternalResult) -> bytes:
    """Answer what dependents get: the words that came, or the document as JSON."""
    said = result.output if result.output is not None else result.result
    if isinstance(said, dict) and isinstance(said.get("output"), str):
        said = said["output"]
    if said is None:
        return b""
    return said.encode() if isinstance(said, str) else json.dumps(said, ensure_ascii=False).encode()


def outcome_of(result: ExternalResult, output: Output, **more: Any) -> Outcome:
    """Answer the result as the log keeps it."""
    status = status_of(result)
    words = result.error if status is not ResultStatus.OK else ""
    if not words:
        words = output_bytes(result).decode("utf-8", "replace")
    if status is not ResultStatus.OK:
        output = Output()
    return Outcome(status, shorten(words), output=output, **more)


def status_of(result: ExternalResult) -> ResultStatus:
    """Answer how it ended: what says that it failed counts before what says that it did not."""
    told = result.result if isinstance(result.result, dict) else {}
    words = {result.status.lower(), str(told.get("status", "")).lower()}
    if words & CANCELLATIONS:
        return ResultStatus.CANCELLED
    failed = result.success is False or told.get("success") is False
    return ResultStatus.FAILED if failed or words & FAILURES or result.error else ResultStatus.OK
