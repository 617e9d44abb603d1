"""On which line each key of a TOML text stands.

`tomllib` answers values without lines, so this scan finds them again: headers (`[a]`, `[[a]]`) and
the keys at the start of a line. It is for messages only and never decides what a plan says: keys
within inline tables are not found (the line of the key before them serves), and of a text that
`tomllib` would refuse the answer means nothing.
"""

import re

Path = tuple[str | int, ...]
"""Keys from the root on; a number is a place in an array of tables."""

PARTS_LIMIT = 32

_PART = r"""[ \t]*(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*"""
_HEADER = re.compile(rf"[ \t]*(\[\[?)((?:{_PART}\.)*{_PART})\]\]?")
_KEY = re.compile(rf"((?:{_PART}\.)*{_PART})=")
_PARTS = re.compile(r"""[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*'""")


def toml_lines(text: str) -> dict[Path, int]:
    """Answer the 1-based line of each key, header and element of an array of tables."""
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    fence = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if not fence:
            if header := _HEADER.match(line):
                table = _enter(header[1], _split(header[2]), counts)
                lines.setdefault(table, number)
            elif key := _KEY.match(line):
                _note(lines, table, _split(key[1]), number)
        fence = _fence_after(line, fence)
    return lines


def _enter(brackets: str, parts: list[str], counts: dict[Path, int]) -> Path:
    """Answer the path of a header, in which each array of tables stands for its latest element."""
    path: Path = ()
    for part in parts:
        path = (*path, part)
        if path in counts:
            path = (*path, counts[path])
    if brackets == "[":
        return path
    array = path[:-1] if path and isinstance(path[-1], int) else path
    counts[array] = counts.get(array, -1) + 1
    return (*array, counts[array])


def _note(lines: dict[Path, int], table: Path, parts: list[str], number: int) -> None:
    path = table
    for part in parts:
        path = (*path, part)
        lines.setdefault(path, number)


def _split(dotted: str) -> list[str]:
    return [part.strip("\"'") for part in _PARTS.findall(dotted)][:PARTS_LIMIT]


def _fence_after(line: str, fence: str) -> str:
    """Answer which quotes of a multi-line string are open at the end of the line, if any."""
    position = 0
    while True:
        if fence:
            position = line.find(fence, position)
            if position < 0:
                return fence
            position, fence = position + 3, ""
        else:
            found = [(line.find(quotes, position), quotes) for quotes in ('"""', "'''")]
            begun = [start for start in found if start[0] >= 0]
            if not begun:
                return ""
            position, fence = min(begun)
            position += 3
