"""A task as it goes on: a live table on a terminal, one line per change where output is piped."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from paceline.cli import options
from paceline.cli.failures import task_status
from paceline.cli.format import node, node_names, print_json, printable, status
from paceline.cli.show import describe, hint
from paceline.client import Client, Document


@click.command()
@click.argument("task", shell_complete=options.offers("tasks"))
@options.timeout
@options.data_dir
@options.as_json
@click.pass_context
def watch(
    ctx: click.Context, task: str, timeout_s: float | None, data_dir: Path, as_json: bool
) -> None:
    """Follow a TASK to its end. Exit status 0 if it completed, else 1."""
    client = Client(data_dir)
    if as_json:
        last = client.wait(task, timeout_s)
        print_json(last)
    else:
        last = follow(client, task, timeout_s)
    ctx.exit(task_status(last))


def follow(client: Client, task_id: str, timeout_s: float | None = None) -> Document:
    """Show a task until it has ended, and answer it."""
    known = node_names(client.get("nodes")["nodes"])
    stages = client.changes(task_id, timeout_s)
    if not sys.stdout.isatty():
        return _lines(stages, known)
    from paceline.cli.live import LogTail, show_live  # noqa: PLC0415 - rich takes 60 ms to import

    task = show_live(stages, known, LogTail(client, task_id))
    click.echo(describe(task, known))
    return task


def _lines(stages: Iterator[Document], known: dict[str, str]) -> Document:
    """Print each subtask's every change of status, and then the task's."""
    before: dict[str, str] = {}
    task: Document = {}
    for task in stages:
        for subtask in task["subtasks"]:
            key, word = subtask["subtask_id"], subtask["status"]
            if before.get(key, "pending") != word:
                where = node(subtask["node_id"], known)
                name = printable(subtask["name"])
                click.echo(f"{name}  {status(word)}{f'  {where}' if where else ''}")
            before[key] = word
        for checkpoint in task.get("checkpoints") or ():
            if checkpoint["status"] == "pending" and checkpoint["checkpoint_id"] not in before:
                before[checkpoint["checkpoint_id"]] = ""
                reason = printable(checkpoint["reason"])
                click.echo(f"waits for your decision: {reason}; see {hint(checkpoint)}")
    click.echo(f"{printable(task['task_id'])}  {status(task['status'])}")
    return task
