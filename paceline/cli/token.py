"""Who gets in: the cluster's join token, and newcomers that wait for a person."""

from pathlib import Path

import click

from paceline.cli import options
from paceline.cli.format import print_json, printable, table
from paceline.client import Client, Document


@click.command()
@options.data_dir
@options.as_json
def show(data_dir: Path, as_json: bool) -> None:
    """Print the cluster's join token. Whoever has it can add machines."""
    _say(Client(data_dir).get("token"), as_json)


@click.command()
@options.data_dir
@options.as_json
def rotate(data_dir: Path, as_json: bool) -> None:
    """Change the join token; members stay, the old token admits nobody any more."""
    _say(Client(data_dir).post("token/rotate"), as_json)


def _say(document: Document, as_json: bool) -> None:
    """Print the token alone to standard output, so that it can be piped into a file."""
    if as_json:
        print_json(document)
        return
    click.echo(printable(document["token"]))
    join = printable(document["join"])
    click.echo(f"add a machine: paceline node start --token-file FILE --join {join}", err=True)


@click.command()
@click.argument("newcomer", required=False)
@options.data_dir
@options.as_json
def approve(newcomer: str | None, data_dir: Path, as_json: bool) -> None:
    """Let NEWCOMER in: its code, id or name. Without one, list who waits.

    Compare the code with the one that the new machine shows; they must be the same.
    """
    client = Client(data_dir)
    if newcomer is None:
        document = client.get("newcomers")
        return print_json(document) if as_json else click.echo(_waiting(document["newcomers"]))
    admitted = client.post("newcomers/approve", {"newcomer": newcomer})
    if as_json:
        return print_json(admitted)
    name = printable(admitted["name"] or admitted["node_id"])
    return click.echo(f"{name} ({printable(admitted['node_id'])}) is a member now")


def _waiting(newcomers: list[Document]) -> str:
    rows = ((n["code"], n["name"], n["node_id"], n["address"]) for n in newcomers)
    return table(("CODE", "NAME", "ID", "FROM"), rows) if newcomers else "nobody waits"
