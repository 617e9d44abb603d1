"""How things look on a terminal: columns, colours, times; and JSON where it was asked for.

Names, descriptions and log lines were written by others, agents among them, so nothing of theirs
reaches the terminal before `printable` has taken the control characters out.
"""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click

from paceline.cli.columns import lines, terminal_width
from paceline.ids import short

_COLOURS = {
    "completed": "green",
    "succeeded": "green",
    "online": "green",
    "leader": "green",
    "in_progress": "cyan",
    "running": "cyan",
    "allocated": "cyan",
    "busy": "cyan",
    "review": "yellow",
    "checkpoint": "yellow",
    "draining": "yellow",
    "lost": "yellow",
    "failed": "red",
    "error": "red",
    "offline": "red",
    "cancelled": "magenta",
}
_SGR = re.compile(r"\x1b\[[0-9;]*m")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def printable(value: object) -> str:
    """Answer text without anything that a terminal would obey; tabs stay."""
    return _CONTROL.sub("�", _SGR.sub("", "" if value is None else str(value)))


def print_json(document: object) -> None:
    """Print one JSON document, indented; as plain ASCII where the stream is not UTF-8."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    click.echo(json.dumps(document, indent=2, ensure_ascii=not utf8))


def status(word: object) -> str:
    """Answer a status in its colour."""
    text = printable(word)
    return click.style(text, fg=_COLOURS[text]) if text in _COLOURS else text


def heading(text: str) -> str:
    """Answer a heading."""
    return click.style(text, bold=True)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Answer rows in aligned columns, cut to the terminal's width; an empty one has heads only."""
    cells = [[cell if isinstance(cell, str) else printable(cell) for cell in row] for row in rows]
    return "\n".join(lines([[heading(head) for head in heads], *cells], terminal_width()))


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Answer names and values, one pair per line."""
    pairs = list(pairs)
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{heading(name.ljust(width))}  {value}" for name, value in pairs)


def clock(moment: str | None) -> str:
    """Answer a moment (ISO 8601) as local time; what is no moment, as it is."""
    found = _moment(moment)
    return found.astimezone().strftime("%Y-%m-%d %H:%M:%S") if found else printable(moment)


def duration(start: str | None, end: str | None) -> str:
    """Answer how long something took, as people say it; empty where it has not ended."""
    begun, ended = _moment(start), _moment(end)
    if begun is None or ended is None:
        return ""
    seconds = max(0.0, (ended - begun).total_seconds())
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def names(values: Iterable[Any] | None) -> str:
    """Answer a list of names; of documents, their `name`; unhealthy ones in brackets."""
    return ", ".join(_name(value) for value in values or ())


def _name(value: Any) -> str:
    if not isinstance(value, dict):
        return printable(value)
    name = printable(value.get("name", ""))
    return name if value.get("healthy", True) else f"({name})"


def changed(change: dict[str, Any] | None) -> str:
    """Answer how much was changed in a repository, in short; empty where nothing was."""
    if not change:
        return ""
    noun = "file" if change["files"] == 1 else "files"
    return f"{change['files']} {noun} +{change['insertions']} -{change['deletions']}"


def amount(value: Any) -> int:
    """Answer a number, or the length of a list that stands for one."""
    return value if isinstance(value, int) else len(value or ())


def node_names(members: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Answer what people call each node, by id; an id that is not there is shown shortened."""
    return {member["node_id"]: printable(member["name"]) for member in members}


def node(node_id: object, known: dict[str, str]) -> str:
    """Answer a node's name, or its shortened id."""
    return known.get(str(node_id), short(printable(node_id)) if node_id else "")
