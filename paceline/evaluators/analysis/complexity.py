"""Cyclomatic complexity of the functions that a change touches (McCabe 1976), as lizard counts it.

A function counts only if the change made it complex, or more complex: nobody should be told off
for a line in an old monster.
"""

from dataclasses import dataclass

from paceline.evaluators.change import FileChange

COMPLEXITY_MAX = 10
"""McCabe's own limit; above it a function counts as complex."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One function of any language that lizard knows."""

    name: str
    first: int
    last: int
    complexity: int
    parameters: int

    @property
    def length(self) -> int:
        """Answer how many lines it has."""
        return self.last - self.first + 1


def measure(path: str, text: str) -> list[Measured]:
    """Answer all functions of a text; none for a language that is not known."""
    import lizard  # noqa: PLC0415 - not before there is something to measure

    found = lizard.analyze_file.analyze_source_code(path, text)
    return [
        Measured(f.name, f.start_line, f.end_line, f.cyclomatic_complexity, len(f.full_parameters))
        for f in found.function_list
    ]


def grown_complex(file: FileChange) -> list[Measured]:
    """Answer the touched functions that are too complex now, and were not as complex before."""
    before: dict[str, int] = {}
    for old in measure(file.old_path or file.path, file.old or "") if file.old else ():
        before[old.name] = max(old.complexity, before.get(old.name, 0))
    return [
        function
        for function in measure(file.path, file.new or "")
        if function.complexity > max(COMPLEXITY_MAX, before.get(function.name, 0))
        and file.touches(function.first, function.last)
    ]
