"""A file in which subtasks note that they began: the same for all systems."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Marks:
    """Lines of `name process-id time`."""

    path: Path

    def read(self) -> list[tuple[str, int, float]]:
        """Answer the whole lines so far."""
        text = self.path.read_text() if self.path.exists() else ""
        parts = (line.split() for line in text[: text.rfind("\n") + 1].splitlines())
        return [(name, int(pid), float(at)) for name, pid, at in parts]
