"""Changing what runs: cancel, pause, resume, change and retry."""

from pathlib import Path

import click

from paceline.cli import options
from paceline.cli.format import print_json, printable
from paceline.client import Client, Document, segment


@click.command()
@click.argument("task", shell_complete=options.offers("tasks"))
@click.argument("subtask", default="", shell_complete=options.offers("subtasks"))
@click.option("--reason", default="", metavar="TEXT", help="Shown with the task.")
@options.data_dir
@options.as_json
def cancel(task: str, subtask: str, reason: str, data_dir: Path, as_json: bool) -> None:
    """Cancel a TASK, or only the SUBTASK named and what hangs on it.

    What runs of it is stopped, with all its processes.
    """
    body = {"reason": reason, "subtask_id": subtask}
    _say(Client(data_dir).post(f"tasks/{segment(task)}/cancel", body), as_json)


@click.command()
@click.argument("task", shell_complete=options.offers("tasks"))
@options.data_dir
@options.as_json
def pause(task: str, data_dir: Path, as_json: bool) -> None:
    """Begin nothing more of a TASK; what runs of it goes on."""
    _say(Client(data_dir).patch(f"tasks/{segment(task)}", {"paused": True}), as_json)


@click.command()
@click.argument("task", shell_complete=options.offers("tasks"))
@options.data_dir
@options.as_json
def resume(task: str, data_dir: Path, as_json: bool) -> None:
    """Let a paused TASK go on."""
    _say(Client(data_dir).patch(f"tasks/{segment(task)}", {"paused": False}), as_json)


@click.command()
@click.argument("task", shell_complete=options.offers("tasks"))
@click.option("--priority", type=click.IntRange(0, 100), help="Higher goes first.")
@click.option(
    "--deadline",
    metavar="SECONDS|TIME",
    help="When it fails if it has not ended: seconds from now, ISO 8601, or `none`.",
)
@options.data_dir
@options.as_json
def change(
    task: str, priority: int | None, deadline: str | None, data_dir: Path, as_json: bool
) -> None:
    """Change the priority or the deadline of a TASK under way."""
    if priority is None and deadline is None:
        raise click.UsageError("Say what is to change: --priority or --deadline.")
    body: dict[str, object] = {} if priority is None else {"priority": priority}
    if deadline is not None:
        body["deadline"] = "" if deadline == "none" else seconds_or_time(deadline)
    _say(Client(data_dir).patch(f"tasks/{segment(task)}", body), as_json)


def seconds_or_time(text: str) -> float | str:
    """Answer a number of seconds where it is one, else the words as they are."""
    try:
        return float(text)
    except ValueError:
        return text


@click.command()
@click.argument("task", shell_complete=options.offers("tasks"))
@click.argument("subtask", default="", shell_complete=options.offers("subtasks"))
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
        status = answer.get("subtask_status") or answer["status"]
        paused = " (paused)" if answer.get("paused") else ""
        which = answer.get("subtask_id") or answer["task_id"]
        click.echo(f"{printable(which)} {printable(status)}{paused}")
