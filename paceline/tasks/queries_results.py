"""What of a repository's changes a subtask starts from, and what a task comes to.

A subtask that changed nothing passes on what it started from. So where a subtask starts, and what a
task's result is, are found by going back from what is needed to the nearest changes. The order is
that of the plan's rows: every node finds the same changes in the same order.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from paceline import codec
from paceline.errors import NotFound
from paceline.tasks.model import Decision, Output, RepositoryChange
from paceline.tasks.queries_work import LAST_WORK


@dataclass(frozen=True, slots=True)
class NamedChange:
    """What one subtask did to the repository."""

    name: str
    change: RepositoryChange


_CHANGES: Final = f"""
SELECT s.subtask_no, s.name, c.change FROM subtasks s
JOIN attempts a ON a.subtask_no = s.subtask_no
    AND a.attempt = ({LAST_WORK.format("s.subtask_no")})
JOIN changes c ON c.attempt_no = a.attempt_no
WHERE s.task_id = ? AND s.status IN ('completed', 'review')
"""
"""Of what is done, be it that somebody is still to look at it; not of what is to be done anew."""


def starting_points(connection: sqlite3.Connection, subtask_id: str) -> tuple[NamedChange, ...]:
    """Answer the changes that a subtask starts from, to be merged in this order.

    Raise NotFound.
    """
    row = connection.execute(
        "SELECT subtask_no, task_id FROM subtasks WHERE subtask_id = ?", (subtask_id,)
    ).fetchone()
    if row is None:
        raise NotFound(f"no subtask has the id {subtask_id}")
    graph = _Graph(connection, row[1])
    return graph.nearest(graph.needs.get(row[0], ()))


def result_points(
    connection: sqlite3.Connection, task_id: str, subtask_id: str = ""
) -> tuple[NamedChange, ...]:
    """Answer the changes whose merge is the result of a task so far, or of one subtask of it."""
    graph = _Graph(connection, task_id)
    if subtask_id:
        row = connection.execute(
            "SELECT subtask_no FROM subtasks WHERE subtask_id = ? AND task_id = ?",
            (subtask_id, task_id),
        ).fetchone()
        return graph.nearest(row or ())
    return graph.nearest(graph.ends())


def takes_later_lines(connection: sqlite3.Connection, subtask_id: str) -> bool:
    """Answer whether a person has accepted that what a subtask builds on meets in some lines."""
    decided = connection.execute(
        "SELECT checkpoint_data FROM checkpoints WHERE subtask_id = ?"
        " AND checkpoint_type = 'conflict' AND status = 'resolved'",
        (subtask_id,),
    )
    return any(json.loads(data).get("decision") == Decision.ACCEPT for (data,) in decided)


def output_of(connection: sqlite3.Connection, subtask_id: str) -> tuple[str, Output]:
    """Answer the name of a subtask, and what it gave out. Raise NotFound where it has not yet."""
    row = connection.execute(
        "SELECT s.name, a.output FROM subtasks s"
        " LEFT JOIN attempts a ON a.subtask_no = s.subtask_no"
        f" AND a.attempt = ({LAST_WORK.format('s.subtask_no')})"
        " WHERE s.subtask_id = ?",
        (subtask_id,),
    ).fetchone()
    if row is None:
        raise NotFound(f"no subtask has the id {subtask_id}")
    if row[1] is None:
        raise NotFound(f"the subtask {row[0]} has given out nothing yet: it is not completed")
    return row[0], codec.decode(Output, row[1])


class _Graph:
    """The dependencies of one task by row number, and what its subtasks have changed."""

    def __init__(self, connection: sqlite3.Connection, task_id: str) -> None:
        self.needs: dict[int, list[int]] = {}
        numbers = connection.execute(
            "SELECT s.subtask_no, d.needs_no FROM subtasks s"
            " LEFT JOIN dependencies d ON d.subtask_no = s.subtask_no"
            " WHERE s.task_id = ? ORDER BY s.subtask_no, d.needs_no",
            (task_id,),
        )
        for number, need in numbers:
            self.needs.setdefault(number, []).extend([] if need is None else [need])
        self._changes = {
            number: NamedChange(name, codec.decode(RepositoryChange, encoded))
            for number, name, encoded in connection.execute(_CHANGES, (task_id,))
        }

    def ends(self) -> list[int]:
        """Answer what nothing depends on."""
        needed = {need for needs in self.needs.values() for need in needs}
        return [number for number in self.needs if number not in needed]

    def nearest(self, numbers: Iterable[int]) -> tuple[NamedChange, ...]:
        """Answer the changes that are met first, going back from these; each once."""
        return tuple(self._changes[number] for number in sorted(self._met(numbers)))

    def _met(self, numbers: Iterable[int]) -> Iterator[int]:
        waiting, seen = list(numbers), set[int]()
        while waiting:
            number = waiting.pop()
            if number in seen:
                continue
            seen.add(number)
            if number in self._changes:
                yield number
            else:
                waiting += self.needs.get(number, ())
