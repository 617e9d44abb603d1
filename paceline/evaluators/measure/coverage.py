"""Which of the new lines the tests ran: asked of three run-times, without a library of theirs.

- Python: a tracer of ours (`tracer/sitecustomize.py`) on PYTHONPATH, inherited by all children.
- JavaScript: V8 writes its own block coverage where NODE_V8_COVERAGE says.
- Go: `go test` with a cover profile of all packages.

What comes back was written by the repository's own programs: it is read within bounds, believed as
far as numbers go, and never worth more than the tests themselves, which could pass for no reason.
"""

import json
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from paceline.evaluators.analysis.languages import Language, is_test, language_of
from paceline.evaluators.change import Change, FileChange, split_lines
from paceline.evaluators.context import FileCoverage
from paceline.evaluators.measure.commands import Command
from paceline.evaluators.reading import read_bytes

TRACER = Path(__file__).parent / "tracer"
REPORT_LIMIT_BYTES = 64 * 1024 * 1024
REPORTS_LIMIT = 500
LINES_LIMIT = 1_000_000

Found = dict[str, FileCoverage]


def prepare(directory: Path, repository: Path, change: Change) -> dict[str, str]:
    """Write down what is watched, and answer the variables that the tests need for it."""
    watched = [str(repository / file.path) for file in _of(change, Language.PYTHON)]
    listed = "\0".join(watched).encode("utf-8", "surrogateescape")
    (directory / "files").write_bytes(listed)
    (directory / "v8").mkdir()
    return {
        "PYTHONPATH": str(TRACER),
        "PACELINE_COVERAGE": str(directory),
        "NODE_V8_COVERAGE": str(directory / "v8"),
    }


def watched_line(command: Command, directory: Path, number: int) -> str:
    """Answer the command with what Go needs to be told on its command line."""
    if not command.line.startswith("go test "):
        return command.line
    profile = directory / f"go-{number}.out"
    return command.line.replace("go test ", f"go test -coverpkg=./... -coverprofile={profile} ", 1)


def read(directory: Path, repository: Path, change: Change, go_module: str) -> Found | None:
    """Answer what was covered, by path; None if nothing could be watched."""
    found: Found = {}
    for part in (
        _python(directory, repository, change),
        _v8(directory / "v8", repository, change),
        _go(directory, change, go_module),
    ):
        found.update(part)
    return found or None


def _of(change: Change, *languages: Language) -> list[FileChange]:
    return [f for f in change.texts if language_of(f.path) in languages and not is_test(f.path)]


def _reports(directory: Path, start: str) -> Iterator[bytes]:
    names = sorted(name for name in os.listdir(directory) if name.startswith(start))
    for name in names[:REPORTS_LIMIT]:
        data = read_bytes(directory, name, REPORT_LIMIT_BYTES)
        if data is not None:
            yield data


def _documents(directory: Path, start: str) -> Iterator[Mapping[str, Any]]:
    for data in _reports(directory, start):
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            yield document


def _numbers(value: object) -> frozenset[int]:
    if not isinstance(value, list):
        return frozenset()
    return frozenset(n for n in value[:LINES_LIMIT] if isinstance(n, int) and n > 0)


# --- Python ---------------------------------------------------------------------------------------


def _python(directory: Path, repository: Path, change: Change) -> Found:
    """Add up what all processes ran. One that was displaced would make what it ran look missed."""
    files = {os.path.realpath(repository / f.path): f.path for f in _of(change, Language.PYTHON)}
    runnable: dict[str, frozenset[int]] = {}
    covered: dict[str, frozenset[int]] = {}
    for document in _documents(directory, "python-"):
        if document.get("displaced"):
            return {}
        reported = document.get("files")
        for name, pair in reported.items() if isinstance(reported, dict) else ():
            path = files.get(name)
            if path is not None and isinstance(pair, list) and len(pair) == 2:
                runnable[path] = runnable.get(path, frozenset()) | _numbers(pair[0])
                covered[path] = covered.get(path, frozenset()) | _numbers(pair[1])
    return {path: FileCoverage(lines, covered[path]) for path, lines in runnable.items()}


