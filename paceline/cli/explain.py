"""Why work waits: one sentence for each subtask, and what every node said to it."""

from pathlib import Path

import click

from paceline.cli import options
from paceline.cli.format import facts, heading, print_json, printable, table
from paceline.cli.format import status as coloured
from paceline.client import Client, Document, segment


@click.command()
@click.argument("task", shell_complete=options.offers("tasks"))
@click.argument("subtask", default="", shell_complete=options.offers("subtasks"))
@options.data_dir
@options.as_json
@click.pass_context
def explain(ctx: click.Context, task: str, subtask: str, data_dir: Path, as_json: bool) -> None:
    """Tell why the subtasks of a TASK run or wait; of one SUBTASK, by name or id, all in detail."""
    document = Client(data_dir).get(f"tasks/{segment(task)}/explain")
    if subtask:
        document["subtasks"] = _chosen(ctx, document["subtasks"], subtask)
    if as_json:
        return print_json(document)
    return click.echo(_described(document, in_detail=bool(subtask)))


def _chosen(ctx: click.Context, subtasks: list[Document], wanted: str) -> list[Document]:
    found = [each for each in subtasks if each["name"] == wanted]
    found = found or [each for each in subtasks if each["subtask_id"].startswith(wanted)]
    if len(found) != 1:
        many = "several subtasks begin with" if found else "no subtask is called"
        known = ", ".join(printable(each["name"]) for each in subtasks[:20])
        click.echo(f"Error: {many} {wanted!r}; there are: {known}", err=True)
        ctx.exit(5)
    return found


def _described(document: Document, *, in_detail: bool) -> str:
    parts = [
        facts(
            (
                ("task", printable(document["task_id"])),
                ("status", coloured(document["status"])),
                *((("reason", printable(document["reason"])),) if document["reason"] else ()),
            )
        ),
        table(
            ("SUBTASK", "STATUS", "WAITS FOR", "WHY"),
            (
                (
                    printable(each["name"]),
                    coloured(each["status"]),
                    "" if each["waits_for"] in ("ended", "running") else each["waits_for"],
                    printable(each["reason"]),
                )
                for each in document["subtasks"]
            ),
        ),
    ]
    shown = [each for each in document["subtasks"] if each["nodes"] and _is_told(each, in_detail)]
    return "\n\n".join([*parts, *map(_nodes, shown)])


def _is_told(subtask: Document, in_detail: bool) -> bool:
    """Without being asked, only what no node can take is told node by node."""
    return in_detail or subtask["waits_for"] == "node"


def _nodes(subtask: Document) -> str:
    rows = (
        (
            printable(node["name"] or node["node_id"]),
            printable(node["tool"]),
            f"{node['score']:g}" if node["eligible"] else "",
            _parts(node) if node["eligible"] else printable(node["reason"]),
        )
        for node in subtask["nodes"]
    )
    title = heading(f"{printable(subtask['name'])}, node by node")
    return f"{title}\n{table(('NODE', 'TOOL', 'SCORE', 'WHY'), rows)}"


def _parts(node: Document) -> str:
    cached = ", has the repository" if node["cached"] else ""
    return (
        f"tool {node['tool_score']:g} x 0.5 + resources {node['resource_score']:g} x 0.3"
        f" + privacy {node['privacy_score']:g} x 0.2, {node['free_slots']} slots free{cached}"
    )
