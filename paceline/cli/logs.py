"""What was written and what happened: logs of a task, events of the cluster."""

import json
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from paceline.cli import options
from paceline.cli.format import clock, printable
from paceline.client import Client, Document
from paceline.ids import short

following = click.option("-f", "--follow", is_flag=True, help="Go on as more comes.")
as_lines = click.option(
    "--jsonl", is_flag=True, help="Print one JSON document per line, as they come."
)


@click.command()
@click.argument("task", shell_complete=options.offers("tasks"))
@click.argument("subtask", default="", shell_complete=options.offers("subtasks"))
@following
@click.option("--attempt", type=click.IntRange(1), help="Only this attempt.")
@as_lines
@options.data_dir
@options.as_json
def logs(
    *,
    task: str,
    subtask: str,
    follow: bool,
    attempt: int | None,
    jsonl: bool,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Print what a TASK wrote, or one SUBTASK of it (id or name)."""
    lines = Client(data_dir).logs(task, subtask, follow=follow, attempt=attempt)
    _print(lines, "lines", as_json, jsonl, _plain_line if subtask else _named_line)


@click.command()
@following
@click.option("--after", type=click.IntRange(0), default=0, help="Only after this log_id.")
@click.option("--task", "task_id", default="", metavar="TASK", help="Only of this task.")
@click.option("--node", default="", metavar="NODE", help="Only of this node (id).")
@click.option("--action", "actions", multiple=True, help="Only of this kind; repeatable.")
@as_lines
@options.data_dir
@options.as_json
def events(
    *,
    follow: bool,
    after: int,
    task_id: str,
    node: str,
    actions: tuple[str, ...],
    jsonl: bool,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Print what happened in the cluster, the oldest first.

    Each event has a log_id, the same on every node: give the last one that you have dealt with as
    --after to go on from there.
    """
    found = Client(data_dir).events(
        follow=follow, after=after, task=task_id, node=node, action=",".join(actions)
    )
    _print(found, "events", as_json, jsonl, _event)


def _print(
    items: Iterable[Document],
    name: str,
    as_json: bool,
    jsonl: bool,
    text: Callable[[Document], str],
) -> None:
    if as_json and jsonl:
        raise click.UsageError("--json and --jsonl exclude each other.")
    if as_json:
        return _print_array(items, name)
    for item in items:
        click.echo(json.dumps(item, ensure_ascii=True) if jsonl else text(item))
    return None


def _print_array(items: Iterable[Document], name: str) -> None:
    """Print one document as its parts come, whole even when a follower ends it with Ctrl-C."""
    _print_whole(f'{{"{name}": [')
    comma = ""
    try:
        for item in items:
            text, comma = f"{comma}\n{json.dumps(item, ensure_ascii=True)}", ","
            _print_whole(text)
    finally:
        _print_whole("\n]}\n")


def _print_whole(text: str) -> None:
    """Print without letting Ctrl-C in between; it comes right after."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        click.echo(text, nl=False)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _plain_line(item: Document) -> str:
    return printable(item["line"])


def _named_line(item: Document) -> str:
    name = click.style(printable(item["name"]), fg="cyan")
    return f"{name} {_plain_line(item)}"


def _event(item: Document) -> str:
    about = " ".join(
        short(printable(item[key])) for key in ("task_id", "subtask_id", "worker_id") if item[key]
    )
    details = item.get("details")
    return f"{clock(item['timestamp'])}  {printable(item['action'])}  {about}{_details(details)}"


def _details(details: Any) -> str:
    if not details:
        return ""
    text = details if isinstance(details, str) else json.dumps(details, ensure_ascii=False)
    return "  " + printable(text)
