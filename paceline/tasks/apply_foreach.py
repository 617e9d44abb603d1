"""Fanning out: a subtask with `foreach` becomes one for each item that another has listed.

It happens in the transaction in which the last of its needs is completed. The subtask itself takes
the first item; the others are new subtasks beside it, with the same needs, and whatever needed the
one needs them all: that is the join. Everything is bounded, and a list that is out of bounds fails
the subtask with the reason.
"""

import hashlib
import json
import uuid
from contextlib import suppress
from dataclasses import replace
from typing import Final

from paceline import codec
from paceline.tasks import effects_quality as quality
from paceline.tasks.effects import Change, Effects
from paceline.tasks.model import Output, SubtaskSpec, SubtaskStatus
from paceline.tasks.queries_work import LAST_WORK

ITEMS_LIMIT: Final = 500
ITEM_LENGTH: Final = 4_096
"""Characters of one item."""
TASK_LIMIT: Final = 10_000
"""Subtasks of one task, those that came by expanding included."""
ITEM: Final = "item"
"""In `SubtaskSpec.settings`: the item of this one; `$PACELINE_ITEM` where it runs."""
PLACEHOLDER: Final = "{item}"

_COPIED: Final = (
    "task_id, status, unmet, not_before, task_priority, priority, max_attempts,"
    " recommended_tool, complexity, created_at, description, start_limit"
)


class _BadList(Exception):
    """The list cannot be gone through; its words say why."""


def expand_lists(effects: Effects) -> None:
    """Expand every subtask that is ready but for its list, and that no person holds."""
    waiting = effects.db.execute(
        "SELECT subtask_no, foreach_no FROM subtasks INDEXED BY subtasks_to_expand"
        " WHERE foreach_no IS NOT NULL AND status = 'pending' AND unmet = 0 AND not_before < ?"
        " ORDER BY subtask_no",
        (quality.NEVER_MS,),
    ).fetchall()
    for number, source in waiting:
        try:
            items = _items(_output(effects, source))
            _require_room(effects, number, len(items))
        except _BadList as error:
            judged = quality.load(effects, number)
            quality.fail(effects, judged, f"foreach: {error}")
        else:
            _expand(effects, number, items)


def _output(effects: Effects, source: int) -> Output:
    row = effects.db.execute(
        "SELECT a.output FROM attempts a WHERE a.subtask_no = ? AND a.attempt ="
        f" ({LAST_WORK.format('a.subtask_no')})",
        (source,),
    ).fetchone()
    return codec.decode(Output, row[0]) if row and row[0] else Output()


def _items(output: Output) -> list[str]:
    """Answer the items: one a line, blank ones left out; a line that is a JSON text is that text.

    Raise _BadList.
    """
    if output.blob is not None:
        raise _BadList(f"the list has {output.size} bytes, too many to be gone through")
    try:
        lines = output.inline.decode().splitlines()
    except UnicodeDecodeError:
        raise _BadList("the list is not UTF-8 text") from None
    items = [_item(line.strip()) for line in lines if line.strip()]
    if not items:
        raise _BadList("the list is empty")
    if len(items) > ITEMS_LIMIT:
        raise _BadList(f"the list has {len(items)} items, over the limit of {ITEMS_LIMIT}")
    return items


def _item(line: str) -> str:
    if line.startswith('"'):
        with suppress(ValueError):
            line = str(json.loads(line))
    if len(line) > ITEM_LENGTH or "\0" in line:
        raise _BadList(f"an item has more than {ITEM_LENGTH} characters, or a zero byte")
    try:
        line.encode()
    except UnicodeEncodeError:
        raise _BadList("an item is no text that could be written") from None
    return line


def _require_room(effects: Effects, number: int, count: int) -> None:
    """Raise _BadList where the task would become too large, or a name would stand twice."""
    name, subtasks = effects.db.execute(
        "SELECT s.name, t.subtask_count FROM subtasks s JOIN tasks t ON t.task_id = s.task_id"
        " WHERE s.subtask_no = ?",
        (number,),
    ).fetchone()
    if subtasks + count - 1 > TASK_LIMIT:
        raise _BadList(f"the task would have more than {TASK_LIMIT} subtasks")
    taken = {
        row[0].casefold()
        for row in effects.db.execute(
            "SELECT o.name FROM subtasks s JOIN subtasks o ON o.task_id = s.task_id"
            " WHERE s.subtask_no = ?",
            (number,),
        )
    }
    clash = next((n for n in _names(name, count) if n.casefold() in taken), None)
    if clash is not None:
        raise _BadList(f"there is a subtask named {clash} already")


