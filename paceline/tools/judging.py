"""How the run of a command-line agent ended: one status, and words that a person understands.

Exit status 0 alone means nothing. Programs of this kind end with 0 after a refused key, after a
signal, and when every one of their tools was withheld. So a run is good only if all of this holds:

- the exit status is 0, and the output had its final event;
- neither that event nor another one says that it failed;
- nothing was denied to the agent, unless it was only to read: then a denial is what was asked for;
- work that was to change files has changed some (seen by whoever has the work tree: `changed`).

Why a run is not good is found in this order: our own limits, the definition's rules, the status of
the service's API, the words about limits, what is left.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from paceline.tasks.model import PermissionLevel, ResultStatus
from paceline.tools.definition import Definition, Format, StatusRule
from paceline.tools.events import Limit, LimitKind
from paceline.tools.limits import recognise
from paceline.tools.reading import Findings

REASON_LIMIT = 1500
"""Characters of the program's own words in a message."""

REASON_LINES = 6

WORDS_LIMIT = 16 * 1024
"""Characters in which patterns are looked for."""

_NOISE = re.compile(
    r"^\s+at |^warning\b|^node:|retrying with backoff|\bripgrep\b|mode is enabled", re.I
)
"""Lines of stack traces and greetings: not why a program failed."""

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Everything about an ended run that tells how it went."""

    findings: Findings
    exit_code: int | None
    stderr: str = ""
    stopped: str = ""
    """Why we stopped it: `timeout`, `idle`, `memory`, `max_turns`, `budget_usd`; empty = it
    ended itself."""
    stopped_words: str = ""
    permission: PermissionLevel = PermissionLevel.EDIT
    changed: bool | None = None
    """Whether files were changed; None = nobody looked, or it does not matter."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The status, why (empty for a good run), and the provider's limit that was hit, if any."""

    status: ResultStatus
    reason: str = ""
    limit: Limit | None = None


_STOPPED = {
    "timeout": ResultStatus.TIMEOUT,
    "idle": ResultStatus.TIMEOUT,
    "max_turns": ResultStatus.TURN_LIMIT,
    "budget_usd": ResultStatus.TURN_LIMIT,
    "memory": ResultStatus.FAILED,
}


def judge(definition: Definition, ended: Ended, now: datetime) -> Judgement:
    """Answer how it went. `now` is the present, in this machine's time zone."""
    title = definition.title
    if ended.stopped:
        # A program that waits for its provider says nothing: what it said before tells more.
        behind = _failure(definition, ended, now)
        limit = behind.limit if behind.status is ResultStatus.QUOTA else None
        if limit and ended.stopped in ("timeout", "idle"):
            return Judgement(ResultStatus.QUOTA, behind.reason, limit)
        return Judgement(_STOPPED[ended.stopped], f"{title} was stopped: {ended.stopped_words}")
    if not _seems_good(definition, ended):
        return _failure(definition, ended, now)
    rule = _rule(definition, ended, _words(definition, ended), _http(definition, ended))
    if rule and rule.always:
        return _by_rule(definition, ended, rule, now)
    if ended.findings.denials and ended.permission is not PermissionLevel.READ:
        return Judgement(ResultStatus.DENIED, _denied(definition, ended))
    if ended.changed is False:
        reason = f"{title} ended well but changed no file. It said: {_said(ended)}"
        return Judgement(ResultStatus.FAILED, reason)
    return Judgement(ResultStatus.OK)


def _seems_good(definition: Definition, ended: Ended) -> bool:
    findings = ended.findings
    finished = findings.finished or definition.format is Format.TEXT
    return ended.exit_code == 0 and finished and not findings.failed


def _failure(definition: Definition, ended: Ended, now: datetime) -> Judgement:
    words, http = _words(definition, ended), _http(definition, ended)
    if rule := _rule(definition, ended, words, http):
        return _by_rule(definition, ended, rule, now)
    limit = recognise(words, now=now, http=http, retry_after=ended.findings.retry_after)
    if limit is not None:
        return _limited(definition, ended, limit)
    title, said = definition.title, _shown(ended)
    if http in (401, 403):
        advice = _access_advice(definition)
        return Judgement(
            ResultStatus.AUTH, f"{title}: the service refuses it ({http}). {advice}\n{said}"
        )
    if http is not None:
        return Judgement(ResultStatus.ERROR, f"{title}: the service answered {http}.\n{said}")
    if ended.findings.denials:
        return Judgement(ResultStatus.DENIED, _denied(definition, ended))
    return Judgement(ResultStatus.FAILED, f"{title} {_ending(definition, ended)}.\n{said}".strip())


