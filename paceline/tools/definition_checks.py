"""What single values of a definition file may be. Each check answers the value as it is kept.

A check raises ValueError with what to write instead; where it stands is for the caller to add.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from paceline.tools.definition import PLACEHOLDER, PLACEHOLDERS

Check = Callable[[Any], Any]

PATTERN_LIMIT = 500

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_PATH = re.compile(r"[^.\s]+(?:\.[^.\s]+)*")


def text(value: Any) -> str:
    """Answer text, without a null."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("write text")
    return value


def truth(value: Any) -> bool:
    """Answer true or false."""
    if not isinstance(value, bool):
        raise ValueError("write true or false")
    return value


def template(value: Any) -> str:
    """Answer text whose placeholders are all known."""
    for name in PLACEHOLDER.findall(text(value)):
        if name not in PLACEHOLDERS:
            raise ValueError(
                f"nothing fills {{{name}}}; there are {', '.join(sorted(PLACEHOLDERS))}"
            )
    return str(value)


def templates(value: Any) -> tuple[str, ...]:
    """Answer a list of templates."""
    if not isinstance(value, list):
        raise ValueError('write a list of arguments, like ["-p", "--json"]')
    return tuple(template(each) for each in value)


def variables(value: Any) -> dict[str, str]:
    """Answer variables with templates as values."""
    if not isinstance(value, dict) or not all(_VARIABLE.fullmatch(name) for name in value):
        raise ValueError('write variables with their values, like { CI = "1" }')
    return {name: template(each) for name, each in value.items()}


def variable(value: Any) -> str:
    """Answer a variable's name."""
    if not _VARIABLE.fullmatch(text(value)):
        raise ValueError("write the name of a variable")
    return str(value)


def home_path(value: Any) -> str:
    """Answer a path below the home."""
    path = PurePosixPath(text(value))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"{value!r} must be a path below the home directory")
    return str(path)


def home_paths(value: Any) -> tuple[str, ...]:
    """Answer a list of those."""
    if not isinstance(value, list):
        raise ValueError("write a list of paths below the home directory")
    return tuple(home_path(each) for each in value)


def home_files(value: Any) -> dict[str, str]:
    """Answer paths below the home with templates."""
    if not isinstance(value, dict):
        raise ValueError("write a table of paths below the home directory and contents")
    return {home_path(path): template(each) for path, each in value.items()}


def dotted_path(value: Any) -> str:
    """Answer a dotted path."""
    if not _PATH.fullmatch(text(value)):
        raise ValueError('write a dotted path, like "usage.input_tokens"')
    return str(value)


def dotted_paths(value: Any) -> tuple[str, ...]:
    """Answer dotted paths, one or many."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list):
        raise ValueError("write a dotted path, or a list of them to be added up")
    return tuple(dotted_path(each) for each in given)


def path_or_truth(value: Any) -> str | bool:
    """Answer a dotted path, true or false."""
    return value if isinstance(value, bool) else dotted_path(value)


def conditions(value: Any) -> dict[str, Any]:
    """Answer dotted paths with values; nested tables are flattened."""
    if not isinstance(value, dict):
        raise ValueError('write dotted paths with values, like { type = "result" }')
    flat = dict(_flatten(value))
    for each in flat.values():
        for choice in each if isinstance(each, list) else [each]:
            if not isinstance(choice, str | int | bool):
                raise ValueError("values to compare with are text, whole numbers, true or false")
    return flat


def _flatten(table: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Answer `a.b = 1` and `"a.b" = 1` alike: TOML makes tables of the first."""
    pairs: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            pairs += _flatten(value, f"{before}{key}.")
        else:
            pairs.append((dotted_path(f"{before}{key}"), value))
    return pairs


def numbers(value: Any) -> tuple[int, ...]:
    """Answer whole numbers, one or many."""
    given = [value] if isinstance(value, int) else value
    if not isinstance(given, list) or not all(
        isinstance(each, int) and not isinstance(each, bool) for each in given
    ):
        raise ValueError("write a whole number or a list of them")
    return tuple(given)


def texts(value: Any) -> tuple[str, ...]:
    """Answer texts, one or many."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list):
        raise ValueError("write a text or a list of them")
    return tuple(text(each) for each in given)


def pattern(value: Any) -> re.Pattern[str]:
    """Answer a compiled pattern."""
    if len(text(value)) > PATTERN_LIMIT:
        raise ValueError(f"write a pattern of at most {PATTERN_LIMIT} characters")
    try:
        return re.compile(value, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"this is no regular expression: {error}") from None


def patterns(value: Any) -> tuple[re.Pattern[str], ...]:
    """Answer patterns with one group each."""
    found = tuple(pattern(each) for each in texts(value))
    if any(pattern.groups != 1 for pattern in found):
        raise ValueError("each pattern needs one (group), around the number")
    return found


def choice(kind: Any) -> Check:
    """Answer a check for the members of an enumeration."""

    def check(value: Any) -> Any:
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"write one of {', '.join(kind)}") from None

    return check
