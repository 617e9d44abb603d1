"""The functions of a file, and which of them only pretend to be one.

A stub is a function whose body does nothing: empty, `pass`, `...`, or only the admission that it is
not implemented. A placeholder answers a constant and looks at none of its parameters. Where a body
is rightly empty (abstract methods, overloads, protocols, callbacks without a name) neither is said.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from paceline.evaluators.analysis.languages import (
    Language,
    first_line,
    last_line,
    parse,
    text_of,
    walk,
)
from paceline.evaluators.change import FileChange

if TYPE_CHECKING:
    from tree_sitter import Node

_FUNCTIONS = frozenset(
    {
        *("function_definition", "function_declaration", "method_declaration", "func_literal"),
        *("function_expression", "arrow_function", "method_definition"),
        *("generator_function", "generator_function_declaration"),
    }
)
_NAMED = frozenset({"variable_declarator", "pair", "assignment_expression", "field_definition"})
_COMMENTS = frozenset({"comment", "line_comment", "block_comment", "html_comment"})
_BLOCKS = frozenset({"block", "statement_block"})

_UNDONE = re.compile(r"not[ _-]?(yet )?implemented|unimplemented|implement me|\btodo\b", re.I)
_RIGHTLY_EMPTY = re.compile(r"abstractmethod|overload|abc\.|\bgroup\b|\.callback\b|\bfixture\b")
"""Decorators of functions whose body is not what they are for: `@click.group` has commands."""

_NAMED_EMPTY = re.compile(
    r"_*(constructor|no_?op|nothing|do_nothing|ignore\w*)|__init_subclass__", re.I
)
_ABSTRACT_CLASS = re.compile(r"\b(Protocol|ABC|ABCMeta|Interface)\b")
_CONSTANTS = frozenset(
    {
        *("none", "true", "false", "integer", "float", "string", "list", "dictionary", "tuple"),
        *("null", "undefined", "number", "array", "object", "nil", "int_literal", "float_literal"),
        *("interpreted_string_literal", "raw_string_literal", "composite_literal", "set"),
    }
)
_IDENTIFIERS = frozenset(
    {
        *("identifier", "property_identifier", "field_identifier", "type_identifier"),
        *("shorthand_property_identifier", "shorthand_property_identifier_pattern"),
        *("private_property_identifier", "package_identifier", "statement_identifier"),
    }
)


@dataclass(frozen=True, slots=True)
class Function:
    """One function. `first` and `last` are its 1-based lines, both included."""

    name: str
    """Empty for one without a name."""
    first: int
    last: int
    stub: str
    """Why it is a stub; empty if it is none."""
    placeholder: bool
    node: "Node"

    @property
    def length(self) -> int:
        """Answer how many lines it has."""
        return self.last - self.first + 1


@lru_cache(maxsize=256)
def functions(text: str, language: Language) -> tuple[Function, ...]:
    """Answer all functions of a text, nested ones too, in order."""
    root = parse(text, language).root_node
    return tuple(_function(node, language) for node in walk(root) if _is_function(node))


def touched_functions(file: FileChange, language: Language) -> Iterator[Function]:
    """Answer the functions in which a line is new."""
    for function in functions(file.new or "", language):
        if file.touches(function.first, function.last):
            yield function


def statements(node: "Node") -> list["Node"]:
    """Answer the statements of a function's body, without comments and its docstring."""
    body = node.child_by_field_name("body")
    if body is None or body.type not in _BLOCKS:
        return [body] if body is not None else []
    inner = body.named_children
    if len(inner) == 1 and inner[0].type == "statement_list":
        inner = inner[0].named_children
    found = [child for child in inner if child.type not in _COMMENTS]
    return found[1:] if found and _is_docstring(found[0]) else found


def is_comment(node: "Node") -> bool:
    """Answer whether a node is a comment."""
    return node.type in _COMMENTS