def _by_rule(definition: Definition, ended: Ended, rule: StatusRule, now: datetime) -> Judgement:
    words, http = _words(definition, ended), _http(definition, ended)
    limit = None
    if rule.status is ResultStatus.QUOTA:
        retry_after = ended.findings.retry_after
        found = recognise(words, now=now, http=http, retry_after=retry_after)
        limit = found or Limit(LimitKind.RATE)
    message = rule.message or _ending(definition, ended)
    if rule.status is ResultStatus.AUTH and not rule.message:
        message = f"the service refuses it. {_access_advice(definition)}"
    said = _shown(ended)
    return Judgement(rule.status, f"{definition.title}: {message}\n{said}".strip(), limit)


def _limited(definition: Definition, ended: Ended, limit: Limit) -> Judgement:
    what = {
        LimitKind.RATE: "the service's rate limit is reached",
        LimitKind.USAGE: "the plan's allowance is used up",
        LimitKind.CREDIT: "no credit is left with the service: add some, or use another tool",
        LimitKind.OVERLOAD: "the service is overloaded",
    }[limit.kind]
    if limit.reset_after_ms is not None:
        what += f"; it asks to wait {duration(limit.reset_after_ms)}"
    status = ResultStatus.QUOTA
    if limit.kind is LimitKind.OVERLOAD:
        status = ResultStatus.ERROR
    said = _shown(ended)
    return Judgement(status, f"{definition.title}: {what}.\n{said}".strip(), limit)


def _rule(definition: Definition, ended: Ended, words: str, http: int | None) -> StatusRule | None:
    for rule in definition.statuses:
        fits = (
            (not rule.exits or ended.exit_code in rule.exits)
            and (not rule.http or http in rule.http)
            and (not rule.reasons or ended.findings.reason in rule.reasons)
            and (rule.match is None or rule.match.search(words) is not None)
        )
        if fits:
            return rule
    return None


def _words(definition: Definition, ended: Ended) -> str:
    """Answer what the program said about its failure: least telling first."""
    parts = [ended.stderr]
    if definition.format is Format.TEXT or (ended.findings.failed and not ended.findings.errors):
        parts.append(ended.findings.text)
    parts.append(ended.findings.errors)
    return _ANSI.sub("", "\n".join(part for part in parts if part))[-WORDS_LIMIT:]


def _http(definition: Definition, ended: Ended) -> int | None:
    """Answer the API's status: as the output gives it, else as words give it."""
    if ended.findings.http is not None:
        return ended.findings.http
    words = _words(definition, ended)
    for pattern in definition.http_words:
        found = pattern.search(words)
        if found and found[1].isascii() and found[1].isdigit() and len(found[1]) == 3:
            return int(found[1])
    return None


def _denied(definition: Definition, ended: Ended) -> str:
    names = ", ".join(dict.fromkeys(ended.findings.denials))
    return (
        f"{definition.title} wanted what the permission level `{ended.permission}` does not allow: "
        f"{names}. Give the subtask a higher `permission` (edit, run) if it should."
    )


def _access_advice(definition: Definition) -> str:
    ways = []
    if definition.key:
        ways.append(f"check tools.{definition.name}.api_key")
    if definition.login:
        ways.append(f"log in with `{definition.binary}` and set use_login = true")
    return (" or ".join(ways) + ".").capitalize() if ways else ""


def _ending(definition: Definition, ended: Ended) -> str:
    code = ended.exit_code
    if code == 0 and not ended.findings.failed:
        return "ended without saying that it finished"
    if code is not None and code < 0:
        return f"was killed by signal {-code}"
    return f"failed with exit status {code}" if code else "failed"


def _shown(ended: Ended) -> str:
    """Answer the end of what tells why: the output's errors, else standard error without noise."""
    findings = ended.findings
    said = findings.errors or (findings.text if findings.failed else "") or ended.stderr
    lines = _ANSI.sub("", said or findings.text).splitlines()
    told = [line.strip() for line in lines if line.strip() and not _NOISE.search(line)]
    last = list(dict.fromkeys(reversed(told)))[:REASON_LINES]
    return "\n".join(reversed(last))[-REASON_LIMIT:]


def _said(ended: Ended) -> str:
    return ended.findings.text[-REASON_LIMIT:] or "nothing"


def duration(milliseconds: int) -> str:
    """Answer a length of time as a person says it: `2 h 5 min`, `30 s`."""
    seconds = max(1, round(milliseconds / 1000))
    days, seconds = divmod(seconds, 86400)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s"))
    shown = [f"{amount} {unit}" for amount, unit in parts if amount]
    return " ".join(shown[:2])
