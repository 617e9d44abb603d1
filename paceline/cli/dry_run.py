"""What `submit --dry-run` shows: the graph in waves, and where each subtask would go now."""

from collections.abc import Sequence

import click

from paceline.cli.format import print_json, printable, table
from paceline.client import Document

TOOLS_SHOWN = 2


def show_dry_run(document: Document, *, as_json: bool) -> None:
    """Show what would be done."""
    if as_json:
        return print_json(document)
    wave_of = {name: at for at, names in enumerate(document["layers"], 1) for name in names}
    rows = [
        (
            str(wave_of[each["name"]]),
            each["name"],
            ", ".join(each["needs"]),
            _few(each["tools"]),
            _place(each),
        )
        for each in document["subtasks"]
    ]
    click.echo(table(("WAVE", "SUBTASK", "NEEDS", "TOOLS", "WOULD GO NOW TO"), rows))
    for reason, names in _obstacles(document["subtasks"]).items():
        click.echo(f"\n{', '.join(names)}: {printable(reason)}")
    return click.echo("Nothing was submitted.", err=True)


def _few(tools: Sequence[str]) -> str:
    """Answer the tools that are wanted most; there may be nine."""
    more = len(tools) - TOOLS_SHOWN
    shown = ", ".join(tools[:TOOLS_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown


def _obstacles(subtasks: Sequence[Document]) -> dict[str, list[str]]:
    """Answer why there is no place for some, each reason once, and for whom it holds."""
    found: dict[str, list[str]] = {}
    for each in subtasks:
        if not any(node["eligible"] for node in each["nodes"]):
            found.setdefault(each["reason"], []).append(each["name"])
    return found


def _place(subtask: Document) -> str:
    best = next((node for node in subtask["nodes"] if node["eligible"]), None)
    if best is None:
        return "nobody yet"
    return printable(f"{best['name'] or best['node_id']} ({best['tool']}, {best['score']:g})")
