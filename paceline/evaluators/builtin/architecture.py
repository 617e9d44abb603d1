"""Does it fit in: no new circles of imports, no import against the layers, sizes as around it.

    score = 10 - 3 x circles - 2 x layer violations - 1 x oversized or copied pieces

Only imports that the change adds are judged. Layers are the repository's own to name, from the
highest to the lowest; a lower one must not import a higher one:

    [evaluators.architecture]
    layers = ["app.web", "app.service", "app.store"]
"""

import posixpath
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paceline.errors import InvalidSettings
from paceline.evaluators.analysis.functions import Function, functions
from paceline.evaluators.analysis.imports import (
    Graph,
    Sources,
    cycle_through,
    graph_of,
    node_of,
)
from paceline.evaluators.analysis.languages import Language, is_test, language_of, text_of
from paceline.evaluators.change import FILE_LIMIT_BYTES, Change, FileChange, split_lines
from paceline.evaluators.context import Context
from paceline.evaluators.contract import BaseEvaluator, EvaluationResult, Issue, Severity
from paceline.evaluators.reading import read_text, walk

CYCLE_COST, LAYER_COST, SIZE_COST = 3.0, 2.0, 1.0

FUNCTION_LINES = 60
FILE_LINES = 500
"""Nothing shorter is oversized, whatever stands beside it."""

TIMES_NEIGHBOURS = 3
CHANGE_LINES = 1000
"""More new lines of code in one change than a person can review."""

COPY_LINES = 6
SOURCES_LIMIT = 3000
SOURCES_BYTES_LIMIT = 24 * 1024 * 1024
SIBLINGS_LIMIT = 40
LAYERS_LIMIT = 50


class Architecture(BaseEvaluator):
    """Circles, layers, sizes."""

    weight = 0.5

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._layers = _read_layers(options)

    async def evaluate(self, change: Change, context: Context) -> EvaluationResult:
        """Answer the score of the code in the change; None if there is none."""
        files = [file for file in change.texts if language_of(file.path) and file.added]
        if not files:
            return EvaluationResult(None, {"reason": "no code that can be understood was changed"})
        view = _View(change, _sources(context))
        cycles = list(_cycles(view))
        violations = list(_violations(view, self._layers))
        sizes = [*_sizes(view, files), *_copies(view, files)]
        score = (
            10.0 - CYCLE_COST * len(cycles) - LAYER_COST * len(violations) - SIZE_COST * len(sizes)
        )
        details = {
            "files_seen": len(view.after.texts),
            "new_imports": sum(len(targets) for targets in view.new_edges.values()),
            "cycles": len(cycles),
            "layer_violations": len(violations),
        }
        return EvaluationResult(score, details, (), (*cycles, *violations, *sizes))


def _read_layers(options: Mapping[str, Any]) -> tuple[str, ...]:
    layers = options.get("layers", [])
    if not isinstance(layers, list) or len(layers) > LAYERS_LIMIT:
        raise InvalidSettings('layers must be a list of packages, like ["app.web", "app.core"]')
    if not all(isinstance(layer, str) and layer for layer in layers):
        raise InvalidSettings("each layer must be the name of a package or a directory")
    if unknown := sorted(set(options) - {"layers"}):
        raise InvalidSettings(f"architecture has no option {unknown[0]}; it has layers")
    return tuple(layer if "/" in layer else layer.replace(".", "/") for layer in layers)


# --- what there is to see -------------------------------------------------------------------------


@dataclass(slots=True, init=False)
class _View:
    """The repository before and after the change, and which imports are new."""

    change: Change
    before: Sources
    after: Sources
    graph: Graph
    new_edges: Graph

    def __init__(self, change: Change, tree: Mapping[str, str]) -> None:
        self.change = change
        after = dict(tree) | {file.path: file.new or "" for file in change.texts}
        before = dict(after)
        for file in change.files:
            before.pop(file.path, None)
            if file.old is not None:
                before[file.old_path or file.path] = file.old
        self.before, self.after = Sources(before), Sources(after)
        self.graph = graph_of(self.after)
        old = graph_of(self.before)
        changed = {node_of(file.path) for file in change.texts}
        self.new_edges = {
            node: targets - old.get(node, set())
            for node, targets in self.graph.items()
            if node in changed and targets - old.get(node, set())
        }


def _sources(context: Context) -> dict[str, str]:
    """Answer the texts of the work tree that may import each other, within limits."""
    texts: dict[str, str] = {}
    left = SOURCES_BYTES_LIMIT
    for path in walk(context.repository) if context.repository else ():
        if len(texts) >= SOURCES_LIMIT or left <= 0:
            break
        if context.repository and (language_of(path) or path == "go.mod"):
            text = read_text(context.repository, path, min(FILE_LIMIT_BYTES, left)) or ""
            left -= len(text)
            texts[path] = text
    return texts


# --- imports --------------------------------------------------------------------------------------


