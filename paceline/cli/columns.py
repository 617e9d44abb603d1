"""Text in columns: how wide it is on a terminal, cut to what fits.

A terminal counts cells, not characters: wide ones (CJK, most emoji) take two, combining ones none.
Colours (SGR sequences) take none and are never cut in the middle.
"""

import re
import shutil
import sys
import unicodedata
from collections.abc import Sequence

GAP = "  "
NARROWEST = 6
"""A column is not cut to less, even if the table does not fit then."""

_SGR = re.compile(r"(\x1b\[[0-9;]*m)")
_RESET = "\x1b[0m"


def terminal_width() -> int | None:
    """Answer how many cells a line may have; None where output is piped: there nothing is cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def width(text: str) -> int:
    """Answer how many cells a text takes."""
    plain = _SGR.sub("", text)
    return len(plain) if plain.isascii() else sum(map(_cells, plain))


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, limit: int) -> str:
    """Answer the text in at most `limit` cells; one that is too long ends in an ellipsis."""
    if width(text) <= limit:
        return text
    parts, left = [], max(0, limit - 1)
    for piece in _SGR.split(text):
        if _SGR.fullmatch(piece):
            parts.append(piece)
            continue
        for character in piece:
            left -= _cells(character)
            if left < 0:
                coloured = any(map(_SGR.fullmatch, parts))
                return "".join(parts) + ("…" if limit > 0 else "") + (_RESET if coloured else "")
            parts.append(character)
    return "".join(parts)


def padded(text: str, cells: int) -> str:
    """Answer the text in exactly so many cells."""
    short = cut(text, cells)
    return short + " " * (cells - width(short))


def lines(rows: Sequence[Sequence[str]], limit: int | None) -> list[str]:
    """Answer rows as aligned lines; with a limit, the widest columns give way until they fit."""
    widths = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]
    if limit is not None:
        widths = fitted(widths, limit - len(GAP) * (len(widths) - 1))
    return [
        GAP.join(padded(cell, cells) for cell, cells in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def fitted(widths: Sequence[int], room: int) -> list[int]:
    """Answer widths that together take no more than `room`, the widest ones cut to one measure."""
    highest = max(widths, default=0)
    while highest > NARROWEST and sum(min(each, highest) for each in widths) > room:
        highest -= 1
    spare = room - sum(min(each, highest) for each in widths)
    found = []
    for each in widths:
        more = min(max(0, spare), max(0, each - highest), 1)
        spare -= more
        found.append(min(each, highest) + more)
    return found
