"""Changing what runs: cancel and retry."""

from pathlib import Path

import click

from paceline.cli import options
from paceline.cli.format import print_json, printable
from paceline.client import Client, Document, segment


@click.command()
@click.argument("task")
@click.option("--reason", default="", metavar="TEXT", help="Shown with the task.")
@options.data_dir
@options.as_json
def cancel(task: str, reason: str, data_dir: Path, as_json: bool) -> None:
    """Cancel a TASK; what runs of it is stopped, with all its processes."""
    answer = Client(data_dir).post(f"tasks/{segment(task)}/cancel", {"reason": reason})
    _say(answer, as_json)


@click.command()
@click.argument("task")
@click.argument("subtask", default="")
@options.data_dir
@options.as_json
def retry(task: str, subtask: str, data_dir: Path, as_json: bool) -> None:
    """Try the failed subtasks of a TASK again, or only the SUBTASK named."""
    answer = Client(data_dir).post(f"tasks/{segment(task)}/retry", {"subtask_id": subtask})
    _say(answer, as_json)


def _say(answer: Document, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{printable(answer['task_id'])} {printable(answer['status'])}")
