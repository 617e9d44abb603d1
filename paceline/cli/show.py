"""Reading tasks: the list, and one with all that belongs to it."""

import re
import time
from datetime import UTC, datetime
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
_AGE = re.compile(r"(\d{1,6}(?:\.\d+)?)([smhdw])")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
RESULT_LINES = 40
"""A longer result is for --json."""


@click.command()
@options.data_dir
@options.as_json
@click.option("--status", type=click.Choice([s.value for s in TaskStatus]), help="Only these.")
@click.option("--type", "type_", metavar="TYPE", help="Only of this template, or `plan`.")
@click.option("--search", metavar="TEXT", help="Only with these words in the description.")
@click.option(
    "--since", metavar="AGE|TIME", help="Only those submitted since: 90m, 12h, 7d, or ISO 8601."
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--cursor", metavar="CURSOR", help="Go on where `next_cursor` of --json says.")
def tasks(
    *,
    data_dir: Path,
    as_json: bool,
    status: str | None,
    type_: str | None,
    search: str | None,
    since: str | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List tasks, the newest first."""
    client = Client(data_dir)
    wanted = {"status": status, "type": type_, "search": search, "since": _moment(since)}
    document = _collect(client, limit, cursor, **wanted)
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
@click.argument("task", shell_complete=options.offers("tasks"))
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


def _moment(since: str | None) -> str | None:
    """Answer an age like 7d as the moment that it stands for; a moment as it is."""
    if since is None or not (found := _AGE.fullmatch(since)):
        return since
    age_s = float(found[1]) * _UNITS_S[found[2]]
    return datetime.fromtimestamp(max(0.0, time.time() - age_s), UTC).isoformat()


def _collect(client: Client, limit: int, cursor: str | None, **query: str | None) -> Document:
    """Answer one document of up to `limit` tasks, fetched in pages."""
    found: list[Document] = []
    while len(found) < limit:
        page = client.get("tasks", limit=min(PAGE, limit - len(found)), cursor=cursor, **query)
        found += page["tasks"]
        cursor = page["next_cursor"]
        if not cursor:
            break
    return {"tasks": found, "next_cursor": cursor}


def _row(subtask: Document, known: dict[str, str]) -> tuple[object, ...]:
    attempts = [each for each in subtask["attempts"] if each.get("kind", "work") == "work"]
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
    lines = [f"  {printable(line)}" for line in text.splitlines()[:RESULT_LINES]]
    return "\n".join((f"{heading(printable(subtask['name']))}{_judged(subtask)}", *lines))


def _judged(subtask: Document) -> str:
    """Answer how its work was judged, if it was: the score, and the verdict of each review."""
    score = (subtask.get("evaluation") or {}).get("score")
    reviews = [each["review"] for each in subtask["attempts"] if each.get("review")]
    parts = [] if score is None else [f"score {score:g}"]
    parts += [f"review {each['cycle']}: {each['verdict'] or 'under way'}" for each in reviews]
    return f"  ({printable(', '.join(parts))})" if parts else ""


def _elsewhere(output: Document) -> str:
    return f"({output.get('size', 0)} bytes; see --json)" if output.get("size") else "(no words)"


def _checkpoint(checkpoint: Document) -> str:
    """Answer what is asked, or what was decided."""
    head = f"{heading('checkpoint')} {clock(checkpoint.get('created_at'))}"
    about = checkpoint.get("subtask_name") or "the task"
    words = f"{checkpoint['type']}, {about}: {checkpoint['reason']}"
    if checkpoint["status"] == "pending":
        return f"{head} {printable(words)}; see {hint(checkpoint)}"
    return f"{head} {printable(words)}; {printable(checkpoint['decision'] or 'skipped')}"


def hint(checkpoint: Document) -> str:
    """Answer the command that shows what a person is to decide."""
    return f"`paceline checkpoints {short(checkpoint['checkpoint_id'])}`"