def _names(name: str, count: int) -> list[str]:
    return [f"{name} {place}" for place in range(1, count + 1)]


def _expand(effects: Effects, number: int, items: list[str]) -> None:
    task_id, name, encoded = effects.db.execute(
        "SELECT s.task_id, s.name, p.spec FROM subtasks s"
        " JOIN subtask_specs p ON p.subtask_no = s.subtask_no WHERE s.subtask_no = ?",
        (number,),
    ).fetchone()
    spec = codec.decode(SubtaskSpec, encoded)
    (last,) = effects.db.execute("SELECT max(subtask_no) FROM subtasks").fetchone()
    numbers = [number, *range(last + 1, last + len(items))]
    for at, (own, item, called) in enumerate(
        zip(numbers, items, _names(name, len(items)), strict=True)
    ):
        subtask_id = _new_id(spec.subtask_id, at) if at else spec.subtask_id
        made = _for_item(spec, subtask_id, called, item)
        if at:
            _insert(effects, number, own, made)
        else:
            _rename(effects, number, made)
        effects.changes.append(Change("subtask", SubtaskStatus.PENDING, task_id, subtask_id))
    _count(effects, task_id, number, len(items) - 1)
    effects.log(
        "subtask_expanded",
        task_id=task_id,
        subtask_id=spec.subtask_id,
        details={"name": name, "items": len(items)},
    )


def _for_item(spec: SubtaskSpec, subtask_id: str, name: str, item: str) -> SubtaskSpec:
    return replace(
        spec,
        subtask_id=subtask_id,
        name=name,
        foreach="",
        instructions=spec.instructions.replace(PLACEHOLDER, item),
        settings={**spec.settings, ITEM: item},
    )


def _new_id(subtask_id: str, place: int) -> str:
    """Answer an id in the form of all others, the same on every node."""
    seed = hashlib.sha256(f"foreach {subtask_id} {place}".encode()).digest()
    return str(uuid.UUID(bytes=seed[:16], version=4))


def _rename(effects: Effects, number: int, made: SubtaskSpec) -> None:
    effects.db.execute(
        "UPDATE subtasks SET name = ?, foreach_no = NULL, updated_at = ? WHERE subtask_no = ?",
        (made.name, effects.now_ms, number),
    )
    effects.db.execute(
        "UPDATE subtask_specs SET spec = ? WHERE subtask_no = ?", (codec.encode(made), number)
    )


def _insert(effects: Effects, like: int, number: int, made: SubtaskSpec) -> None:
    """Write one more subtask like that one, and what needs what."""
    effects.db.execute(
        f"INSERT INTO subtasks (subtask_no, subtask_id, name, updated_at, {_COPIED})"
        f" SELECT ?, ?, ?, ?, {_COPIED} FROM subtasks WHERE subtask_no = ?",
        (number, made.subtask_id, made.name, effects.now_ms, like),
    )
    effects.db.execute(
        "INSERT INTO subtask_specs (subtask_no, spec) VALUES (?, ?)", (number, codec.encode(made))
    )
    effects.db.execute(
        "INSERT INTO dependencies (needs_no, subtask_no)"
        " SELECT needs_no, ? FROM dependencies WHERE subtask_no = ?",
        (number, like),
    )
    effects.db.execute(
        "INSERT INTO dependencies (needs_no, subtask_no)"
        " SELECT ?, subtask_no FROM dependencies WHERE needs_no = ?",
        (number, like),
    )


def _count(effects: Effects, task_id: str, number: int, more: int) -> None:
    """Count the new subtasks in what needs them and in their task."""
    if not more:
        return
    effects.db.execute(
        "UPDATE subtasks SET unmet = unmet + ? WHERE subtask_no IN"
        " (SELECT subtask_no FROM dependencies WHERE needs_no = ?)",
        (more, number),
    )
    effects.db.execute(
        "UPDATE tasks SET subtask_count = subtask_count + ?, open_count = open_count + ?,"
        " progress = 100 * completed_count / (subtask_count + ?), updated_at = ?"
        " WHERE task_id = ?",
        (more, more, more, effects.now_ms, task_id),
    )