def is_docstring(node: "Node") -> bool:
    """Answer whether a node is a string that stands alone, which does nothing."""
    return _is_docstring(node)


def identifiers(node: "Node") -> Iterator["Node"]:
    """Answer the names below a node."""
    return (inner for inner in walk(node) if inner.type in _IDENTIFIERS)


def _is_function(node: "Node") -> bool:
    return (
        node.type in _FUNCTIONS and node.is_named and node.child_by_field_name("body") is not None
    )


def _is_docstring(node: "Node") -> bool:
    return node.type == "expression_statement" and [c.type for c in node.named_children] == [
        "string"
    ]


def _function(node: "Node", language: Language) -> Function:
    name = _name(node)
    body = statements(node)
    judged = bool(name) and not _rightly_empty(node, name, language)
    return Function(
        name=name,
        first=first_line(node),
        last=last_line(node),
        stub=_stub(body) if judged else "",
        placeholder=judged and _is_placeholder(node, body),
        node=node,
    )


def _name(node: "Node") -> str:
    own = node.child_by_field_name("name")
    parent = node.parent
    if own is None and parent is not None and parent.type in _NAMED:
        for name in ("name", "key", "left", "property"):
            own = own or parent.child_by_field_name(name)
    return text_of(own)


def _rightly_empty(node: "Node", name: str, language: Language) -> bool:
    if _NAMED_EMPTY.fullmatch(name):
        return True
    if language is not Language.PYTHON or node.parent is None:
        return False
    if node.parent.type == "decorated_definition":
        above = text_of(node.parent)[: node.start_byte - node.parent.start_byte]
        if _RIGHTLY_EMPTY.search(above):
            return True
    return _in_abstract_class(node)


def _in_abstract_class(node: "Node") -> bool:
    around = node.parent
    while around is not None and around.type != "class_definition":
        around = around.parent
    bases = around.child_by_field_name("superclasses") if around is not None else None
    return bases is not None and _ABSTRACT_CLASS.search(text_of(bases)) is not None


def _stub(body: list["Node"]) -> str:
    """Answer why a body does nothing, empty if it does something."""
    if not body:
        return "its body is empty"
    if all(_is_nothing(statement) for statement in body):
        return f"it only says `{text_of(body[0])[:60]}`"
    last = body[-1]
    if len(body) <= 2 and _is_undone(last):
        return f"it only says `{text_of(last)[:60]}`"
    return ""


def _is_nothing(node: "Node") -> bool:
    words = text_of(node).strip().rstrip(";")
    return node.type == "pass_statement" or words in ("...", "pass", "") or _is_docstring(node)


def _is_undone(node: "Node") -> bool:
    """Answer whether a statement raises, throws or panics because there is nothing yet."""
    words = text_of(node)
    if node.type == "raise_statement":
        return "NotImplemented" in words or _UNDONE.search(words) is not None
    fails = node.type == "throw_statement" or words.startswith("panic(")
    return fails and _UNDONE.search(words) is not None


def _is_placeholder(node: "Node", body: list["Node"]) -> bool:
    """Answer whether it answers a constant although it was given something to look at."""
    if len(body) != 1 or not _parameters(node):
        return False
    if body[0].type != "return_statement":
        return node.type == "arrow_function" and _is_constant(body[0])
    values = [child for child in body[0].named_children if child.type not in _COMMENTS]
    if values and values[0].type == "expression_list":
        values = values[0].named_children
    return all(_is_constant(value) for value in values)


def _is_constant(node: "Node") -> bool:
    names = (inner for inner in identifiers(node) if inner.type != "type_identifier")
    return node.type in _CONSTANTS and not any(True for _ in names)


def _parameters(node: "Node") -> list[str]:
    list_ = node.child_by_field_name("parameters") or node.child_by_field_name("parameter")
    if list_ is None:
        return []
    names = [text_of(inner) for inner in identifiers(list_)]
    return [name for name in names if name not in ("self", "cls", "_") and name[:1] != "_"]
