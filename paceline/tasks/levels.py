"""Format levels: what nodes of different versions may say to each other through the log.

A level is everything that may stand in a log entry: commands, their fields, the values of their
enumerations, and what applying them does. Level 1 is release 0.1. Every member knows all levels up
to its own; a cluster works at the lowest of its members' levels, so that no entry is ever written
that a member would not apply just as the others do. Each entry above level 1 says its level, and a
node that does not know it stops rather than drift apart.

What belongs to an older level stays as it is here for ever. A new level is begun by raising
`NEWEST_LEVEL` and saying in `_LEVELS` with what the level before it ended. A handler that is to do
something else than before asks the entry's level, and goes on doing the old thing for old entries.
"""

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from paceline.tasks import model
from paceline.tasks.commands import (
    COMMANDS,
    NEWEST_LEVEL,
    OLDEST_LEVEL,
    Allocate,
    AttemptRef,
    CancelTask,
    Command,
    FinishAttempt,
    ForgetWorker,
    LoseAttempts,
    Placement,
    RegisterWorker,
    RetryTask,
    SetWorkerStatus,
    StartAttempts,
    SubmitTask,
)


@dataclass(frozen=True, slots=True)
class _Level:
    """Where a level ends: what came later is not part of it."""

    last_tag: int
    """Of commands."""
    fields: Mapping[type, int]
    """How many fields each type has; a type that is not named here belongs to a newer command."""
    values: Mapping[type[enum.Enum], int]
    """How many values each enumeration has, in the order of their definition."""


_LEVELS: Final[Mapping[int, _Level]] = {
    1: _Level(
        last_tag=10,
        fields={
            SubmitTask: 3,
            Allocate: 1,
            StartAttempts: 2,
            FinishAttempt: 3,
            LoseAttempts: 2,
            CancelTask: 2,
            RetryTask: 2,
            RegisterWorker: 8,
            SetWorkerStatus: 3,
            ForgetWorker: 1,
            Placement: 5,
            AttemptRef: 3,
            model.TaskSpec: 10,
            model.SubtaskSpec: 14,
            model.Repository: 4,
            model.BlobRef: 3,
            model.Outcome: 11,
            model.Output: 2,
            model.ToolState: 5,
        },
        values={model.Privacy: 2, model.CheckpointFrequency: 3, model.ResultStatus: 9},
    )
}


def level_of(command: Command) -> int:
    """Answer the lowest level at which that command means all that it says."""
    for level in range(OLDEST_LEVEL, NEWEST_LEVEL):
        if _within(_LEVELS[level], command):
            return level
    return NEWEST_LEVEL


def _within(level: _Level, command: Command) -> bool:
    return COMMANDS.tag_of(type(command)) <= level.last_tag and _said(level, command)


def _said(level: _Level, value: Any) -> bool:
    """Answer whether nothing in `value` would be dropped or refused at that level."""
    if isinstance(value, enum.Enum):
        return _place(value) < level.values.get(type(value), 0)
    if dataclasses.is_dataclass(value):
        return _all_said(level, value)
    if isinstance(value, tuple | list):
        return all(_said(level, each) for each in value)
    return True  # the keys of a free map never were part of a level


def _all_said(level: _Level, value: Any) -> bool:
    known = level.fields.get(type(value), 0)
    fields = dataclasses.fields(value)
    return all(_said(level, getattr(value, field.name)) for field in fields[:known]) and all(
        getattr(value, field.name) == _default(field) for field in fields[known:]
    )


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _place(value: enum.Enum) -> int:
    return _places(type(value))[value.name]


@cache
def _places(kind: type[enum.Enum]) -> dict[str, int]:
    return {name: place for place, name in enumerate(kind.__members__)}


def common(levels: Iterable[int]) -> int:
    """Answer what all understand, from the newest level that each of them knows."""
    return max(OLDEST_LEVEL, min((*levels, NEWEST_LEVEL)))
