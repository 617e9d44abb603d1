"""The live table of a task. Only this module and the demo import rich."""

from collections.abc import Iterable

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from paceline.cli.format import node, printable, status
from paceline.cli.show import hint
from paceline.client import Document


def show_live(stages: Iterable[Document], known: dict[str, str]) -> Document:
    """Show each stage of a task in place of the one before, and answer the last."""
    task: Document = {}
    with Live(console=Console(), refresh_per_second=10, transient=True) as live:
        for task in stages:
            live.update(task_table(task, known))
    return task


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
