"""What the cluster is and can do: status, nodes, tools, templates, and the way to the page."""

from pathlib import Path

import click

from paceline.cli import options
from paceline.cli.dashboard import is_narrow, members, summary, warnings
from paceline.cli.format import clock, names, node, node_names, print_json, printable, table
from paceline.client import Client, Document


@click.command()
@options.data_dir
@options.as_json
def status(data_dir: Path, as_json: bool) -> None:
    """Show the cluster as this node sees it."""
    document = Client(data_dir).get("status")
    if as_json:
        return print_json(document)
    click.echo(summary(document))
    click.echo()
    click.echo(members(document["members"], brief=is_narrow()))
    for line in warnings(document):
        click.echo(line)
    return None


@click.command()
@options.data_dir
@options.as_json
def nodes(data_dir: Path, as_json: bool) -> None:
    """List the members of the cluster."""
    document = Client(data_dir).get("nodes")
    if as_json:
        return print_json(document)
    return click.echo(members(document["nodes"], brief=is_narrow()))


@click.command()
@options.data_dir
@options.as_json
@click.option("--check", is_flag=True, help="Have all nodes look at their tools anew first.")
def tools(data_dir: Path, as_json: bool, check: bool) -> None:
    """List the tools of all nodes: their state, how they are kept apart, what they cost."""
    client = Client(data_dir, timeout_s=60)
    document = client.post("tools/check") if check else client.get("tools")
    if as_json:
        return print_json(document)
    known = node_names(client.get("nodes")["nodes"])
    rows = (_tool(t, known) for t in document["tools"])
    heads = ("TOOL", "NODE", "STATE", "VERSION", "RUNNING", "ISOLATION", "USD")
    click.echo(table(heads, rows))
    for node_id, why in document.get("unanswered", {}).items():
        click.echo(f"{node(node_id, known)} did not look: {printable(why)}", err=True)
    return None


def _tool(tool: Document, known: dict[str, str]) -> tuple[object, ...]:
    cost_usd = tool.get("cost_usd")
    return (
        tool["name"],
        node(tool.get("node_id"), known),
        _health(tool),
        tool.get("version", ""),
        f"{tool.get('running', 0)}/{tool.get('slots', 0)}",
        tool.get("isolation", ""),
        f"{cost_usd:.2f}" if cost_usd else "",
    )


@click.command()
@click.argument("show", required=False, type=click.Choice(["show"]))
@click.argument("name", required=False)
@click.option("--repo", metavar="PATH", help="With those of this repository (default: here).")
@options.data_dir
@options.as_json
def templates(
    show: str | None, name: str | None, repo: str | None, data_dir: Path, as_json: bool
) -> None:
    """List the templates that `submit --type` may name, or `show NAME`.

    Your own are TOML files in `templates` beside the configuration file, and in
    `.paceline/templates` of a repository; those go before yours, and yours before the shipped ones.
    """
    if bool(show) != bool(name):
        raise click.UsageError("Say `paceline templates`, or `paceline templates show NAME`.")
    place = Path(repo or ".").expanduser().resolve()
    document = Client(data_dir).get("templates", repository=str(place))
    if name:
        from paceline.cli.template import show_template  # noqa: PLC0415 - seldom wanted

        return show_template(document["templates"], name, as_json=as_json)
    if as_json:
        return print_json(document)
    rows = (
        (
            t["name"],
            t.get("origin", ""),
            names(t.get("subtasks")),
            printable(t.get("problem") or t.get("description", "")),
        )
        for t in document["templates"]
    )
    return click.echo(table(("TEMPLATE", "FROM", "SUBTASKS", "DESCRIPTION"), rows))


@click.command()
@options.data_dir
@click.option("--print-url", is_flag=True, help="Print the link instead of opening a browser.")
def web(data_dir: Path, print_url: bool) -> None:
    """Open the status page of this node. The link works once, within two minutes."""
    url = str(Client(data_dir).post("login-links")["url"])
    if print_url or click.launch(url) != 0:
        click.echo(url)


def _health(tool: Document) -> str:
    if until := tool.get("throttled_until"):
        return click.style(f"throttled until {clock(until)}", fg="yellow")
    if tool.get("healthy", True):
        return click.style("ready", fg="green")
    return click.style(printable(tool.get("reason") or "not healthy"), fg="red")
