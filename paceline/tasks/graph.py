"""The graph of a task: subtasks and what each of them needs.

`problems` says everything that is wrong with it; `layers` answers its waves. A valid graph has no
two subtasks of one name, no need of something that is not there or of itself, and no cycle (Kahn's
algorithm, 1962: take away what needs nothing until nothing is left). Both sizes are bounded, so
that a plan cannot make the replicated state large by its arrows alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paceline.tasks.draft import REPORTED_PROBLEMS, Problem, did_you_mean, quoted, refuse

SUBTASK_LIMIT = 2_000
EDGE_LIMIT = 10_000
CYCLE_SHOWN = 8
"""A longer cycle is told with its rest left out."""


@dataclass(frozen=True, slots=True)
class Vertex:
    """One subtask in the graph. Lines are 1-based; `need_lines`, where known, go with `needs`."""

    name: str
    needs: tuple[str, ...] = ()
    line: int | None = None
    need_lines: tuple[int | None, ...] = ()

    def line_of(self, position: int) -> int | None:
        """Answer the line of the need at that position, or else the subtask's."""
        return self.need_lines[position] if position < len(self.need_lines) else self.line


def check(vertices: Sequence[Vertex]) -> None:
    """Raise InvalidPlan unless the vertices form a graph that can be worked off."""
    refuse(problems(vertices))


def problems(vertices: Sequence[Vertex]) -> list[Problem]:
    """Answer all that is wrong with the graph; an empty list for a valid one.

    A cycle is looked for only where the names are right: otherwise it would be told about twice.
    """
    too_large = _size_problems(vertices)
    if too_large:
        return too_large
    wrong = _name_problems(vertices) + _need_problems(vertices)
    return wrong or _cycle_problems(vertices)


def layers(needs: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Answer the waves: each subtask is in the first layer in which all that it needs is done.

    Order within a layer is the mapping's. Raise InvalidPlan, naming it, if there is a cycle; every
    need must be a key of the mapping.
    """
    waves, left = _peel(needs)
    if left:
        refuse([Problem(_cycle_words(_find_cycle(needs, left)))])
    return waves


def _size_problems(vertices: Sequence[Vertex]) -> list[Problem]:
    found = []
    if len(vertices) > SUBTASK_LIMIT:
        line = vertices[SUBTASK_LIMIT].line
        found.append(
            Problem(f"{len(vertices)} subtasks are over the limit of {SUBTASK_LIMIT}", line)
        )
    edges = 0
    for vertex in vertices:
        edges += len(vertex.needs)
        if edges > EDGE_LIMIT:
            found.append(Problem(f"more than {EDGE_LIMIT} dependencies in one task", vertex.line))
            break
    return found


def _name_problems(vertices: Sequence[Vertex]) -> list[Problem]:
    """Names that differ only by case are one file on many disks, so they count as the same."""
    found = []
    first: dict[str, Vertex] = {}
    for vertex in vertices:
        earlier = first.setdefault(vertex.name.casefold(), vertex)
        if earlier is vertex:
            continue
        at = f" (the first is on line {earlier.line})" if earlier.line is not None else ""
        if earlier.name == vertex.name:
            reason = f"two subtasks are named {quoted(vertex.name)}{at}"
        else:
            both = f"{quoted(earlier.name)} and {quoted(vertex.name)}"
            reason = f"the names {both} differ only by case{at}"
        found.append(Problem(reason, vertex.line))
    return found


def _need_problems(vertices: Sequence[Vertex]) -> list[Problem]:
    names = {vertex.name for vertex in vertices}
    found: list[Problem] = []
    for vertex in vertices:
        seen: set[str] = set()
        for position, need in enumerate(vertex.needs):
            reason = _need_reason(vertex.name, need, names, seen)
            if reason:
                # Looking for a close name costs too much to do it for what nobody will read.
                unknown = need not in names and len(found) < REPORTED_PROBLEMS
                hint = did_you_mean(need, names - {vertex.name}) if unknown else ""
                found.append(Problem(reason + hint, vertex.line_of(position)))
            seen.add(need)
    return found


def _need_reason(name: str, need: str, names: set[str], seen: set[str]) -> str:
    if need == name:
        return f"{quoted(name)} needs itself"
    if need in seen:
        return f"{quoted(name)} needs {quoted(need)} twice"
    if need not in names:
        return f"{quoted(name)} needs {quoted(need)}, but no subtask has that name"
    return ""


def _cycle_problems(vertices: Sequence[Vertex]) -> list[Problem]:
    needs = {vertex.name: vertex.needs for vertex in vertices}
    _, left = _peel(needs)
    if not left:
        return []
    cycle = _find_cycle(needs, left)
    line = next(vertex.line for vertex in vertices if vertex.name == cycle[0])
    return [Problem(_cycle_words(cycle), line)]


def _peel(needs: Mapping[str, Sequence[str]]) -> tuple[tuple[tuple[str, ...], ...], set[str]]:
    """Answer the layers, and what is left over: cycles and all that waits for one."""
    dependents: dict[str, list[str]] = {name: [] for name in needs}
    missing = {name: len(wanted) for name, wanted in needs.items()}
    for name, wanted in needs.items():
        for need in wanted:
            dependents[need].append(name)
    position = {name: index for index, name in enumerate(needs)}
    waves = []
    wave = [name for name, count in missing.items() if count == 0]
    while wave:
        waves.append(tuple(wave))
        wave = _next_wave(wave, dependents, missing)
        wave.sort(key=position.__getitem__)
    done = {name for names in waves for name in names}
    return tuple(waves), set(needs) - done


def _next_wave(
    wave: list[str], dependents: dict[str, list[str]], missing: dict[str, int]
) -> list[str]:
    freed = []
    for name in wave:
        for dependent in dependents[name]:
            missing[dependent] -= 1
            if missing[dependent] == 0:
                freed.append(dependent)
    return freed


def _find_cycle(needs: Mapping[str, Sequence[str]], left: set[str]) -> list[str]:
    """Answer one cycle, from its earliest subtask round to the one that needs it.

    Everything that is left needs something that is left, so walking along needs must come back to
    where it has been.
    """
    walk: dict[str, int] = {}
    name = next(name for name in needs if name in left)
    while name not in walk:
        walk[name] = len(walk)
        name = next(need for need in needs[name] if need in left)
    cycle = list(walk)[walk[name] :]
    order = {name: index for index, name in enumerate(needs)}
    start = cycle.index(min(cycle, key=order.__getitem__))
    return cycle[start:] + cycle[:start]


def _cycle_words(cycle: list[str]) -> str:
    names = [quoted(name) for name in cycle]
    shown = names if len(names) <= CYCLE_SHOWN else [*names[: CYCLE_SHOWN - 1], "..."]
    return f"a cycle: {' needs '.join(shown)} needs {names[0]}"
