"""Reading tasks: the list, and one with all that belongs to it."""

from pathlib import Path

import click

from paceline.cli import options
from paceline.cli.format import (
    changed,
    clock,
    duration,
    facts,
    heading,
    names,
    node,
    node_names,
    print_json,
    printable,
    table,
)
from paceline.cli.format import status as coloured
from paceline.cli.money import cost_line
from paceline.client import Client, Document, segment
from paceline.ids import short
from paceline.tasks.model import TaskStatus

PAGE = 200
RESULT_LINES = 40
"""A longer result is for --json."""


@click.command()
@options.data_dir
@options.as_json
@click.option("--status", type=click.Choice([s.value for s in TaskStatus]), help="Only these.")
@click.option("--type", "type_", metavar="TYPE", help="Only of this template, or `plan`.")
@click.option("--search", metavar="TEXT", help="Only with these words in the description.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
def tasks(
    *,
    data_dir: Path,
    as_json: bool,
    status: str | None,
    type_: str | None,
    search: str | None,
    limit: int,
) -> None:
    """List tasks, the newest first."""
    client = Client(data_dir)
    document = _collect(client, limit, status=status, type=type_, search=search)
    if as_json:
        return print_json(document)
    rows = (
        (
            short(t["task_id"]),
            coloured(t["status"]),
            f"{t.get('progress', 0):.0f} %",
            t.get("type", ""),
            t.get("description", "").partition("\n")[0][:80],
        )
        for t in document["tasks"]
    )
    click.echo(table(("TASK", "STATUS", "DONE", "TYPE", "DESCRIPTION"), rows))
    if document["next_cursor"]:
        click.echo("There are more; see --limit.", err=True)
    return None


@click.command()
@click.argument("task")
@options.data_dir
@options.as_json
def show(task: str, data_dir: Path, as_json: bool) -> None:
    """Show one TASK: its subtasks, attempts and results. A unique prefix of the id will do."""
    client = Client(data_dir)
    document = client.get(f"tasks/{segment(task)}")
    if as_json:
        return print_json(document)
    return click.echo(describe(document, node_names(client.get("nodes")["nodes"])))


def describe(task: Document, known: dict[str, str]) -> str:
    """Answer a task as text; `known` are the names of nodes by id."""
    parts = [
        facts(
            (
                ("task", printable(task["task_id"])),
                ("description", printable(task["description"])),
                ("type", printable(task["type"])),
                ("status", f"{coloured(task['status'])}, {task['progress']:.0f} % done"),
                *_cost(task),
            )
        ),
        table(
            ("SUBTASK", "STATUS", "NODE", "TOOL", "TRIES", "TOOK", "CHANGED", "NEEDS"),
            (_row(subtask, known) for subtask in task["subtasks"]),
        ),
    ]
    parts += [_result(s) for s in task["subtasks"] if s.get("result")]
    parts += [_checkpoint(checkpoint) for checkpoint in task.get("checkpoints") or ()]
    return "\n\n".join(parts)


def _cost(task: Document) -> tuple[tuple[str, str], ...]:
    usage = task.get("usage")
    line = cost_line(usage, task.get("budget_usd")) if usage else ""
    return (("cost", line),) if line else ()


def _collect(client: Client, limit: int, **query: str | None) -> Document:
    """Answer one document of up to `limit` tasks, fetched in pages."""
    found: list[Document] = []
    cursor: str | None = None
    while len(found) < limit:
        page = client.get("tasks", limit=min(PAGE, limit - len(found)), cursor=cursor, **query)
        found += page["tasks"]
        cursor = page["next_cursor"]
        if not cursor:
            break
    return {"tasks": found, "next_cursor": cursor}


def _row(subtask: Document, known: dict[str, str]) -> tuple[object, ...]:
    attempts = subtask["attempts"]
    last = attempts[-1] if attempts else {}
    return (
        subtask["name"],
        coloured(subtask["status"]),
        node(subtask["node_id"], known),
        subtask["tool"],
        len(attempts),
        duration(last.get("started_at"), last.get("finished_at")),
        changed(last.get("change")),
        names(subtask["dependencies"]),
    )


def _result(subtask: Document) -> str:
    """Answer what a subtask came to: the tool's words, else what it handed on."""
    result = subtask["result"]
    output = result.get("output") or {}
    text = result.get("text") or output.get("text") or _elsewhere(output)
    lines = "\n".join(f"  {printable(line)}" for line in text.splitlines()[:RESULT_LINES])
    return f"{heading(printable(subtask['name']))}\n{lines}"


def _elsewhere(output: Document) -> str:
    return f"({output.get('size', 0)} bytes; see --json)" if output.get("size") else "(no words)"


def _checkpoint(checkpoint: Document) -> str:
    parts = (checkpoint.get(key, "") for key in ("checkpoint_type", "status", "triggered_by"))
    moment = clock(checkpoint.get("created_at"))
    return f"{heading('checkpoint')} {moment} {', '.join(map(printable, parts))}"
