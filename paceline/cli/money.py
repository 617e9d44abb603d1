"""What the work uses and costs, and what a task may cost."""

from pathlib import Path

import click

from paceline.cli import options
from paceline.cli.format import node, node_names, print_json, printable, table
from paceline.client import Client, Document, segment
from paceline.ids import short

BY = ("task", "node", "tool", "day")


@click.command()
@options.data_dir
@options.as_json
@click.option("--by", type=click.Choice(BY), default="tool", show_default=True)
@click.option("--since", metavar="WHEN", help="Only since this day or moment (ISO 8601, UTC).")
def usage(data_dir: Path, as_json: bool, by: str, since: str | None) -> None:
    """Show the tokens that agents used, and what that cost."""
    client = Client(data_dir)
    document = client.get("usage", by=by, since=since)
    if as_json:
        return print_json(document)
    known = node_names(client.get("nodes")["nodes"]) if by == "node" else {}
    rows = [(_key(by, row, known), *_numbers(row)) for row in document["rows"]]
    if len(rows) > 1:
        rows.append(("all", *_numbers(document["total"])))
    click.echo(table((by.upper(), "RUNS", "IN", "CACHED", "OUT", "USD", "BASIS"), rows))
    if document["more"]:
        click.echo(f"{document['more']} more; see --since and --json.", err=True)
    return None


@click.command()
@click.argument("task", shell_complete=options.offers("tasks"))
@click.argument("usd", metavar="USD|none")
@options.data_dir
@options.as_json
def budget(task: str, usd: str, data_dir: Path, as_json: bool) -> None:
    """Set what a TASK may cost in US dollars; `none` lifts the bound.

    When its attempts have cost that much, nothing more of it begins.
    """
    try:
        amount = None if usd == "none" else float(usd)
    except ValueError:
        raise click.BadParameter(f"{usd!r} is neither an amount nor `none`.") from None
    path = f"tasks/{segment(task)}/budget"
    document = Client(data_dir).post(path, {"budget_usd": amount})
    if as_json:
        return print_json(document)
    told = "no bound" if amount is None else f"{amount:g} USD"
    return click.echo(f"{short(printable(document['task_id']))}: {told}")


def cost_line(usage: Document, budget_usd: float | None) -> str:
    """Answer what a task has cost, in a line; nothing where nothing was used or may be."""
    if not usage["attempts"] and budget_usd is None:
        return ""
    of = f" of {budget_usd:g}" if budget_usd is not None else ""
    tokens = f"{usage['tokens_in']} tokens in, {usage['tokens_out']} out"
    return f"{usage['cost_usd']:.4f}{of} USD{_doubt(usage)}; {tokens}"


def _key(by: str, row: Document, known: dict[str, str]) -> str:
    if by == "node":
        return node(row["node_id"], known)
    return short(printable(row["task_id"])) if by == "task" else printable(row[by])


def _numbers(row: Document) -> tuple[object, ...]:
    tokens = (row["attempts"], row["tokens_in"], row["cached"], row["tokens_out"])
    return (*tokens, f"{row['cost_usd']:.4f}", _basis(row))


def _basis(row: Document) -> str:
    """Answer how far the cost can be believed."""
    parts = [
        word
        for word, key in (("reported", "reported_usd"), ("computed", "computed_usd"))
        if row[key]
    ]
    if row["unpriced"]:
        parts.append(f"{row['unpriced']} without a price")
    return ", ".join(parts)


def _doubt(usage: Document) -> str:
    return f" ({_basis(usage)})" if _basis(usage) else ""