def _cycles(view: _View) -> Iterator[Issue]:
    """Find the circles that a new import closes, each once."""
    seen: set[frozenset[str]] = set()
    for node, targets in sorted(view.new_edges.items()):
        for target in sorted(targets):
            way = cycle_through(view.graph, node, target)
            if way and frozenset(way) not in seen:
                seen.add(frozenset(way))
                message = f"these import each other now: {' -> '.join(way[:8])}"
                file = _file_at(view, node)
                severity = Severity.HIGH if file.endswith(".go") else Severity.MEDIUM
                yield Issue(file, 0, severity, "import-cycle", message)


def _violations(view: _View, layers: Sequence[str]) -> Iterator[Issue]:
    for node, targets in sorted(view.new_edges.items()):
        own = _layer(node, layers)
        for target in sorted(targets):
            other = _layer(target, layers)
            if own is not None and other is not None and other < own:
                message = f"{layers[own]} is below {layers[other]} and must not import {target}"
                yield Issue(_file_at(view, node), 0, Severity.MEDIUM, "layer", message)


def _layer(node: str, layers: Sequence[str]) -> int | None:
    """Answer the place of the most specific layer that a node is in."""
    plain = node.removesuffix(".py")
    fitting = [
        (len(layer), index)
        for index, layer in enumerate(layers)
        if any(plain == start or plain.startswith(start + "/") for start in (layer, "src/" + layer))
    ]
    return max(fitting)[1] if fitting else None


def _file_at(view: _View, node: str) -> str:
    """Answer the changed file that a node stands for."""
    return next((file.path for file in view.change.texts if node_of(file.path) == node), node)


# --- sizes ----------------------------------------------------------------------------------------


def _sizes(view: _View, files: Sequence[FileChange]) -> Iterator[Issue]:
    for file in files:
        yield from _long_functions(view, file)
        yield from _long_file(view, file)
    added = sum(len(file.added) for file in files if not is_test(file.path))
    if added > CHANGE_LINES:
        message = f"{added} new lines of code in one change: nobody can review that"
        yield Issue("", 0, Severity.MEDIUM, "oversized-change", message)


def _long_functions(view: _View, file: FileChange) -> Iterator[Issue]:
    language = language_of(file.path)
    if language is None:
        return
    usual = [f.length for _, f in _neighbours(view, file, language)]
    longest = max(FUNCTION_LINES, TIMES_NEIGHBOURS * _usual(usual))
    before = {f.name: f.length for f in functions(file.old, language)} if file.old else {}
    for function in functions(file.new or "", language):
        grown = function.length > max(longest, before.get(function.name, 0))
        if grown and file.touches(function.first, function.last):
            message = (
                f"{function.name or 'a function'} has {function.length} lines, over {longest:g}"
            )
            yield Issue(file.path, function.first, Severity.MEDIUM, "oversized-function", message)


def _long_file(view: _View, file: FileChange) -> Iterator[Issue]:
    lines, before = (len(split_lines(text or "")) for text in (file.new, file.old))
    siblings = [len(split_lines(text)) for _, text in _siblings(view, file)]
    longest = max(FILE_LINES, TIMES_NEIGHBOURS * _usual(siblings))
    if lines > longest >= before:
        message = f"the file has {lines} lines, over {longest:g}: split it"
        yield Issue(file.path, 0, Severity.LOW, "oversized-file", message)


def _usual(lengths: Sequence[int]) -> float:
    return statistics.median(lengths) if lengths else 0.0


def _siblings(view: _View, file: FileChange) -> list[tuple[str, str]]:
    """Answer the other files of the same kind in the same directory."""
    directory = posixpath.dirname(file.path)
    found = (
        (path, text)
        for path, text in sorted(view.before.texts.items())
        if posixpath.dirname(path) == directory
        and path != file.path
        and posixpath.splitext(path)[1] == file.suffix
    )
    return [pair for pair, _ in zip(found, range(SIBLINGS_LIMIT), strict=False)]


def _neighbours(
    view: _View, file: FileChange, language: Language
) -> Iterator[tuple[str, Function]]:
    """Answer the functions that stand beside those of a file, with their file."""
    for path, text in _siblings(view, file):
        for function in functions(text, language):
            yield path, function


def _copies(view: _View, files: Sequence[FileChange]) -> Iterator[Issue]:
    """Find new functions whose body stands somewhere near already, but for its spaces."""
    for file in files:
        language = language_of(file.path)
        if language is None or is_test(file.path):
            continue
        beside = _neighbours(view, file, language)
        there = {_body(f): f"{f.name} in {path}" for path, f in beside}
        for function in functions(file.new or "", language):
            new = all(line in file.added for line in range(function.first, function.last + 1))
            if new and function.length >= COPY_LINES and (body := _body(function)):
                if body in there:
                    message = f"{function.name} repeats {there[body]}: use that one"
                    yield Issue(file.path, function.first, Severity.LOW, "copied", message)
                there.setdefault(body, f"{function.name} in {file.path}")


def _body(function: Function) -> str:
    if function.length < COPY_LINES:
        return ""
    return " ".join(text_of(function.node.child_by_field_name("body")).split())
