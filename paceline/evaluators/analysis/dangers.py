"""Dangerous calls in JavaScript, TypeScript and Go, and what bandit does not know of Python.

A call is a danger where what it is given is put together: a literal that stands in the text is
whatever its author wanted. Names are matched as they are written; data flow is not followed, so a
value that was put together lines before is found only where it is a name (a shell, eval).
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from paceline.evaluators.analysis import flaws
from paceline.evaluators.analysis.flaws import Flaw
from paceline.evaluators.analysis.languages import (
    Language,
    first_line,
    last_line,
    parse,
    text_of,
    walk,
)
from paceline.evaluators.contract import Severity

if TYPE_CHECKING:
    from tree_sitter import Node

_LITERALS = frozenset(
    {"string", "number", "interpreted_string_literal", "raw_string_literal", "int_literal", "true"}
)
_BUILT = frozenset({"binary_expression", "binary_operator", "template_string", "call_expression",
                    "call"})  # fmt: skip
_STATEMENT = re.compile(
    r"\b(select\b.+\bfrom|insert\s+into|update\b.+\bset|delete\s+from|drop\s+table|where)\b",
    re.I | re.S,
)
_SQL_CALL = re.compile(
    r"\.(query|execute|raw|run|all|get|each|exec|QueryRow|Query|Exec|QueryContext|QueryRowContext"
    r"|ExecContext|prepare|Prepare|\$queryRawUnsafe|executemany)$"
)
_SHELL_SCRIPT = re.compile(r"(^|\.)(exec|execSync)$")
_SPAWN_SCRIPT = re.compile(r"(^|\.)(spawn|spawnSync|execFile|execFileSync)$")
_SHELLS = re.compile(r'^"(/bin/|/usr/bin/)?(ba|z|k|da)?sh"$|^"(cmd|powershell)(\.exe)?"$', re.I)
_REQUEST = re.compile(
    r"\b(req|request|ctx\.request|r)\.(params|query|body|args|form|files|GET|POST|URL|FormValue"
    r"|PathValue|values|FILES)\b"
)
_FILE_CALL = re.compile(
    r"(^|\.)(readFile|readFileSync|createReadStream|sendFile|writeFile|writeFileSync|unlink"
    r"|unlinkSync|ReadFile|Open|ServeFile|send_file|open|Create|Remove)$"
)
_SENSITIVE = re.compile(r"passw|secret|token|session|nonce|credential|signature|otp|salt", re.I)
_WEAK_HASH_GO = re.compile(r"^(md5|sha1)\.(New|Sum)$")
_WEAK_RANDOM = re.compile(
    r"^(Math\.random|rand\.(Int|Intn|Int63|Read|Int31n|Int63n)"
    r"|random\.(random|randint|choice|choices|randrange|getrandbits))$"
)


@lru_cache(maxsize=256)
def dangers(text: str, language: Language) -> tuple[Flaw, ...]:
    """Answer the dangers of a whole text."""
    root = parse(text, language).root_node
    return tuple(flaw for node in walk(root) for flaw in _of(node, text, language))


def _of(node: "Node", text: str, language: Language) -> Iterator[Flaw]:
    if node.type in ("call_expression", "call", "new_expression"):
        kind = "constructor" if node.type == "new_expression" else "function"
        called = text_of(node.child_by_field_name(kind))
        arguments = _arguments(node)
        for rule in _CALL_RULES:
            yield from rule(node, called, arguments, language)
        if language.is_script and "child_process" in text:
            yield from _script_shell(node, called, arguments)
    elif language.is_script:
        yield from _script(node)
    elif language is Language.GO and node.type == "keyed_element":
        yield from _go_element(node)


def _flaw(node: "Node", rule: str, message: str, severity: Severity | None = None) -> Flaw:
    return Flaw(rule, first_line(node), last_line(node), message, severity)


def _arguments(node: "Node") -> list["Node"]:
    given = node.child_by_field_name("arguments")
    return [child for child in given.named_children if child.type != "comment"] if given else []


def _is_literal(node: "Node") -> bool:
    if node.type == "template_string":
        return not any(child.type == "template_substitution" for child in node.children)
    if node.type == "string":  # an f-string of Python is one too
        return not any(child.type == "interpolation" for child in node.children)
    if node.type in ("binary_expression", "binary_operator"):
        return all(_is_literal(child) for child in node.named_children)
    return node.type in _LITERALS


# --- any language ---------------------------------------------------------------------------------


def _sql(node: "Node", called: str, arguments: list["Node"], language: Language) -> Iterator[Flaw]:
    if not _SQL_CALL.search(called) or language is Language.PYTHON:
        return  # bandit's B608
    for argument in arguments[:2]:
        built = argument.type in _BUILT and not _is_literal(argument)
        if built and _STATEMENT.search(text_of(argument)):
            message = "SQL is put together from values: give them as parameters"
            yield _flaw(node, flaws.SQL, message)
            return


def _path(node: "Node", called: str, arguments: list["Node"], _: Language) -> Iterator[Flaw]:
    named = text_of(arguments[0]) if arguments else ""
    if _FILE_CALL.search(called) and _REQUEST.search(named):
        message = "a request names the file: resolve it, and refuse what lies outside"
        yield _flaw(node, flaws.PATH, message)


def _random(
    node: "Node", called: str, arguments: list["Node"], language: Language
) -> Iterator[Flaw]:
    if language is Language.GO and not _imports(node, '"math/rand'):
        return  # crypto/rand is called the same
    if _WEAK_RANDOM.match(called) and _SENSITIVE.search(_around(node)):
        message = f"`{called}` can be foretold: take the system's secure random numbers"
        yield _flaw(node, flaws.WEAK_RANDOM, message, Severity.HIGH)


def _imports(node: "Node", path: str) -> bool:
    while node.parent is not None:
        node = node.parent
    return any(path in text_of(c) for c in node.children if c.type == "import_declaration")


def _around(node: "Node") -> str:
    """Answer the words of the statement, and the name of the function, that a call stands in."""
    statement, name = "", ""
    around = node.parent
    while around is not None and not name:
        if not statement and around.type.endswith(("statement", "declaration", "assignment")):
            statement = text_of(around)[:500]
        if around.type.startswith(("function", "method")):
            name = text_of(around.child_by_field_name("name"))
        around = around.parent
    return f"{statement} {name}"


def _hash(node: "Node", called: str, arguments: list["Node"], _: Language) -> Iterator[Flaw]:
    weak = called.endswith("createHash") and any(
        text_of(one).strip("\"'`").lower() in ("md5", "sha1") for one in arguments[:1]
    )
    if weak or _WEAK_HASH_GO.match(called):
        severity = Severity.HIGH if _SENSITIVE.search(_around(node)) else None
        message = "this hash is broken: take SHA-256, and for passwords a slow one"
        yield _flaw(node, flaws.WEAK_HASH, message, severity)


def _evaluated(
    node: "Node", called: str, arguments: list["Node"], language: Language
) -> Iterator[Flaw]:
    if not language.is_script:
        return
    runs = called in ("eval", "Function", "vm.runInThisContext", "vm.runInNewContext")
    delayed = called in ("setTimeout", "setInterval") and arguments[:1] and (
        arguments[0].type in ("string", "template_string", "binary_expression")
    )  # fmt: skip
    if (runs and arguments and not all(map(_is_literal, arguments))) or delayed:
        yield _flaw(node, flaws.CODE, f"`{called}` runs text as a program")


def _markup(node: "Node", called: str, arguments: list["Node"], _: Language) -> Iterator[Flaw]:
    writes = called in ("document.write", "document.writeln", "template.HTML", "template.JS")
    writes = writes or called.endswith(".insertAdjacentHTML")
    if writes and arguments and not _is_literal(arguments[-1]):
        message = "text becomes markup as it is: a user's words would run in the page"
        yield _flaw(node, flaws.XSS, message)


def _go_shell(node: "Node", called: str, arguments: list["Node"], _: Language) -> Iterator[Flaw]:
    if called not in ("exec.Command", "exec.CommandContext"):
        return
    words = [text_of(one) for one in arguments]
    through_shell = any(_SHELLS.match(word) for word in words[:2])
    if through_shell and not all(map(_is_literal, arguments[-1:])):
        message = "a shell is given words that were put together: run the program without it"
        yield _flaw(node, flaws.COMMAND, message)


Rule = Callable[["Node", str, list["Node"], Language], Iterator[Flaw]]
_CALL_RULES: tuple[Rule, ...] = (_sql, _path, _random, _hash, _evaluated, _markup, _go_shell)


# --- JavaScript and TypeScript --------------------------------------------------------------------


def _script_shell(node: "Node", called: str, arguments: list["Node"]) -> Iterator[Flaw]:
    if not arguments:
        return
    shell = _SHELL_SCRIPT.search(called) is not None and not _is_literal(arguments[0])
    options = " ".join(text_of(one) for one in arguments[1:] if one.type == "object")
    asked = _SPAWN_SCRIPT.search(called) and re.search(r"shell['\"]?\s*:\s*(true|['\"])", options)
    if shell or (asked and not all(_is_literal(one) for one in arguments[:1])):
        message = "a shell is given words that were put together: use execFile with a list"
        yield _flaw(node, flaws.COMMAND, message)


def _script(node: "Node") -> Iterator[Flaw]:
    if node.type == "assignment_expression":
        left = text_of(node.child_by_field_name("left"))
        right = node.child_by_field_name("right")
        if left.endswith((".innerHTML", ".outerHTML")) and right and not _is_literal(right):
            message = "text becomes markup as it is: use textContent"
            yield _flaw(node, flaws.XSS, message)
        if "NODE_TLS_REJECT_UNAUTHORIZED" in left:
            yield _flaw(node, flaws.TLS, "certificates are no longer checked")
    elif node.type == "pair":
        key = text_of(node.child_by_field_name("key")).strip("\"'")
        if key == "rejectUnauthorized" and text_of(node.child_by_field_name("value")) == "false":
            yield _flaw(node, flaws.TLS, "certificates are not checked")
    elif node.type == "jsx_attribute" and "dangerouslySetInnerHTML" in text_of(node)[:40]:
        yield _flaw(node, flaws.XSS, "text becomes markup as it is")


# --- Go -------------------------------------------------------------------------------------------


def _go_element(node: "Node") -> Iterator[Flaw]:
    if re.match(r"InsecureSkipVerify\s*:\s*true", text_of(node)):
        yield _flaw(node, flaws.TLS, "certificates are not checked")
