"""What an agent is told besides its instructions: where its work stands in the whole.

All of it was written by others (the repository's authors, earlier agents), so the prompt gives it
as data, each piece under its name and bounded.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Upstream:
    """What one earlier subtask changed: a summary by file, and the file with the whole of it."""

    name: str
    summary: str
    diff: Path | None = None


@dataclass(frozen=True, slots=True)
class Brief:
    """The surroundings of a job. Everything may be empty."""

    task: str = ""
    """The task's own words, where they are not the instructions."""
    conventions: tuple[tuple[str, str], ...] = ()
    """Names and texts of the repository's own rules for whoever works on it."""
    upstream: tuple[Upstream, ...] = ()
    conflicts: tuple[str, ...] = ()
    """Files that have the marks of a merge in them, to be resolved first."""
