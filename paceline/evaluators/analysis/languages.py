"""Which language a file is in, what kind of file it is, and its syntax tree.

Trees are made by tree-sitter: it reads any text, wrong syntax included, in linear time, and runs
nothing. Other languages than these five are judged by what needs no tree.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, Tree


class Language(StrEnum):
    """A language whose syntax is known."""

    PYTHON = "python"
    JAVASCRIPT = "javascript"
    TYPESCRIPT = "typescript"
    TSX = "tsx"
    GO = "go"

    @property
    def is_script(self) -> bool:
        """Answer whether it is JavaScript or a superset of it."""
        return self in (Language.JAVASCRIPT, Language.TYPESCRIPT, Language.TSX)


NODE_LIMIT_BYTES = 20_000
"""Of the text of one node: nodes hold each other, so all their texts together are quadratic."""

_LANGUAGES = {
    ".py": Language.PYTHON,
    ".pyi": Language.PYTHON,
    ".pyw": Language.PYTHON,
    ".js": Language.JAVASCRIPT,
    ".mjs": Language.JAVASCRIPT,
    ".cjs": Language.JAVASCRIPT,
    ".jsx": Language.JAVASCRIPT,
    ".ts": Language.TYPESCRIPT,
    ".mts": Language.TYPESCRIPT,
    ".cts": Language.TYPESCRIPT,
    ".tsx": Language.TSX,
    ".go": Language.GO,
}
_OTHER_CODE = frozenset(
    {
        *(".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".m", ".mm", ".cs", ".java", ".kt", ".scala"),
        *(".rs", ".rb", ".php", ".swift", ".lua", ".pl", ".pm", ".r", ".erl", ".ex", ".exs"),
        *(".zig", ".sol", ".vue", ".svelte", ".dart", ".hs", ".clj", ".sh", ".bash", ".ps1"),
    }
)
_PROSE = frozenset({".md", ".rst", ".txt", ".adoc", ".org", ".tex", ""})

_TEST = re.compile(
    r"(^|/)(tests?|__tests__|spec|specs|testdata|fixtures)/"
    r"|(^|/)(test_[^/]*|conftest)\.py$|_test\.(py|go)$|\.(test|spec)\.[cm]?[jt]sx?$"
    r"|(^|/)[^/]*(Test|Tests|Spec)\.(java|kt|cs|scala)$|_(spec|test)\.rb$",
)


def language_of(path: str) -> Language | None:
    """Answer the language of a file by its name, None for one whose syntax is not known."""
    return _LANGUAGES.get(PurePosixPath(path).suffix.lower())


def is_code(path: str) -> bool:
    """Answer whether a file is a program's text, in whatever language."""
    return PurePosixPath(path).suffix.lower() in _LANGUAGES.keys() | _OTHER_CODE


def is_prose(path: str) -> bool:
    """Answer whether a file is written for people only."""
    return PurePosixPath(path).suffix.lower() in _PROSE


def is_test(path: str) -> bool:
    """Answer whether a file belongs to the tests, by the customs of its language."""
    return _TEST.search(path) is not None


def parse(text: str, language: Language) -> "Tree":
    """Answer the tree of a text. Places in it are bytes of UTF-8, rows are 0-based."""
    return _parsed(text, language)


@lru_cache(maxsize=64)
def _parsed(text: str, language: Language) -> "Tree":
    return _parser(language).parse(text.encode("utf-8", "replace"))


@lru_cache(maxsize=8)
def _parser(language: Language) -> "Parser":
    import tree_sitter  # noqa: PLC0415 - not before there is something to parse

    return tree_sitter.Parser(tree_sitter.Language(_grammar(language)))


def _grammar(language: Language) -> object:
    """Import the grammar of one language: nobody needs all of them."""
    match language:
        case Language.PYTHON:
            import tree_sitter_python  # noqa: PLC0415

            return tree_sitter_python.language()
        case Language.JAVASCRIPT:
            import tree_sitter_javascript  # noqa: PLC0415

            return tree_sitter_javascript.language()
        case Language.TYPESCRIPT:
            import tree_sitter_typescript  # noqa: PLC0415

            return tree_sitter_typescript.language_typescript()
        case Language.TSX:
            import tree_sitter_typescript  # noqa: PLC0415

            return tree_sitter_typescript.language_tsx()
        case Language.GO:
            import tree_sitter_go  # noqa: PLC0415

            return tree_sitter_go.language()


def walk(node: "Node") -> Iterator["Node"]:
    """Answer the node and all below it, in the order of the text; deep trees do no harm."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        pending.extend(reversed(current.children))


def text_of(node: "Node | None") -> str:
    """Answer the text that a node covers, its beginning if it is long; empty for none."""
    if node is None:
        return ""
    return (node.text or b"")[:NODE_LIMIT_BYTES].decode("utf-8", "replace")


def first_line(node: "Node") -> int:
    """Answer the 1-based line on which a node starts."""
    return node.start_point[0] + 1


def last_line(node: "Node") -> int:
    """Answer the 1-based line on which a node ends."""
    return node.end_point[0] + 1
