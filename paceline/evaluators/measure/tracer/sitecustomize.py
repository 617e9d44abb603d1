"""Put on PYTHONPATH of a repository's tests: notes which lines of certain files are run.

It is loaded by whatever Python the repository uses, 3.8 or later, so it needs nothing but that, and
knows nothing of Paceline. PACELINE_COVERAGE names a directory: `files` in there lists the files to
watch, and each process leaves `python-PID.json`: of each file the lines that can run, and ran.

A debugger or another measurer of coverage may take the place of this tracer; then `displaced` says
that what was not seen is unknown.
"""

from __future__ import annotations

import atexit
import contextlib
import dis
import importlib
import json
import os
import sys
import threading
from typing import Any


def _install(directory: str) -> None:
    with open(os.path.join(directory, "files"), encoding="utf-8", errors="surrogateescape") as file:
        names = [name for name in file.read().split("\0") if name]
    ran: dict[str, set[int]] = {os.path.realpath(name): set() for name in names}
    known: dict[str, set[int] | None] = {}

    def trace(frame: Any, event: str, argument: Any) -> Any:
        """Follow only what runs in a watched file; everything else costs one look-up a call."""
        name = frame.f_code.co_filename
        if name not in known:
            known[name] = ran.get(os.path.realpath(name))
        lines = known[name]
        if lines is None:
            return None
        lines.add(frame.f_lineno)

        def local(frame: Any, event: str, argument: Any) -> Any:
            lines.add(frame.f_lineno)
            return local

        return local

    def report() -> None:
        displaced = sys.gettrace() is not trace
        sys.settrace(None)
        document = {
            "displaced": displaced,
            "files": {name: [_runnable(name), sorted(lines)] for name, lines in ran.items()},
        }
        path = os.path.join(directory, f"python-{os.getpid()}.json")
        with open(path, "w", encoding="ascii") as file:
            json.dump(document, file)

    atexit.register(report)
    threading.settrace(trace)
    sys.settrace(trace)


def _runnable(name: str) -> list[int]:
    """Answer the lines of a file that have instructions."""
    try:
        with open(name, "rb") as file:
            pending = [compile(file.read(), name, "exec", dont_inherit=True)]
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    lines: set[int] = set()
    while pending:
        code = pending.pop()
        pending.extend(part for part in code.co_consts if hasattr(part, "co_code"))
        lines.update(_lines(code))
    return sorted(lines)


def _lines(code: Any) -> set[int]:
    if hasattr(code, "co_lines"):
        return {line for _, _, line in code.co_lines() if line}
    return {line for _, line in dis.findlinestarts(code) if line}


def _go_on() -> None:
    """Load the `sitecustomize` that this one hides, if there is one."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [part for part in sys.path if os.path.abspath(part or ".") != here]
    sys.modules.pop("sitecustomize", None)
    with contextlib.suppress(ImportError):
        importlib.import_module("sitecustomize")


_directory = os.environ.get("PACELINE_COVERAGE")
_go_on()
if _directory:
    _install(_directory)
