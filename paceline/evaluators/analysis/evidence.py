"""What in a change shows that something was done: names in code that does something.

Words prove nothing where they cost nothing. So evidence is only taken from new lines, and neither
from comments, docstrings, stubs, nor from statements that merely give names to constants. A file
whose language is not known gives its words, without what looks like a comment.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from paceline.evaluators.analysis.functions import (
    functions,
    is_comment,
    is_docstring,
)
from paceline.evaluators.analysis.languages import (
    Language,
    first_line,
    is_prose,
    is_test,
    language_of,
    last_line,
    parse,
    text_of,
    walk,
)
from paceline.evaluators.analysis.requirements import stem
from paceline.evaluators.change import Change, FileChange

if TYPE_CHECKING:
    from tree_sitter import Node

Place = tuple[str, int]
"""A file and a 1-based line."""

_STRINGS = frozenset(
    {
        *("string_content", "string_fragment", "interpreted_string_literal_content"),
        *("raw_string_literal", "raw_string_literal_content", "integer", "number", "int_literal"),
        *("float", "float_literal", "template_string", "true", "false", "jsx_text"),
    }
)
_ERRORS = frozenset(
    {
        *("raise_statement", "except_clause", "throw_statement", "catch_clause"),
    }
)
_ERRORS_GO = re.compile(r"\berrors\.(New|Is|As|Join)\b|fmt\.Errorf|\berr\b|panic\(")
_ERRORS_SCRIPT = re.compile(r"\.catch\(|reject\(|new \w*Error\(|res\.status\([45]")
_ACTIVE = frozenset(
    {
        *("call", "call_expression", "new_expression", "await", "await_expression"),
        *("binary_operator", "binary_expression", "boolean_operator", "comparison_operator"),
        *("unary_operator", "unary_expression", "not_operator", "subscript"),
        *("subscript_expression", "index_expression", "slice_expression", "selector_expression"),
        *("attribute", "member_expression", "lambda", "arrow_function", "conditional_expression"),
        *("ternary_expression", "list_comprehension", "dictionary_comprehension", "yield"),
        *("set_comprehension", "generator_expression", "augmented_assignment", "interpolation"),
        *(
            "augmented_assignment_expression",
            "inc_statement",
            "update_expression",
            "return_statement",
        ),
        *("if_statement", "for_statement", "while_statement", "raise_statement", "throw_statement"),
        *("composite_literal", "template_substitution", "with_statement", "match_statement"),
        *("switch_statement", "expression_switch_statement", "for_in_statement", "object"),
        *("class_definition", "class_declaration", "type_declaration", "interface_declaration"),
        *("dictionary", "list", "array"),
    }
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_COMMENT = re.compile(r"^\s*(#|//|\*|/\*|--|<!--|;)")


@dataclass(slots=True)
class Evidence:
    """What was found, each with where it stands first."""

    names: dict[str, Place] = field(default_factory=dict)
    """Identifiers in lower case."""
    stems: dict[str, Place] = field(default_factory=dict)
    literals: dict[str, Place] = field(default_factory=dict)
    """Contents of strings and numbers, in lower case."""
    prose: dict[str, Place] = field(default_factory=dict)
    """Stems in documents."""
    errors: Place | None = None
    """Where an error is raised or handled."""
    tests: Place | None = None
    paths: tuple[str, ...] = ()
    effective: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """The new lines of code that do something, by file."""

    @property
    def effective_count(self) -> int:
        """Answer how many lines do something."""
        return sum(len(lines) for lines in self.effective.values())

    def literal(self, words: str) -> Place | None:
        """Answer where a string contains these words."""
        wanted = words.lower()
        found = (place for text, place in self.literals.items() if wanted in text)
        return next(found, None)


def gather_evidence(change: Change) -> Evidence:
    """Answer all evidence in a change."""
    evidence = Evidence(paths=tuple(file.path for file in change.files))
    effective: dict[str, set[int]] = defaultdict(set)
    for file in change.texts:
        language = language_of(file.path)
        if not file.added:
            continue
        if language is not None:
            _of_code(file, language, evidence, effective[file.path])
        elif is_prose(file.path):
            _of_prose(file, evidence)
        else:
            _of_text(file, evidence, effective[file.path])
    for name in _only_stubs(change):
        evidence.names.pop(name, None)  # that it is exported, or called, does not make it real
    evidence.effective = {path: frozenset(lines) for path, lines in effective.items()}
    return evidence


def _only_stubs(change: Change) -> set[str]:
    """Answer the names that only stubs have."""
    stubs: set[str] = set()
    real: set[str] = set()
    for file in change.texts:
        language = language_of(file.path)
        for function in functions(file.new or "", language) if language else ():
            (stubs if function.stub else real).add(function.name.lower())
    return stubs - real


def _of_code(file: FileChange, language: Language, evidence: Evidence, lines: set[int]) -> None:
    text = file.new or ""
    stubs = {id_of(f.node) for f in functions(text, language) if f.stub or f.placeholder}
    testing = is_test(file.path)
    for statement in _statements(parse(text, language).root_node, stubs):
        if not file.touches(first_line(statement), last_line(statement)):
            continue
        for node in _leaves(statement, stubs):
            line = first_line(node)
            if line in file.added:
                lines.add(line)
                _take(node, (file.path, line), evidence, testing)
        _take_errors(file, statement, language, evidence)
    if not testing:
        _take_around(file, language, evidence, lines)


def _take_around(file: FileChange, language: Language, evidence: Evidence, lines: set[int]) -> None:
    """Take the names of the functions and classes that the effective lines stand in."""
    effective = replace(file, added=frozenset(lines))
    for node in walk(parse(file.new or "", language).root_node):
        if not node.type.endswith(("definition", "declaration", "declarator")):
            continue
        name, first = node.child_by_field_name("name"), first_line(node)
        if name is not None and effective.touches(first, last_line(node)):
            evidence.names.setdefault(text_of(name).lower(), (file.path, first))
            for word in _WORDS.findall(text_of(name)):
                evidence.stems.setdefault(stem(word), (file.path, first))


def id_of(node: "Node") -> tuple[int, int]:
    """Answer what tells a node from all others of its tree: nodes are made anew at every look."""
    return node.start_byte, node.end_byte


def _statements(root: "Node", stubs: set[tuple[int, int]]) -> Iterator["Node"]:
    """Answer the statements at the top that do something."""
    for node in root.children:
        if is_comment(node) or is_docstring(node) or id_of(node) in stubs:
            continue
        if any(inner.type in _ACTIVE or inner.type in _ERRORS for inner in walk(node)):
            yield node


def _leaves(statement: "Node", stubs: set[tuple[int, int]]) -> Iterator["Node"]:
    """Answer the nodes of a statement, without stubs, comments, docstrings, bare constants."""
    pending = [statement]
    while pending:
        node = pending.pop()
        if is_comment(node) or is_docstring(node) or id_of(node) in stubs or _is_naming(node):
            continue
        yield node
        pending.extend(reversed(node.children))


def _is_naming(node: "Node") -> bool:
    """Answer whether a statement only gives a name to a constant text, or a name to itself."""
    if node.type not in ("assignment", "short_var_declaration", "lexical_declaration"):
        return False
    kinds = {inner.type for inner in walk(node)}
    return not kinds & _ACTIVE and not kinds & {"integer", "number", "float", "int_literal",
                                                "true", "false", "float_literal", "string",
                                                "interpreted_string_literal"}  # fmt: skip


def _take(node: "Node", place: Place, evidence: Evidence, testing: bool) -> None:
    if testing:
        if node.type in ("call", "call_expression", "assert_statement"):
            evidence.tests = evidence.tests or place
        return
    if node.type in _STRINGS:
        evidence.literals.setdefault(text_of(node).lower()[:2000], place)
    elif node.type.endswith("identifier"):
        name = text_of(node)
        evidence.names.setdefault(name.lower(), place)
        for word in _WORDS.findall(name):
            if len(word) > 1:
                evidence.stems.setdefault(stem(word), place)


def _take_errors(
    file: FileChange, statement: "Node", language: Language, evidence: Evidence
) -> None:
    if evidence.errors or is_test(file.path):
        return
    for node in walk(statement):
        line = first_line(node)
        if line not in file.added:
            continue
        raised = node.type in _ERRORS
        if language is Language.GO:
            raised = node.type in ("return_statement", "if_statement", "expression_statement") and (
                _ERRORS_GO.search(text_of(node)) is not None
            )
        elif language.is_script and node.type in ("call_expression", "new_expression"):
            raised = _ERRORS_SCRIPT.search(text_of(node)) is not None
        if raised:
            evidence.errors = (file.path, line)
            return


def _of_text(file: FileChange, evidence: Evidence, lines: set[int]) -> None:
    for number, line in file.added_lines():
        if not line.strip() or _COMMENT.match(line):
            continue
        lines.add(number)
        place = (file.path, number)
        evidence.literals.setdefault(line.lower()[:2000], place)
        for word in _WORDS.findall(line):
            evidence.names.setdefault(word.lower(), place)
            if len(word) > 1:
                evidence.stems.setdefault(stem(word), place)


def _of_prose(file: FileChange, evidence: Evidence) -> None:
    for number, line in file.added_lines():
        for word in _WORDS.findall(line):
            if len(word) > 1:
                evidence.prose.setdefault(stem(word), (file.path, number))
