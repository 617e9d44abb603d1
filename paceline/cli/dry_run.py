"""What `submit --dry-run` shows: the graph in waves, and where each subtask would go now."""

import click

from paceline.cli.format import print_json, printable, table
from paceline.client import Document


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
            ", ".join(each["tools"]),
            _place(each),
        )
        for each in document["subtasks"]
    ]
    click.echo(table(("WAVE", "SUBTASK", "NEEDS", "TOOLS", "WOULD GO NOW TO"), rows))
    return click.echo("Nothing was submitted.", err=True)


def _place(subtask: Document) -> str:
    best = next((node for node in subtask["nodes"] if node["eligible"]), None)
    if best is None:
        return printable(subtask["reason"])
    return printable(f"{best['name'] or best['node_id']} ({best['tool']}, {best['score']:g})")
