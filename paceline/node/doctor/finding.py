"""What an examination finds: each finding says how bad it is and, if it is, what to do."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is. `problem`: something does not work, or data is at risk."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was examined. `subject`: the node, file or interface that it is about."""

    level: Level
    area: str
    """What kind of thing: `data`, `disk`, `network`, `multicast`, `clock`, ..."""
    text: str
    advice: str = ""
    subject: str = ""


def ok(area: str, text: str, *, subject: str = "") -> Finding:
    """Answer a finding that is as it should be."""
    return Finding(Level.OK, area, text, subject=subject)


def warning(area: str, text: str, advice: str, *, subject: str = "") -> Finding:
    """Answer one that may become a problem, or makes things slow."""
    return Finding(Level.WARNING, area, text, advice, subject)


def problem(area: str, text: str, advice: str, *, subject: str = "") -> Finding:
    """Answer one that must be mended."""
    return Finding(Level.PROBLEM, area, text, advice, subject)


def worst(findings: Iterable[Finding]) -> Level:
    """Answer the worst level among findings; ok for none."""
    order = list(Level)
    return max((each.level for each in findings), key=order.index, default=Level.OK)
