"""The output of a command-line agent, read by the rules of its definition.

Every object of the output goes past every rule. What a rule finds becomes an event at once, or is
kept for the judgement at the end (`Findings`). Nothing in the output is trusted: a path that leads
nowhere finds nothing, a value of the wrong type is shown as text or not counted, everything that is
kept has a bound.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from paceline.tools.definition import Definition, EventRule, Format
from paceline.tools.events import (
    DENIALS_LIMIT,
    CallResult,
    Event,
    Log,
    Permission,
    Text,
    ToolCall,
    Usage,
)
from paceline.tools.lines import LineSplitter

TEXT_LIMIT = 1024 * 1024
"""Characters of the agent's words that are kept; the end of them."""

ERRORS_LIMIT = 16 * 1024
"""Characters of error words that are kept; the end of them."""

DOCUMENT_LIMIT_BYTES = 16 * 1024 * 1024
"""Of an output that is one JSON document."""

CALLS_REMEMBERED = 1000
"""Calls of the agent's own tools that wait for their result."""

TOKENS_LIMIT = 2**53
CALL_TEXT_LIMIT = 2000


@dataclass(slots=True)
class Findings:
    """What the output said, for the judgement."""

    finished: bool = False
    failed: bool = False
    answer: str | None = None
    said: str = ""
    """What it said since it last used one of its tools."""
    said_before: str = ""
    session: str = ""
    usage: dict[str, int] = field(default_factory=dict)
    reported_usd: float | None = None
    http: int | None = None
    retry_after: str = ""
    reason: str = ""
    errors: str = ""
    denials: list[str] = field(default_factory=list)
    calls: int = 0
    """How often the agent used one of its own tools."""

    @property
    def text(self) -> str:
        """Answer the agent's last words: as it gave them, else what it said after its work."""
        words = (self.answer, self.said, self.said_before)
        return next((said.strip() for said in words if said and said.strip()), "")


