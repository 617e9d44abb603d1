"""Bad habits that a syntax tree shows: errors that nobody hears of, leftovers of debugging.

For Python ruff knows most of it; here is what it does not know, and the same for JavaScript and Go.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from paceline.evaluators.analysis.languages import Language, first_line, parse, text_of, walk
from paceline.evaluators.contract import Severity

if TYPE_CHECKING:
    from tree_sitter import Node

SWALLOWED = "swallowed-error"
IGNORED = "ignored-error"
LEFTOVER = "debug-leftover"
LOOSE = "loose-equality"
VAR = "var"
CONSTANT_CONDITION = "constant-condition"

_COMMENTS = ("comment", "line_comment", "block_comment")
_DEBUG_SCRIPT = re.compile(r"console\.(log|debug|trace|dir)$")
_DEBUG_GO = re.compile(r"(spew\.Dump|log\.Printf?|fmt\.Print(ln|f)?)$")
_DEBUG_WORD = re.compile(r"""^\(?\s*f?["'`]\W*(debug|here|xxx+|todo|test\b|\W*$)""", re.I)
_BREAKPOINT = re.compile(r"(breakpoint|pdb\.set_trace|ipdb\.set_trace|pprint)$")
_FALLIBLE_GO = re.compile(
    r"\.(Close|Flush|Sync|Scan|Write|WriteString|Read|ReadAll|Unmarshal|Marshal|Decode|Encode|Exec"
    r"|Query|QueryRow|Open|OpenFile|Create|Remove|RemoveAll|Rename|Mkdir|MkdirAll|Atoi|ParseInt"
    r"|ParseFloat|ParseBool|Parse|Get|Post|Do|Dial|Listen|ReadFile|WriteFile|Commit|Run|Start)$"
)
_TRUTHS = frozenset({"true", "false", "True", "False"})


@dataclass(frozen=True, slots=True)
class Habit:
    """One finding, on a 1-based line; `last` is where what it is about ends."""

    line: int
    last: int
    severity: Severity
    rule: str
    message: str


@lru_cache(maxsize=256)
def habits(text: str, language: Language) -> tuple[Habit, ...]:
    """Answer the bad habits of a whole text."""
    return tuple(h for node in walk(parse(text, language).root_node) for h in _of(node, language))


def _of(node: "Node", language: Language) -> Iterator[Habit]:
    if language is Language.PYTHON:
        yield from _python(node)
    elif language is Language.GO:
        yield from _go(node)
    else:
        yield from _script(node)


def _habit(node: "Node", severity: Severity, rule: str, message: str) -> Habit:
    return Habit(first_line(node), node.end_point[0] + 1, severity, rule, message)


def _inner(node: "Node | None") -> list["Node"]:
    """Answer the statements of a block, without comments."""
    if node is None:
        return []
    children = node.named_children
    if len(children) == 1 and children[0].type == "statement_list":
        children = children[0].named_children
    return [child for child in children if child.type not in _COMMENTS]


def _python(node: "Node") -> Iterator[Habit]:
    if node.type == "except_clause":
        yield from _except(node)
    elif node.type == "call":
        called = text_of(node.child_by_field_name("function"))
        arguments = text_of(node.child_by_field_name("arguments"))
        if _BREAKPOINT.search(called):
            yield _habit(node, Severity.MEDIUM, LEFTOVER, f"`{called}` was left behind")
        elif called == "print" and _DEBUG_WORD.match(arguments):
            yield _habit(node, Severity.LOW, LEFTOVER, "a print for debugging was left behind")


def _except(node: "Node") -> Iterator[Habit]:
    """Find handlers that do nothing about an error, unless it is one that was expected."""
    block = next((child for child in node.children if child.type == "block"), None)
    inner = _inner(block)
    silent = all(
        child.type in ("pass_statement", "continue_statement") or text_of(child) == "..."
        for child in inner
    )
    caught = text_of(node)[: (block.start_byte - node.start_byte) if block else None]
    broad = re.search(r"except\s*(:|\(?\s*(Base)?Exception\b)", caught) is not None
    if silent and broad:
        message = "every error is caught here and forgotten: handle what can happen, or let it pass"
        yield _habit(node, Severity.MEDIUM, SWALLOWED, message)
    elif broad and _answers_constant(inner):
        message = "every error becomes an ordinary answer: the caller cannot know that it failed"
        yield _habit(node, Severity.MEDIUM, SWALLOWED, message)


def _answers_constant(inner: list["Node"]) -> bool:
    if len(inner) != 1 or inner[0].type != "return_statement":
        return False
    value = text_of(inner[0]).removeprefix("return").strip().rstrip(";")
    return value in ("", "None", "False", "True", "null", "0", '""', "''", "[]", "{}", "undefined")


def _script(node: "Node") -> Iterator[Habit]:
    match node.type:
        case "catch_clause":
            inner = _inner(node.child_by_field_name("body"))
            if not inner or _answers_constant(inner):
                message = "every error is caught here and forgotten: handle it, or let it pass"
                yield _habit(node, Severity.MEDIUM, SWALLOWED, message)
        case "debugger_statement":
            yield _habit(node, Severity.MEDIUM, LEFTOVER, "`debugger` was left behind")
        case "call_expression":
            yield from _script_call(node)
        case "variable_declaration" if text_of(node).startswith("var "):
            yield _habit(
                node, Severity.LOW, VAR, "`var` is not bound to its block: use let or const"
            )
        case "binary_expression":
            operator = text_of(node.child_by_field_name("operator"))
            sides = (text_of(node.child_by_field_name(side)) for side in ("left", "right"))
            if operator in ("==", "!=") and "null" not in sides:
                message = f"`{operator}` converts its sides first: use `{operator}=`"
                yield _habit(node, Severity.LOW, LOOSE, message)
        case "if_statement":
            condition = text_of(node.child_by_field_name("condition")).strip("() ")
            if condition in _TRUTHS:
                message = f"the condition is always {condition}"
                yield _habit(node, Severity.MEDIUM, CONSTANT_CONDITION, message)


def _script_call(node: "Node") -> Iterator[Habit]:
    called = text_of(node.child_by_field_name("function"))
    if _DEBUG_SCRIPT.search(called) and called.startswith("console."):
        yield _habit(node, Severity.LOW, LEFTOVER, f"`{called}` was left behind")
    arguments = node.child_by_field_name("arguments")
    if called.endswith(".catch") and arguments is not None:
        handlers = [c for c in arguments.named_children if c.type == "arrow_function"]
        bodies = [handler.child_by_field_name("body") for handler in handlers]
        if bodies and all(body is not None and _is_empty_block(body) for body in bodies):
            message = "a rejected promise is caught here and forgotten"
            yield _habit(node, Severity.MEDIUM, SWALLOWED, message)


def _is_empty_block(body: "Node") -> bool:
    return body.type == "statement_block" and not _inner(body)


def _go(node: "Node") -> Iterator[Habit]:
    match node.type:
        case "if_statement":
            condition = text_of(node.child_by_field_name("condition"))
            handled = _inner(node.child_by_field_name("consequence"))
            if re.fullmatch(r"err\w*\s*!=\s*nil", condition) and not handled:
                message = "the error is looked at and forgotten: return it, or say why not"
                yield _habit(node, Severity.MEDIUM, SWALLOWED, message)
        case "short_var_declaration" | "assignment_statement":
            yield from _go_blank(node)
        case "expression_statement":
            yield from _go_statement(node)


def _go_blank(node: "Node") -> Iterator[Habit]:
    """Find calls whose last result, an error by custom, goes to `_`."""
    left = text_of(node.child_by_field_name("left")).replace(" ", "").split(",")
    called = _called(node.child_by_field_name("right"))
    if left[-1] == "_" and (_FALLIBLE_GO.search(called) or (called and left == ["_"])):
        message = f"the error of `{called}` is thrown away"
        yield _habit(node, Severity.MEDIUM, IGNORED, message)


def _go_statement(node: "Node") -> Iterator[Habit]:
    called = _called(node)
    arguments = text_of(node)[len(called) :]
    if _DEBUG_GO.search(called) and _DEBUG_WORD.match(arguments):
        yield _habit(node, Severity.LOW, LEFTOVER, f"`{called}` for debugging was left behind")
    elif re.search(r"\.(Unmarshal|Decode|WriteFile|Exec|Commit|RemoveAll|MkdirAll)$", called):
        yield _habit(node, Severity.MEDIUM, IGNORED, f"the error of `{called}` is not looked at")


def _called(node: "Node | None") -> str:
    """Answer the name of the one call that a node consists of, else nothing."""
    while node is not None and node.type in ("expression_list", "expression_statement"):
        node = node.named_children[0] if len(node.named_children) == 1 else None
    if node is None or node.type != "call_expression":
        return ""
    return text_of(node.child_by_field_name("function"))
