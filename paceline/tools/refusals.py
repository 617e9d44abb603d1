"""What it means when a model's service answers with an HTTP status other than 200."""

import json
from datetime import datetime

import httpx

from paceline.tasks.model import ResultStatus
from paceline.tools.events import Limit, LimitKind, ToolResult
from paceline.tools.judging import duration
from paceline.tools.limits import recognise

WORDS_LIMIT = 1000

_LIMITED = {
    LimitKind.RATE: "is over its limit",
    LimitKind.USAGE: "is over its limit: the allowance is used up",
    LimitKind.CREDIT: "has no credit left: add some, or use another tool",
    LimitKind.OVERLOAD: "is overloaded",
}


def read_refusal(
    response: httpx.Response, body: bytes, *, service: str, access: str, missing: str
) -> ToolResult:
    """Answer the result. `access` says what to do about a key, `missing` about a model."""
    said = _words(body) or response.reason_phrase
    code = response.status_code
    retry_after = response.headers.get("retry-after", "")
    now = datetime.now().astimezone()
    limit = recognise(f"{said}\n{_code(body)}", now=now, http=code, retry_after=retry_after)
    if limit is not None:
        return _limited(limit, f"{service} {_LIMITED[limit.kind]}", said)
    match code:
        case 401 | 403:
            reason = f"{service} refuses this node ({code}): {said}. {access}"
            return ToolResult(ResultStatus.AUTH, reason.strip())
        case 404:
            return ToolResult(ResultStatus.ERROR, f"{missing} ({said})")
    return ToolResult(ResultStatus.ERROR, f"{service} answered {code}: {said}")


def _limited(limit: Limit, what: str, said: str) -> ToolResult:
    after_ms = limit.reset_after_ms
    pause = f"; it asks to wait {duration(after_ms)}" if after_ms is not None else ""
    overload = limit.kind is LimitKind.OVERLOAD
    return ToolResult(
        ResultStatus.ERROR if overload else ResultStatus.QUOTA,
        f"{what}{pause}: {said}",
        retryable_after_ms=after_ms,
        limit=limit,
    )


def _words(body: bytes) -> str:
    """Answer the message: `{"error": "..."}` or `{"error": {"message": "..."}}`, else the body."""
    try:
        error = json.loads(body)["error"]
        words = error["message"] if isinstance(error, dict) else error
        return str(words)[:WORDS_LIMIT]
    except (ValueError, LookupError, TypeError, RecursionError):
        return body[:WORDS_LIMIT].decode("utf-8", "replace").strip()


def _code(body: bytes) -> str:
    """Answer the service's own word for it (`insufficient_quota`), if there is one."""
    try:
        error = json.loads(body)["error"]
        return f"{error.get('code')} {error.get('type')}"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