# --- JavaScript -----------------------------------------------------------------------------------


def _v8(directory: Path, repository: Path, change: Change) -> Found:
    """Read block coverage. Files that tests never loaded count as missed, if tests were seen."""
    files = {f.path: f for f in _of(change, Language.JAVASCRIPT)}
    covered: dict[str, frozenset[int]] = {}
    seen = False
    root = os.path.realpath(repository) + os.sep
    for document in _documents(directory, "coverage-"):
        for script in _dicts(document.get("result")):
            path = _local(script.get("url"), root)
            seen = seen or is_test(path)
            if path in files:
                ran = _ran(script, files[path].new or "")
                covered[path] = covered.get(path, frozenset()) | ran
    wanted = files if seen else covered
    return {
        path: FileCoverage(_statements(files[path].new or ""), covered.get(path, frozenset()))
        for path in wanted
    }


def _local(url: object, root: str) -> str:
    """Answer the path below the repository that a script came from; empty for others."""
    if not isinstance(url, str) or not url.startswith("file://"):
        return ""
    path = os.path.realpath(unquote(urlsplit(url).path))
    return path.removeprefix(root) if path.startswith(root) else ""


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _ran(script: Mapping[str, Any], text: str) -> frozenset[int]:
    """Answer the lines whose first character was reached.

    Ranges come from the outside in, so the last one that holds a place decides. Offsets are UTF-16
    code units.
    """
    starts = _line_starts(text)
    counts = [1] * len(starts)
    for function in _dicts(script.get("functions"))[:LINES_LIMIT]:
        for part in _dicts(function.get("ranges")):
            first, last, count = (part.get(k) for k in ("startOffset", "endOffset", "count"))
            if isinstance(first, int) and isinstance(last, int) and isinstance(count, int):
                for at in range(bisect_left(starts, first), bisect_left(starts, last)):
                    counts[at] = count
    return frozenset(line for line, count in enumerate(counts, start=1) if count > 0)


def _line_starts(text: str) -> list[int]:
    """Answer where the first word of each line is, in UTF-16 code units."""
    starts, at = [], 0
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        starts.append(at + indent)
        at += len(line.encode("utf-16-le", "surrogatepass")) // 2 + 1
    return starts


def _statements(text: str) -> frozenset[int]:
    """Answer the lines that are more than a bracket or a comment."""
    return frozenset(
        number
        for number, line in enumerate(split_lines(text), start=1)
        if (words := line.strip())
        and not words.startswith(("//", "/*", "*"))
        and words.strip("(){}[];,") != ""
    )


# --- Go -------------------------------------------------------------------------------------------


def _go(directory: Path, change: Change, module: str) -> Found:
    files = {f"{module}/{f.path}": f.path for f in _of(change, Language.GO)}
    runnable: dict[str, set[int]] = {}
    covered: dict[str, set[int]] = {}
    for name, first, last, count in _blocks(_reports(directory, "go-")):
        path = files.get(name)
        if path is not None and 0 < first <= last <= first + LINES_LIMIT:
            runnable.setdefault(path, set()).update(range(first, last + 1))
            if count:
                covered.setdefault(path, set()).update(range(first, last + 1))
    return {
        path: FileCoverage(frozenset(lines), frozenset(covered.get(path, ())))
        for path, lines in runnable.items()
    }


def _blocks(reports: Iterable[bytes]) -> Iterator[tuple[str, int, int, int]]:
    """Answer the blocks of a profile: `module/file.go:12.34,15.2 3 1`."""
    for data in reports:
        for line in data.decode("utf-8", "replace").split("\n"):
            name, _, rest = line.rpartition(":")
            try:
                span, _, count = rest.split(" ")
                first, last = (int(place.split(".")[0]) for place in span.split(","))
                yield name, first, last, int(count)
            except ValueError:
                continue
