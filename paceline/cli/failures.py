"""How failures end: an exit status by the type of the error, and one sentence that says what next.

0 done   1 the operation failed   2 usage (and a refused plan)   3 no node reachable
4 no quorum or timed out          5 not found
"""

import os
import platform
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from paceline import __version__
from paceline.errors import (
    InputError,
    NodeUnreachable,
    NoQuorum,
    NotFound,
    NotLeader,
    PacelineError,
    Unavailable,
)

FAILED = 1
USAGE = 2
NO_NODE = 3
UNAVAILABLE = 4
NOT_FOUND = 5

_STATUS: tuple[tuple[type[PacelineError], int], ...] = (
    (InputError, USAGE),
    (NodeUnreachable, NO_NODE),
    (Unavailable, UNAVAILABLE),
    (NotFound, NOT_FOUND),
)
_SECRET_OPTIONS = ("--token",)


def exit_status(error: PacelineError) -> int:
    """Answer the exit status that stands for an error of this type."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), FAILED)


def task_status(task: Mapping[str, Any]) -> int:
    """Answer 0 for a completed task, else 1."""
    return 0 if task["status"] == "completed" else FAILED


def foreseen(error: BaseException) -> PacelineError | None:
    """Answer the Paceline error that a group of nothing else holds first; a node runs in groups."""
    if isinstance(error, PacelineError):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return None
    found = [foreseen(part) for part in error.exceptions]
    return found[0] if all(found) else None


def sentence(error: PacelineError) -> str:
    """Answer what went wrong and what to do next."""
    text = str(error).strip().rstrip(".") or type(error).__name__
    if isinstance(error, NoQuorum | NotLeader):
        return f"{text}. Nothing can be changed until most voters are connected: `paceline status`"
    return text + "."


def report(error: Exception, arguments: Sequence[str]) -> str:
    """Write what happened to a file and answer the sentence that names it."""
    descriptor, path = tempfile.mkstemp(prefix="paceline-report-", suffix=".txt")
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"paceline {__version__}, Python {platform.python_version()}\n")
        file.write(f"{platform.platform()}\n")
        file.write(f"arguments: {_without_secrets(arguments)}\n\n")
        file.writelines(traceback.format_exception(error))
    words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return f"this is a defect in Paceline ({words}). The details are in {path}; please report it."


def _without_secrets(arguments: Sequence[str]) -> list[str]:
    """Answer the arguments with the values of secret options taken out."""
    kept, hide = [], False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        secret = name in _SECRET_OPTIONS
        kept.append("***" if hide else (f"{name}=***" if secret and equals else argument))
        hide = secret and not equals
    return kept
