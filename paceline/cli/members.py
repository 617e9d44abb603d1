"""Changing who is in the cluster and what they may do: drain, leave, revoke, trust, untrust."""

from pathlib import Path

import click

from paceline.cli import options
from paceline.cli.failures import UNAVAILABLE
from paceline.cli.format import print_json, printable
from paceline.cli.format import status as coloured
from paceline.client import Client, Document, read_node_file, segment

LEAVE_S = 60.0
DEPART_S = 60.0
"""What the cluster may take besides."""
GONE_S = 30.0


@click.command()
@click.argument("node", required=False, shell_complete=options.offers("nodes"))
@click.option("--off", is_flag=True, help="Give it work again.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="What still runs there after so long goes elsewhere (default: it may take its time).",
)
@options.data_dir
@options.as_json
def drain(
    node: str | None, off: bool, timeout_s: float | None, data_dir: Path, as_json: bool
) -> None:
    """Give NODE (default: this one) no new work.

    What it runs it brings to an end; what it has not begun goes to others. NODE is an id, the
    beginning of one, or a name.
    """
    if off and timeout_s is not None:
        raise click.UsageError("--timeout and --off exclude each other.")
    wanted = node or str(read_node_file(data_dir)["node_id"])
    body = {"on": not off} | ({} if timeout_s is None else {"timeout_s": timeout_s})
    answer = Client(data_dir).post(f"nodes/{segment(wanted)}/drain", body)
    if as_json:
        return print_json(answer)
    return click.echo(f"{_called(answer)} is {coloured(answer['status'])}")


@click.command()
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=LEAVE_S,
    show_default=True,
    metavar="SECONDS",
    help="How long what runs here may take; after that it is moved.",
)
@options.data_dir
@options.as_json
@click.pass_context
def leave(ctx: click.Context, timeout_s: float, data_dir: Path, as_json: bool) -> None:
    """Take the node of this machine out of its cluster for good.

    It takes no new work, lets what runs finish, hands over what it leads, and ends; the others
    forget it. To have it back later, start it as a new node, with --anew. A node that only goes
    away for a while is ended with `paceline node stop`.
    """
    from paceline.cli import launch  # noqa: PLC0415 - psutil is not for every command

    process = launch.node_process(data_dir)
    client = Client(data_dir, timeout_s=timeout_s + DEPART_S)
    answer = client.post("node/leave", {"timeout_s": timeout_s})
    if as_json:
        print_json(answer)
    else:
        moved = "" if answer["finished"] else "; what it still ran goes to others"
        click.echo(f"{printable(answer['node_id'])} has left the cluster{moved}")
    if not launch.wait_gone(process, GONE_S):
        click.echo(f"Error: its process {process.pid} has not ended yet.", err=True)
        ctx.exit(UNAVAILABLE)


@click.command()
@click.argument("node", shell_complete=options.offers("nodes"))
@click.option("--reason", default="", metavar="TEXT", help="Shown among the events.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.data_dir
@options.as_json
def revoke(node: str, reason: str, yes: bool, data_dir: Path, as_json: bool) -> None:
    """Throw NODE out of the cluster for good, because it was stolen or cannot be trusted.

    Its key is refused from then on, its work goes to others, and the join token becomes another
    one, since it knows the old one.
    """
    if not yes:
        question = f"Throw {printable(node)} out for good? Its identity can never come back"
        click.confirm(question, abort=True, err=True)
    client = Client(data_dir, timeout_s=DEPART_S)
    answer = client.post(f"nodes/{segment(node)}/revoke", {"reason": reason})
    if as_json:
        return print_json(answer)
    click.echo(f"{_called(answer)} is out")
    click.echo("the join token is another one now: `paceline token show`", err=True)
    return _warn(client.get("status"))


@click.command()
@click.argument("node", shell_complete=options.offers("nodes"))
@options.data_dir
@options.as_json
def trust(node: str, data_dir: Path, as_json: bool) -> None:
    """Let NODE run sensitive work. Only a trusted node can grant this: run it on one."""
    _trust(node, True, data_dir, as_json)


@click.command()
@click.argument("node", shell_complete=options.offers("nodes"))
@options.data_dir
@options.as_json
def untrust(node: str, data_dir: Path, as_json: bool) -> None:
    """Let NODE run no sensitive work any more. Run it on a trusted node."""
    _trust(node, False, data_dir, as_json)


def _trust(node: str, trusted: bool, data_dir: Path, as_json: bool) -> None:
    client = Client(data_dir)
    answer = client.post(f"nodes/{segment(node)}/trust", {"trusted": trusted})
    if as_json:
        return print_json(answer)
    state = "trusted" if trusted else "not trusted"
    before = "" if answer["changed"] else ", as it was before"
    return click.echo(f"{_called(answer)} is {state}{before}")


def _called(answer: Document) -> str:
    return f"{printable(answer['name'] or 'the node')} ({printable(answer['node_id'])})"


def _warn(document: Document) -> None:
    for warning in document["warnings"]:
        click.secho(f"warning: {printable(warning)}", fg="yellow", err=True)
