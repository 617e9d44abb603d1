"""Peer review: who looks at another agent's work, what it is told, and how its answer is read.

The words are fixed and the answer is JSON, so that it can be checked. What is no such answer is no
review: the attempt has failed, and another is asked.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from paceline.errors import InputError
from paceline.tasks.draft import COMMAND
from paceline.tasks.model import Finding, Review, SubtaskSpec
from paceline.tasks.templates import AGENTS

REVIEWER: Final = "reviewer"
"""The key in `SubtaskSpec.settings` with which a plan names its own: `tools`, `run`."""

CHANGE_FILE: Final = "change.diff"
"""The name of the diff among a review's inputs."""

FINDINGS_LIMIT: Final = 50
MESSAGE_LENGTH: Final = 1_000
SUMMARY_LENGTH: Final = 4_000
ANSWER_LIMIT: Final = 256 * 1024
"""Characters of an answer that are looked at."""

SEVERITIES: Final = ("critical", "high", "medium", "low")

_FENCE: Final = re.compile(r"```(?:json)?\s*\n(.*?)\n```", re.S)


def reviewers(spec: SubtaskSpec) -> tuple[str, ...]:
    """Answer the tools that may review a subtask: those named, else its own agents, else any."""
    named = _reviewer(spec).get("tools")
    if isinstance(named, list | tuple) and named and all(isinstance(each, str) for each in named):
        return tuple(named)
    return tuple(tool for tool in spec.tools if tool != COMMAND) or AGENTS


def review_line(spec: SubtaskSpec) -> str:
    """Answer the shell line with which the tool `command` reviews it; empty if there is none."""
    line = _reviewer(spec).get("run")
    return line if isinstance(line, str) else ""


def instructions(asked: str, *, cycle: int, earlier: str) -> str:
    """Answer what a reviewer is told; `asked` is what the author was, `earlier` what was found."""
    again = f"\nThis is cycle {cycle}. Asked for before:\n{earlier}\n" if earlier else ""
    return _WORDS.format(change=CHANGE_FILE, asked=asked.strip(), again=again)


def read_answer(text: str) -> Review:
    """Answer the review in what a reviewer said. Raise InputError for what is none."""
    document = _document(text[-ANSWER_LIMIT:])
    verdict = document.get("verdict")
    if verdict not in ("approve", "revise"):
        raise InputError(f"the verdict must be approve or revise, not {str(verdict)[:40]!r}")
    listed = document.get("findings", [])
    if not isinstance(listed, list):
        raise InputError("the findings must be a list")
    findings = tuple(_finding(each) for each in listed[:FINDINGS_LIMIT])
    summary = document.get("summary", "")
    if not isinstance(summary, str):
        raise InputError("the summary must be text")
    if verdict == "revise" and not findings and not summary.strip():
        raise InputError("a review that asks for changes must say which")
    return Review(verdict == "approve", summary[:SUMMARY_LENGTH], findings)


def _reviewer(spec: SubtaskSpec) -> Mapping[str, Any]:
    named = spec.settings.get(REVIEWER)
    return named if isinstance(named, Mapping) else {}


def _document(text: str) -> Mapping[str, Any]:
    """Answer the last JSON object: alone, in a fence, or after other words."""
    for candidate in (text, *reversed(_FENCE.findall(text))):
        found = _parsed(candidate.strip())
        if found is not None:
            return found
    for start in reversed([match.start() for match in re.finditer(r"\{\s*\"", text)][:200]):
        found = _parsed(text[start:].strip())
        if found is not None and "verdict" in found:
            return found
    raise InputError("the answer has no JSON object with a verdict")


def _parsed(text: str) -> Mapping[str, Any] | None:
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _finding(value: object) -> Finding:
    if not isinstance(value, Mapping):
        raise InputError("each finding must be an object")
    message, file, line = value.get("message"), value.get("file", ""), value.get("line", 0)
    if not isinstance(message, str) or not message.strip():
        raise InputError("each finding needs a message")
    if not isinstance(file, str) or type(line) not in (int, type(None)):
        raise InputError("a finding's file is text and its line a number")
    severity = value.get("severity", "medium")
    if severity not in SEVERITIES:
        raise InputError(f"a severity is one of {', '.join(SEVERITIES)}")
    return Finding(file[:500], max(0, min(line or 0, 10**9)), severity, message[:MESSAGE_LENGTH])


_WORDS: Final = """\
Review a change that another agent has made. The repository you are in has it applied; the change by
itself is the file "{change}" in the directory that the environment variable PACELINE_INPUTS names.
Change nothing.

This is what the author was asked to do:

<request>
{asked}
</request>
{again}
Take nobody's word for anything: read the code. Look, in this order, for: behaviour that is wrong or
missing against the request; error cases, limits and concurrency that are not handled; security
holes; effects on callers; needless complexity. Matters of taste are no findings.

End with one JSON object and nothing after it:

{{"verdict": "approve" or "revise",
 "summary": "one or two sentences",
 "findings": [{{"file": "path", "line": 12, "severity": "critical|high|medium|low",
               "message": "what happens, and when; what to do instead"}}]}}

Approve where nothing of severity medium or worse is left; revise only with findings.
"""