class Reader:
    """Reads one run's standard output, line by line."""

    def __init__(self, definition: Definition) -> None:
        self._rules = definition.events
        self._format = definition.format
        self._document: list[str] = []
        self._document_bytes = 0
        self._thoughts = LineSplitter()
        self._names: dict[str, str] = {}
        self._steps_usd = 0.0
        self.findings = Findings()

    def line(self, line: str) -> Iterator[Event]:
        """Take the next line; give what it means."""
        match self._format:
            case Format.TEXT:
                yield from self._say(line + "\n")
            case Format.JSON:
                self._keep(line)
            case Format.JSONL:
                if line.strip():
                    yield from self._row(line)

    def end(self) -> Iterator[Event]:
        """Read what was only complete at the end."""
        if self._format is Format.JSON and self._document:
            yield from self._row("\n".join(self._document))
        for thought in self._thoughts.end():
            yield Log("thinking", thought)

    def _keep(self, line: str) -> None:
        self._document_bytes += len(line) + 1
        if self._document_bytes <= DOCUMENT_LIMIT_BYTES:
            self._document.append(line)

    def _row(self, line: str) -> Iterator[Event]:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            yield Log("stdout", line[:CALL_TEXT_LIMIT])
            return
        for rule in self._rules:
            if matches(row, rule.when):
                yield from self._apply(rule, row)

    def _apply(self, rule: EventRule, row: Mapping[str, Any]) -> Iterator[Event]:
        if not rule.each:
            yield from self._take(rule, row)
            return
        elements = dig(row, rule.each)
        for element in elements if isinstance(elements, list) else []:
            if isinstance(element, dict) and matches(element, rule.where):
                yield from self._take(rule, element)

    def _take(self, rule: EventRule, row: Mapping[str, Any]) -> Iterator[Event]:
        yield from self._words(rule, row)
        yield from self._calls(rule, row)
        yield from self._count(rule, row)
        self._ending(rule, row)

    # --- what the agent says and does ---

    def _words(self, rule: EventRule, row: Mapping[str, Any]) -> Iterator[Event]:
        if piece := as_text(dig(row, rule.text)):
            yield from self._say(piece + ("\n\n" if rule.line else ""))
        if rule.answer and isinstance(answer := dig(row, rule.answer), str):
            self.findings.answer = answer[-TEXT_LIMIT:]
        if thought := as_text(dig(row, rule.thought)):
            for line in self._thoughts.feed(thought.encode("utf-8", "replace")):
                yield Log("thinking", line)

    def _say(self, piece: str) -> Iterator[Event]:
        self.findings.said = (self.findings.said + piece)[-TEXT_LIMIT:]
        yield Text(piece)

    def _calls(self, rule: EventRule, row: Mapping[str, Any]) -> Iterator[Event]:
        if name := as_text(dig(row, rule.call)):
            self._begin(row, name)
            arguments = dig(row, rule.arguments)
            shown = arguments if isinstance(arguments, dict) else {"given": arguments}
            yield ToolCall(name, shown if arguments is not None else {})
        if ended := as_text(dig(row, rule.result)):
            failed = _is_failure(dig(row, rule.result_failed))
            text = as_text(dig(row, rule.result_text))[:CALL_TEXT_LIMIT]
            yield CallResult(self._names.get(ended, ended), not failed, text)
        if denied := as_text(dig(row, rule.denied)):
            if len(self.findings.denials) < DENIALS_LIMIT:
                self.findings.denials.append(denied)
            yield Permission(denied, False, "not permitted at this level")

    def _begin(self, row: Mapping[str, Any], name: str) -> None:
        """Note a call: its words are behind it, and its number will name its result."""
        findings = self.findings
        findings.calls += 1
        if findings.said.strip():
            findings.said_before, findings.said = findings.said, ""
        for key in ("id", "tool_id", "call_id", "toolCallId"):
            for holder in (row, row.get("data")):
                number = holder.get(key) if isinstance(holder, dict) else None
                if isinstance(number, str) and len(self._names) < CALLS_REMEMBERED:
                    self._names[number] = name

    # --- what it used ---

    def _count(self, rule: EventRule, row: Mapping[str, Any]) -> Iterator[Event]:
        found = {
            "tokens_in": _sum(row, rule.tokens_in),
            "tokens_out": _sum(row, rule.tokens_out),
            "cached": _sum(row, rule.cached),
        }
        found = {name: tokens for name, tokens in found.items() if tokens is not None}
        if found:
            before = self.findings.usage if rule.add else {}
            tokens = {name: before.get(name, 0) + (count or 0) for name, count in found.items()}
            self.findings.usage = {**self.findings.usage, **tokens}
            yield Usage(dict(self.findings.usage))
        if (usd := _amount(dig(row, rule.cost))) is not None:
            self._steps_usd += usd
            self.findings.reported_usd = self._steps_usd if rule.add else usd

    # --- how it ended ---

    def _ending(self, rule: EventRule, row: Mapping[str, Any]) -> None:
        findings = self.findings
        findings.finished = findings.finished or rule.final
        failed = rule.failed if isinstance(rule.failed, bool) else bool(dig(row, rule.failed))
        findings.failed = findings.failed or failed
        findings.session = as_text(dig(row, rule.session)) or findings.session
        findings.retry_after = as_text(dig(row, rule.retry_after)) or findings.retry_after
        findings.reason = as_text(dig(row, rule.reason)) or findings.reason
        if error := as_text(dig(row, rule.error)):
            findings.errors = f"{findings.errors}\n{error}".strip("\n")[-ERRORS_LIMIT:]
        http = dig(row, rule.http)
        if isinstance(http, int | str) and str(http).isascii() and str(http).isdigit():
            findings.http = int(str(http)[:3])


def dig(row: Any, path: str) -> Any:
    """Answer what stands at a dotted path (numbers are places in lists), or None."""
    if not path:
        return None
    for key in path.split("."):
        if isinstance(row, dict):
            row = row.get(key)
        elif isinstance(row, list) and key.isdigit() and int(key) < len(row):
            row = row[int(key)]
        else:
            return None
    return row


def matches(row: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
    """Answer whether every path has its value, or one of a list of them."""
    for path, wanted in conditions.items():
        found = dig(row, path)
        choices = wanted if isinstance(wanted, list) else [wanted]
        if "*" in choices:
            if found is None:
                return False
        elif not any(found == choice and type(found) is type(choice) for choice in choices):
            return False
    return True


def as_text(value: Any) -> str:
    """Answer text as it is, nothing for nothing, and anything else as JSON."""
    if isinstance(value, str):
        return value
    if value is None or value is False or value in ([], {}):
        return ""
    return json.dumps(value, ensure_ascii=False)


def _is_failure(value: Any) -> bool:
    """Answer whether a result failed: a truth, a word for it, or an exit status other than 0."""
    if isinstance(value, str):
        return value.lower() in ("error", "failed", "failure", "denied", "cancelled")
    return bool(value)


def _sum(row: Mapping[str, Any], paths: tuple[str, ...]) -> int | None:
    counts = [dig(row, path) for path in paths]
    right = [
        int(count)
        for count in counts
        if isinstance(count, int | float)
        and not isinstance(count, bool)
        and 0 <= count <= TOKENS_LIMIT
    ]
    return sum(right) if right else None


def _amount(value: Any) -> float | None:
    right = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if right and 0 <= value < float("inf") else None
