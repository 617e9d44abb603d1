"""Changes, contexts and results as JSON: to an evaluator's process, and back from it.

What comes back is not trusted: the process may have read something that took it over. So a result
is read field by field, and anything unexpected is a ProtocolError.
"""

import math
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

from paceline.errors import ProtocolError
from paceline.evaluators.change import Change, FileChange, Kind, Status
from paceline.evaluators.context import (
    CommandRun,
    Context,
    Ending,
    FileCoverage,
    Lint,
    Purpose,
)
from paceline.evaluators.contract import EvaluationResult, Issue, Severity

Document = dict[str, Any]

FAILURE_CHARACTERS = 500
"""Of the sentence that says why an evaluator did not answer."""


def change_document(change: Change) -> Document:
    """Answer the whole change, file contents included."""
    return {"files": [_file_document(file) for file in change.files], "notes": list(change.notes)}


def read_change(document: Document) -> Change:
    """Read `change_document` back."""
    return Change(tuple(map(_read_file, document["files"])), tuple(document["notes"]))


def _file_document(file: FileChange) -> Document:
    return {
        "path": file.path,
        "status": file.status,
        "kind": file.kind,
        "old_path": file.old_path,
        "old": file.old,
        "new": file.new,
        "added": sorted(file.added),
        "removed": file.removed,
        "executable": file.executable,
    }


def _read_file(document: Document) -> FileChange:
    fields = {
        "status": Status(document["status"]),
        "kind": Kind(document["kind"]),
        "added": frozenset(document["added"]),
    }
    return FileChange(**(document | fields))


def context_document(context: Context) -> Document:
    """Answer the whole context."""
    coverage = context.coverage
    return {
        "requirements": context.requirements,
        "repository": str(context.repository) if context.repository else None,
        "runs": [run_document(run) for run in context.runs],
        "lints": [list(astuple(lint)) for lint in context.lints],
        "coverage": None
        if coverage is None
        else {path: [sorted(c.runnable), sorted(c.covered)] for path, c in coverage.items()},
        "permitted": context.permitted,
    }


def read_context(document: Document) -> Context:
    """Read `context_document` back."""
    coverage = document["coverage"]
    return Context(
        requirements=document["requirements"],
        repository=Path(document["repository"]) if document["repository"] else None,
        runs=tuple(map(_read_run, document["runs"])),
        lints=tuple(Lint(*fields) for fields in document["lints"]),
        coverage=None
        if coverage is None
        else {path: FileCoverage(*map(frozenset, pair)) for path, pair in coverage.items()},
        permitted=document["permitted"],
    )


def run_document(run: CommandRun) -> Document:
    """Answer one command that was run."""
    return {
        "purpose": run.purpose,
        "command": run.command,
        "origin": run.origin,
        "ending": run.ending,
        "exit_code": run.exit_code,
        "duration_s": run.duration_s,
        "tail": run.tail,
    }


def _read_run(document: Document) -> CommandRun:
    fields = {"purpose": Purpose(document["purpose"]), "ending": Ending(document["ending"])}
    return CommandRun(**(document | fields))


def result_document(result: EvaluationResult) -> Document:
    """Answer one result, as it is shown and committed."""
    return {
        "score": result.score,
        "details": dict(result.details),
        "suggestions": list(result.suggestions),
        "issues": [issue_document(issue) for issue in result.issues],
    }


def issue_document(issue: Issue) -> Document:
    """Answer one finding."""
    return {
        "file": issue.file,
        "line": issue.line,
        "severity": issue.severity.value,
        "rule": issue.rule,
        "message": issue.message,
    }


def read_result(document: object) -> EvaluationResult:
    """Read `result_document` back, trusting nothing. Raise ProtocolError."""
    fields = _typed(document, dict, "a result")
    issues = _typed(fields.get("issues", []), list, "issues")
    return EvaluationResult(
        score=_score(fields.get("score")),
        details=_typed(fields.get("details", {}), dict, "details"),
        suggestions=tuple(_texts(fields.get("suggestions", []))),
        issues=tuple(map(_read_issue, issues)),
    )


def _read_issue(document: object) -> Issue:
    fields = _typed(document, dict, "an issue")
    line = fields.get("line", 0)
    if isinstance(line, bool) or not isinstance(line, int) or line < 0:
        raise ProtocolError("the line of an issue must be a whole number, 0 or more")
    file, rule, message = _texts([fields.get("file"), fields.get("rule"), fields.get("message")])
    try:
        severity = Severity(fields.get("severity", ""))
    except ValueError:
        known = ", ".join(Severity)
        raise ProtocolError(f"the severity of an issue must be one of {known}") from None
    return Issue(file, line, severity, rule, message)


def _score(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ProtocolError("a score must be a number or null")
    return float(value)


def _texts(values: object) -> list[str]:
    texts = _typed(values, list, "a list of texts")
    return [_typed(text, str, "a text") for text in texts]


def _typed(value: object, kind: type, name: str) -> Any:
    if not isinstance(value, kind):
        raise ProtocolError(f"{name} was expected, not {type(value).__name__}")
    return value


def plain(value: object) -> Any:
    """Answer details as data that JSON has: enums, paths and tuples become text and lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
