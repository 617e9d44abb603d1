"""One template, as `paceline templates show NAME` tells it."""

import click

from paceline.cli.format import print_json, printable
from paceline.client import Document
from paceline.errors import NotFound


def show_template(documents: list[Document], name: str, *, as_json: bool) -> None:
    """Show the template of that name. Raise NotFound."""
    found = next((each for each in documents if each["name"] == name), None)
    if found is None:
        known = ", ".join(each["name"] for each in documents)
        raise NotFound(f"no template is named {name!r}; there are {known}")
    if as_json:
        return print_json(found)
    place = f" ({found['path']})" if found.get("path") else ""
    instead = f", instead of the one that is {found['replaces']}" if "replaces" in found else ""
    click.echo(printable(f"{found['name']}: {found['origin']}{place}{instead}"))
    click.echo(printable(found.get("problem") or found["description"]))
    for subtask in found["subtasks"]:
        _subtask(subtask)
    return None


def _subtask(subtask: Document) -> None:
    needs = f", needs {', '.join(subtask['needs'])}" if subtask["needs"] else ""
    click.echo()
    click.echo(printable(f"{subtask['name']}: {', '.join(subtask['tools'])}{needs}"))
    for line in (subtask["run"] or subtask["instructions"]).splitlines():
        click.echo(printable(f"    {line}"))
