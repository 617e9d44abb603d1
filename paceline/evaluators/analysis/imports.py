"""Which file of a repository imports which, for Python, JavaScript, TypeScript and Go.

Only imports within the repository are edges, and only those that run at import: one inside of a
function, or for type checkers alone, makes no circle. Go packages are the nodes of Go, since its
files do not import each other.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from paceline.evaluators.analysis.languages import Language, language_of

Graph = dict[str, set[str]]
"""A node and those that it imports. A node is a file, of Go a directory."""

_PYTHON_FROM = re.compile(r"^from\s+(\.*[\w.]*)\s+import\s+(\([^)]*\)|[^\n#]+)", re.M)
_PYTHON_IMPORT = re.compile(r"^import\s+([^\n#]+)", re.M)
_SCRIPT = re.compile(
    r"""^\s*(?:import|export)\b(?!\s+type\b)[^;'"]*?from\s*['"](\.[^'"]*)['"]"""
    r"""|^\s*import\s*['"](\.[^'"]*)['"]|^[^/\n]{0,200}\brequire\(\s*['"](\.[^'"]*)['"]\s*\)""",
    re.M,
)
_GO_BLOCK = re.compile(r"^import\s*\(([^)]*)\)|^import\s+(?:[\w.]+\s+)?\"([^\"]+)\"", re.M)
_GO_PATH = re.compile(r'"([^"]+)"')
_GO_MODULE = re.compile(r"^module\s+(\S+)", re.M)
_SCRIPT_SUFFIXES = (".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".cts")
_ROOTS = ("", "src/", "lib/", "python/")


@dataclass(slots=True)
class Sources:
    """The files of a repository that can import each other: which there are, and what they say."""

    texts: Mapping[str, str]
    go_module: str = ""
    modules: dict[str, str] = field(default_factory=dict)
    """Of Python: dotted name -> file."""

    def __post_init__(self) -> None:
        """Name the modules of Python."""
        for path in self.texts:
            if path.endswith(".py"):
                for name in _module_names(path):
                    self.modules.setdefault(name, path)
        module = _GO_MODULE.search(self.texts.get("go.mod", ""))
        self.go_module = module[1] if module else ""


def graph_of(sources: Sources) -> Graph:
    """Answer who imports whom."""
    graph: Graph = {}
    for path, text in sources.texts.items():
        language = language_of(path)
        if language is not None:
            found = set(imports_of(path, text, sources))
            graph.setdefault(node_of(path), set()).update(found - {node_of(path)})
    return graph


def node_of(path: str) -> str:
    """Answer the node that a file belongs to."""
    return posixpath.dirname(path) or "." if path.endswith(".go") else path


def imports_of(path: str, text: str, sources: Sources) -> Iterator[str]:
    """Answer the nodes within the repository that a file imports."""
    match language_of(path):
        case Language.PYTHON:
            yield from _python(path, text, sources)
        case Language.GO:
            if not path.endswith("_test.go"):  # a test may import what imports its package
                yield from _go(text, sources)
        case None:
            return
        case _:
            yield from _script(path, text, sources)


def cycle_through(graph: Graph, start: str, first: str) -> list[str]:
    """Answer the shortest way start -> first -> ... -> start; empty if there is none."""
    came_from: dict[str, str] = {first: start}
    queue = [first]
    for node in queue:  # it grows while it is read: breadth first
        for following in graph.get(node, ()):
            if following == start:
                return _way_back(came_from, start, node)
            if following not in came_from:
                came_from[following] = node
                queue.append(following)
    return []


def _way_back(came_from: Mapping[str, str], start: str, last: str) -> list[str]:
    way = [start, last]
    while (last := came_from[last]) != start:
        way.append(last)
    return [start, *reversed(way[1:]), start]


# --- Python ---------------------------------------------------------------------------------------


def _module_names(path: str) -> Iterator[str]:
    plain = path.removesuffix(".py").removesuffix("/__init__")
    for root in _ROOTS:
        if plain.startswith(root):
            yield plain[len(root) :].replace("/", ".")


def _python(path: str, text: str, sources: Sources) -> Iterator[str]:
    for match in _PYTHON_FROM.finditer(text):
        base = _absolute(path, match[1])
        names = re.findall(r"(\w+)(?:\s+as\s+\w+)?", re.sub(r"#[^\n]*", "", match[2]))
        whole = sources.modules.get(base)
        parts = {sources.modules.get(f"{base}.{name}".lstrip(".")) for name in names}
        found = {part for part in parts if part}
        yield from found
        if whole and not found:
            yield whole
    for match in _PYTHON_IMPORT.finditer(text):
        for part in match[1].split(","):
            if target := sources.modules.get(part.split(" as ", 1)[0].strip()):
                yield target


def _absolute(path: str, name: str) -> str:
    """Answer the dotted name that a relative import means."""
    dots = len(name) - len(name.lstrip("."))
    if not dots:
        return name
    package = list(PurePosixPath(path).parent.parts)
    package = package[: len(package) - (dots - 1)]
    return ".".join([*package, *filter(None, [name[dots:]])])


# --- JavaScript, TypeScript -----------------------------------------------------------------------


def _script(path: str, text: str, sources: Sources) -> Iterator[str]:
    for match in _SCRIPT.finditer(text):
        target = match[1] or match[2] or match[3]
        base = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        candidates = (base, *_with_suffixes(base))
        found = next((name for name in candidates if name in sources.texts), None)
        if found:
            yield found


def _with_suffixes(base: str) -> Iterable[str]:
    plain, suffix = posixpath.splitext(base)
    stems = (base, plain) if suffix in _SCRIPT_SUFFIXES else (base,)  # `./a.js` may mean a.ts
    for stem in stems:
        yield from (stem + end for end in _SCRIPT_SUFFIXES)
    yield from (f"{base}/index{end}" for end in _SCRIPT_SUFFIXES)


# --- Go -------------------------------------------------------------------------------------------


def _go(text: str, sources: Sources) -> Iterator[str]:
    if not sources.go_module:
        return
    for match in _GO_BLOCK.finditer(text):
        paths = _GO_PATH.findall(match[1]) if match[1] is not None else [match[2]]
        for path in paths:
            if path == sources.go_module:
                yield "."
            elif path.startswith(sources.go_module + "/"):
                yield path[len(sources.go_module) + 1 :]
