"""A task as it goes on, live: a tree of its subtasks, how far it is, and what is written meanwhile.

Only this module, `top` and the demo import rich.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from paceline.cli.format import duration, heading, node, printable, status
from paceline.cli.show import hint
from paceline.client import Client, Document
from paceline.errors import PacelineError

LINES_KEPT = 8
_MARKS = {
    "pending": "·",
    "allocated": "◌",
    "in_progress": "●",
    "review": "◐",
    "checkpoint": "◐",
    "completed": "✓",
    "failed": "✗",
    "cancelled": "-",
}


class LogTail:
    """The last lines that a task writes, read in a thread of its own until the task has ended."""

    def __init__(self, client: Client, task_id: str) -> None:
        self._client = client
        self._task_id = task_id
        self.lines: deque[Document] = deque(maxlen=LINES_KEPT)

    def start(self) -> None:
        """Begin to read; the thread ends with the stream, or with the program."""
        threading.Thread(target=self._read, name="log tail", daemon=True).start()

    def _read(self) -> None:
        try:
            for line in self._client.logs(self._task_id, follow=True):
                self.lines.append(line)
        except (PacelineError, OSError):
            return  # the picture goes on without it


def show_live(
    stages: Iterable[Document], known: dict[str, str], tail: LogTail | None = None
) -> Document:
    """Show each stage of a task in place of the one before, and answer the last."""
    task: Document = {}
    console = Console()

    def picture() -> RenderableType:
        lines = list(tail.lines) if tail else []
        return task_picture(task, known, lines, console.height) if task else Text()

    if tail is not None:
        tail.start()
    with Live(
        console=console, refresh_per_second=10, transient=True, get_renderable=picture
    ) as live:
        for task in stages:  # noqa: B007 - `picture` reads it
            live.refresh()
    return task


def task_picture(
    task: Document, known: dict[str, str], lines: list[Document], height: int
) -> RenderableType:
    """Answer a task as a tree, its progress, and the last lines; never higher than the screen."""
    room = max(3, height - LINES_KEPT - 5)
    title = printable(task["description"].partition("\n")[0])
    head = f"{heading(title)}: {status(task['status'])}"
    parts: list[RenderableType] = [Text.from_ansi(head, no_wrap=True)]
    parts.append(ProgressBar(total=100, completed=task["progress"], width=40))
    rows = list(tree(task["subtasks"]))
    parts.append(_tree_table(_most_telling(rows, room), known))
    if len(rows) > room:
        parts.append(Text(f"... and {len(rows) - room} more subtasks", style="dim"))
    if waiting := [c for c in task.get("checkpoints") or () if c["status"] == "pending"]:
        words = f"waits for your decision: `paceline review`, or see {hint(waiting[0])}"
        parts.append(Text(words, style="bold yellow"))
    if lines:
        parts += [Text(), *map(_log_line, lines)]
    return Group(*parts)


def tree(subtasks: list[Document]) -> Iterator[tuple[int, Document]]:
    """Yield subtasks with their depth: each below the last of those it needs, in order."""
    depths: dict[str, int] = {}
    for subtask in subtasks:  # what is needed comes first: plans are checked for that
        needed = [depths.get(name, -1) for name in subtask["dependencies"]]
        depths[subtask["name"]] = max(needed, default=-1) + 1
    below: dict[str, list[Document]] = {}
    for subtask in subtasks:
        needs = subtask["dependencies"]
        parent = max(needs, key=lambda name: depths.get(name, -1)) if needs else ""
        below.setdefault(parent, []).append(subtask)
    waiting = [(0, each) for each in reversed(below.get("", []))]
    while waiting:
        depth, subtask = waiting.pop()
        yield depth, subtask
        waiting += [(depth + 1, each) for each in reversed(below.get(subtask["name"], []))]


def _most_telling(rows: list[tuple[int, Document]], room: int) -> list[tuple[int, Document]]:
    """Answer as many rows as there is room for; what runs or failed goes before what ended."""
    order = {"completed": 2, "cancelled": 2, "pending": 1}
    ranked = sorted(range(len(rows)), key=lambda at: (order.get(rows[at][1]["status"], 0), at))
    return [rows[at] for at in sorted(ranked[:room])]


def _tree_table(rows: list[tuple[int, Document]], known: dict[str, str]) -> Table:
    table = Table("subtask", "status", "node", "tool", "for", "tries", box=None, pad_edge=False)
    for depth, subtask in rows:
        attempts = subtask["attempts"]
        last = attempts[-1] if attempts else {}
        ended = last.get("finished_at") or datetime.now(UTC).isoformat()
        mark = _MARKS.get(subtask["status"], "·")
        table.add_row(
            Text(f"{'  ' * min(depth, 12)}{mark} {printable(subtask['name'])}", no_wrap=True),
            Text.from_ansi(status(subtask["status"])),
            Text(node(subtask["node_id"], known)),
            Text(printable(subtask["tool"])),
            Text(duration(last.get("started_at"), ended)),
            str(len(attempts) or ""),
        )
    return table


def _log_line(line: Document) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{printable(line['name'])} ", style="cyan")
    text.append(printable(line["line"]).expandtabs(4), style="dim")
    return text


def task_table(task: Document, known: dict[str, str]) -> Table:
    """Answer a task as a table: who does what, and how far it is."""
    table = Table("subtask", "status", "node", "tries", box=None, title_justify="left")
    table.title = Text(f"{printable(task['description'])}: {task['status']}")
    for subtask in task["subtasks"]:
        table.add_row(
            Text(printable(subtask["name"])),
            Text.from_ansi(status(subtask["status"])),
            Text(node(subtask["node_id"], known)),
            str(len(subtask["attempts"]) or ""),
        )
    open_ones = [c for c in task.get("checkpoints") or () if c["status"] == "pending"]
    if open_ones:
        table.caption = Text(f"waits for your decision: see {hint(open_ones[0])}")
        table.caption_justify = "left"
    return table
