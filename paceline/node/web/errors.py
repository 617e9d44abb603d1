"""Failures as problem documents (RFC 9457): the type in `errors.py` is the `code`, and the status.

A caller acts on `code` and `status`; `detail` is a sentence for a person. An unexpected exception
never reaches a caller in its own words: they may hold paths or secrets, so it is logged instead.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from paceline import errors

log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[errors.PacelineError], int], ...] = (
    (errors.InputError, 422),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.Busy, 429),
    (errors.TimedOut, 504),
    (errors.Unavailable, 503),
    (errors.ProtocolError, 502),
    (errors.StorageFull, 507),
    (errors.PacelineError, 500),
)
"""The first type that fits counts, so the narrow ones stand before the wide ones."""

_RETRY_AFTER_S = {429: "1", 503: "1"}


class Refused(errors.PacelineError):
    """The request as HTTP is refused before a node is asked: authority, form or size."""

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})


def status_of(error: errors.PacelineError) -> int:
    """Answer the HTTP status of an error."""
    if isinstance(error, Refused):
        return error.status
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def document(error: Exception) -> dict[str, Any]:
    """Answer the problem document of any exception, and log it if it was not foreseen."""
    if not isinstance(error, errors.PacelineError):
        log.error("unexpected failure in a request", exc_info=error)
        return _document(
            500, "InternalError", "this is a defect in Paceline; the node's log has the details"
        )
    problem = _document(status_of(error), _code_of(error), str(error))
    if isinstance(error, errors.InvalidPlan):
        problem |= {"detail": error.reason, "line": error.line}
    if isinstance(error, errors.NotLeader):
        problem["leader_id"] = error.leader_id
    return problem


def response(error: Exception) -> Response:
    """Answer the whole HTTP response for an exception."""
    problem = document(error)
    headers = dict(error.headers) if isinstance(error, Refused) else {}
    if problem["status"] in _RETRY_AFTER_S:
        headers["Retry-After"] = _RETRY_AFTER_S[problem["status"]]
    return Response(
        json.dumps(problem, ensure_ascii=False),
        problem["status"],
        headers,
        media_type="application/problem+json",
    )


def _code_of(error: errors.PacelineError) -> str:
    return error.code if isinstance(error, Refused) else type(error).__name__


def _document(status: int, code: str, detail: str) -> dict[str, Any]:
    return {
        "type": "about:blank",
        "title": _words(code),
        "status": status,
        "code": code,
        "detail": detail,
    }


def _words(code: str) -> str:
    """Answer `NoQuorum` as `No quorum`."""
    spaced = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in code)
    return spaced.strip().capitalize()
